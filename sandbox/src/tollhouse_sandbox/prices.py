"""Products and prices, as Stripe stores them; lookup keys belong to one price at a time."""

from decimal import Decimal
from typing import Any

from tollhouse_sandbox import currency_options, events, money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.store import Json

LONGEST = {"day": 1095, "week": 156, "month": 36, "year": 3}
"""How many intervals make the three years a period may last."""


def create_product(account: Account, **given: Any) -> Json:
    """Stores a product and emits `product.created`."""
    fields: Json = {
        "active": True,
        "default_price": None,
        "description": None,
        "images": [],
        "marketing_features": [],
        "metadata": {},
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": account.now,
        "url": None,
        **given,
    }
    product = account.born("product", **fields)
    events.emit(account, "product.created", product)
    return product


def create(account: Account, given: Json) -> Json:
    """Stores a price from checked parameters and emits `price.created`."""
    currency = given["currency"].lower()
    if len(currency) != 3 or not currency.isalpha():
        raise StripeError(f"Invalid currency: {currency}.", param="currency")
    product = _product(account, given)
    amount, amount_decimal = currency_options.amount(given)
    recurring = _recurring(given.get("recurring"))
    options = currency_options.checked(given.get("currency_options") or {}, currency)
    key = given.get("lookup_key")
    if key:
        claim(account, key, transfer=given.get("transfer_lookup_key", False))
    price = account.born(
        "price",
        active=given.get("active", True),
        billing_scheme="per_unit",
        currency=currency,
        custom_unit_amount=None,
        lookup_key=key,
        metadata=given.get("metadata") or {},
        nickname=given.get("nickname"),
        product=product,
        recurring=recurring,
        tax_behavior=given.get("tax_behavior", "unspecified"),
        tiers_mode=None,
        transform_quantity=None,
        type="recurring" if recurring else "one_time",
        unit_amount=amount,
        unit_amount_decimal=amount_decimal,
        _currency_options=options,
    )
    events.emit(account, "price.created", price)
    return price


def _product(account: Account, given: Json) -> str:
    if "product_data" in given:
        data = dict(given["product_data"])
        data["metadata"] = data.get("metadata") or {}
        return str(create_product(account, **data)["id"])
    if "product" not in given:
        raise StripeError("Missing required param: product.", code="parameter_missing", param="product")
    return str(account.require("product", given["product"], param="product")["id"])


def _recurring(given: Json | None) -> Json | None:
    if given is None:
        return None
    interval, count = given["interval"], given.get("interval_count", 1)
    if not 1 <= count <= LONGEST[interval]:
        raise StripeError(
            "You cannot create a price with a billing interval longer than three years.",
            code="parameter_invalid_integer",
            param="recurring[interval_count]",
        )
    return {
        "interval": interval,
        "interval_count": count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": given.get("usage_type", "licensed"),
    }


def claim(account: Account, key: str, *, transfer: bool) -> None:
    """Makes a lookup key free for its next price. Raises 400 if another one has it and `transfer` is not asked for."""
    for price in account.store.oldest_first("price", lookup_key=key):
        if not transfer:
            raise StripeError(
                f"A price (`{price['id']}`) already uses that lookup key. If you want to transfer it to this "
                "price, set `transfer_lookup_key` to true.",
                param="lookup_key",
            )
        before = events.picture(account, price)
        events.updated(account, "price.updated", account.store.change(price, lookup_key=None), before)


def cost(price: Json, quantity: int) -> int:
    """What this many of a price cost, in minor units."""
    return money.rounded(Decimal(price["unit_amount_decimal"]) * quantity)
