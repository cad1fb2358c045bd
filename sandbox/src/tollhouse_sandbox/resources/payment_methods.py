"""Payment methods: /v1/payment_methods."""

from tollhouse_sandbox import cards, customers, events, payment_methods
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    address,
    anything,
    choice,
    clearable,
    merged,
    metadata,
    shape,
    text,
)
from tollhouse_sandbox.store import Json

_BILLING = shape(
    {"address": clearable(address), "email": clearable(text), "name": clearable(text), "phone": clearable(text)}
)
_FIELDS = {
    "allow_redisplay": choice("always", "limited", "unspecified"),
    "billing_details": _BILLING,
    "metadata": metadata,
}
_CREATE = {
    **_FIELDS,
    "type": choice("card", "sepa_debit", "us_bank_account"),
    "card": shape({"token": text, "number": text, "exp_month": anything, "exp_year": anything, "cvc": anything}),
    "sepa_debit": shape({"iban": text}, ("iban",)),
    "us_bank_account": shape({"account_number": text, "routing_number": anything, "account_holder_type": anything}),
}


def _create(call: Call) -> Json:
    family = call.params["type"]
    data = call.params.get(family, {})
    name = data.get("token") or data.get("number") or data.get("iban") or data.get("account_number")
    card = cards.named(name or "")
    if card is None or card.type != family:
        raise StripeError(
            f"Unknown test payment method: use a test token, number or account in {family}.", param=family
        )
    billing = dict(call.params.get("billing_details", {}))
    if billing.get("address"):
        billing["address"] = {**payment_methods.NO_ADDRESS, **billing["address"]}
    return payment_methods.make(call.account, card, billing=billing, metadata=call.params.get("metadata"))


def _update(call: Call) -> Json:
    account, method = call.account, call.target("payment_method")
    before = events.picture(account, method)
    changes = {name: call.params[name] for name in ("allow_redisplay",) if name in call.params}
    if "billing_details" in call.params:
        changes["billing_details"] = {**method["billing_details"], **call.params["billing_details"]}
    if "metadata" in call.params:
        changes["metadata"] = merged(method["metadata"], call.params["metadata"])
    method = account.store.change(method, **changes)
    events.updated(account, "payment_method.updated", method, before)
    return method


def _attach(call: Call) -> Json:
    method = payment_methods.resolve(call.account, call.path["id"], param="id")
    customer = customers.existing(call.account, call.params["customer"])
    return payment_methods.attach(call.account, method, customer)


def _list(call: Call) -> Page:
    wanted = call.params

    def keep(method: Json) -> bool:
        return method["customer"] is not None and fits(method, wanted, "customer", "type")

    return page(call, "payment_method", keep)


OPERATIONS = [
    Operation("POST", "/v1/payment_methods", _create, _CREATE, ("type",)),
    Operation("GET", "/v1/payment_methods", _list, {**PAGING, "customer": text, "type": text}),
    Operation(
        "GET",
        "/v1/payment_methods/{id}",
        lambda call: payment_methods.resolve(call.account, call.path["id"], param="id"),
    ),
    Operation("POST", "/v1/payment_methods/{id}", _update, _FIELDS),
    Operation("POST", "/v1/payment_methods/{id}/attach", _attach, {"customer": text}, ("customer",)),
    Operation(
        "POST",
        "/v1/payment_methods/{id}/detach",
        lambda call: payment_methods.detach(call.account, call.target("payment_method")),
    ),
]
