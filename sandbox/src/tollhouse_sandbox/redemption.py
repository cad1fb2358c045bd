"""Coupons and promotion codes redeemed: who may, for what, and what it makes and counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from tollhouse_sandbox import discounts, events, ids, money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import months_later
from tollhouse_sandbox.redeemable import code_is_active, coupon_is_valid
from tollhouse_sandbox.store import Json


@dataclass(frozen=True)
class Purchase:
    """What is to cost less: `subtotal` in minor units of `currency`, and the id of who buys, if that is known yet."""

    currency: str
    subtotal: int
    customer: str | None


@dataclass(frozen=True)
class Promotion:
    """A coupon, and the code it was asked for with, if it was one."""

    coupon: Json
    code: Json | None = None


def named(account: Account, given: Json, purchase: Purchase, param: str) -> Promotion:
    """The promotion that one entry of `discounts` names. Raises 400 when it cannot be redeemed for this purchase."""
    if "coupon" in given and "promotion_code" in given:
        raise StripeError("You may only specify one of these parameters: coupon, promotion_code.", param=param)
    if "promotion_code" in given:
        param = f"{param}[promotion_code]"
        code = account.require("promotion_code", given["promotion_code"], param=param)
        return _by_code(account, code, purchase, param)
    param = f"{param}[coupon]"
    if "coupon" not in given:
        raise StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)
    coupon = account.require("coupon", given["coupon"], param=param)
    if coupon.get("deleted"):
        raise missing("coupon", coupon["id"], param=param, status=400)
    return Promotion(_usable(account, coupon, purchase, param))


def typed(account: Account, text: str, purchase: Purchase) -> Promotion:
    """The promotion of a code that somebody typed, in whichever case. Raises 400 with a sentence they can read."""
    found = [
        code
        for code in account.store.newest_first("promotion_code", text=text.strip().lower())
        if code["customer"] in (None, purchase.customer)
    ]
    if not found:
        raise StripeError("This code is invalid.", code="resource_missing", param="code")
    # An old code of the same text may have been switched off for a newer one.
    found.sort(key=lambda code: not _is_active(account, code))
    return _by_code(account, found[0], purchase, "code")


def _is_active(account: Account, code: Json) -> bool:
    return code_is_active(code, account.require("coupon", code["promotion"]["coupon"]), account.now)


def _by_code(account: Account, code: Json, purchase: Purchase, param: str) -> Promotion:
    coupon = account.require("coupon", code["promotion"]["coupon"])
    if not code_is_active(code, coupon, account.now):
        raise StripeError("This promotion code has expired.", code="coupon_expired", param=param)
    if code["customer"] not in (None, purchase.customer):
        raise StripeError("This promotion code cannot be redeemed because it belongs to another customer.", param=param)
    restrictions = code["restrictions"]
    if restrictions["first_time_transaction"] and _has_bought(account, purchase.customer):
        raise StripeError(
            "This promotion code cannot be redeemed because the associated customer has prior transactions.",
            param=param,
        )
    _check_minimum(restrictions, purchase, param)
    return Promotion(_usable(account, coupon, purchase, param), code)


def _has_bought(account: Account, customer: str | None) -> bool:
    """Whether a customer has successful payments, or invoices that are not void."""
    if customer is None:
        return False
    paid = (charge["paid"] for charge in account.store.newest_first("charge", customer=customer))
    billed = (invoice["status"] != "void" for invoice in account.store.newest_first("invoice", customer=customer))
    return any(paid) or any(billed)


def _check_minimum(restrictions: Json, purchase: Purchase, param: str) -> None:
    minimums = {
        currency: option.get("minimum_amount", 0) for currency, option in restrictions["currency_options"].items()
    }
    if restrictions["minimum_amount"] is not None:
        minimums[restrictions["minimum_amount_currency"]] = restrictions["minimum_amount"]
    if not minimums:
        return
    minimum = minimums.get(purchase.currency)
    if minimum is None:
        raise StripeError(f"This promotion code cannot be redeemed for a purchase in {purchase.currency}.", param=param)
    if purchase.subtotal < minimum:
        least = money.written(minimum, purchase.currency)
        raise StripeError(
            f"This promotion code cannot be redeemed for less than its minimum amount of {least}.", param=param
        )


def _usable(account: Account, coupon: Json, purchase: Purchase, param: str) -> Json:
    if not coupon_is_valid(coupon, account.now):
        raise StripeError(f"This coupon has expired: {coupon['id']}", code="coupon_expired", param=param)
    amounts = discounts.terms(coupon)["amounts_off"]
    if amounts is not None and purchase.currency not in amounts:
        raise StripeError(
            f"The coupon {coupon['id']} takes off an amount in {', '.join(amounts)}, and this is in "
            f"{purchase.currency}.",
            param=param,
        )
    return coupon


def redeem(account: Account, promotion: Promotion, **holder: str | None) -> Json:
    """Makes a discount of `holder` (`subscription=…`, `checkout_session=…`, with their `customer`) and counts it."""
    coupon, code = promotion.coupon, promotion.code
    for counted in (coupon, code):
        if counted is not None:
            _count(account, counted)
    months = coupon["duration_in_months"]
    discount = account.store.put(
        {
            "id": ids.new("discount"),
            "object": "discount",
            "checkout_session": None,
            "customer": None,
            "customer_account": None,
            "end": months_later(account.now, months) if months else None,
            "invoice": None,
            "invoice_item": None,
            "promotion_code": code["id"] if code else None,
            "source": {"coupon": coupon["id"], "type": "coupon"},
            "start": account.now,
            "subscription": None,
            "subscription_item": None,
            **holder,
            "_terms": discounts.terms(coupon),
            "_over": False,
        }
    )
    if discount["subscription"]:  # the others end with the one bill they are of
        events.emit(account, "customer.discount.created", discount)
    return discount


def _count(account: Account, counted: Json) -> None:
    before = events.picture(account, counted)
    times = account.require(counted["object"], counted["id"])["times_redeemed"] + 1
    events.updated(account, f"{counted['object']}.updated", account.store.change(counted, times_redeemed=times), before)


def chosen(
    account: Account, held: Sequence[str], given: Sequence[Json], purchase: Purchase, param: str, **holder: str | None
) -> list[str]:
    """The discounts that an update names: some of those `held`, and new ones of `holder`. The others end."""
    found = []
    for place, one in enumerate(given):
        at = f"{param}[{place}]"
        if "discount" in one:
            if one["discount"] not in held:
                raise missing("discount", one["discount"], param=f"{at}[discount]", status=400)
            found.append(one["discount"])
        else:
            found.append(redeem(account, named(account, one, purchase, at), **holder)["id"])
    for discount in set(held) - set(found):
        discounts.end(account, account.require("discount", discount))
    return found
