"""Charges: /v1/charges. Payment intents make them; the old way of making one by itself works too."""

from tollhouse_sandbox import charges, customers, events, payment_methods, payments
from tollhouse_sandbox.cards import AUTHENTICATION_REQUIRED, Outcome
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import Parser, choice, flag, merged, metadata, positive, shape, text
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.store import Json


def _create(call: Call) -> Json:
    """An old-style charge: of a test token, or of the customer's default payment method."""
    account, given = call.account, call.params
    customer = customers.existing(account, given["customer"]) if "customer" in given else None
    method = _method(call, customer)
    if not given["amount"]:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    sale = {
        **dict.fromkeys(("id", "description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")),
        **{name: given[name] for name in ("amount", *_TEXTS) if name in given},
        "currency": given["currency"].lower(),
        "customer": customer["id"] if customer else None,
        "metadata": merged({}, given.get("metadata", {})),
    }
    card = payment_methods.card_of(method)
    outcome = card.outcome(authenticated=False, off_session=True)
    if outcome is Outcome.PROCESSING:
        raise StripeError("A charge is of a card: a bank debit takes a PaymentIntent.", param="source")
    decline = card.decline or (AUTHENTICATION_REQUIRED if outcome is not Outcome.SUCCEEDS else None)
    if decline:
        charge = charges.charge(account, sale, method, "failed", decline)
        events.emit(account, "charge.failed", charge)
        raise payment_methods.card_error(decline, charge=charge["id"]).keeping()
    charge = charges.charge(account, sale, method, "succeeded", held=not given.get("capture", True))
    events.emit(account, "charge.succeeded", charge)
    return charge


def _method(call: Call, customer: Json | None) -> Json:
    account = call.account
    if "source" in call.params:
        return payment_methods.resolve(account, call.params["source"], param="source")
    method = payment_methods.default_for(account, customer) if customer else None
    if method is None:
        raise StripeError("Must provide source or customer.", code="parameter_missing")
    return method


def _capture(call: Call) -> Json:
    account, charge = call.account, call.target("charge")
    if charge["_held_until"] is None:
        raise StripeError(f"Charge {charge['id']} has already been captured or let go.", code="charge_already_captured")
    amount = call.params.get("amount")
    if amount is not None and not 0 < amount <= charge["amount"]:
        raise StripeError(f"The amount to capture must be between 1 and {charge['amount']}.", param="amount")
    if charge["payment_intent"]:
        intent = account.require("payment_intent", charge["payment_intent"])
        events.emit_all(account, payments.capture(account, intent, amount).happened)
        return account.require("charge", charge["id"])
    charge = charges.capture(account, charge, amount)
    events.emit(account, "charge.captured", charge)
    return charge


def _update(call: Call) -> Json:
    account, given, charge = call.account, call.params, call.target("charge")
    before = events.picture(account, charge)
    changes: Json = {name: given[name] for name in ("description", "fraud_details", "receipt_email") if name in given}
    if "metadata" in given:
        changes["metadata"] = merged(charge["metadata"], given["metadata"])
    charge = account.store.change(charge, **changes)
    events.updated(account, "charge.updated", charge, before)
    return charge


_TEXTS: dict[str, Parser] = {
    "description": text,
    "receipt_email": text,
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
}
_CREATED: dict[str, Parser] = {
    **_TEXTS,
    "amount": positive,
    "capture": flag,
    "currency": text,
    "customer": text,
    "metadata": metadata,
    "source": text,
}
_UPDATED: dict[str, Parser] = {
    "description": text,
    "fraud_details": shape({"user_report": choice("fraudulent", "safe")}),
    "metadata": metadata,
    "receipt_email": text,
}

OPERATIONS = [
    Operation("POST", "/v1/charges", _create, _CREATED, ("amount", "currency")),
    usual.list_of("charge", "customer", "payment_intent"),
    usual.one("charge"),
    Operation("POST", "/v1/charges/{id}", _update, _UPDATED),
    Operation("POST", "/v1/charges/{id}/capture", _capture, {"amount": positive}),
]
