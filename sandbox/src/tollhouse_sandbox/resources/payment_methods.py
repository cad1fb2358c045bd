"""Payment methods: /v1/payment_methods."""

from tollhouse_sandbox import customers, events, payment_methods
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

TYPES = ("card", "sepa_debit", "us_bank_account")

_BILLING = shape(
    {"address": clearable(address), "email": clearable(text), "name": clearable(text), "phone": clearable(text)}
)
_FIELDS = {
    "allow_redisplay": choice("always", "limited", "unspecified"),
    "billing_details": _BILLING,
    "metadata": metadata,
}
_DATA = {
    **_FIELDS,
    "type": choice(*TYPES),
    "card": shape({"token": text, "number": text, "exp_month": anything, "exp_year": anything, "cvc": anything}),
    "sepa_debit": shape({"iban": text}, ("iban",)),
    "us_bank_account": shape({"account_number": text, "routing_number": anything, "account_holder_type": anything}),
}
PAYMENT_METHOD_DATA = shape(_DATA, ("type",))
"""What `payment_method_data` of an intent may hold."""


def _create(call: Call) -> Json:
    return payment_methods.from_data(call.account, call.params)


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
    Operation("POST", "/v1/payment_methods", _create, _DATA, ("type",)),
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
