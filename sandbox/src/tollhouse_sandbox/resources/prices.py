"""Prices: /v1/prices."""

from tollhouse_sandbox import currency_options, events, prices
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    anything,
    by_currency,
    choice,
    clearable,
    decimal,
    flag,
    list_of,
    merged,
    metadata,
    positive,
    shape,
    text,
)
from tollhouse_sandbox.store import Json

INTERVAL = choice("day", "week", "month", "year")
RECURRING = shape({"interval": INTERVAL, "interval_count": positive, "usage_type": choice("licensed")}, ("interval",))
PRODUCT_DATA = shape(
    {
        "name": text,
        "description": text,
        "images": list_of(text),
        "metadata": metadata,
        "tax_code": anything,
        "unit_label": text,
    },
    ("name",),
)
PRICE_DATA = shape(
    {
        "currency": text,
        "product": text,
        "product_data": PRODUCT_DATA,
        "recurring": RECURRING,
        "tax_behavior": choice("inclusive", "exclusive", "unspecified"),
        "unit_amount": positive,
        "unit_amount_decimal": decimal,
    },
    ("currency",),
)
_OPTIONS = by_currency(
    shape(
        {
            "tax_behavior": choice("inclusive", "exclusive", "unspecified"),
            "unit_amount": positive,
            "unit_amount_decimal": decimal,
        }
    )
)
_FIELDS = {
    "active": flag,
    "currency_options": clearable(_OPTIONS),
    "lookup_key": clearable(text),
    "metadata": metadata,
    "nickname": clearable(text),
    "tax_behavior": choice("inclusive", "exclusive", "unspecified"),
    "transfer_lookup_key": flag,
}
_CREATE = {
    **_FIELDS,
    "billing_scheme": choice("per_unit"),
    "currency": text,
    "product": text,
    "product_data": shape(
        {
            "active": flag,
            "id": text,
            "metadata": metadata,
            "name": text,
            "statement_descriptor": anything,
            "tax_code": anything,
            "unit_label": text,
        },
        ("name",),
    ),
    "recurring": RECURRING,
    "unit_amount": positive,
    "unit_amount_decimal": decimal,
}


def _create(call: Call) -> Json:
    return prices.create(call.account, call.params)


def _update(call: Call) -> Json:
    account, price = call.account, call.target("price")
    changes = {key: value for key, value in call.params.items() if key != "expand"}
    transfer = changes.pop("transfer_lookup_key", False)
    key = changes.get("lookup_key")
    if key and key != price["lookup_key"]:
        prices.claim(account, key, transfer=transfer)
    if "metadata" in changes:
        changes["metadata"] = merged(price["metadata"], changes["metadata"])
    if "currency_options" in changes:
        added = currency_options.checked(changes.pop("currency_options") or {}, price["currency"])
        changes["_currency_options"] = {**currency_options.others(price), **added}
    tax = changes.get("tax_behavior", price["tax_behavior"])
    if price["tax_behavior"] not in ("unspecified", tax):
        raise StripeError("The tax behavior of a price cannot be changed once it is specified.", param="tax_behavior")
    before = events.picture(account, price)
    price = account.store.change(price, **changes)
    events.updated(account, "price.updated", price, before)
    return price


_ONCE: Json = {"interval": None, "usage_type": None}


def _list(call: Call) -> Page:
    wanted = call.params
    recurring = wanted.get("recurring", {})

    def keep(price: Json) -> bool:
        return (
            fits(price, wanted, "active", "currency", "product", "type")
            and ("lookup_keys" not in wanted or price["lookup_key"] in wanted["lookup_keys"])
            and (not recurring or fits(price["recurring"] or _ONCE, recurring, "interval", "usage_type"))
        )

    return page(call, "price", keep)


_LIST = {
    **DATED,
    "active": flag,
    "currency": text,
    "lookup_keys": list_of(text, at_most=10),
    "product": text,
    "recurring": shape({"interval": INTERVAL, "usage_type": choice("licensed", "metered")}),
    "type": choice("one_time", "recurring"),
}

OPERATIONS = [
    Operation("POST", "/v1/prices", _create, _CREATE, ("currency",)),
    Operation("GET", "/v1/prices", _list, _LIST),
    Operation("GET", "/v1/prices/{id}", lambda call: call.target("price")),
    Operation("POST", "/v1/prices/{id}", _update, _FIELDS),
]
