"""Every turn that the life of a sale can take at Stripe, and what may be used after each step of it.

All stories are told at the same time, each of a customer of its own: what is due next, in whichever it is, is next.
Deliveries have every fault that they can have, each by chance, so that some are as they should be. A step is over when
the promise of reconciliation has fallen due, ten minutes later.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pytest

from tollhouse_sandbox.errors import StripeError
from tollhouse_server.testing import World, WorldCustomer

MONTHLY, TRIAL, ONCE = "pdf-tool.pro.monthly", "pdf-tool.pro.trial", "pdf-tool.lifetime.once"
SEATS = "pdf-tool.team.monthly"
A_MONTH = timedelta(days=31, hours=2)
"""Any month and the hour in which its renewal is collected."""
CLOSED = "no-source"


class Then(NamedTuple):
    """What Ada is told of the export, what Stripe's status of her subscription or purchase is, and her pages a day."""

    reason: str
    status: str | None = None
    pages: int | None = None


Story = Iterator[Then | timedelta]
"""Goes on when what it says has been looked at, or when so much time has passed."""


class Row(NamedTuple):
    name: str
    events: tuple[str, ...]
    """Of which Stripe tells in such a story."""
    begin: Callable[[WorldCustomer], Story]
    dunning: str
    """What the account's setting lets become of a subscription that is not paid."""


ROWS: list[Row] = []
Told = TypeVar("Told", bound=Callable[..., Story])


def row(name: str, *events: str, dunning: str = "cancel", **how: Any) -> Callable[[Told], Told]:
    """The story is in the table by this name, `how` being its further arguments."""

    def enter(story: Told) -> Told:
        ROWS.append(Row(name, events, partial(story, **how), dunning))
        return story

    return enter


@dataclass
class Telling:
    """A story while it is told. `then`: what is to be looked at before it goes on."""

    row: Row
    ada: WorldCustomer
    due: datetime
    story: Story = field(init=False)
    then: Then | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self.story = self.row.begin(self.ada)

    def goes_on(self) -> None:
        said = next(self.story, None)
        self.over = said is None
        self.then = said if isinstance(said, Then) else None
        if isinstance(said, timedelta):
            self.due += said
        if self.over:  # its further renewals would only cost time
            stripe = self.ada.world.stripe.v1.subscriptions
            for one in stripe.list({"customer": self.ada.stripe_id}).data:
                if one.status != "incomplete_expired":
                    stripe.cancel(one.id)

    def wrong(self) -> str | None:
        """What is not as the story says."""
        if self.then is None or (is_now := told(self.ada, self.then)) == self.then:
            return None
        return f"{self.row.name}: {is_now} where {self.then} was told, {self.ada.world.now}"


@pytest.mark.timeout(300)  # more than forty stories in one
@pytest.mark.parametrize("dunning", ["cancel", "unpaid", "past_due", "pause"])
def test_every_turn(world: World, pdf_tool_document: dict[str, Any], dunning: str) -> None:
    """After each step each customer is told what Stripe's state says; the events that the rows are about did happen."""
    world.publish(with_seats(pdf_tool_document))
    world.sandbox.settings(after_dunning=dunning)
    rows = [one for one in ROWS if one.dunning == dunning]
    world.faults(seed=len(rows))
    running = [Telling(one, world.customer(one.name), world.now) for one in rows]
    happened: set[str] = set()
    while running:
        since = world.now
        world.passes_until(max(world.now, min(one.due for one in running)))
        with world.together():
            for one in running:
                if one.due <= world.now:
                    one.goes_on()
        world.passes(minutes=10)
        assert [said for one in running if (said := one.wrong())] == []
        happened |= event_types(world, since)
        running = [one for one in running if not one.over]
    assert {event for one in rows for event in one.events} - happened == set()


def with_seats(document: dict[str, Any]) -> dict[str, Any]:
    """The catalog of the PDF tool, which sells a plan by seats as well, and tries out whoever has the same card."""
    document = deepcopy(document)
    document["policy"] = {"on_trial_again": "allow"}
    document["products"]["team"] = {
        "name": "PDF Tool Team",
        "plan_group": "plan",
        "opens": {"premium_export": True, "pages_per_day": {"limit": 100, "per_seat": True}},
        "prices": {"monthly": {"amount": 1900, "currency": "eur", "interval": "month"}},
    }
    return document


def event_types(world: World, since: datetime) -> set[str]:
    """Of what has happened since. Not by the library, which would make a hundred objects of each hundred events."""
    key, asked, types = {"Authorization": f"Bearer {world.sandbox.secret_key}"}, {"limit": "100"}, set()
    asked["created[gte]"] = str(int(since.timestamp()))
    while True:
        listed = world.operator.get(f"{world.sandbox.url}/v1/events", params=asked, headers=key)
        found = listed.raise_for_status().json()
        types |= {event["type"] for event in found["data"]}
        if not found["has_more"]:
            return types
        asked["starting_after"] = found["data"][-1]["id"]


def told(ada: WorldCustomer, then: Then) -> Then:
    """What is, of what `then` speaks of; of several, the first by its status."""
    state = ada.state()
    sold = [one.status for one in state.subscriptions] + [one.payment_status for one in state.purchases]
    pages = state.entitlements["pages_per_day"].value if then.pages is not None else None
    return Then(state.entitlements["premium_export"].reason, min(sold, default=None), pages)


RUNS, GRACE = Then("subscription-active", "active"), Then("subscription-past-due-grace", "past_due")
ON_TRIAL, ENDS, OVER = (
    Then("subscription-trialing", "trialing"),
    Then("subscription-ends", "active"),
    Then(CLOSED, "canceled"),
)
PAID, NOTHING = Then("purchase-paid", "paid"), Then(CLOSED)


# --- Subscriptions: how they begin


@row(
    "checkout, paid",
    "customer.created",
    "payment_method.attached",
    "customer.subscription.created",
    "invoice.paid",
    "checkout.session.completed",
)
def checkout(ada: WorldCustomer) -> Story:
    yield NOTHING
    ada.buys(MONTHLY)
    yield RUNS


@row("checkout, declined, paid with another card", "checkout.session.completed")
def declined(ada: WorldCustomer) -> Story:
    with pytest.raises(StripeError, match="declined"):
        ada.buys(MONTHLY, "pm_card_chargeDeclined")
    yield NOTHING
    page = ada.app.open_checkout(ada.user_id, MONTHLY, success_url=ada.app.origin, cancel_url=ada.app.origin).url
    assert page
    ada.pays(page)
    yield RUNS


@row("checkout, abandoned", "checkout.session.expired")
@row("checkout, expired by hand", "checkout.session.expired", by_hand=True)
def abandoned(ada: WorldCustomer, by_hand: bool = False) -> Story:
    ada.app.open_checkout(ada.user_id, MONTHLY, success_url=ada.app.origin, cancel_url=ada.app.origin)
    stripe = ada.world.stripe.v1.checkout.sessions
    if by_hand:
        stripe.expire(stripe.list().data[0].id)
    yield timedelta(hours=1 if by_hand else 25)
    yield NOTHING
    ada.buys(MONTHLY)
    yield RUNS


@row(
    "trial, then paid",
    "setup_intent.succeeded",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "invoice.paid",
)
def trial(ada: WorldCustomer) -> Story:
    ada.buys(TRIAL)
    yield ON_TRIAL
    yield timedelta(days=12)
    yield ON_TRIAL
    yield timedelta(days=3)
    yield RUNS


@row("trial, ended early", "customer.subscription.trial_will_end")
def trial_ended_early(ada: WorldCustomer) -> Story:
    ada.buys(TRIAL)
    yield timedelta(days=2)
    yield ON_TRIAL
    ada.world.stripe.v1.subscriptions.update(ada.subscription().id, {"trial_end": "now"})
    ada.world.arrive()
    yield RUNS


@row("trial without a card: a bill", "invoice.payment_failed", ending="create_invoice", then=GRACE)
@row("trial without a card: canceled", "customer.subscription.deleted", ending="cancel", then=OVER)
@row("trial without a card: paused", "customer.subscription.paused", ending="pause", then=Then(CLOSED, "paused"))
def trial_without_card(ada: WorldCustomer, ending: str, then: Then) -> Story:
    settings = {"end_behavior": {"missing_payment_method": ending}}
    ada.gets_subscription(MONTHLY, None, trial_period_days=14, trial_settings=settings)
    yield ON_TRIAL
    yield timedelta(days=15)
    yield then


@row("first payment fails, is paid", "invoice.payment_failed", "invoice.paid", pays=True)
@row("first payment fails, is never paid", "invoice.payment_failed", "invoice.voided")
def first_payment_fails(ada: WorldCustomer, pays: bool = False) -> Story:
    ada.gets_subscription(MONTHLY, "pm_card_chargeCustomerFail")
    yield Then(CLOSED, "incomplete")
    if pays:
        ada.pays_with("pm_card_visa")
        ada.pays_invoice()
    else:
        yield timedelta(hours=24)
    yield RUNS if pays else Then(CLOSED, "incomplete_expired")


# --- Subscriptions: how they go on


@row(
    "renewal",
    "invoice.upcoming",
    "invoice.created",
    "invoice.finalized",
    "invoice_payment.paid",
    "customer.subscription.updated",
)
def renewal(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    yield RUNS
    for _ in range(2):
        yield A_MONTH
        yield RUNS


@row("renewal fails, recovered by a retry", "charge.failed", "invoice.payment_failed", "invoice.paid")
@row("renewal needs the bank, recovered", "invoice.payment_action_required", card="pm_card_authenticationRequired")
def recovered(ada: WorldCustomer, card: str = "pm_card_chargeCustomerFail") -> Story:
    ada.buys(MONTHLY)
    ada.pays_with(card)
    yield A_MONTH
    yield GRACE
    ada.pays_with("pm_card_visa")
    yield timedelta(days=4)
    yield RUNS


@row("renewal fails, paid after the grace", "invoice.payment_failed", "invoice.paid")
def paid_late(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    ada.card_declines()
    yield timedelta(days=38)
    yield Then(CLOSED, "past_due")
    ada.pays_with("pm_card_visa")
    ada.pays_invoice()
    yield RUNS


@row("dunning ends: canceled", "customer.subscription.deleted", dunning="cancel", status="canceled")
@row("dunning ends: unpaid", "customer.subscription.updated", dunning="unpaid", status="unpaid")
@row("dunning ends: past due", "invoice.payment_failed", dunning="past_due", status="past_due")
@row("dunning ends: paused", "customer.subscription.paused", dunning="pause", status="paused")
def exhausted(ada: WorldCustomer, status: str) -> Story:
    ada.buys(MONTHLY)
    ada.card_declines()
    yield A_MONTH
    yield GRACE
    yield timedelta(days=18)
    yield Then(CLOSED, status)


@row("upgrade, billed at once", "invoiceitem.created", "invoice.paid", "customer.subscription.updated")
def upgrade(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    yield Then(*RUNS[:2], 500)
    yield timedelta(days=10)
    ada.changes_plan(SEATS, proration_behavior="always_invoice")
    yield Then(*RUNS[:2], 100)


@row("downgrade, billed with the next period", "invoiceitem.created", "customer.subscription.updated")
def downgrade(ada: WorldCustomer) -> Story:
    ada.buys(SEATS)
    yield timedelta(days=10)
    ada.changes_plan(MONTHLY)
    yield Then(*RUNS[:2], 500)
    yield A_MONTH
    yield Then(*RUNS[:2], 500)


@row("quantity", "invoiceitem.created", "customer.subscription.updated")
def quantity(ada: WorldCustomer) -> Story:
    ada.buys(SEATS, quantity=2)
    yield Then(*RUNS[:2], 200)
    ada.changes_quantity(5)
    yield Then(*RUNS[:2], 500)


@row("collection paused", "customer.subscription.updated")
def collection_paused(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    one, stripe = ada.subscription(), ada.world.stripe.v1.subscriptions
    stripe.update(one.id, {"pause_collection": {"behavior": "void"}})
    ada.world.arrive()
    yield Then("subscription-paused-paid", "active")
    yield A_MONTH
    yield Then(CLOSED, "active")
    stripe.update(one.id, {"pause_collection": ""})
    yield A_MONTH
    yield RUNS


@row("paused and resumed", "customer.subscription.paused", "customer.subscription.resumed")
def paused(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    ada.pauses()
    yield Then("subscription-paused-paid", "paused")
    yield timedelta(days=40)
    yield Then(CLOSED, "paused")
    ada.resumes()
    yield RUNS


@row("another card in the portal", "billing_portal.session.created", "payment_method.attached", "customer.updated")
def card_changed(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    ada.in_portal("save", card="pm_card_mastercard")
    yield RUNS
    yield A_MONTH
    yield RUNS


# --- Subscriptions: how they end


@row("canceled by API, and not", "customer.subscription.updated", by={"cancel_at_period_end": True})
@row("canceled in the portal, and not", "customer.subscription.updated")
def taken_back(ada: WorldCustomer, by: dict[str, Any] | None = None) -> Story:
    ada.buys(MONTHLY)
    yield from _canceled(ada, by)
    ada.resumes()
    yield RUNS
    yield A_MONTH
    yield RUNS


@row("canceled by API, over", "customer.subscription.deleted", by={"cancel_at_period_end": True})
@row("canceled in the portal, over", "customer.subscription.deleted")
def canceled(ada: WorldCustomer, by: dict[str, Any] | None = None) -> Story:
    ada.buys(MONTHLY)
    yield from _canceled(ada, by)
    yield A_MONTH
    yield OVER


def _canceled(ada: WorldCustomer, by: Any) -> Story:
    if by:
        ada.world.stripe.v1.subscriptions.update(ada.subscription().id, by)
        ada.world.arrive()
    else:
        ada.cancels()
    yield ENDS


@row("canceled for a day", "customer.subscription.updated", "customer.subscription.deleted")
def canceled_for_a_day(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    day = int(ada.world.now.timestamp()) + 10 * 86_400
    yield from _canceled(ada, {"cancel_at": day})
    yield timedelta(days=11)
    yield OVER


@row("canceled at once", "customer.subscription.deleted")
def canceled_at_once(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    ada.cancels(now=True)
    yield OVER


# --- Purchases, and money that goes back


@row("purchase", "payment_intent.succeeded", "charge.succeeded", "checkout.session.completed")
def purchase(ada: WorldCustomer) -> Story:
    ada.buys(ONCE)
    yield PAID
    yield timedelta(days=40)
    yield PAID


@row("bank debit, arrives", "checkout.session.async_payment_succeeded", succeeds=True)
@row("bank debit, comes back", "checkout.session.async_payment_failed", succeeds=False)
def delayed(ada: WorldCustomer, succeeds: bool) -> Story:
    ada.buys(ONCE, "pm_usBankAccount")
    yield Then(CLOSED, "unpaid")
    ada.debit_settles(succeeds=succeeds)
    yield PAID if succeeds else Then(CLOSED, "unpaid")


@row("refund, in part and whole", "refund.created", "charge.refunded", "charge.refund.updated")
def refunded(ada: WorldCustomer) -> Story:
    ada.buys(ONCE)
    ada.refunds(5_000)
    yield PAID
    ada.refunds()
    yield Then(CLOSED, "paid")


@row("refund of a period", "charge.refunded")
def period_refunded(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    ada.refunds()
    yield Then(CLOSED, "active")
    yield A_MONTH
    yield RUNS


@row("refund that fails", "refund.created", "refund.failed")
def refund_fails(ada: WorldCustomer) -> Story:
    ada.buys(ONCE, "pm_card_refundFail")
    ada.refunds()
    yield timedelta(days=10)
    yield PAID


@row("dispute, won", "charge.dispute.created", "charge.dispute.funds_reinstated", status="won")
@row("dispute, lost", "charge.dispute.funds_withdrawn", "charge.dispute.closed", status="lost")
def disputed(ada: WorldCustomer, status: str) -> Story:
    ada.buys(ONCE)
    ada.disputes()
    yield Then(CLOSED, "paid")
    ada.dispute_closes(status)
    yield PAID if status == "won" else Then(CLOSED, "paid")


@row("dispute, lost and then won", "charge.dispute.closed", "charge.dispute.funds_reinstated")
def lost_then_won(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    ada.disputes(status="lost")
    yield Then(CLOSED, "active")
    ada.dispute_closes("won")
    yield RUNS


@row("inquiry", "charge.dispute.created", "charge.dispute.closed")
def inquiry(ada: WorldCustomer) -> Story:
    ada.buys(ONCE)
    ada.disputes(status="warning_needs_response")
    yield PAID
    ada.dispute_closes("warning_closed")
    yield PAID


# --- What else happens in an account


@row("test clock", "test_helpers.test_clock.advancing", "test_helpers.test_clock.ready")
def stripes_test_clock(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    clocks, now = ada.world.stripe.v1.test_helpers.test_clocks, int(ada.world.now.timestamp())
    clock = clocks.create({"frozen_time": now})
    clocks.advance(clock.id, {"frozen_time": now + 86_400})
    ada.world.arrive()
    yield RUNS


@row("canceled, then another plan", "customer.subscription.deleted", "checkout.session.completed")
def replaced(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    yield from _canceled(ada, None)
    yield A_MONTH
    ada.buys(SEATS)
    yield Then(*RUNS[:2], 100)


@row("catalogue", "product.updated", "price.updated", "entitlements.active_entitlement_summary.updated")
def catalogue(ada: WorldCustomer) -> Story:
    ada.buys(MONTHLY)
    v1 = ada.world.stripe.v1
    price = ada.subscription()["items"].data[0].price
    v1.products.update(str(price.product), {"name": "Renamed by somebody"})
    v1.prices.update(price.id, {"nickname": "monthly"})
    feature = v1.entitlements.features.create({"name": "Export", "lookup_key": f"export-{ada.user_id}"})
    v1.products.features.create(str(price.product), {"entitlement_feature": feature.id})
    ada.world.arrive()
    yield RUNS
