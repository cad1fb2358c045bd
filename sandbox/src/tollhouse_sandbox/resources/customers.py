"""Customers: /v1/customers, and the payment methods they saved."""

from tollhouse_sandbox import customers, events, payment_methods
from tollhouse_sandbox.account import TEST_CLOCK
from tollhouse_sandbox.operations import DATED, PAGING, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    address,
    anything,
    choice,
    clearable,
    integer,
    list_of,
    merged,
    metadata,
    shape,
    text,
)
from tollhouse_sandbox.store import Json

_FIELDS = {
    "address": clearable(address),
    "balance": integer,
    "description": clearable(text),
    "email": clearable(text),
    "invoice_prefix": text,
    "invoice_settings": shape({"default_payment_method": clearable(text), "footer": clearable(text)}),
    "metadata": metadata,
    "name": clearable(text),
    "next_invoice_sequence": integer,
    "phone": clearable(text),
    "preferred_locales": list_of(text),
    "shipping": clearable(shape({"address": address, "name": text, "phone": text}, ("address", "name"))),
    "tax": anything,
    "tax_exempt": choice("none", "exempt", "reverse"),
}
_NO_ADDRESS = payment_methods.NO_ADDRESS


def _given(call: Call) -> Json:
    """The customer's own fields among the parameters."""
    skipped = ("expand", "invoice_settings", "metadata", "payment_method", "tax")
    given = {key: value for key, value in call.params.items() if key not in skipped}
    if given.get("address"):
        given["address"] = {**_NO_ADDRESS, **given["address"]}
    if given.get("shipping"):
        shipping = given["shipping"]
        given["shipping"] = {"phone": None, **shipping, "address": {**_NO_ADDRESS, **shipping["address"]}}
    return given


def _create(call: Call) -> Json:
    account = call.account
    if "test_clock" in call.params:
        account.require(TEST_CLOCK, call.params["test_clock"], param="test_clock")
    customer = customers.create(account, **_given(call), metadata=merged({}, call.params.get("metadata", {})))
    before = events.picture(account, customer)
    if "payment_method" in call.params:
        method = payment_methods.resolve(account, call.params["payment_method"])
        payment_methods.attach(account, method, customer)
    customer = _with_settings(call, customer)
    events.updated(account, "customer.updated", customer, before)
    return customer


def _with_settings(call: Call, customer: Json) -> Json:
    """Applies `invoice_settings`; the method must be one the customer saved."""
    customer = call.account.require("customer", customer["id"])
    given = dict(call.params.get("invoice_settings", {}))
    chosen = given.get("default_payment_method")
    if chosen:
        param = "invoice_settings[default_payment_method]"
        given["default_payment_method"] = payment_methods.owned(call.account, chosen, customer, param=param)["id"]
    return call.account.store.change(customer, invoice_settings={**customer["invoice_settings"], **given})


def _living(call: Call) -> Json:
    customer = call.target("customer")
    if customer.get("deleted"):
        return customers.existing(call.account, customer["id"])
    return customer


def _update(call: Call) -> Json:
    account, customer = call.account, _living(call)
    before = events.picture(account, customer)
    changes = _given(call)
    if "metadata" in call.params:
        changes["metadata"] = merged(customer["metadata"], call.params["metadata"])
    customer = _with_settings(call, account.store.change(customer, **changes))
    events.updated(account, "customer.updated", customer, before)
    return customer


def _list(call: Call) -> Page:
    wanted = {"test_clock": None, **call.params}
    return page(call, "customer", lambda each: not each.get("deleted") and fits(each, wanted, "email", "test_clock"))


def _methods(call: Call) -> Page:
    call.params["customer"] = _living(call)["id"]
    return page(call, "payment_method", lambda each: fits(each, call.params, "type"))


def _method(call: Call) -> Json:
    return payment_methods.owned(call.account, call.path["method"], _living(call), param="payment_method")


OPERATIONS = [
    Operation("POST", "/v1/customers", _create, {**_FIELDS, "payment_method": text, "test_clock": text}),
    Operation("GET", "/v1/customers", _list, {**DATED, "email": text, "test_clock": text}),
    Operation("GET", "/v1/customers/{id}", lambda call: call.target("customer")),
    Operation("POST", "/v1/customers/{id}", _update, _FIELDS),
    Operation("DELETE", "/v1/customers/{id}", lambda call: customers.delete(call.account, _living(call))),
    Operation("GET", "/v1/customers/{id}/payment_methods", _methods, {**PAGING, "type": text}),
    Operation("GET", "/v1/customers/{id}/payment_methods/{method}", _method),
]
