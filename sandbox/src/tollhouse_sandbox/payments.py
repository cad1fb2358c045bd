"""Payments: an intent, and what becomes of the attempts to pay it."""

from dataclasses import dataclass, field
from typing import Any

from tollhouse_sandbox import charges, ids, payment_methods
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED, Decline, Outcome, bank_refusal
from tollhouse_sandbox.errors import AuthenticationRequired, StripeError
from tollhouse_sandbox.events import Happening, emit, emit_all, picture
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.payment_methods import card_error, card_of
from tollhouse_sandbox.store import Json

DEBIT_SETTLES_AFTER = 3 * DAY
"""Seconds after which a delayed bank debit arrives or fails."""


@dataclass
class Payment:
    """One attempt to pay: the intent afterwards, the event types it causes (with their objects), the refusal if any."""

    intent: Json
    outcome: Outcome
    error: StripeError | None = None
    happened: list[Happening] = field(default_factory=list)


def shipping(given: Json | None) -> Json | None:
    """Where goods go, with everything that Stripe shows of it."""
    if not given:
        return None
    address = {**payment_methods.NO_ADDRESS, **given["address"]}
    return {"carrier": None, "phone": None, "tracking_number": None, **given, "address": address}


def intend(
    account: Account,
    amount: int,
    currency: str,
    *,
    customer: str | None,
    metadata: Json | None = None,
    description: str | None = None,
    **more: Any,
) -> Json:
    """Stores a new payment intent that waits for a payment method; `more` are other fields of it."""
    intent_id = ids.new("payment_intent")
    fields = {
        **_NEW,
        "id": intent_id,
        "amount": amount,
        "client_secret": f"{intent_id}_secret_{ids.token(25)}",
        "currency": currency,
        "customer": customer,
        "description": description,
        "metadata": metadata or {},
        **more,
        "shipping": shipping(more.get("shipping")),
    }
    return account.born("payment_intent", **fields)


_NEW: Json = {
    "allowed_payment_method_types": None,
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic_async",
    "confirmation_method": "automatic",
    "last_payment_error": None,
    "latest_charge": None,
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_options": {},
    "payment_method_types": ["card"],
    "processing": None,
    "receipt_email": None,
    "review": None,
    "setup_future_usage": None,
    "shipping": None,
    "source": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "requires_payment_method",
    "transfer_data": None,
    "transfer_group": None,
    "_settles_at": None,
}


def attempt(
    account: Account,
    intent: Json,
    method: Json,
    *,
    off_session: bool = False,
    authenticated: bool = False,
    asks: bool = True,
) -> Payment:
    """Tries to pay an intent with a method. Changes the state but emits nothing: the caller knows the order.

    Where 3-D Secure is needed, the intent waits for it, or, unless it `asks`, is declined.
    """
    card = card_of(method)
    outcome = card.outcome(authenticated=authenticated, off_session=off_session)
    if _insists(intent) and not (authenticated or off_session) and outcome is Outcome.SUCCEEDS:
        outcome = Outcome.NEEDS_AUTHENTICATION
    intent = account.store.change(
        intent,
        last_payment_error=None,
        next_action=None,
        payment_method=method["id"],
        payment_method_types=[method["type"]],
    )
    if outcome is Outcome.DECLINED:
        assert card.decline
        return _refused(account, intent, method, card.decline)
    if outcome is Outcome.NEEDS_AUTHENTICATION:
        if asks:
            return _unauthenticated(account, intent)
        return _refused(account, intent, method, AUTHENTICATION_REQUIRED)
    if not intent["setup_future_usage"]:
        payment_methods.spend(account, method)
    elif intent["customer"]:
        payment_methods.attach(account, method, account.require("customer", intent["customer"]))
    if outcome is Outcome.PROCESSING:
        return _processing(account, intent, method)
    if intent["capture_method"] == "manual":
        return _held(account, intent, method)
    charge = charges.charge(account, intent, method, "succeeded")
    intent = account.store.change(
        intent, amount_received=intent["amount"], latest_charge=charge["id"], status="succeeded"
    )
    happened = [Happening("charge.succeeded", charge), Happening("payment_intent.succeeded", intent)]
    return Payment(intent, outcome, happened=happened)


def _insists(intent: Json) -> bool:
    """Whether the app asked for 3-D Secure with every card."""
    asked = intent["payment_method_options"].get("card", {}).get("request_three_d_secure")
    return asked in ("any", "challenge")


def _held(account: Account, intent: Json, method: Json) -> Payment:
    charge = charges.charge(account, intent, method, "succeeded", held=True)
    intent = account.store.change(
        intent, amount_capturable=intent["amount"], latest_charge=charge["id"], status="requires_capture"
    )
    happened = [Happening("charge.succeeded", charge), Happening("payment_intent.amount_capturable_updated", intent)]
    return Payment(intent, Outcome.SUCCEEDS, happened=happened)


def _processing(account: Account, intent: Json, method: Json) -> Payment:
    charge = charges.charge(account, intent, method, "pending")
    intent = account.store.change(
        intent,
        latest_charge=charge["id"],
        status="processing",
        _settles_at=account.now + DEBIT_SETTLES_AFTER,
    )
    happened = [Happening("payment_intent.processing", intent), Happening("charge.pending", charge)]
    return Payment(intent, Outcome.PROCESSING, happened=happened)


def _refused(account: Account, intent: Json, method: Json, decline: Decline) -> Payment:
    charge = charges.charge(account, intent, method, "failed", decline)
    intent = account.store.change(intent, latest_charge=charge["id"])
    return _failed(account, intent, method, decline, charge)


def _failed(account: Account, intent: Json, method: Json, decline: Decline, charge: Json) -> Payment:
    intent = account.store.change(
        intent,
        last_payment_error=payment_error(decline, method, charge=charge["id"]),
        status="requires_payment_method",
        payment_method=None,
    )
    happened = [Happening("charge.failed", charge), Happening("payment_intent.payment_failed", intent)]
    error = card_error(decline, charge=charge["id"])
    return Payment(intent, Outcome.DECLINED, error, happened)


def _unauthenticated(account: Account, intent: Json) -> Payment:
    intent = account.store.change(
        intent, status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}}
    )
    happened = [Happening("payment_intent.requires_action", intent)]
    return Payment(intent, Outcome.NEEDS_AUTHENTICATION, AuthenticationRequired(), happened)


def not_authenticated(account: Account, intent: Json) -> Payment:
    """Ends an attempt whose 3-D Secure the customer did not pass. Emits nothing."""
    method = account.require("payment_method", intent["payment_method"])
    intent = account.store.change(
        intent,
        last_payment_error=payment_error(AUTHENTICATION_FAILED, method),
        next_action=None,
        status="requires_payment_method",
        payment_method=None,
    )
    happened = [Happening("payment_intent.payment_failed", intent)]
    return Payment(intent, Outcome.DECLINED, card_error(AUTHENTICATION_FAILED), happened)


def capture(account: Account, intent: Json, amount: int | None) -> Payment:
    """Takes what an intent holds, or a part of it and lets the rest go. Emits nothing."""
    charge = account.require("charge", intent["latest_charge"])
    taken = intent["amount_capturable"] if amount is None else amount
    charge = charges.capture(account, charge, taken)
    intent = account.store.change(intent, amount_capturable=0, amount_received=taken, status="succeeded")
    happened = [Happening("charge.captured", charge), Happening("payment_intent.succeeded", intent)]
    return Payment(intent, Outcome.SUCCEEDS, happened=happened)


def cancel(account: Account, intent: Json, reason: str | None) -> list[Happening]:
    """Ends an intent that was not paid; money that it held is let go. `reason` is its `cancellation_reason`."""
    happened = []
    if intent["status"] == "requires_capture":
        charge = account.require("charge", intent["latest_charge"])
        before = picture(account, charge)
        told = "charge.expired" if reason == "automatic" else "charge.refunded"
        happened.append(Happening(told, charges.release(account, charge), before))
    intent = account.store.change(
        intent,
        amount_capturable=0,
        canceled_at=account.now,
        cancellation_reason=reason,
        next_action=None,
        status="canceled",
    )
    return [*happened, Happening("payment_intent.canceled", intent)]


def expire(account: Account, charge: Json) -> None:
    """Ends a payment that was held and not captured in time."""
    if charge["payment_intent"]:
        intent = account.require("payment_intent", charge["payment_intent"])
        emit_all(account, cancel(account, intent, "automatic"))
        return
    before = picture(account, charge)
    emit(account, "charge.expired", charges.release(account, charge), before=before)


def payment_error(decline: Decline, method: Json, **more: str) -> Json:
    """Why an attempt failed, as `last_payment_error` and its like tell."""
    return {
        "type": "card_error",
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "payment_method": {key: value for key, value in method.items() if not key.startswith("_")},
        **more,
    }


def settle(account: Account, intent: Json, *, succeeds: bool) -> Payment:
    """Ends a delayed debit: the money arrived, or the bank sent it back. Emits nothing."""
    charge = account.require("charge", intent["latest_charge"])
    if succeeds:
        charge = charges.capture(account, charge)
        intent = account.store.change(
            intent, amount_received=intent["amount"], processing=None, status="succeeded", _settles_at=None
        )
        happened = [Happening("charge.succeeded", charge), Happening("payment_intent.succeeded", intent)]
        return Payment(intent, Outcome.SUCCEEDS, happened=happened)
    method = account.require("payment_method", intent["payment_method"])
    decline = bank_refusal(card_of(method))
    charge = charges.fail(account, charge, decline)
    intent = account.store.change(intent, processing=None, _settles_at=None)
    return _failed(account, intent, method, decline, charge)
