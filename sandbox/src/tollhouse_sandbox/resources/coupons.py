"""Coupons: /v1/coupons."""

from tollhouse_sandbox import events
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, page
from tollhouse_sandbox.params import (
    by_currency,
    choice,
    clearable,
    decimal,
    list_of,
    merged,
    metadata,
    moment,
    positive,
    shape,
    text,
)
from tollhouse_sandbox.store import Json

LATEST_END = 5 * 365 * DAY
"""Seconds from now within which `redeem_by` must be."""

_OPTIONS = by_currency(shape({"amount_off": positive}, ("amount_off",)))
_CREATE = {
    "amount_off": positive,
    "applies_to": shape({"products": list_of(text)}),
    "currency": text,
    "currency_options": _OPTIONS,
    "duration": choice("forever", "once", "repeating"),
    "duration_in_months": positive,
    "id": text,
    "max_redemptions": positive,
    "metadata": metadata,
    "name": text,
    "percent_off": decimal,
    "redeem_by": moment,
}


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    _check(given, account.now)
    products = given.get("applies_to", {}).get("products")
    for product in products or ():
        account.require("product", product, param="applies_to[products]")
    if account.store.get("coupon", given.get("id", "")):
        raise StripeError("Coupon already exists.", code="resource_already_exists", param="id")
    named = {"id": given["id"]} if "id" in given else {}
    coupon = account.born(
        "coupon",
        amount_off=given.get("amount_off"),
        currency=given["currency"].lower() if given.get("amount_off") else None,
        duration=given.get("duration", "once"),
        duration_in_months=given.get("duration_in_months"),
        max_redemptions=given.get("max_redemptions"),
        metadata=merged({}, given.get("metadata", {})),
        name=given.get("name"),
        percent_off=float(given["percent_off"]) if "percent_off" in given else None,
        redeem_by=given.get("redeem_by"),
        times_redeemed=0,
        _currency_options=given.get("currency_options"),
        _products=products,
        **named,
    )
    events.emit(account, "coupon.created", coupon)
    return coupon


def _check(given: Json, now: int) -> None:
    if ("amount_off" in given) == ("percent_off" in given):
        raise StripeError("You must pass either `percent_off` or `amount_off`, and not both.", param="percent_off")
    if "amount_off" in given and "currency" not in given:
        raise StripeError("You must pass `currency` when passing `amount_off`.", param="currency")
    if "amount_off" not in given and "currency_options" in given:
        raise StripeError("`currency_options` is only supported with `amount_off`.", param="currency_options")
    _check_options(given.get("currency_options", {}), given.get("currency", "").lower())
    for name in ("amount_off", "max_redemptions"):
        if given.get(name) == 0:
            raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param=name)
    if "redeem_by" in given and not now < given["redeem_by"] <= now + LATEST_END:
        raise StripeError("`redeem_by` must be in the future, by five years at most.", param="redeem_by")
    if "percent_off" in given and not 0 < given["percent_off"] <= 100:
        raise StripeError("Invalid percent_off: must be greater than 0 and at most 100.", param="percent_off")
    repeats = given.get("duration") == "repeating"
    if repeats != bool(given.get("duration_in_months")):
        raise StripeError(
            "`duration_in_months` is required with the duration `repeating`, and with no other.",
            param="duration_in_months",
        )


def _check_options(options: Json, main: str | None) -> None:
    if main in options:
        raise StripeError(
            "The keys of `currency_options` must be different from `currency`.", param=f"currency_options[{main}]"
        )
    for currency, option in options.items():
        if not option["amount_off"]:
            param = f"currency_options[{currency}][amount_off]"
            raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param=param)


def _living(call: Call) -> Json:
    coupon = call.target("coupon")
    if coupon.get("deleted"):
        raise StripeError(f"No such coupon: '{coupon['id']}'", code="resource_missing", param="coupon", status=404)
    return coupon


def _update(call: Call) -> Json:
    coupon = _living(call)
    before = events.picture(call.account, coupon)
    changes = {"name": call.params["name"]} if "name" in call.params else {}
    if "metadata" in call.params:
        changes["metadata"] = merged(coupon["metadata"], call.params["metadata"])
    if "currency_options" in call.params:
        changes["_currency_options"] = _more_options(coupon, call.params["currency_options"])
    coupon = call.account.store.change(coupon, **changes)
    events.updated(call.account, "coupon.updated", coupon, before)
    return coupon


def _more_options(coupon: Json, given: Json) -> Json:
    """What a discount takes off that was made before is not changed by it."""
    if coupon["amount_off"] is None:
        raise StripeError("`currency_options` is only supported with `amount_off`.", param="currency_options")
    _check_options(given, coupon["currency"])
    return {**(coupon["_currency_options"] or {}), **given}


def _delete(call: Call) -> Json:
    """Nobody can redeem it any more; discounts that were redeemed go on."""
    coupon = _living(call)
    events.emit(call.account, "coupon.deleted", coupon)
    return call.account.store.change(coupon, deleted=True)


def _list(call: Call) -> Page:
    return page(call, "coupon", lambda coupon: not coupon.get("deleted"))


_PATH = "/v1/coupons"
OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATE),
    Operation("GET", _PATH, _list, DATED),
    Operation("GET", _PATH + "/{id}", _living),
    Operation(
        "POST",
        _PATH + "/{id}",
        _update,
        {"currency_options": _OPTIONS, "metadata": metadata, "name": clearable(text)},
    ),
    Operation("DELETE", _PATH + "/{id}", _delete),
]
