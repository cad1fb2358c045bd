"""Pauses of a whole subscription, and what resumes it. To go on billing and only not collect is `pause_collection`."""

from tollhouse_sandbox import dunning, events, invoice_items, invoices, plan_changes, subscriptions
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import FIRST_PAYMENT_WITHIN, Cause, Status, after
from tollhouse_sandbox.store import Json


def pause(account: Account, subscription: Json, *, unused: str = "now", invoiced: bool = False) -> Json:
    """Pauses a subscription because somebody asked. Raises 400 where Stripe pauses none.

    What is paid and not used goes back as a pending invoice item, or at once on an invoice if `invoiced`. `unused` says
    from when: `now`, `item_current_period_start`, or `none` for no credit.
    """
    if not dunning.can_pause(subscription):
        raise StripeError(
            "Only a subscription with flexible billing that is charged automatically and has no schedule can be paused."
        )
    after(subscription["status"], Cause.PAUSE_REQUESTED)
    before = events.picture(account, subscription)
    happened: list[Happening] = []
    if unused != "none" and subscription["status"] == Status.ACTIVE:
        happened = plan_changes.credit_rest(account, subscription, whole=unused == "item_current_period_start")
    if invoiced and invoice_items.waiting(account, subscription):
        happened += subscriptions.bill_now(account, subscription, [])[2]
    happened += dunning.paused(account, subscription, Cause.PAUSE_REQUESTED)
    events.emit_all(account, happened)
    events.updated(account, "customer.subscription.updated", subscription, before)
    return account.require("subscription", subscription["id"])


def pause_by_system(account: Account, subscription: Json) -> None:
    """Pauses a subscription as Stripe itself does now and then."""
    before = events.picture(account, subscription)
    events.emit_all(account, dunning.paused(account, subscription, Cause.SYSTEM))
    events.updated(account, "customer.subscription.updated", subscription, before)


def resume(
    account: Account, subscription: Json, *, anchor: str = "now", proration: str = "create_prorations", pays: bool
) -> Json:
    """Starts a paused subscription again: at once if that costs nothing, else once its invoice is settled.

    The anchor is `now`, which begins a new period, or `unchanged`, which goes on with the period that runs now and
    bills its rest as `proration` says. With `pays` the invoice is charged at once, and again until it is paid; without,
    it waits 23 hours for somebody to pay it, and a payment that fails resumes as well, but past due.
    """
    after(subscription["status"], Cause.RESUMED)
    if subscription["collection_method"] != "charge_automatically":
        raise StripeError("Only a subscription that is charged automatically can be resumed.")
    if subscription["_resumption"]:
        raise StripeError(f"It is being resumed: pay or void {subscription['_resumption']['invoice']} first.")
    before = events.picture(account, subscription)
    fresh = anchor == "now"
    subscription = subscriptions.with_running_periods(account, subscription, fresh=fresh)
    lines = [subscriptions.line(account, subscription, item) for item in subscription["items"]] if fresh else []
    happened = [] if fresh or proration == "none" else plan_changes.charge_rest(account, subscription)
    if not (lines or (happened and proration == "always_invoice")):
        happened += dunning.resumed(account, subscription, Cause.RESUMED)
        events.emit_all(account, happened)
        events.updated(account, "customer.subscription.updated", subscription, before)
        return account.require("subscription", subscription["id"])
    _, invoice, billed = subscriptions.bill_now(account, subscription, lines, pays=pays)
    expires_at = None if pays else account.now + FIRST_PAYMENT_WITHIN
    resumption = {"invoice": invoice["id"], "on_attempt": not pays, "expires_at": expires_at}
    account.store.change(subscription, _resumption=resumption)
    dunning.conclude(account, invoice, [*happened, *billed], before, automatic=True)
    return account.require("subscription", subscription["id"])


def expire_resumption(account: Account, subscription: Json) -> None:
    """Gives up a resumption that nobody tried to pay: voids its invoice. The subscription stays paused."""
    invoice = account.require("invoice", subscription["_resumption"]["invoice"])
    account.store.change(subscription, _resumption=None)
    if invoice["status"] == "open":
        events.emit_all(account, invoices.close(account, invoice, "void")[1])
