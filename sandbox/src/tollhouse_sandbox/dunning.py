"""Collecting invoices: the attempt, what it does to the subscription, and what follows when attempts keep failing."""

from tollhouse_sandbox import events, invoices, payments, schedules
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
    again = invoice["next_payment_attempt"]
    if automatic:
        again = next_attempt(attempts, account.now, account.settings["retries_after"])
    _, written = invoices.record(account, invoice, payment, attempts=attempts, next_attempt=again)
    return payment, [*payment.happened, *written]


def react(account: Account, invoice: Json, *, automatic: bool) -> list[Happening]:
    """Brings the subscription in line with its invoice as it stands now: paid, waiting for a retry, or given up.

    Answers with the events of an end or a pause; a mere change of state is for the caller to tell.
    """
    invoice = account.require("invoice", invoice["id"])
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or has_ended(subscription["status"]):
        return []
    status = subscription["status"]
    if status == Status.PAUSED:
        return _resume_when_settled(account, subscription, invoice)
    cause = _SETTLED.get(invoice["status"])
    if cause:
        if subscription["latest_invoice"] == invoice["id"] and not (
            cause is Cause.VOIDED and _owed(account, subscription)
        ):
            subscription = move(account, subscription, cause)
            if has_ended(subscription["status"]):
                account.store.change(subscription, ended_at=account.now)
        return []
    if not _failed(account, invoice) or (invoice["due_date"] and not invoice["_overdue"]):
        return []
    if status == Status.PAST_DUE and _given_up(invoice, automatic=automatic):
        return exhausted(account, subscription)
    pauses_first = account.settings["after_first_failure"] == "pause" and automatic
    if pauses_first and invoice["billing_reason"] == "subscription_cycle" and can_pause(subscription):
        return paused(account, subscription, Cause.FIRST_PAYMENT_FAILURE)
    subscription = move(account, subscription, Cause.PAYMENT_FAILED)
    if subscription["status"] == Status.PAST_DUE and _given_up(invoice, automatic=automatic):
        return exhausted(account, subscription)
    return []


def _resume_when_settled(account: Account, subscription: Json, invoice: Json) -> list[Happening]:
    """Lets a paused subscription go on once the invoice of its resumption is settled, or was only tried if that does.

    Any other invoice, the one it was paused for included, leaves it as it is.
    """
    resumption = subscription["_resumption"]
    if resumption is None or resumption["invoice"] != invoice["id"]:
        return []
    if invoice["status"] in ("paid", "uncollectible"):
        return resumed(account, subscription, Cause.RESUMED)
    if invoice["status"] == "void":
        account.store.change(subscription, _resumption=None)
    elif _failed(account, invoice) and resumption["on_attempt"]:
        return resumed(account, subscription, Cause.RESUMED_UNPAID)
    return []


def resumed(account: Account, subscription: Json, cause: Cause) -> list[Happening]:
    """Ends a pause."""
    status = after(subscription["status"], cause)
    subscription = account.store.change(subscription, status=status, status_details=None, _resumption=None)
    return [Happening("customer.subscription.resumed", subscription)]


_SETTLED = {"paid": Cause.PAID, "uncollectible": Cause.WRITTEN_OFF, "void": Cause.VOIDED}


def _given_up(invoice: Json, *, automatic: bool) -> bool:
    """Whether this was the last try that the schedule has."""
    return automatic and invoice["next_payment_attempt"] is None


def _owed(account: Account, subscription: Json) -> bool:
    """Whether an invoice of the subscription was tried and is not paid."""
    its_own = _open_invoices(account, subscription)
    return any(_failed(account, invoice) for invoice in its_own)


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
    if subscription and before and subscription["status"] != Status.CANCELED:
        events.updated(account, "customer.subscription.updated", subscription, before)
    invoice = account.require("invoice", invoice["id"])
    if _failed(account, invoice) and _given_up(invoice, automatic=automatic):
        _write_off(account, invoice, "max_payment_attempts")


def _write_off(account: Account, invoice: Json, why: str) -> None:
    """Marks an invoice uncollectible whose dunning is over, if the account's settings say so."""
    if account.settings["uncollectible_after_dunning"]:
        events.emit_all(account, invoices.close(account, invoice, "uncollectible", why=why)[1])


def give_up(account: Account, invoice: Json, subscription: Json) -> None:
    """Ends dunning for a bill that was sent and never paid."""
    before = events.picture(account, subscription)
    events.emit_all(account, exhausted(account, subscription))
    subscription = account.require("subscription", subscription["id"])
    if not has_ended(subscription["status"]):
        events.updated(account, "customer.subscription.updated", subscription, before)
    _write_off(account, invoice, "payment_not_received")


def move(account: Account, subscription: Json, cause: Cause) -> Json:
    """Changes the state as the lifecycle's table says."""
    return account.store.change(subscription, status=after(subscription["status"], cause))


def exhausted(account: Account, subscription: Json) -> list[Happening]:
    """What the account's setting does when the last retry failed: cancel, leave unpaid, pause, or nothing."""
    choice = account.settings["after_dunning"]
    if choice == "unpaid":
        move(account, subscription, Cause.LEFT_UNPAID)
        return []
    if choice == "past_due":
        return []
    if choice == "pause" and can_pause(subscription):
        return paused(account, subscription, Cause.FINAL_PAYMENT_FAILURE)
    return ended(account, subscription, reason="payment_failed")


def can_pause(subscription: Json) -> bool:
    """Whether Stripe pauses such a subscription at all: flexible billing, charged by itself, without a schedule."""
    return bool(
        subscription["billing_mode"]["type"] == "flexible"
        and subscription["collection_method"] == "charge_automatically"
        and subscription["schedule"] is None
    )


def paused(account: Account, subscription: Json, cause: Cause) -> list[Happening]:
    """Pauses: nothing is billed until it is resumed. What was billed can still be paid."""
    why = {"type": "subscription", "subscription": {"type": str(cause)}, "transitioned_at": account.now}
    subscription = account.store.change(
        subscription, status=after(subscription["status"], cause), status_details={"paused": why}
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
        status_details=None,
    )
    stop_collecting(account, subscription)
    closed = schedules.closed(account, subscription, delinquent=reason == "payment_failed")
    return [*closed, Happening("customer.subscription.deleted", subscription)]


def stop_collecting(account: Account, subscription: Json) -> None:
    """Leaves the open invoices open, but tries them no more."""
    for invoice in _open_invoices(account, subscription):
        account.store.change(invoice, auto_advance=False, automatically_finalizes_at=None, next_payment_attempt=None)


def _open_invoices(account: Account, subscription: Json) -> list[Json]:
    """Its invoices that are neither paid nor given up, drafts included."""
    return [
        invoice
        for invoice in account.store.oldest_first("invoice", subscription=subscription["id"])
        if invoice["status"] in ("draft", "open")
    ]
