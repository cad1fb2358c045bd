"""Previews: what would be billed. Each supposes that it happens, by the code that bills, and reads the invoice."""

from collections.abc import Callable, Iterable

from tollhouse_sandbox import ids, invoice_items, invoices, phases, schedules, subscribing, subscriptions, trials
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.lifecycle import FINALISED_AFTER, Status, has_ended
from tollhouse_sandbox.store import Json

_WAITS = (Status.INCOMPLETE, Status.PAUSED)


def upcoming(account: Account, subscription: Json) -> Json | None:
    """The next invoice that time brings a subscription; None when it brings none."""
    with account.supposing():
        invoice = _next(account, subscription)
        return _shown(account, invoice) if invoice else None


def soonest(account: Account, customer: Json) -> Json | None:
    """The subscription of a customer that is billed next."""
    found = account.store.oldest_first("subscription", customer=customer["id"])
    dated = [(at, subscription) for subscription in found if (at := _billed_at(subscription)) is not None]
    return min(dated, key=lambda each: each[0])[1] if dated else None


def after(
    account: Account,
    subscription: Json,
    change: Callable[[Json], object],
    *,
    only_recurring: bool = False,
) -> Json | None:
    """What a change of a subscription would have it billed: at once if it bills, else with the next invoice.

    `only_recurring` leaves out what is billed but once.
    """
    with account.supposing():
        known = {each["id"] for each in _bills(account, subscription)}
        change(subscription)
        subscription = account.require("subscription", subscription["id"])
        if only_recurring:
            for item in invoice_items.waiting(account, subscription):
                account.store.remove(item)
        invoice = next((each for each in _bills(account, subscription) if each["id"] not in known), None)
        if invoice is None or only_recurring:
            invoice = _next(account, subscription)
        return _shown(account, invoice) if invoice else None


def of_order(account: Account, order: subscribing.Order, before: Callable[[], None]) -> Json:
    """The first invoice of a subscription that would begin now, after what happens `before`."""
    with account.supposing():
        before()
        subscription, _, _ = subscribing.start(account, order, collected=False)
        return _shown(account, account.require("invoice", subscription["latest_invoice"]))


def _bills(account: Account, subscription: Json) -> Iterable[Json]:
    return account.store.newest_first("invoice", subscription=subscription["id"])


def _billed_at(subscription: Json) -> int | None:
    """When time has a subscription billed; None when it ends before, or waits for somebody."""
    if has_ended(subscription["status"]) or subscription["status"] in _WAITS:
        return None
    at = int(min(item["current_period_end"] for item in subscription["items"]))
    return None if subscription["cancel_at"] is not None and subscription["cancel_at"] <= at else at


def _next(account: Account, subscription: Json) -> Json | None:
    """Supposes that the period turns, and answers with the draft that follows."""
    at = _billed_at(subscription)
    if at is None:
        return None
    known = {each["id"] for each in _bills(account, subscription)}

    def billed() -> Json | None:
        return next((each for each in _bills(account, subscription) if each["id"] not in known), None)

    while (schedule := schedules.of(account, subscription)) and schedule["current_phase"]["end_date"] <= at:
        account.supposed_now = schedule["current_phase"]["end_date"]
        phases.advance(account, schedule)
        subscription = account.require("subscription", subscription["id"])
        if invoice := billed():
            return invoice
    if (at := _billed_at(subscription)) is None:
        return None
    account.supposed_now = at
    turn = trials.end_on_its_day if subscription["status"] == Status.TRIALING else subscriptions.renew
    turn(account, subscription)
    return billed()


def _shown(account: Account, invoice: Json) -> Json:
    """The invoice as a preview: its sums as they will be, the customer's balance applied, and nothing done yet."""
    if invoice["status"] == "draft":
        invoice = invoices.finalise(account, invoice)[0]
    return {
        **invoice,
        "id": f"upcoming_{ids.new('invoice')}",
        "amount_paid": 0,
        "amount_remaining": invoice["amount_due"],
        "attempted": False,
        "auto_advance": True,
        "billing_reason": "upcoming",
        "effective_at": None,
        "next_payment_attempt": account.now + FINALISED_AFTER,
        "number": None,
        "status": "draft",
        "status_transitions": dict.fromkeys(invoice["status_transitions"]),
        "_intent": None,
    }
