"""What an invoice says: its lines, proration to the cent, its totals. Pure; amounts are minor units."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tollhouse_sandbox import money

Json = dict[str, Any]


def cost(price: Mapping[str, Any], quantity: int) -> int:
    """What this many of a price cost."""
    return money.rounded(Decimal(price["unit_amount_decimal"] or 0) * quantity)


def rate(price: Mapping[str, Any]) -> str:
    """How a price is written on a line: `€9.00 / month`."""
    amount = money.written(price["unit_amount"] or 0, price["currency"])
    recurring = price["recurring"]
    if not recurring:
        return amount
    count = recurring["interval_count"]
    every = recurring["interval"] if count == 1 else f"every {count} {recurring['interval']}s"
    return f"{amount} / {every}"


def pricing(price: Mapping[str, Any]) -> Json:
    """How a line and an invoice item name their price."""
    return {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def _line(
    pricing: Json, currency: str, quantity: int, amount: int, description: str | None, period: tuple[int, int]
) -> Json:
    return {
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "livemode": False,
        "metadata": {},
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": pricing,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subtotal": amount,
        "taxes": [],
    }


def subscription_line(
    subscription: Mapping[str, Any],
    item: Mapping[str, Any],
    price: Mapping[str, Any],
    product_name: str,
    *,
    free: bool = False,
    whole: int | None = None,
) -> Json:
    """The line of one subscription item for its current period; `free` while on trial.

    A period that is only a part of `whole` seconds, up to the day of billing, costs its share.
    """
    quantity = item["quantity"]
    period = (item["current_period_start"], item["current_period_end"])
    amount, written = cost(price, quantity), f"{quantity} × {product_name} (at {rate(price)})"
    if free:
        amount, written = 0, f"Free trial for {quantity} × {product_name}"
    partial = whole is not None and not free and period[1] - period[0] < whole
    if whole is not None and partial:
        amount = money.share(amount, period[1] - period[0], whole)
        written = f"Time on {quantity} × {product_name} from {_day(period[0])} until {_day(period[1])}"
    line = _line(pricing(price), price["currency"], quantity, amount, written, period)
    line["discounts"] = item["discounts"]
    line["metadata"] = subscription["metadata"]
    line["parent"] = _subscription_parent(subscription["id"], item["id"], proration=partial)
    return line


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y")


def _subscription_parent(
    subscription: str, item: str, *, proration: bool, ii: str | None = None, credited: Json | None = None
) -> Json:
    return {
        "type": "subscription_item_details",
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": ii,
            "proration": proration,
            "proration_details": {"credited_items": credited} if proration else None,
            "subscription": subscription,
            "subscription_item": item,
        },
    }


@dataclass(frozen=True)
class Debit:
    """What was billed for a time, less its discounts."""

    amount: int
    start: int
    end: int

    def unused(self, at: int) -> int:
        """Its share for the time from `at` on: never more than all of it."""
        whole = self.end - self.start
        return money.share(self.amount, min(max(0, self.end - at), whole), whole) if whole > 0 else 0


@dataclass(frozen=True)
class Proration:
    """The rest of a period, bought or given back: `amount` is negative for what is given back."""

    price: Mapping[str, Any]
    quantity: int
    amount: int
    description: str
    period: tuple[int, int]


def prorations(
    old: tuple[Mapping[str, Any], int, str] | None,
    new: tuple[Mapping[str, Any], int, str] | None,
    period: tuple[int, int],
    at: int,
    net: tuple[int | None, int | None] = (None, None),
    debit: Debit | None = None,
) -> list[Proration]:
    """What a change at `at` costs for the rest of `period`, to the second.

    `old` and `new` are (price, quantity, product name) before and after; None for an item that is added or removed.
    `net` is what each costs for the whole period where discounts make it less than the price. What is given back is
    the share of the `debit` that was billed (flexible billing), or of what the old side costs now (classic).
    The credit comes first, and both are rounded on their own, as Stripe writes them. A free side gives no line.
    """
    start, end = period
    left, whole = max(0, end - at), end - start
    day = _day(at)
    sides = (("Unused", old, net[0], -1), ("Remaining", new, net[1], 1))
    lines = []
    for word, side, costs, sign in sides:
        if side is None:
            continue
        price, quantity, name = side
        if debit and sign < 0:
            amount = -debit.unused(at)
        else:
            amount = sign * money.share(cost(price, quantity) if costs is None else costs, left, whole)
        if amount:
            written = f"{quantity} × {name}" if quantity > 1 else name
            lines.append(Proration(price, quantity, amount, f"{word} time on {written} after {day}", (at, end)))
    return lines


def invoice_item_line(item: Mapping[str, Any]) -> Json:
    """The line of an invoice item. A subscription's proration names the item it is of; other lines their item only."""
    period = (item["period"]["start"], item["period"]["end"])
    line = _line(item["pricing"], item["currency"], item["quantity"], item["amount"], item["description"], period)
    line["metadata"] = item["metadata"]
    line["discountable"] = item["discountable"]
    line["discounts"] = item["discounts"]
    generated = (item["parent"] or {}).get("subscription_details", {})
    if generated.get("subscription_item"):
        credited = (item["proration_details"] or {}).get("credited_items") or {}
        line["parent"] = _subscription_parent(
            generated["subscription"],
            generated["subscription_item"],
            proration=item["proration"],
            ii=item["id"],
            credited=credited.get("invoice_line_item_details"),
        )
    else:
        line["parent"] = {
            "type": "invoice_item_details",
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": generated.get("subscription"),
            },
            "subscription_item_details": None,
        }
    return line


def discount_of(line: Mapping[str, Any]) -> int:
    """What all discounts together take off a line."""
    return sum(taken["amount"] for taken in line["discount_amounts"])


@dataclass(frozen=True)
class Totals:
    """`balance` is what the customer's balance becomes: negative is credit they have with the merchant."""

    total: int
    amount_due: int
    balance: int


def totals(lines: Iterable[Mapping[str, Any]], balance: int) -> Totals:
    """Adds the lines up and applies the customer's balance.

    Credit is used up first; a negative total becomes credit; a debt (positive balance) is collected with this invoice.
    """
    total = sum(line["amount"] - discount_of(line) for line in lines)
    owed = total + balance
    return Totals(total, max(0, owed), min(0, owed))
