"""What a price is worth a month in a currency, and which prices must be read to tell."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..domain.billing import monthly
from ..domain.catalog import Interval
from .parse import Raw, Shape


class _Recurring(Shape):
    interval: Interval
    interval_count: int
    usage_type: str


class _Option(Shape):
    unit_amount_decimal: Any = None


class _Price(Shape):
    id: str
    currency: str
    unit_amount_decimal: Any = None  # the library makes it a Decimal; None where the price has tiers
    recurring: _Recurring | None
    currency_options: dict[str, _Option] | None = None

    def monthly(self, quantity: int, currency: str) -> Fraction | None:
        """A quantity's worth a month; None of what is metered, bought once, or priced in tiers."""
        every, cost = self.recurring, self.unit_amount_decimal
        if currency != self.currency:
            option = (self.currency_options or {}).get(currency)
            cost = option.unit_amount_decimal if option else None
        if every is None or every.usage_type == "metered" or cost is None:
            return None
        return monthly(Fraction(str(cost)) * quantity, every.interval, every.interval_count)


def monthly_worth(prices: Mapping[str, Raw], price: str | None, quantity: int | None, currency: str) -> Fraction | None:
    """What so many of a price are worth a month, in minor units of the currency; None where that has no meaning."""
    known = prices.get(price or "")
    return _Price.model_validate(known).monthly(1 if quantity is None else quantity, currency) if known else None


def subscription_of(invoice: Raw) -> str | None:
    """The subscription that an invoice bills."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return details["subscription"] if details else None


def prices_of(subscriptions: Sequence[Raw], invoices: Sequence[Raw]) -> tuple[dict[str, Raw], set[tuple[str, str]]]:
    """The prices that subscriptions show, by id, and those to be asked for, each with the currency it is needed in.

    The latter are named by bills alone, or charged in a currency that is not their own: shown within something else a
    price says only what it costs in its own.
    """
    priced = [(item["price"]["id"], one["currency"], item["price"]) for one in subscriptions for item in one["items"]]
    shown = {price_id: price for price_id, _, price in priced}
    lines = ((line, one["currency"]) for one in invoices if subscription_of(one) for line in one["lines"])
    billed = {(price, currency) for line, currency in lines if item_of(line) and (price := price_of(line))}
    needed = billed | {(price_id, currency) for price_id, currency, _ in priced}
    return shown, {(price, currency) for price, currency in needed if not costs_in(shown.get(price), currency)}


def costs_in(price: Raw | None, currency: str) -> bool:
    """Whether the price, as it was read, says what it costs in the currency."""
    return price is not None and (currency == price["currency"] or currency in (price.get("currency_options") or {}))


def item_of(line: Raw) -> Raw | None:
    return (line["parent"] or {}).get("subscription_item_details")


def price_of(line: Raw) -> str | None:
    details = (line.get("pricing") or {}).get("price_details")
    return details["price"] if details else None
