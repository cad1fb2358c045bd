"""Setup intents: a payment method is made ready to be charged later, while the customer is there."""

from typing import Any

from tollhouse_sandbox import events, ids, payment_methods
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import AUTHENTICATION_FAILED, Decline
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.payment_methods import card_error, card_of
from tollhouse_sandbox.payments import payment_error
from tollhouse_sandbox.store import Json


def set_up(account: Account, customer: Json | None, method: Json) -> Json:
    """Stores a setup intent that has succeeded: the method may be used later without the customer. Emits nothing."""
    return intend(
        account,
        customer=customer["id"] if customer else None,
        payment_method=method["id"],
        payment_method_types=[method["type"]],
        status="succeeded",
    )


def intend(account: Account, **fields: Any) -> Json:
    """Stores a setup intent with these fields. Emits nothing."""
    intent_id = ids.new("setup_intent")
    client_secret = f"{intent_id}_secret_{ids.token(25)}"
    return account.born("setup_intent", **{**_NEW, "id": intent_id, "client_secret": client_secret, **fields})


_NEW: Json = {
    "allowed_payment_method_types": None,
    "application": None,
    "automatic_payment_methods": None,
    "cancellation_reason": None,
    "customer": None,
    "description": None,
    "flow_directions": None,
    "last_setup_error": None,
    "latest_attempt": None,
    "mandate": None,
    "metadata": {},
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_options": {},
    "payment_method_types": ["card"],
    "single_use_mandate": None,
    "status": "requires_payment_method",
    "usage": "off_session",
}


def confirm(account: Account, intent: Json, method: Json, *, authenticated: bool = False) -> Json:
    """Asks the bank whether the method may be used later, and saves it with the customer.

    A card with 3-D Secure waits for it. Raises 402 when the bank refuses; the intent then waits for another method.
    """
    card = card_of(method)
    intent = account.store.change(
        intent,
        last_setup_error=None,
        next_action=None,
        payment_method=method["id"],
        payment_method_types=[method["type"]],
    )
    if card.decline and card.refused_when_saved:
        raise fail(account, intent, method, card.decline)
    if card.authenticates != "never" and not authenticated:
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        intent = account.store.change(intent, next_action=action, status="requires_action")
        events.emit(account, "setup_intent.requires_action", intent)
        return intent
    if intent["customer"]:
        payment_methods.attach(account, method, account.require("customer", intent["customer"]))
    intent = account.store.change(intent, status="succeeded")
    events.emit(account, "setup_intent.succeeded", intent)
    return intent


def fail(account: Account, intent: Json, method: Json, decline: Decline) -> StripeError:
    """Writes a refusal on the intent, tells it, and answers with the error to raise."""
    intent = account.store.change(
        intent,
        last_setup_error=payment_error(decline, method),
        next_action=None,
        payment_method=None,
        status="requires_payment_method",
    )
    events.emit(account, "setup_intent.setup_failed", intent)
    return card_error(decline).keeping()


def authenticate(account: Account, intent: Json, *, succeeds: bool) -> Json:
    """What the customer did when the bank asked."""
    method = account.require("payment_method", intent["payment_method"])
    if succeeds:
        return confirm(account, intent, method, authenticated=True)
    fail(account, intent, method, AUTHENTICATION_FAILED)
    return account.require("setup_intent", intent["id"])


def cancel(account: Account, intent: Json, reason: str | None) -> Json:
    intent = account.store.change(intent, cancellation_reason=reason, next_action=None, status="canceled")
    events.emit(account, "setup_intent.canceled", intent)
    return intent
