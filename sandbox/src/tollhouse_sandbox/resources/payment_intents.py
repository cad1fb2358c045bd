"""Payment intents: /v1/payment_intents."""

from tollhouse_sandbox import customers, events, invoices, payment_methods, payments, subscriptions
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import (
    Parser,
    address,
    anything,
    choice,
    clearable,
    flag,
    list_of,
    merged,
    metadata,
    positive,
    shape,
    text,
)
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.resources.payment_methods import PAYMENT_METHOD_DATA, TYPES
from tollhouse_sandbox.store import Json

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = (*_OPEN, "requires_capture")

_WRITTEN = (
    "capture_method",
    "description",
    "payment_method_options",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
)
"""Parameters that are merely written on the intent."""


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    if given.get("off_session") and not given.get("confirm"):
        raise StripeError("off_session can only be set when confirm is true.", param="off_session")
    customer = customers.existing(account, given["customer"])["id"] if "customer" in given else None
    intent = payments.intend(
        account,
        _amount(given),
        given["currency"].lower(),
        customer=customer,
        metadata=merged({}, given.get("metadata", {})),
        **_written(given),
        **_families(given),
    )
    events.emit(account, "payment_intent.created", intent)
    intent = _with_method(call, intent)
    return _confirmed(call, intent) if given.get("confirm") else intent


def _amount(given: Json) -> int:
    if not given["amount"]:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    return int(given["amount"])


def _written(given: Json) -> Json:
    written = {name: given[name] for name in _WRITTEN if name in given}
    if "shipping" in written:
        written["shipping"] = payments.shipping(written["shipping"])
    return written


def _families(given: Json) -> Json:
    """Which types of payment methods may pay."""
    allowed = given.get("allowed_payment_method_types")
    if allowed:
        return {"allowed_payment_method_types": allowed, "payment_method_types": allowed}
    if given.get("automatic_payment_methods", {}).get("enabled"):
        automatic = {"allow_redirects": "always", **given["automatic_payment_methods"]}
        return {"automatic_payment_methods": automatic, "payment_method_types": [*TYPES]}
    return {}


def _with_method(call: Call, intent: Json) -> Json:
    """The intent with the payment method the call names or describes, if it does."""
    method = payment_methods.chosen(call.account, call.params)
    if method is None:
        return intent
    _check_owner(method, intent)
    payment_methods.check_allowed(method, intent)
    return call.account.store.change(intent, payment_method=method["id"], status="requires_confirmation")


def _check_owner(method: Json, intent: Json) -> None:
    if method["customer"] and intent["customer"] is None:
        raise StripeError(
            f"The PaymentMethod {method['id']} belongs to a Customer. Please include the Customer in the `customer` "
            "parameter on the PaymentIntent.",
            param="payment_method",
        )
    if method["customer"] and method["customer"] != intent["customer"]:
        raise StripeError(
            f"The PaymentMethod {method['id']} does not belong to the Customer you supplied.", param="payment_method"
        )


def _confirm(call: Call) -> Json:
    intent = call.account.store.change(call.target("payment_intent"), **_written(call.params))
    return _confirmed(call, _with_method(call, _expected(intent, "confirm", _OPEN)))


def _expected(intent: Json, verb: str, states: tuple[str, ...]) -> Json:
    """The intent, if it is in one of the states. Raises 400 otherwise."""
    if intent["status"] not in states:
        raise StripeError(
            f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
            f"with one of the following statuses will do: {', '.join(states)}.",
            code="payment_intent_unexpected_state",
            payment_intent=usual.plain(intent),
        )
    return intent


def _confirmed(call: Call, intent: Json) -> Json:
    if intent["payment_method"] is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    method = call.account.require("payment_method", intent["payment_method"])
    off_session = call.params.get("off_session", False)
    asks = not (off_session or call.params.get("error_on_requires_action"))
    payment = _attempt(call, intent, method, off_session=off_session, asks=asks)
    if payment.error and payment.intent["status"] != "requires_action":
        payment.error.more["payment_intent"] = usual.plain(payment.intent)
        raise payment.error.keeping()
    return payment.intent


def _attempt(call: Call, intent: Json, method: Json, *, off_session: bool, asks: bool) -> Payment:
    """Tries an intent, for the invoice it pays if it pays one."""
    account = call.account
    paid = invoices.payment_of(account, intent=intent["id"])
    if paid:
        invoice = account.require("invoice", paid["invoice"])
        return subscriptions.pay_invoice(account, invoice, method, off_session=off_session)
    payment = payments.attempt(account, intent, method, off_session=off_session, asks=asks)
    events.emit_all(account, payment.happened)
    return payment


def _update(call: Call) -> Json:
    account, given = call.account, call.params
    intent = call.target("payment_intent")
    frozen = set(given) - {"description", "expand", "metadata", "receipt_email", "shipping"}
    if frozen:
        _expected(intent, "update", _OPEN)
    if {"amount", "currency", "customer"} & frozen and invoices.payment_of(account, intent=intent["id"]):
        raise StripeError("This PaymentIntent belongs to an invoice: its amount and customer cannot be changed.")
    changes = {**_written(given), **_families(given)}
    if "amount" in given:
        changes["amount"] = _amount(given)
    if "currency" in given:
        changes["currency"] = given["currency"].lower()
    if "customer" in given:
        changes["customer"] = customers.existing(account, given["customer"])["id"]
    if "metadata" in given:
        changes["metadata"] = merged(intent["metadata"], given["metadata"])
    return _with_method(call, account.store.change(intent, **changes))


def _capture(call: Call) -> Json:
    account, given = call.account, call.params
    intent = _expected(call.target("payment_intent"), "capture", ("requires_capture",))
    amount = given.get("amount_to_capture")
    if amount is not None and not 0 < amount <= intent["amount_capturable"]:
        raise StripeError(
            f"The amount to capture must be between 1 and {intent['amount_capturable']}.",
            code="amount_too_large" if amount else "parameter_invalid_integer",
            param="amount_to_capture",
        )
    if "metadata" in given:
        intent = account.store.change(intent, metadata=merged(intent["metadata"], given["metadata"]))
    payment = payments.capture(account, intent, amount)
    events.emit_all(account, payment.happened)
    return payment.intent


def _cancel(call: Call) -> Json:
    account = call.account
    intent = _expected(call.target("payment_intent"), "cancel", _CANCELABLE)
    if invoices.payment_of(account, intent=intent["id"]):
        raise StripeError(
            "You cannot cancel this PaymentIntent because it belongs to an invoice. Void the invoice instead."
        )
    events.emit_all(account, payments.cancel(account, intent, call.params.get("cancellation_reason")))
    return account.require("payment_intent", intent["id"])


SHIPPING = shape(
    {"address": address, "carrier": text, "name": text, "phone": text, "tracking_number": text}, ("address", "name")
)
_OPTIONS = shape({"card": shape({"request_three_d_secure": choice("any", "automatic", "challenge")})})
_CHANGED: dict[str, Parser] = {
    "allowed_payment_method_types": list_of(choice(*TYPES)),
    "capture_method": choice("automatic", "automatic_async", "manual"),
    "payment_method": text,
    "payment_method_data": PAYMENT_METHOD_DATA,
    "payment_method_options": _OPTIONS,
    "receipt_email": clearable(text),
    "setup_future_usage": clearable(choice("off_session", "on_session")),
    "shipping": clearable(SHIPPING),
}
_UPDATED = {
    **_CHANGED,
    "amount": positive,
    "currency": text,
    "customer": text,
    "description": clearable(text),
    "metadata": metadata,
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
}
_CONFIRMED: dict[str, Parser] = {
    "error_on_requires_action": flag,
    "mandate_data": anything,
    "off_session": flag,
    "return_url": text,
    "use_stripe_sdk": flag,
}
_CREATED = {
    **_UPDATED,
    **_CONFIRMED,
    "automatic_payment_methods": shape({"allow_redirects": choice("always", "never"), "enabled": flag}, ("enabled",)),
    "confirm": flag,
    "confirmation_method": choice("automatic"),
}
_REASON = choice("abandoned", "duplicate", "fraudulent", "requested_by_customer")
_PATH = "/v1/payment_intents"

OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATED, ("amount", "currency")),
    usual.list_of("payment_intent", "customer"),
    usual.one("payment_intent"),
    Operation("POST", _PATH + "/{id}", _update, _UPDATED),
    Operation("POST", _PATH + "/{id}/confirm", _confirm, {**_CHANGED, **_CONFIRMED}),
    Operation("POST", _PATH + "/{id}/capture", _capture, {"amount_to_capture": positive, "metadata": metadata}),
    Operation("POST", _PATH + "/{id}/cancel", _cancel, {"cancellation_reason": _REASON}),
]
