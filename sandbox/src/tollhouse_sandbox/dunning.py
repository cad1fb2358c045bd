"""Collecting invoices: the attempt, what it does to the subscription, and what follows when attempts keep failing."""

from tollhouse_sandbox import events, invoices, payments
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Outcome
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import Cause, Status, after, has_ended, next_attempt
from tollhouse_sandbox.payment_methods import default_for
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.store import Json


def no_method() -> StripeError:
    return StripeError(
        "This customer has no attached payment source or default payment method. "
        "Please consider adding a default payment method.",
        code="resource_missing",
    )


def collect(
    account: Account,
    invoice: Json,
    method: Json | None = None,
    *,
    automatic: bool,
    off_session: bool = True,
    authenticated: bool = False,
) -> tuple[Payment, list[Happening]]:
    """Tries to pay an open invoice, with the default method unless one is given. Emits nothing.

    Only an `automatic` attempt is counted and followed by retries. The subscription is left to `react`.
    """
    customer = account.require("customer", invoice["customer"])
    own = invoice if invoice["default_payment_method"] else invoices.subscription_of(account, invoice)
    method = method or default_for(account, customer, own)
    attempts = invoice["attempt_count"] + 1 if automatic else max(1, invoice["attempt_count"])
    intent = account.require("payment_intent", invoice["_intent"])
    if method is None:
        payment = Payment(intent, Outcome.DECLINED, no_method())
    else:
        payment = payments.attempt(account, intent, method, off_session=off_session, authenticated=authenticated)
    again = next_attempt(attempts, account.now) if automatic else invoice["next_payment_attempt"]
    _, written = invoices.record(account, invoice, payment, attempts=attempts, next_attempt=again)
    return payment, [*payment.happened, *written]


def react(account: Account, invoice: Json, *, automatic: bool) -> list[Happening]:
    """Brings the subscription in line with its invoice as it stands now: paid, waiting for a retry, or given up.

    Answers with the events of an end or a pause; a mere change of state is for the caller to tell.
    """
    invoice = account.require("invoice", invoice["id"])
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or has_ended(subscription["status"]) or subscription["status"] == Status.PAUSED:
        return []
    if invoice["status"] == "paid":
        if subscription["latest_invoice"] == invoice["id"]:
            move(account, subscription, Cause.PAID)
        return []
    if not _failed(account, invoice):
        return []
    given_up = automatic and invoice["next_payment_attempt"] is None
    if subscription["status"] == Status.PAST_DUE and given_up:
        return exhausted(account, subscription)
    move(account, subscription, Cause.PAYMENT_FAILED)
    return []


def _failed(account: Account, invoice: Json) -> bool:
    """Tried, and neither paid nor still with the bank."""
    intent = account.store.get("payment_intent", invoice["_intent"] or "")
    processing = intent is not None and intent["status"] == "processing"
    return bool(invoice["status"] == "open" and invoice["attempted"] and not processing)


def billed(account: Account, invoice: Json) -> Json | None:
    """A picture of the subscription that an invoice bills, for `conclude`; None where it bills none."""
    subscription = invoices.subscription_of(account, invoice)
    return events.picture(account, subscription) if subscription else None


def conclude(
    account: Account, invoice: Json, happened: list[Happening], before: Json | None, *, automatic: bool
) -> None:
    """Lets the subscription, if any, follow its invoice and emits it all; `before` is the subscription as it was."""
    endings = react(account, invoice, automatic=automatic)
    events.emit_all(account, [*happened, *endings])
    subscription = invoices.subscription_of(account, invoice)
    if subscription and before and not has_ended(subscription["status"]):
        events.updated(account, "customer.subscription.updated", subscription, before)


def move(account: Account, subscription: Json, cause: Cause) -> Json:
    """Changes the state as the lifecycle's table says."""
    return account.store.change(subscription, status=after(subscription["status"], cause))


def exhausted(account: Account, subscription: Json) -> list[Happening]:
    """What the account's setting does when the last retry failed: cancel, leave unpaid, pause, or nothing."""
    choice = account.settings["after_dunning"]
    if choice == "unpaid":
        move(account, subscription, Cause.LEFT_UNPAID)
        return []
    if choice == "pause":
        return paused(account, subscription, "final_payment_failure")
    if choice == "past_due":
        return []
    return ended(account, subscription, reason="payment_failed")


def paused(account: Account, subscription: Json, why: str) -> list[Happening]:
    """Pauses: nothing is billed until it is resumed. `why` is Stripe's `status_details.paused.subscription.type`."""
    subscription = account.store.change(
        subscription,
        status=after(subscription["status"], Cause.PAUSED),
        status_details={
            "paused": {"type": "subscription", "subscription": {"type": why}, "transitioned_at": account.now}
        },
    )
    return [Happening("customer.subscription.paused", subscription)]


def ended(account: Account, subscription: Json, *, reason: str, details: Json | None = None) -> list[Happening]:
    """Ends a subscription now. Its unpaid invoices are no longer tried."""
    now = account.now
    subscription = account.store.change(
        subscription,
        status=after(subscription["status"], Cause.CANCELED),
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=subscription["canceled_at"] or now,
        cancellation_details={**subscription["cancellation_details"], "reason": reason, **(details or {})},
        ended_at=now,
        pause_collection=None,
    )
    stop_collecting(account, subscription)
    return [Happening("customer.subscription.deleted", subscription)]


def stop_collecting(account: Account, subscription: Json) -> None:
    """Leaves the open invoices open, but tries them no more."""
    for invoice in account.store.oldest_first("invoice", subscription=subscription["id"]):
        if invoice["status"] in ("draft", "open"):
            account.store.change(
                invoice, auto_advance=False, automatically_finalizes_at=None, next_payment_attempt=None
            )
