"""Discounts: which ones a subscription has, and what they take off a bill. `redemption` makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tollhouse_sandbox import money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.store import Json


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


def _discountable(line: Json) -> int:
    return line["amount"] if line["discountable"] and line["amount"] > 0 else 0


def discounted(lines: list[Json], given: Sequence[tuple[str, Json]]) -> tuple[list[Json], list[Taken]]:
    """Lines with what the discounts, (id, terms), take off each. Prorations are not discounted again."""
    amounts = [_discountable(line) for line in lines]
    taken = taken_off(amounts, given) if sum(amounts) else []
    return [
        {
            **line,
            "discount_amounts": [
                {"amount": one.amounts[place], "discount": one.discount} for one in taken if one.amounts[place]
            ],
        }
        for place, line in enumerate(lines)
    ], taken


def apply(account: Account, subscription: Json, lines: list[Json]) -> tuple[list[Json], list[Json]]:
    """The lines of a new bill with what is taken off each, and the sums; ends the discounts that are over by it.

    A bill of nothing uses up no discount.
    """
    discounts = running(account, account.require("subscription", subscription["id"]))
    lines, taken = discounted(lines, [(discount["id"], discount["_terms"]) for discount in discounts])
    if any(map(_discountable, lines)):
        once = {one.discount for one in taken if one.once}
        account.store.change(
            subscription, discounts=[discount["id"] for discount in discounts if discount["id"] not in once]
        )
    return lines, [{"amount": sum(one.amounts), "discount": one.discount} for one in taken]
