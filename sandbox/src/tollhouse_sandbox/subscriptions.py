"""Subscriptions: started, renewed, billed, ended. The states themselves are decided in `lifecycle`."""

from dataclasses import dataclass, field

from tollhouse_sandbox import automatic_tax, drafts, dunning, events, ids, invoices, invoicing, redemption
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Outcome
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import (
    FINALISED_AFTER,
    TRIAL_WARNING,
    Cause,
    Status,
    after,
    next_attempt,
    period_around,
    period_end,
)
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.redemption import Promotion
from tollhouse_sandbox.store import Json

_UNUSED: Json = {
    "application": None,
    "application_fee_percent": None,
    "billing_cycle_anchor_config": None,
    "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}, "updated_at": None},
    "billing_schedules": [],
    "billing_thresholds": None,
    "customer_account": None,
    "default_source": None,
    "default_tax_rates": [],
    "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "pending_invoice_item_interval": None,
    "pending_update": None,
    "schedule": None,
    "status_details": None,
    "test_clock": None,
    "transfer_data": None,
}


@dataclass
class Order:
    """What is to be subscribed to. `items` are (price, quantity, metadata); `trial_end` is a Unix second.

    With `days_until_due` its invoices are sent instead of charged.
    """

    customer: Json
    items: list[tuple[Json, int, Json]]
    trial_end: int | None = None
    metadata: Json = field(default_factory=dict)
    description: str | None = None
    default_payment_method: str | None = None
    trial_end_behavior: Json = field(default_factory=dict)
    cancel_at: int | str | None = None
    cancel_at_period_end: bool = False
    days_until_due: int | None = None
    promotions: list[Promotion] = field(default_factory=list)
    automatic_tax: bool = False
    item_promotions: list[list[Promotion]] = field(default_factory=list)


def product_name(account: Account, price: Json) -> str:
    return str(account.require("product", price["product"])["name"])


def new_item(account: Account, subscription: str, price: Json, quantity: int, metadata: Json, period: Json) -> Json:
    """One item as it is stored inside its subscription; `price` stays an id and is joined when shown."""
    return {
        "id": ids.new("subscription_item"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": account.now,
        "discounts": [],
        "metadata": metadata,
        "price": price["id"],
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
        **period,
    }


def period_from(price: Json, anchor: int, start: int) -> Json:
    """The billing period that begins at `start`."""
    recurring = price["recurring"]
    end = period_end(anchor, start, recurring["interval"], recurring["interval_count"])
    return {"current_period_start": start, "current_period_end": end}


def line(account: Account, subscription: Json, item: Json) -> Json:
    """What an item costs for its current period; nothing while on trial."""
    price = account.require("price", item["price"])
    free = subscription["status"] == Status.TRIALING
    return invoicing.subscription_line(subscription, item, price, product_name(account, price), free=free)


def start(
    account: Account,
    order: Order,
    *,
    method: Json | None = None,
    collected: bool = True,
    off_session: bool = False,
    authenticated: bool = False,
) -> tuple[Json, Payment | None, list[Happening]]:
    """Opens a subscription with its first invoice and tries to collect it, unless `collected` is false.

    An invoice that is to be sent stays a draft for an hour, and the subscription is active all the same. Answers with
    the subscription (`active`, `trialing`, or `incomplete`), the attempt if one was made, and what happened, in
    Stripe's order.
    """
    subscription = _open(account, order)
    sent = order.days_until_due is not None
    invoice = drafts.for_subscription(
        account,
        subscription,
        [line(account, subscription, item) for item in subscription["items"]],
        reason="subscription_create",
        period=(account.now, account.now),
        finalises_at=account.now + FINALISED_AFTER if sent else None,
    )
    account.store.change(subscription, latest_invoice=invoice["id"])
    happened: list[Happening] = []
    if not sent:
        invoice, happened = invoices.finalise(account, invoice)
    payment = None
    if invoice["status"] == "open" and collected:
        payment, attempted = dunning.collect(
            account, invoice, method, automatic=False, off_session=off_session, authenticated=authenticated
        )
        happened += attempted
        if payment.outcome is Outcome.PROCESSING:
            dunning.move(account, subscription, Cause.PAID)
        # Recorded: the update of a first invoice is told before its payment, that of a renewal after it.
        happened.sort(key=lambda each: each.type not in ("invoice.finalized", "invoice.updated"))
    dunning.react(account, invoice, automatic=False)
    subscription = account.require("subscription", subscription["id"])
    first = [Happening("customer.subscription.created", subscription), Happening("invoice.created", invoice)]
    return subscription, payment, [*first, *happened, *warning_if_near(account, subscription)]


def _open(account: Account, order: Order) -> Json:
    subscription_id = ids.new("subscription")
    now = account.now
    on_trial = order.trial_end is not None
    sent = order.days_until_due is not None
    at_trial_end = {
        "billing_cycle_anchor": None,
        "missing_payment_method": "create_invoice",
        **order.trial_end_behavior,
    }
    anchor = now if at_trial_end["billing_cycle_anchor"] == "unchanged" else order.trial_end or now
    items = []
    for price, quantity, metadata in order.items:
        trial_period = {"current_period_start": now, "current_period_end": order.trial_end}
        period = trial_period if on_trial else period_from(price, anchor, now)
        items.append(new_item(account, subscription_id, price, quantity, metadata, period))
    cancel_at = end_date(items, "max_period_end" if order.cancel_at_period_end else order.cancel_at)
    subscription = account.born(
        "subscription",
        id=subscription_id,
        **_UNUSED,
        automatic_tax=automatic_tax.of_subscription(enabled=order.automatic_tax),
        discounts=[],
        billing_cycle_anchor=anchor,
        collection_method="send_invoice" if sent else "charge_automatically",
        days_until_due=order.days_until_due,
        cancel_at=cancel_at,
        cancel_at_period_end=order.cancel_at_period_end,
        canceled_at=now if cancel_at else None,
        cancellation_details={
            "comment": None,
            "feedback": None,
            "feedback_option": None,
            "reason": "cancellation_requested" if cancel_at else None,
        },
        currency=order.items[0][0]["currency"],
        customer=order.customer["id"],
        default_payment_method=order.default_payment_method,
        description=order.description,
        ended_at=None,
        items=items,
        latest_invoice=None,
        metadata=order.metadata,
        pause_collection=None,
        pending_setup_intent=None,
        start_date=now,
        status=after(None, _BEGINS[on_trial, sent]),
        trial_end=order.trial_end,
        trial_settings={"end_behavior": at_trial_end},
        trial_start=now if on_trial else None,
        _announced=None,
        _resumption=None,
        _trial_warned=False,
    )
    return _redeem(account, subscription, order)


def _redeem(account: Account, subscription: Json, order: Order) -> Json:
    """The subscription with the discounts that were ordered, its own and those of its items."""
    holder = {"customer": subscription["customer"], "subscription": subscription["id"]}
    own = [redemption.redeem(account, promotion, **holder)["id"] for promotion in order.promotions]
    of_items = order.item_promotions or [[] for _ in subscription["items"]]
    items = [
        {
            **item,
            "discounts": [
                redemption.redeem(account, each, **holder, subscription_item=item["id"])["id"] for each in given
            ],
        }
        for item, given in zip(subscription["items"], of_items, strict=True)
    ]
    return account.store.change(subscription, discounts=own, items=items)


_BEGINS = {
    (False, False): Cause.SUBSCRIBED,
    (False, True): Cause.SUBSCRIBED_BY_INVOICE,
    (True, False): Cause.SUBSCRIBED_ON_TRIAL,
    (True, True): Cause.SUBSCRIBED_ON_TRIAL,
}
"""By whether it begins with a trial, and whether its invoices are sent."""


def days_until_due(method: str, given: Json, known: int | None = None) -> int | None:
    """The days a customer has to pay what is sent: as `given`, or as `known` before. Raises 400 for a wrong pair."""
    days = given.get("days_until_due", known if method == "send_invoice" else None)
    if (days is None) == (method == "send_invoice"):
        raise StripeError(
            "`days_until_due` must be given if, and only if, `collection_method` is `send_invoice`.",
            param="days_until_due",
        )
    return days


def end_date(items: list[Json], chosen: int | str | None) -> int | None:
    """A scheduled end as a Unix second: a date, or the end of the items' shortest or longest period."""
    if isinstance(chosen, str):
        pick = {"min_period_end": min, "max_period_end": max}[chosen]
        return int(pick(item["current_period_end"] for item in items))
    return chosen


def warning_if_near(account: Account, subscription: Json) -> list[Happening]:
    """Warns at once of a trial that ends within three days."""
    near = subscription["status"] == Status.TRIALING and subscription["trial_end"] - TRIAL_WARNING <= account.now
    if not near or subscription["_trial_warned"]:
        return []
    subscription = account.store.change(subscription, _trial_warned=True)
    return [Happening("customer.subscription.trial_will_end", subscription)]


def renew(account: Account, subscription: Json) -> None:
    """Turns the period of the items that are due and drafts their invoice, which is finalised an hour later."""
    before = events.picture(account, subscription)
    now = account.now
    due = [item for item in subscription["items"] if item["current_period_end"] <= now]
    turned = {item["id"]: _next_period(account, subscription, item) for item in due}
    items = [{**item, **turned.get(item["id"], {})} for item in subscription["items"]]
    subscription = account.store.change(subscription, items=items)
    events.updated(account, "customer.subscription.updated", subscription, before)
    ended = (due[0]["current_period_start"], due[0]["current_period_end"])
    bill_cycle(account, subscription, [item for item in items if item["id"] in turned], ended)


def _next_period(account: Account, subscription: Json, item: Json) -> Json:
    price = account.require("price", item["price"])
    return period_from(price, subscription["billing_cycle_anchor"], item["current_period_end"])


def with_running_periods(account: Account, subscription: Json, *, fresh: bool) -> Json:
    """The subscription with the periods of its anchor that run now; a `fresh` anchor is now. Emits nothing."""
    anchor = account.now if fresh else subscription["billing_cycle_anchor"]
    items = []
    for item in subscription["items"]:
        recurring = account.require("price", item["price"])["recurring"]
        start, end = period_around(anchor, account.now, recurring["interval"], recurring["interval_count"])
        items.append({**item, "current_period_start": start, "current_period_end": end})
    return account.store.change(subscription, billing_cycle_anchor=anchor, items=items)


def bill_cycle(account: Account, subscription: Json, items: list[Json], period: tuple[int, int]) -> None:
    """Drafts the invoice of a new period: these items, and all that waits; or what `pause_collection` does with it."""
    before = events.picture(account, subscription)
    waits = subscription["pause_collection"] or subscription["status"] == Status.UNPAID
    invoice = drafts.for_subscription(
        account,
        subscription,
        [line(account, subscription, item) for item in items],
        reason="subscription_cycle",
        period=period,
        finalises_at=None if waits else account.now + FINALISED_AFTER,
    )
    events.emit(account, "invoice.created", invoice)
    events.updated(account, "customer.subscription.updated", subscription, before)  # a discount may be used up by it
    behavior = (subscription["pause_collection"] or {}).get("behavior")
    if behavior in ("void", "mark_uncollectible"):
        invoice, happened = invoices.finalise(account, invoice)
        if invoice["status"] == "open":
            given_up = invoices.close(account, invoice, "void" if behavior == "void" else "uncollectible")[1]
            happened = [happened[0], *given_up]
        events.emit_all(account, happened)


def bill_now(
    account: Account, subscription: Json, lines: list[Json], *, pays: bool = True
) -> tuple[Payment | None, Json, list[Happening]]:
    """An invoice for a change, finalised and collected at once. Emits nothing."""
    now = account.now
    invoice = drafts.for_subscription(
        account,
        subscription,
        lines,
        reason="subscription_update",
        period=(now, now),
    )
    account.store.change(subscription, latest_invoice=invoice["id"])
    invoice, finalised = invoices.finalise(account, invoice)
    happened = [Happening("invoice.created", invoice), *finalised]
    if invoice["status"] != "open" or not pays:
        return None, invoice, happened
    if invoice["collection_method"] == "send_invoice":
        return None, invoice, [*happened, *invoices.sent(account, invoice)]
    payment, attempted = dunning.collect(account, invoice, automatic=True)
    return payment, invoice, [*happened, *attempted]


def finalise_draft(account: Account, invoice: Json, *, collected: bool = True) -> None:
    """Finalises a draft, which makes it its subscription's latest invoice, and tries to collect it.

    A bill that is sent is not collected: its customer pays it.
    """
    subscription = invoices.subscription_of(account, invoice)
    before = dunning.billed(account, invoice)
    if subscription:
        account.store.change(subscription, latest_invoice=invoice["id"])
    invoice, happened = invoices.finalise(account, invoice)
    if invoice["status"] == "open" and collected:
        if invoice["collection_method"] == "send_invoice":
            happened += invoices.sent(account, invoice)
        else:
            happened += dunning.collect(account, invoice, automatic=True)[1]
    dunning.conclude(account, invoice, happened, before, automatic=collected)


def pay_invoice(
    account: Account,
    invoice: Json,
    method: Json | None = None,
    *,
    automatic: bool = False,
    off_session: bool = True,
    authenticated: bool = False,
) -> Payment:
    """Tries an open invoice (again): by its retry schedule when `automatic`, else because somebody asked."""
    before = dunning.billed(account, invoice)
    payment, happened = dunning.collect(
        account, invoice, method, automatic=automatic, off_session=off_session, authenticated=authenticated
    )
    dunning.conclude(account, invoice, happened, before, automatic=automatic)
    return payment


def settle_invoice(account: Account, invoice: Json, payment: Payment) -> None:
    """Writes the end of a delayed debit on the invoice it was for."""
    before = dunning.billed(account, invoice)
    again = next_attempt(max(1, invoice["attempt_count"]), account.now, account.settings["retries_after"])
    _, written = invoices.record(account, invoice, payment, attempts=invoice["attempt_count"], next_attempt=again)
    dunning.conclude(account, invoice, [*payment.happened, *written], before, automatic=True)


def close_invoice(account: Account, invoice: Json, status: str) -> Json:
    """Gives an invoice up because somebody asked, `void` or `uncollectible`; its subscription follows."""
    before = dunning.billed(account, invoice)
    invoice, happened = invoices.close(account, invoice, status)
    dunning.conclude(account, invoice, happened, before, automatic=False)
    return account.require("invoice", invoice["id"])


def cancel(account: Account, subscription: Json, details: Json | None = None) -> Json:
    """Ends a subscription now: because its day came, or because somebody asked."""
    events.emit_all(account, dunning.ended(account, subscription, reason="cancellation_requested", details=details))
    return account.require("subscription", subscription["id"])
