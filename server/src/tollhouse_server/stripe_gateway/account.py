"""Reads what a Stripe account sells, whoever made it: every product with its features and prices."""

from collections import defaultdict
from typing import Any

import stripe

from ..domain.account_catalog import AccountPrice, AccountProduct
from .catalog_plan import PRODUCT
from .client import stripe_errors
from .fetch import PAGE
from .parse import PROJECT


async def read_account(client: stripe.StripeClient) -> list[AccountProduct]:
    """Oldest first, the archived ones too. Raises StripeUnavailable, StripeRefused."""
    v1 = client.v1
    with stripe_errors():
        prices: dict[str, list[AccountPrice]] = defaultdict(list)
        listed_prices = await v1.prices.list_async({"limit": PAGE})
        async for price in listed_prices.auto_paging_iter():
            prices[str(price.product)].insert(0, _price(price.to_dict()))
        listed = await v1.products.list_async({"limit": PAGE})
        products = [one.to_dict() async for one in listed.auto_paging_iter()]
        return [
            AccountProduct(
                id=one["id"],
                name=one["name"],
                active=one["active"],
                prices=tuple(prices[one["id"]]),
                features=await _features(client, one["id"]),
                project=one["metadata"].get(PROJECT),
                code=one["metadata"].get(PRODUCT),
            )
            for one in reversed(products)
        ]


async def _features(client: stripe.StripeClient, product_id: str) -> dict[str, str]:
    listed = await client.v1.products.features.list_async(product_id, {"limit": PAGE})
    return {one.entitlement_feature.lookup_key: one.entitlement_feature.name async for one in listed.auto_paging_iter()}


def _price(raw: dict[str, Any]) -> AccountPrice:
    each = raw["recurring"] or {}
    by_use = each.get("usage_type") == "metered"
    return AccountPrice(
        id=raw["id"],
        lookup_key=raw["lookup_key"],
        active=raw["active"],
        amount=None if by_use else raw["unit_amount"],
        currency=raw["currency"],
        interval=each.get("interval"),
        interval_count=each.get("interval_count", 1),
        trial_days=each.get("trial_period_days"),
    )
