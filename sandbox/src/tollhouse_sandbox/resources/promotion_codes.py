"""Promotion codes, which people type to redeem a coupon: /v1/promotion_codes."""

import re
from typing import Any

from tollhouse_sandbox import customers, events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import by_currency, choice, flag, merged, metadata, moment, positive, shape, text
from tollhouse_sandbox.redeemable import code_is_active, coupon_is_valid
from tollhouse_sandbox.store import Json

_WRITTEN = re.compile(r"[A-Za-z0-9-]{1,500}\Z")


def _code(raw: Any, path: str) -> str:
    value = text(raw, path)
    if not _WRITTEN.match(value):
        raise StripeError(
            "The code of a promotion code may consist of letters (a-z, A-Z), digits, and dashes.", param=path
        )
    return value


_OPTIONS = by_currency(shape({"minimum_amount": positive}))
_RESTRICTIONS = shape(
    {
        "currency_options": _OPTIONS,
        "first_time_transaction": flag,
        "minimum_amount": positive,
        "minimum_amount_currency": text,
    }
)
_CREATE = {
    "active": flag,
    "code": _code,
    "customer": text,
    "expires_at": moment,
    "max_redemptions": positive,
    "metadata": metadata,
    "promotion": shape({"coupon": text, "type": choice("coupon")}, ("coupon", "type")),
    "restrictions": _RESTRICTIONS,
}
_UPDATE = {"active": flag, "metadata": metadata, "restrictions": shape({"currency_options": _OPTIONS})}


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    coupon = _coupon(account, given["promotion"]["coupon"])
    _check_limits(account, given, coupon)
    customer = customers.existing(account, given["customer"])["id"] if "customer" in given else None
    code = given.get("code") or ids.token(8).upper()
    active = given.get("active", True)
    if active:
        _check_unique(account, code, customer)
    promotion_code = account.born(
        "promotion_code",
        active=active,
        code=code,
        customer=customer,
        customer_account=None,
        expires_at=given.get("expires_at"),
        max_redemptions=given.get("max_redemptions"),
        metadata=merged({}, given.get("metadata", {})),
        promotion={"coupon": coupon["id"], "type": "coupon"},
        restrictions=_restrictions(given.get("restrictions", {})),
        times_redeemed=0,
        _text=code.lower(),
    )
    events.emit(account, "promotion_code.created", promotion_code)
    return promotion_code


def _coupon(account: Account, coupon_id: str) -> Json:
    param = "promotion[coupon]"
    coupon = account.require("coupon", coupon_id, param=param)
    if coupon.get("deleted"):
        raise missing("coupon", coupon_id, param=param, status=400)
    if not coupon_is_valid(coupon, account.now):
        raise StripeError(f"This coupon has expired: {coupon_id}", code="coupon_expired", param=param)
    return coupon


def _check_limits(account: Account, given: Json, coupon: Json) -> None:
    """A code ends no later than its coupon, and cannot be redeemed more often."""
    ends, last = given.get("expires_at"), coupon["redeem_by"]
    if ends is not None and ends <= account.now:
        raise StripeError("Invalid timestamp: must be an integer Unix timestamp in the future.", param="expires_at")
    if ends is not None and last is not None and ends > last:
        raise StripeError("`expires_at` cannot be after the coupon's `redeem_by`.", param="expires_at")
    times, most = given.get("max_redemptions"), coupon["max_redemptions"]
    if times == 0:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="max_redemptions",
        )
    if times is not None and most is not None and times > most:
        raise StripeError(
            "`max_redemptions` cannot be greater than the coupon's `max_redemptions`.", param="max_redemptions"
        )


def _check_unique(account: Account, code: str, customer: str | None, but: str | None = None) -> None:
    """Among active codes, in whichever case: one that anybody may redeem is alone; else each customer has one."""
    for other in account.store.newest_first("promotion_code", text=code.lower()):
        shared = other["customer"] is None or customer is None or other["customer"] == customer
        if (
            shared
            and other["id"] != but
            and code_is_active(other, account.require("coupon", other["promotion"]["coupon"]), account.now)
        ):
            raise StripeError(
                f"An active promotion code with `code: {code}` already exists.",
                code="resource_already_exists",
                param="code",
            )


def _restrictions(given: Json) -> Json:
    if ("minimum_amount" in given) != ("minimum_amount_currency" in given):
        raise StripeError(
            "`minimum_amount` and `minimum_amount_currency` must be given together.",
            param="restrictions[minimum_amount_currency]",
        )
    currency = given["minimum_amount_currency"].lower() if "minimum_amount" in given else None
    return {
        "currency_options": _options({}, given.get("currency_options", {}), currency),
        "first_time_transaction": given.get("first_time_transaction", False),
        "minimum_amount": given.get("minimum_amount"),
        "minimum_amount_currency": currency,
    }


def _options(old: Json, given: Json, main: str | None) -> Json:
    if main in given:
        raise StripeError(
            "The keys of `currency_options` must be different from `minimum_amount_currency`.",
            param=f"restrictions[currency_options][{main}]",
        )
    return {**old, **given}


def _update(call: Call) -> Json:
    account, code, given = call.account, call.target("promotion_code"), call.params
    before = events.picture(account, code)
    changes: Json = {}
    if "active" in given:
        changes["active"] = given["active"]
    if "metadata" in given:
        changes["metadata"] = merged(code["metadata"], given["metadata"])
    if "restrictions" in given:
        held = code["restrictions"]
        options = given["restrictions"].get("currency_options", {})
        merged_options = _options(held["currency_options"], options, held["minimum_amount_currency"])
        changes["restrictions"] = {**held, "currency_options": merged_options}
    if given.get("active") and not before["active"]:
        _check_unique(account, code["code"], code["customer"], but=code["id"])
        coupon = account.require("coupon", code["promotion"]["coupon"])
        if not code_is_active({**code, "active": True}, coupon, account.now):
            raise StripeError("This promotion code cannot be activated: it has expired.", param="active")
    code = account.store.change(code, **changes)
    events.updated(account, "promotion_code.updated", code, before)
    return code


def _list(call: Call) -> Page:
    account, wanted = call.account, call.params
    written = wanted.get("code", "").lower()

    def keep(code: Json) -> bool:
        coupon = account.require("coupon", code["promotion"]["coupon"])
        return (
            fits(code, wanted, "customer")
            and wanted.get("coupon") in (None, coupon["id"])
            and written in ("", code["_text"])
            and wanted.get("active") in (None, code_is_active(code, coupon, account.now))
        )

    return page(call, "promotion_code", keep)


_PATH = "/v1/promotion_codes"
OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATE, ("promotion",)),
    Operation("GET", _PATH, _list, {**DATED, "active": flag, "code": text, "coupon": text, "customer": text}),
    Operation("GET", _PATH + "/{id}", lambda call: call.target("promotion_code")),
    Operation("POST", _PATH + "/{id}", _update, _UPDATE),
]
