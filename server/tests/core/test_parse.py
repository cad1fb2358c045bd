"""Stripe's objects as evidence: what is derived from which field, and that nothing missing is guessed."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tollhouse_server.domain.errors import UnknownStatus
from tollhouse_server.domain.evidence import DisputeStatus, PaymentStatus, Purchase, Subscription, SubscriptionStatus
from tollhouse_server.domain.facts import CustomerFacts
from tollhouse_server.domain.money import Money
from tollhouse_server.resources import Resources
from tollhouse_server.stripe_gateway.fetch import fetch_customer
from tollhouse_server.stripe_gateway.parse import UnexpectedShape, parse_customer, parse_price
from tollhouse_server.testing import World

Raw = dict[str, Any]

DAY = 86_400
JAN, FEB, MAR = 1_800_000_000, 1_800_000_000 + 30 * DAY, 1_800_000_000 + 60 * DAY


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def item(**more: Any) -> Raw:
    price = {"id": "price_1", "lookup_key": "pdf-tool.pro.monthly"}
    return {"price": price, "quantity": 2, "current_period_start": FEB, "current_period_end": MAR, **more}


def subscription(**more: Any) -> Raw:
    """Active since January, in its second month."""
    usual = {
        "id": "sub_1", "metadata": {}, "status": "active", "start_date": JAN, "trial_end": None, "cancel_at": None,
        "cancel_at_period_end": False, "pause_collection": None, "ended_at": None, "items": [item()],
    }  # fmt: skip
    return {**usual, **more}


def line(end: int = MAR, *, proration: bool = False, of_subscription: bool = True) -> Raw:
    details = {"proration": proration} if of_subscription else None
    return {"period": {"start": end - 30 * DAY, "end": end}, "parent": {"subscription_item_details": details}}


def invoice(created: int = FEB, status: str = "paid", **more: Any) -> Raw:
    """The bill of a month, paid by `pi_1`."""
    usual = {
        "id": f"in_{created}", "created": created, "status": status, "billing_reason": "subscription_cycle",
        "parent": {"subscription_details": {"subscription": "sub_1"}}, "lines": [line(created + 30 * DAY)],
        "payments": [{"status": "paid", "payment": {"type": "payment_intent", "payment_intent": "pi_1"}}],
    }  # fmt: skip
    return {**usual, **more}


def charge(**more: Any) -> Raw:
    usual = {
        "id": "ch_1", "created": FEB, "amount": 900, "amount_refunded": 0, "currency": "eur", "status": "succeeded",
        "payment_intent": "pi_1",
    }  # fmt: skip
    return {**usual, **more}


def session(**more: Any) -> Raw:
    usual = {
        "id": "cs_1", "created": JAN, "mode": "payment", "status": "complete", "payment_status": "paid",
        "payment_intent": {"id": "pi_1", "status": "succeeded"}, "url": None, "expires_at": JAN + DAY,
        "line_items": [{"price": {"id": "price_2", "lookup_key": None}, "quantity": 1}],
    }  # fmt: skip
    return {**usual, **more}


def parsed(
    subscriptions: list[Raw] = [],  # noqa: B006 - never changed
    invoices: list[Raw] = [],  # noqa: B006
    sessions: list[Raw] = [],  # noqa: B006
    charges: list[Raw] = [],  # noqa: B006
    refunds: list[Raw] = [],  # noqa: B006
    disputes: list[Raw] = [],  # noqa: B006
) -> CustomerFacts:
    return parse_customer({"id": "cus_1"}, subscriptions, invoices, sessions, charges, refunds, disputes)


def the_subscription(raw: Raw, *invoices: Raw, **more: list[Raw]) -> Subscription:
    return parsed([raw], list(invoices), **more).subscriptions[0]


def the_purchase(raw: Raw, **more: list[Raw]) -> Purchase:
    return parsed(sessions=[raw], **more).purchases[0]


def test_a_subscription_of_today() -> None:
    """Periods come from the items, seats from their quantities; what pays for it from the invoices."""
    one = the_subscription(subscription(), invoice(), charges=[charge()])
    assert (one.id, one.status, one.started_at) == ("sub_1", SubscriptionStatus.ACTIVE, at(JAN))
    assert (one.period_start, one.period_end, one.items[0].quantity) == (at(FEB), at(MAR), 2)
    assert (one.paid_through, one.unpaid_since) == (at(MAR), None)
    assert one.payment is not None and one.payment.money == Money(900, "eur")


@pytest.mark.parametrize(
    ("field", "value", "derived"),
    [
        ("trial_end", MAR, ("trial_end", at(MAR))),
        ("cancel_at", MAR, ("cancel_at", at(MAR))),
        ("cancel_at_period_end", True, ("cancel_at_period_end", True)),
        ("pause_collection", {"behavior": "void", "resumes_at": None}, ("collection_paused", True)),
        ("ended_at", FEB, ("ended_at", at(FEB))),
    ],
)
def test_what_a_subscription_says_is_kept(field: str, value: object, derived: tuple[str, object]) -> None:
    """Each of these decides about access, so each must arrive."""
    assert getattr(the_subscription(subscription(**{field: value})), derived[0]) == derived[1]


def test_unpaid_since_the_oldest_bill_still_owed() -> None:
    """Grace runs from the first bill that was not paid; a paid one after it, a draft and a void one owe nothing."""
    owed = invoice(FEB, "open"), invoice(FEB + DAY, "uncollectible")
    assert the_subscription(subscription(status="past_due"), invoice(JAN), *owed).unpaid_since == at(FEB)
    assert the_subscription(subscription(), invoice(JAN, "open"), invoice(FEB)).unpaid_since is None
    assert the_subscription(subscription(), invoice(FEB, "draft"), invoice(FEB, "void")).unpaid_since is None
    another = invoice(FEB, "open", parent={"subscription_details": {"subscription": "sub_2"}})
    assert the_subscription(subscription(), another, invoice(FEB, "open", parent=None)).unpaid_since is None


def test_paid_through_the_latest_period_that_was_paid() -> None:
    """Not an open bill's, not an item's added by hand, and not the credit for the rest of a year that was left."""
    bills = [invoice(JAN), invoice(FEB, "open")]
    assert the_subscription(subscription(), *bills).paid_through == at(FEB)
    assert the_subscription(subscription()).paid_through is None
    left = invoice(FEB, lines=[line(MAR), line(FEB + 365 * DAY, proration=True)], billing_reason="subscription_update")
    assert the_subscription(subscription(), invoice(JAN), left).paid_through == at(MAR)
    by_hand = invoice(FEB, lines=[line(MAR + DAY, of_subscription=False), {**line(MAR + DAY), "parent": None}])
    assert the_subscription(subscription(), invoice(JAN), by_hand).paid_through == at(FEB)


def test_the_payment_is_that_of_the_current_period() -> None:
    """Not last month's, not an upgrade's; and none while this period is unpaid or was free."""
    last = invoice(JAN, payments=[{"status": "paid", "payment": {"payment_intent": "pi_0"}}])
    upgrade = invoice(FEB + DAY, billing_reason="subscription_update", payments=[])
    charges = [charge(), charge(id="ch_0", payment_intent="pi_0", amount=100)]
    paid = the_subscription(subscription(), last, invoice(), upgrade, charges=charges).payment
    assert paid is not None and paid.money.amount == 900
    assert the_subscription(subscription(), last, invoice(FEB, "open"), charges=charges).payment is None
    assert the_subscription(subscription(), invoice(payments=[]), charges=charges).payment is None
    other = invoice(payments=[{"status": "paid", "payment": {"type": "charge", "charge": "py_1"}}])
    assert the_subscription(subscription(), other, charges=charges).payment is None


def test_refunds_add_up_and_the_latest_that_counts_dates_them() -> None:
    """A failed or canceled refund is none; how much was given back is what the charge says."""
    refunds: list[Raw] = [
        {"id": "re_1", "charge": "ch_1", "created": MAR, "status": "succeeded"},
        {"id": "re_2", "charge": "ch_1", "created": FEB, "status": "pending"},
        {"id": "re_3", "charge": "ch_1", "created": MAR + DAY, "status": "failed"},
        {"charge": "ch_2", "created": MAR + DAY, "status": "succeeded"},
        {"charge": None, "created": MAR + DAY, "status": "succeeded"},
    ]
    payment = the_purchase(session(), charges=[charge(amount_refunded=400)], refunds=refunds).payment
    assert payment is not None and (payment.refunded, payment.refunded_at) == (400, at(MAR))
    assert not payment.fully_refunded
    unlisted = the_purchase(session(), charges=[charge(amount_refunded=900)]).payment
    assert unlisted is not None and unlisted.fully_refunded and unlisted.refunded_at == at(FEB)
    taken_back = the_purchase(session(), charges=[charge()], refunds=refunds[2:3]).payment
    assert taken_back is not None and (taken_back.refunded, taken_back.refunded_at) == (0, None)


def test_the_latest_dispute_of_the_charge_counts() -> None:
    """Whatever the order of the list; another charge's is not its own."""
    disputes = [
        {"id": "du_1", "charge": "ch_1", "created": MAR, "status": "needs_response"},
        {"id": "du_2", "charge": "ch_1", "created": FEB, "status": "won"},
        {"charge": "ch_2", "created": MAR + DAY, "status": "lost"},
    ]
    payment = the_purchase(session(), charges=[charge()], disputes=disputes).payment
    assert payment is not None and (payment.dispute, payment.disputed_at) == (DisputeStatus.NEEDS_RESPONSE, at(MAR))


def test_a_purchase_counts_from_its_payment() -> None:
    """A bank debit settles days after the checkout; a free order has no charge and counts from the checkout."""
    assert the_purchase(session(), charges=[charge()]).since == at(FEB)
    free = the_purchase(session(payment_status="no_payment_required", payment_intent=None), charges=[charge()])
    assert (free.since, free.payment, free.payment_status) == (at(JAN), None, PaymentStatus.NO_PAYMENT_REQUIRED)
    failed = the_purchase(session(payment_status="unpaid"), charges=[charge(status="failed")])
    assert (failed.since, failed.payment, failed.payment_status) == (at(JAN), None, PaymentStatus.UNPAID)
    debit = session(payment_status="unpaid", payment_intent={"id": "pi_1", "status": "processing"})
    assert the_purchase(debit).settling and not failed.settling


def test_what_is_not_bought_is_no_purchase() -> None:
    """An open or expired session, one that sets up a card and one that began a subscription are checkouts only."""
    others = [session(status="open"), session(status="expired"), session(mode="setup"), session(mode="subscription")]
    facts = parsed(sessions=others)
    assert facts.purchases == ()
    assert [one.state for one in facts.checkouts] == ["open", "expired", "complete", "complete"]


UNKNOWN = [
    {"subscriptions": [subscription(status="on_holiday")]},
    {"sessions": [session(payment_status="promised")]},
    {"charges": [charge()], "disputes": [{"charge": "ch_1", "created": FEB, "status": "mediation"}]},
]


@pytest.mark.parametrize("raw", UNKNOWN, ids=lambda raw: next(iter(raw)))
def test_an_unknown_status_raises(raw: Mapping[str, list[Raw]]) -> None:
    """It never means something by default: neither open nor closed."""
    with pytest.raises(UnknownStatus):
        parsed(**raw)
    with pytest.raises(UnexpectedShape):
        parsed(sessions=[session(status="half-open")])


WHOLE: dict[str, Raw] = {
    "subscriptions": subscription(),
    "invoices": invoice(),
    "sessions": session(),
    "charges": charge(),
    "refunds": {"id": "re_1", "charge": "ch_1", "created": FEB, "status": "succeeded"},
    "disputes": {"id": "du_1", "charge": "ch_1", "created": FEB, "status": "won"},
}
REQUIRED = [(kind, field) for kind, raw in WHOLE.items() for field in raw if field not in ("id", "payments")]


@pytest.mark.parametrize(("kind", "field"), REQUIRED)
def test_a_missing_field_raises(kind: str, field: str) -> None:
    """A field that the pinned version promises and that is not there is never taken for null, 0 or 1970."""
    raw = {name: [copy.deepcopy(one)] for name, one in WHOLE.items()}
    parsed(**raw)
    del raw[kind][0][field]
    with pytest.raises(UnexpectedShape, match="cus_1"):
        parsed(**raw)


OLD_SHAPES = [
    {"subscriptions": [subscription(current_period_end=MAR, items=[{"price": {"id": "p", "lookup_key": None}}])]},
    {"subscriptions": [subscription()], "invoices": [invoice(lines=[{"type": "subscription", "period": {}}])]},
    {"subscriptions": [subscription(start_date="2026-11-22")]},
    {"charges": [charge(amount="9.00")]},
]


@pytest.mark.parametrize("raw", OLD_SHAPES)
def test_a_shape_of_another_version_raises(raw: Mapping[str, list[Raw]]) -> None:
    """Period ends outside the items, lines without a parent, times and amounts as text: parked, not misread."""
    with pytest.raises(UnexpectedShape):
        parsed(**raw)


def test_a_price_can_be_bought_while_it_and_its_product_are_active() -> None:
    """Of a deleted product Stripe says nothing else."""
    whole = {"id": "price_1", "active": True, "product": {"id": "prod_1", "active": True}}
    assert parse_price(whole).active
    assert not parse_price({**whole, "active": False}).active
    assert not parse_price({**whole, "product": {"id": "prod_1", "active": False}}).active
    assert not parse_price({**whole, "product": {"id": "prod_1", "deleted": True}}).active
    with pytest.raises(UnexpectedShape, match="price_1"):
        parse_price({**whole, "product": "prod_1"})


def test_the_sandboxs_objects_parse_whole(world: World, pdf_tool_catalog: dict[str, Any]) -> None:
    """A subscription renewed and then refunded, a purchase disputed: read as the real library gives them."""
    ada = world.customer("ada", world.publish(pdf_tool_catalog))
    ada.buys("pdf-tool.pro.monthly")
    ada.buys("pdf-tool.lifetime.once")
    world.passes(days=32)
    charges = world.stripe.v1.charges.list({"customer": ada.stripe_id}).data
    renewal = next(one for one in charges if one.amount == 900)
    world.stripe.v1.refunds.create({"charge": renewal.id, "amount": 300})
    world.sandbox.dispute(next(one.id for one in charges if one.amount == 19900))
    stripe_id = ada.stripe_id

    async def read(resources: Resources) -> CustomerFacts | None:
        return await fetch_customer(resources.stripe, stripe_id)

    facts = world.service.run(read)
    assert facts is not None and (facts.project, facts.user_id) == ("pdf-tool", "ada")
    one, bought = facts.subscriptions[0], facts.purchases[0]
    assert one.paid_through == one.period_end and one.unpaid_since is None
    assert one.payment is not None and (one.payment.refunded, one.payment.refunded_at) == (
        300,
        world.sandbox.now().replace(microsecond=0),
    )
    assert bought.payment is not None and bought.payment.dispute is DisputeStatus.NEEDS_RESPONSE
    assert bought.items[0].lookup_key == "pdf-tool.lifetime.once"
    assert {checkout.state for checkout in facts.checkouts} == {"complete"}
