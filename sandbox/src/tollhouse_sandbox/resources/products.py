"""Products: /v1/products."""

from tollhouse_sandbox import events, prices
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    anything,
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
from tollhouse_sandbox.resources.prices import RECURRING
from tollhouse_sandbox.store import Json

_FIELDS = {
    "active": flag,
    "description": clearable(text),
    "images": list_of(text),
    "marketing_features": list_of(shape({"name": text}, ("name",))),
    "metadata": metadata,
    "name": text,
    "statement_descriptor": anything,
    "tax_code": anything,
    "unit_label": clearable(text),
    "url": clearable(text),
}
_CREATE = {
    **_FIELDS,
    "id": text,
    "default_price_data": shape(
        {
            "currency": text,
            "metadata": metadata,
            "recurring": RECURRING,
            "tax_behavior": choice("inclusive", "exclusive", "unspecified"),
            "unit_amount": positive,
            "unit_amount_decimal": decimal,
        },
        ("currency",),
    ),
}


def _create(call: Call) -> Json:
    given = dict(call.params)
    account = call.account
    if "id" in given and account.store.get("product", given["id"]):
        raise StripeError("Product already exists.", code="resource_already_exists", param="id")
    default = given.pop("default_price_data", None)
    product = prices.create_product(account, **{key: given[key] for key in given if key != "expand"})
    if default:
        price = prices.create(account, {**default, "product": product["id"]})
        product = account.store.change(product, default_price=price["id"])
    return product


def _update(call: Call) -> Json:
    product = call.target("product")
    before = events.picture(call.account, product)
    changes = {key: value for key, value in call.params.items() if key != "expand"}
    if "metadata" in changes:
        changes["metadata"] = merged(product["metadata"], changes["metadata"])
    if changes.get("default_price"):
        call.account.require("price", changes["default_price"], param="default_price")
    product = call.account.store.change(product, **changes, updated=call.account.now)
    events.updated(call.account, "product.updated", product, before)
    return product


def _delete(call: Call) -> Json:
    product = call.target("product")
    if any(call.account.store.oldest_first("price", product=product["id"])):
        raise StripeError("This product cannot be deleted because it has one or more user-created prices.", param="id")
    events.emit(call.account, "product.deleted", product)
    call.account.store.remove(product)
    return {"id": product["id"], "object": "product", "deleted": True}


def _list(call: Call) -> Page:
    wanted = call.params

    def keep(product: Json) -> bool:
        return fits(product, wanted, "active", "url") and ("ids" not in wanted or product["id"] in wanted["ids"])

    return page(call, "product", keep)


OPERATIONS = [
    Operation("POST", "/v1/products", _create, _CREATE, ("name",)),
    Operation("GET", "/v1/products", _list, {**DATED, "active": flag, "ids": list_of(text), "url": text}),
    Operation("GET", "/v1/products/{id}", lambda call: call.target("product")),
    Operation("POST", "/v1/products/{id}", _update, {**_FIELDS, "default_price": clearable(text)}),
    Operation("DELETE", "/v1/products/{id}", _delete),
]
