"""Coupons redeemed: which discounts a subscription or a page has, and what they take off a bill."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tollhouse_sandbox import ids, money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import months_later
from tollhouse_sandbox.store import Json


def usable(account: Account, coupon_id: str, currency: str, param: str) -> Json:
    """The coupon, if it can still be redeemed for something in this currency. Raises 400 otherwise."""
    coupon = account.require("coupon", coupon_id, param=param)
    if coupon.get("deleted"):
        raise missing("coupon", coupon_id, param=param, status=400)
    if not coupon["valid"] or (coupon["redeem_by"] or account.now) < account.now:
        raise StripeError(f"This coupon has expired: {coupon_id}", code="coupon_expired", param=param)
    if coupon["currency"] not in (None, currency):
        raise StripeError(
            f"The coupon {coupon_id} takes off an amount in {coupon['currency']}, and this is in {currency}.",
            param=param,
        )
    return coupon


def redeem(account: Account, coupon: Json, subscription: Json) -> Json:
    """Makes the coupon's discount on a subscription."""
    times = coupon["times_redeemed"] + 1
    used_up = coupon["max_redemptions"] is not None and times >= coupon["max_redemptions"]
    account.store.change(coupon, times_redeemed=times, valid=coupon["valid"] and not used_up)
    months = coupon["duration_in_months"]
    return account.store.put(
        {
            "id": ids.new("discount"),
            "object": "discount",
            "checkout_session": None,
            "customer": subscription["customer"],
            "customer_account": None,
            "end": months_later(account.now, months) if months else None,
            "invoice": None,
            "invoice_item": None,
            "promotion_code": None,
            "source": {"coupon": coupon["id"], "type": "coupon"},
            "start": account.now,
            "subscription": subscription["id"],
            "subscription_item": None,
            "_terms": terms(coupon),
        }
    )


def chosen(account: Account, subscription: Json, given: Iterable[Json]) -> list[str]:
    """The discounts that a request names: those the subscription has already, and new ones from coupons."""
    found = []
    for place, one in enumerate(given):
        if "discount" in one:
            if one["discount"] not in subscription["discounts"]:
                raise missing("discount", one["discount"], param=f"discounts[{place}][discount]", status=400)
            found.append(one["discount"])
        else:
            coupon = coupon_of(account, one, place, subscription["currency"])
            found.append(redeem(account, coupon, subscription)["id"])
    return found


def coupon_of(account: Account, given: Json, place: int, currency: str) -> Json:
    """The coupon that one entry of `discounts` names."""
    if "coupon" not in given:
        param = f"discounts[{place}][coupon]"
        raise StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)
    return usable(account, given["coupon"], currency, f"discounts[{place}][coupon]")


def terms(coupon: Json) -> Json:
    """What of a coupon decides about amounts; it stays, though the coupon be deleted."""
    return {name: coupon[name] for name in ("amount_off", "percent_off", "duration")}


@dataclass
class Taken:
    """What one discount takes off each line, by the line's place."""

    discount: str
    once: bool
    amounts: list[int]


def taken_off(amounts: Sequence[int], discounts: Sequence[tuple[str, Json]]) -> list[Taken]:
    """What the discounts, (id, terms) one after the other, take off lines of these amounts: never more than is left."""
    left = list(amounts)
    taken = []
    for discount, terms in discounts:
        total = sum(left)
        if terms["percent_off"] is not None:
            share = Decimal(str(terms["percent_off"])) / 100
            off = [money.rounded(amount * share) for amount in left]
        else:
            off = _spread(min(terms["amount_off"], total), left)
        left = [amount - less for amount, less in zip(left, off, strict=True)]
        taken.append(Taken(discount, terms["duration"] == "once", off))
    return taken


def _spread(amount: int, over: Sequence[int]) -> list[int]:
    """An amount over lines in proportion, to the last minor unit: what rounding leaves goes to the largest line."""
    total = sum(over)
    if not total:
        return [0 for _ in over]
    shares = [money.share(amount, part, total) for part in over]
    shares[over.index(max(over))] += amount - sum(shares)
    return shares


def running(account: Account, subscription: Json) -> list[Json]:
    """The subscription's discounts that are not over."""
    found = (account.require("discount", discount) for discount in subscription["discounts"])
    return [discount for discount in found if discount["end"] is None or account.now < discount["end"]]


def kept_share(account: Account, subscription: Json) -> Decimal:
    """What the discounts by percent that last leave of a price: prorations are made with it."""
    share = Decimal(1)
    for discount in running(account, subscription):
        percent = discount["_terms"]["percent_off"]
        if percent is not None and discount["_terms"]["duration"] != "once":
            share *= 1 - Decimal(str(percent)) / 100
    return share


def apply(account: Account, subscription: Json, lines: list[Json]) -> tuple[list[Json], list[Json]]:
    """The lines of a new bill with what is taken off each, and the sums; ends the discounts that are over by it.

    Prorations are not discounted again, and a bill of nothing uses up no discount.
    """
    discounts = running(account, account.require("subscription", subscription["id"]))
    amounts = [line["amount"] if line["discountable"] and line["amount"] > 0 else 0 for line in lines]
    if not sum(amounts):
        return lines, []
    taken = taken_off(amounts, [(discount["id"], discount["_terms"]) for discount in discounts])
    lines = [
        {
            **line,
            "discount_amounts": [
                {"amount": one.amounts[place], "discount": one.discount} for one in taken if one.amounts[place]
            ],
        }
        for place, line in enumerate(lines)
    ]
    once = {one.discount for one in taken if one.once}
    account.store.change(
        subscription, discounts=[discount["id"] for discount in discounts if discount["id"] not in once]
    )
    return lines, [{"amount": sum(one.amounts), "discount": one.discount} for one in taken]
