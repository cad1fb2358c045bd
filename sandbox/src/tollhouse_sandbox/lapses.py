"""What time brings to subscriptions and bills beside renewals: announcements, days that pass, ends of pauses."""

from tollhouse_sandbox import dunning, events, invoices, previews
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.lifecycle import Cause, can
from tollhouse_sandbox.store import Json


def announce(account: Account, subscription: Json) -> None:
    """Tells some days before of the invoice that the end of the period will bring."""
    end = min(item["current_period_end"] for item in subscription["items"])
    subscription = account.store.change(subscription, _announced=end)
    preview = previews.upcoming(account, subscription)
    if preview:
        events.emit(account, "invoice.upcoming", preview)


def expire_incomplete(account: Account, subscription: Json) -> None:
    """Gives up a subscription whose first payment did not come, and voids its invoice."""
    before = events.picture(account, subscription)
    subscription = dunning.move(account, subscription, Cause.FIRST_PAYMENT_MISSED)
    subscription = account.store.change(subscription, ended_at=account.now)
    events.updated(account, "customer.subscription.updated", subscription, before)
    invoice = account.require("invoice", subscription["latest_invoice"])
    if invoice["status"] == "open":
        events.emit_all(account, invoices.close(account, invoice, "void")[1])


def resume_collection(account: Account, subscription: Json) -> None:
    """Invoices are collected again from now on."""
    before = events.picture(account, subscription)
    subscription = account.store.change(subscription, pause_collection=None)
    events.updated(account, "customer.subscription.updated", subscription, before)


def fall_due(account: Account, invoice: Json) -> None:
    """The day has come on which a bill that was sent was to be paid: its subscription is past due."""
    lapses_at = account.now + account.settings["overdue_after"]
    invoice = account.store.change(invoice, _overdue=True, _lapses_at=lapses_at)
    events.emit(account, "invoice.overdue", invoice)
    subscription = invoices.subscription_of(account, invoice)
    if subscription and can(subscription["status"], Cause.OVERDUE):
        before = events.picture(account, subscription)
        subscription = dunning.move(account, subscription, Cause.OVERDUE)
        events.updated(account, "customer.subscription.updated", subscription, before)


def lapse(account: Account, invoice: Json) -> None:
    """A bill is so long overdue that its subscription ends as the account's settings say."""
    invoice = account.store.change(invoice, _lapses_at=None)
    subscription = invoices.subscription_of(account, invoice)
    if subscription and can(subscription["status"], Cause.LEFT_UNPAID):
        dunning.give_up(account, invoice, subscription)
