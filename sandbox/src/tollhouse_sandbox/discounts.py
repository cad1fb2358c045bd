"""Discounts: what they take off a bill, and when they are over. `redemption` makes them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tollhouse_sandbox import currency_options, events, money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.lifecycle import has_ended
from tollhouse_sandbox.store import Json


def terms(coupon: Json) -> Json:
    """What of a coupon decides about amounts; it stays, though the coupon be changed or deleted.

    `amounts_off` says by currency what is taken off, unless it is `percent_off`; `products` are all if None.
    """
    options = {currency: option["amount_off"] for currency, option in (coupon["_currency_options"] or {}).items()}
    by_amount = coupon["amount_off"] is not None
    return {
        "amounts_off": {**options, coupon["currency"]: coupon["amount_off"]} if by_amount else None,
        "duration": coupon["duration"],
        "percent_off": coupon["percent_off"],
        "products": coupon["_products"],
    }


class Cost(NamedTuple):
    """What can cost less: an amount that is not negative, of a product (None: of none that is known)."""

    amount: int
    product: str | None


class Given(NamedTuple):
    """A discount by its id and terms. `place` is that of the one line it is for; None: for all."""

    discount: str
    terms: Mapping[str, Any]
    place: int | None = None


@dataclass(frozen=True)
class Taken:
    """What one discount takes off each line, by the line's place. `of_line`: it is one line's own."""

    discount: str
    once: bool
    of_line: bool
    amounts: list[int]

    @property
    def total(self) -> int:
        return sum(self.amounts)


def taken_off(costs: Sequence[Cost], discounts: Iterable[Given], currency: str) -> list[Taken]:
    """What discounts take off lines, one after the other: each of what is left, never more than that.

    Those for one line come first, as Stripe applies them.
    """
    left = [cost.amount for cost in costs]
    taken = []
    for discount, terms, place in sorted(discounts, key=lambda each: each.place is None):
        chosen = terms["products"]
        counts = [place in (None, at) and (chosen is None or cost.product in chosen) for at, cost in enumerate(costs)]
        base = [amount if counted else 0 for amount, counted in zip(left, counts, strict=True)]
        if terms["percent_off"] is not None:
            share = Decimal(str(terms["percent_off"])) / 100
            off = [money.rounded(amount * share) for amount in base]
        else:
            off = _spread(min(terms["amounts_off"].get(currency, 0), sum(base)), base)
        left = [amount - less for amount, less in zip(left, off, strict=True)]
        taken.append(Taken(discount, terms["duration"] == "once", place is not None, off))
    return taken


def _spread(amount: int, over: Sequence[int]) -> list[int]:
    """An amount, at most the sum of the lines, over them in proportion: each gives nothing to all of itself."""
    total = sum(over)
    if not total:
        return [0 for _ in over]
    shares = [amount * part // total for part in over]
    by_remainder = sorted(range(len(over)), key=lambda place: -(amount * over[place] % total))
    for place in by_remainder[: amount - sum(shares)]:
        shares[place] += 1
    return shares


def discounted(lines: list[Json], given: Sequence[Given], currency: str) -> tuple[list[Json], list[Taken]]:
    """Lines of a bill with what the discounts take off each. Prorations are not discounted again."""
    costs = [Cost(max(0, line["amount"]) if line["discountable"] else 0, _product(line)) for line in lines]
    taken = taken_off(costs, given, currency) if any(cost.amount for cost in costs) else []
    return [
        {
            **line,
            "discount_amounts": [
                {"amount": one.amounts[place], "discount": one.discount} for one in taken if one.amounts[place]
            ],
        }
        for place, line in enumerate(lines)
    ], taken


def _product(line: Json) -> str | None:
    details = (line["pricing"] or {}).get("price_details") or {}
    product: str | None = details.get("product")
    return product


def totals(taken: Iterable[Taken]) -> list[Json]:
    """What an invoice says of its discounts."""
    return [{"amount": one.total, "discount": one.discount} for one in taken]


def running(account: Account, discounts: Iterable[str]) -> list[Json]:
    """Those of these discounts that are not over."""
    found = (account.require("discount", discount) for discount in discounts)
    return [discount for discount in found if discount["end"] is None or account.now < discount["end"]]


def given_to(account: Account, holder: Json, lines: Sequence[Json]) -> list[Given]:
    """The discounts of a subscription or an invoice, after those of each of its lines. A bill keeps what it had."""

    def found(named: Iterable[str]) -> list[Json]:
        if holder["object"] == "invoice":
            return [account.require("discount", discount) for discount in named]
        return running(account, named)

    own = [
        Given(discount["id"], discount["_terms"], place)
        for place, line in enumerate(lines)
        for discount in found(line["discounts"])
    ]
    return [*own, *(Given(each["id"], each["_terms"]) for each in found(holder["discounts"]))]


def apply(account: Account, subscription: Json, lines: list[Json]) -> tuple[list[Json], list[Taken]]:
    """The lines of a subscription's new bill with what is taken off each; ends the discounts that are used up by it."""
    subscription = account.require("subscription", subscription["id"])
    lines, taken = discounted(lines, given_to(account, subscription, lines), subscription["currency"])
    for one in taken:
        if one.once and one.total:
            end(account, account.require("discount", one.discount))
    return lines, taken


def net_costs(account: Account, subscription: Json) -> dict[str, int]:
    """What each item costs for a whole period, less the discounts that last: prorations are made with it."""
    items = subscription["items"]
    priced = [currency_options.charged(account, item["price"], subscription["currency"]) for item in items]
    costs = [
        Cost(money.rounded(Decimal(price["unit_amount_decimal"] or 0) * item["quantity"]), price["product"])
        for price, item in zip(priced, items, strict=True)
    ]
    lasting = [each for each in given_to(account, subscription, items) if each.terms["duration"] != "once"]
    taken = taken_off(costs, lasting, subscription["currency"])
    return {
        item["id"]: cost.amount - sum(one.amounts[place] for one in taken)
        for place, (item, cost) in enumerate(zip(items, costs, strict=True))
    }


def end(account: Account, discount: Json) -> None:
    """Takes a discount away from what has it. That its subscription has changed is for the caller to tell."""
    subscription = account.store.get("subscription", discount["subscription"] or "")
    if subscription is not None:
        account.store.change(
            subscription,
            discounts=_without(subscription["discounts"], discount),
            items=[{**item, "discounts": _without(item["discounts"], discount)} for item in subscription["items"]],
        )
    discount = account.store.change(discount, _over=True)
    if subscription is not None:
        events.emit(account, "customer.discount.deleted", discount)


def _without(discounts: Sequence[str], discount: Json) -> list[str]:
    return [each for each in discounts if each != discount["id"]]


def expire(account: Account, discount: Json) -> None:
    """The day a discount for some months is over."""
    subscription = account.store.get("subscription", discount["subscription"] or "")
    if subscription is None or has_ended(subscription["status"]):
        account.store.change(discount, _over=True)
        return
    before = events.picture(account, subscription)
    end(account, discount)
    events.updated(account, "customer.subscription.updated", subscription, before)
