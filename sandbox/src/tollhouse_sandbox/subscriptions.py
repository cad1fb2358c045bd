"""Subscriptions: renewed, billed, ended. `subscribing` begins them; their states are decided in `lifecycle`."""

from collections.abc import Iterable

from tollhouse_sandbox import (
    currency_options,
    drafts,
    dunning,
    events,
    ids,
    invoice_items,
    invoices,
    invoicing,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import (
    FINALISED_AFTER,
    TRIAL_WARNING,
    Status,
    next_attempt,
    period_around,
    period_end,
)
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.store import Json


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
        "_debit": None,
        **period,
    }


def period_from(price: Json, anchor: int, start: int) -> Json:
    """The billing period that begins at `start`."""
    recurring = price["recurring"]
    end = period_end(anchor, start, recurring["interval"], recurring["interval_count"])
    return {"current_period_start": start, "current_period_end": end}


def line(account: Account, subscription: Json, item: Json) -> Json:
    """What an item costs for its current period; nothing while on trial."""
    price = currency_options.charged(account, item["price"], subscription["currency"])
    free = subscription["status"] == Status.TRIALING
    begin, end = whole_period(price, subscription["billing_cycle_anchor"], item)
    named = product_name(account, price)
    return invoicing.subscription_line(subscription, item, price, named, free=free, whole=end - begin)


def whole_period(price: Json, anchor: int, item: Json) -> tuple[int, int]:
    """The period by the subscription's rhythm that an item's current one is, or is the rest of."""
    start, end = item["current_period_start"], item["current_period_end"]
    around = period_around(anchor, start, *rhythm(price))
    return around if around[1] == end else (start, end)


def billing_mode(kind: str, updated_at: int | None = None) -> Json:
    """How prorations are reckoned: `flexible` from what was billed, `classic` from what things cost now."""
    flexible = {"proration_discounts": "included"} if kind == "flexible" else None
    return {"type": kind, "flexible": flexible, "updated_at": updated_at}


def rhythm(price: Json) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def check_rhythm(kind: str, priced: Iterable[Json]) -> None:
    """Raises 400 when prices of more than one interval meet in a subscription with classic billing."""
    if kind == "classic" and len({rhythm(price) for price in priced}) > 1:
        raise StripeError(
            "All prices on a subscription must have the same `recurring.interval` and `recurring.interval_count`. "
            "Prices of different intervals can be combined with billing_mode[type]=flexible.",
            param="items",
        )


def add_items(account: Account, subscription: Json, extras: Iterable[Json]) -> list[Happening]:
    """Makes invoice items for a subscription's next invoice."""
    made = [
        invoice_items.make(account, customer=subscription["customer"], subscription=subscription["id"], **fields)
        for fields in extras
    ]
    return [Happening("invoiceitem.created", item) for item in made]


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


def renew(account: Account, subscription: Json, before: Json | None = None) -> None:
    """Turns the period of the items that are due and drafts their invoice, which is finalised an hour later.

    `before` is a picture of the subscription as it was, if something else of it has just been changed too.
    """
    before = before or events.picture(account, subscription)
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
