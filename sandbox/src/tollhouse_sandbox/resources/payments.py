"""Payment intents, setup intents, charges: /v1/payment_intents, /v1/setup_intents, /v1/charges."""

from tollhouse_sandbox import customers, events, invoices, payment_methods, payments, subscriptions
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import anything, choice, flag, list_of, merged, metadata, positive, text
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.store import Json


def _create_intent(call: Call) -> Json:
    account, given = call.account, call.params
    customer = customers.existing(account, given["customer"]) if "customer" in given else None
    if not given["amount"]:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    intent = payments.intend(
        account,
        given["amount"],
        given["currency"].lower(),
        customer=customer["id"] if customer else None,
        metadata=merged({}, given.get("metadata", {})),
        description=given.get("description"),
        setup_future_usage=given.get("setup_future_usage"),
        receipt_email=given.get("receipt_email"),
    )
    events.emit(account, "payment_intent.created", intent)
    if "payment_method" in given:
        method = payment_methods.resolve(account, given["payment_method"])
        intent = account.store.change(intent, payment_method=method["id"], status="requires_confirmation")
    return _confirmed(call, intent) if given.get("confirm") else intent


def _confirm(call: Call) -> Json:
    return _confirmed(call, call.target("payment_intent"))


def _confirmed(call: Call, intent: Json) -> Json:
    account = call.account
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise StripeError(
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    chosen = call.params.get("payment_method") or intent["payment_method"]
    if chosen is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    method = payment_methods.resolve(account, chosen)
    off_session = call.params.get("off_session", False)
    paid = invoices.payment_of(account, intent=intent["id"])
    if paid:
        invoice = account.require("invoice", paid["invoice"])
        payment = subscriptions.pay_invoice(account, invoice, method, off_session=off_session)
    else:
        payment = payments.attempt(account, intent, method, off_session=off_session)
        events.emit_all(account, payment.happened)
    if payment.error and (off_session or payment.intent["status"] != "requires_action"):
        raise payment.error.keeping()
    return payment.intent


def _annotate(call: Call) -> Json:
    """Writes metadata on an intent, which no event tells."""
    intent = call.target("payment_intent")
    return call.account.store.change(intent, metadata=merged(intent["metadata"], call.params.get("metadata", {})))


_INTENT = {
    "amount": positive,
    "automatic_payment_methods": anything,
    "allowed_payment_method_types": list_of(text),
    "confirm": flag,
    "currency": text,
    "customer": text,
    "description": text,
    "metadata": metadata,
    "off_session": flag,
    "payment_method": text,
    "receipt_email": text,
    "return_url": text,
    "setup_future_usage": choice("off_session", "on_session"),
}
OPERATIONS = [
    Operation("POST", "/v1/payment_intents", _create_intent, _INTENT, ("amount", "currency")),
    usual.list_of("payment_intent", "customer"),
    usual.one("payment_intent"),
    Operation("POST", "/v1/payment_intents/{id}", _annotate, {"metadata": metadata}),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/confirm",
        _confirm,
        {"off_session": flag, "payment_method": text, "return_url": text},
    ),
    usual.list_of("setup_intent", "customer", "payment_method"),
    usual.one("setup_intent"),
    usual.list_of("charge", "customer", "payment_intent"),
    usual.one("charge"),
    usual.annotate("charge", "charge.updated"),
]
