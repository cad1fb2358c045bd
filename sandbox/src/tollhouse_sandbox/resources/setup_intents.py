"""Setup intents: /v1/setup_intents."""

from tollhouse_sandbox import customers, events, payment_methods, setup_intents
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import Parser, anything, choice, clearable, flag, list_of, merged, metadata, shape, text
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.resources.payment_methods import PAYMENT_METHOD_DATA, TYPES
from tollhouse_sandbox.store import Json

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    intent = setup_intents.intend(account, usage=given.get("usage", "off_session"), **_written(call, {}))
    events.emit(account, "setup_intent.created", intent)
    intent = _with_method(call, intent)
    return _confirmed(call, intent) if given.get("confirm") else intent


def _written(call: Call, old: Json) -> Json:
    given = call.params
    written: Json = {name: given[name] for name in ("description",) if name in given}
    if "customer" in given:
        written["customer"] = customers.existing(call.account, given["customer"])["id"]
    if allowed := given.get("allowed_payment_method_types"):
        written["allowed_payment_method_types"] = written["payment_method_types"] = allowed
    if given.get("automatic_payment_methods", {}).get("enabled"):
        written["automatic_payment_methods"] = {"allow_redirects": "always", **given["automatic_payment_methods"]}
    if "metadata" in given:
        written["metadata"] = merged(old, given["metadata"])
    return written


def _with_method(call: Call, intent: Json) -> Json:
    method = payment_methods.chosen(call.account, call.params)
    if method is None:
        return intent
    if method["customer"] not in (None, intent["customer"]):
        raise StripeError(
            f"The PaymentMethod {method['id']} does not belong to the Customer of this SetupIntent.",
            param="payment_method",
        )
    payment_methods.check_allowed(method, intent)
    return call.account.store.change(intent, payment_method=method["id"], status="requires_confirmation")


def _confirm(call: Call) -> Json:
    return _confirmed(call, _with_method(call, _open(call, "confirm")))


def _open(call: Call, verb: str) -> Json:
    intent = call.target("setup_intent")
    if intent["status"] not in _OPEN:
        raise StripeError(
            f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}.",
            code="setup_intent_unexpected_state",
        )
    return intent


def _confirmed(call: Call, intent: Json) -> Json:
    if intent["payment_method"] is None:
        raise StripeError(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            code="setup_intent_unexpected_state",
        )
    method = call.account.require("payment_method", intent["payment_method"])
    return setup_intents.confirm(call.account, intent, method)


def _update(call: Call) -> Json:
    intent = _open(call, "update")
    return _with_method(call, call.account.store.change(intent, **_written(call, intent["metadata"])))


def _cancel(call: Call) -> Json:
    return setup_intents.cancel(call.account, _open(call, "cancel"), call.params.get("cancellation_reason"))


_UPDATED: dict[str, Parser] = {
    "allowed_payment_method_types": list_of(choice(*TYPES)),
    "customer": text,
    "description": clearable(text),
    "metadata": metadata,
    "payment_method": text,
    "payment_method_data": PAYMENT_METHOD_DATA,
}
_CONFIRMED: dict[str, Parser] = {"mandate_data": anything, "return_url": text, "use_stripe_sdk": flag}
_CREATED = {
    **_UPDATED,
    **_CONFIRMED,
    "automatic_payment_methods": shape({"allow_redirects": choice("always", "never"), "enabled": flag}, ("enabled",)),
    "confirm": flag,
    "usage": choice("off_session", "on_session"),
}
_METHOD = {name: _UPDATED[name] for name in ("payment_method", "payment_method_data")}
_REASON = choice("abandoned", "duplicate", "requested_by_customer")
_PATH = "/v1/setup_intents"

OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATED),
    usual.list_of("setup_intent", "customer", "payment_method"),
    usual.one("setup_intent"),
    Operation("POST", _PATH + "/{id}", _update, _UPDATED),
    Operation("POST", _PATH + "/{id}/confirm", _confirm, {**_METHOD, **_CONFIRMED}),
    Operation("POST", _PATH + "/{id}/cancel", _cancel, {"cancellation_reason": _REASON}),
]
