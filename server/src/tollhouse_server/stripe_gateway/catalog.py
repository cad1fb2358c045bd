"""Makes a catalog's features, products and prices in Stripe: what is there already is found, not made twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import stripe

from ..domain.catalog import Catalog, Feature, Price, Product
from .client import stripe_errors
from .parse import PROJECT

PRODUCT = "tollhouse_product"
PRODUCT_ID_PREFIX = "tollhouse_"
"""Stripe lets the maker of a product choose its id: a second try finds what the first one made."""


@dataclass(frozen=True, slots=True)
class StripePrice:
    """Where one of the catalog's prices lies in Stripe."""

    lookup_key: str
    price_id: str
    product_id: str


@dataclass(frozen=True, slots=True)
class Applied:
    prices: tuple[StripePrice, ...]
    done: tuple[str, ...]
    """What had to be done, each a sentence; empty where Stripe had it all."""


async def apply_catalog(client: stripe.StripeClient, catalog: Catalog) -> Applied:
    """Brings Stripe to the catalog. May be run again after any failure: each step looks before it makes.

    A price never changes in Stripe: another amount is a new price, which takes the lookup key over; the old one is
    archived and goes on for those who have it. Raises StripeUnavailable, StripeRefused.
    """
    done: list[str] = []
    with stripe_errors():
        features = {f.code: await _feature(client, catalog, f, done) for f in catalog.features.values()}
        products = {p.code: await _product(client, catalog, p, done) for p in catalog.products.values()}
        for product in catalog.products.values():
            await _attach(client, products[product.code], [features[code] for code in product.opens], done, product)
        prices = [await _price(client, price, products[price.product], done) for price in catalog.prices.values()]
    return Applied(tuple(prices), tuple(done))


async def archive_prices(client: stripe.StripeClient, price_ids: list[str]) -> None:
    """Takes prices off sale; subscriptions that have them go on."""
    with stripe_errors():
        for price_id in price_ids:
            await client.v1.prices.update_async(price_id, {"active": False})


async def _feature(client: stripe.StripeClient, catalog: Catalog, feature: Feature, done: list[str]) -> str:
    key = f"{catalog.project}.{feature.code}"
    found = await client.v1.entitlements.features.list_async({"lookup_key": key, "limit": 1})
    if found.data:
        return found.data[0].id
    made = await client.v1.entitlements.features.create_async({"lookup_key": key, "name": feature.name})
    done.append(f"created feature {key}")
    return made.id


async def _product(client: stripe.StripeClient, catalog: Catalog, product: Product, done: list[str]) -> str:
    product_id = f"{PRODUCT_ID_PREFIX}{catalog.project}_{product.code}"
    metadata = {PROJECT: catalog.project, PRODUCT: product.code}
    try:
        found = await client.v1.products.retrieve_async(product_id)
    except stripe.InvalidRequestError as missing:
        if missing.code != "resource_missing":
            raise
        await client.v1.products.create_async({"id": product_id, "name": product.name, "metadata": metadata})
        done.append(f"created product {product_id}")
        return product_id
    if found.name != product.name or not found.active:
        await client.v1.products.update_async(product_id, {"name": product.name, "active": True})
        done.append(f"updated product {product_id}")
    return product_id


async def _attach(
    client: stripe.StripeClient, product_id: str, feature_ids: list[str], done: list[str], product: Product
) -> None:
    """So that Stripe's own entitlements say the same for whoever looks there."""
    listed = await client.v1.products.features.list_async(product_id, {"limit": 100})
    attached = [one async for one in listed.auto_paging_iter()]
    for one in attached:
        if one.entitlement_feature.id not in feature_ids:
            await client.v1.products.features.delete_async(product_id, one.id)
            done.append(f"detached feature {one.entitlement_feature.lookup_key} from product {product_id}")
    present = {one.entitlement_feature.id for one in attached}
    for code, feature_id in zip(product.opens, feature_ids, strict=True):
        if feature_id not in present:
            await client.v1.products.features.create_async(product_id, {"entitlement_feature": feature_id})
            done.append(f"attached feature {code} to product {product_id}")


async def _price(client: stripe.StripeClient, price: Price, product_id: str, done: list[str]) -> StripePrice:
    found = await client.v1.prices.list_async({"lookup_keys": [price.lookup_key], "limit": 1})
    current = found.data[0] if found.data else None
    if current is not None and _says(current, price, product_id):
        if not current.active:
            await client.v1.prices.update_async(current.id, {"active": True})
            done.append(f"reactivated price {price.lookup_key}")
        return StripePrice(price.lookup_key, current.id, product_id)
    made = await client.v1.prices.create_async(_parameters(price, product_id))  # type: ignore[arg-type]
    if current is None:
        done.append(f"created price {price.lookup_key}")
    else:
        await client.v1.prices.update_async(current.id, {"active": False})
        done.append(f"replaced price {price.lookup_key}: whoever has the old one keeps it")
    return StripePrice(price.lookup_key, made.id, product_id)


def _says(current: stripe.Price, price: Price, product_id: str) -> bool:
    """Whether Stripe's price is what the catalog says."""
    recurring = current.recurring
    interval = (recurring.interval, recurring.interval_count) if recurring else (None, 1)
    return (
        current.unit_amount == price.money.amount
        and current.currency == price.money.currency
        and interval == (price.interval, price.interval_count)
        and current.product == product_id
    )


def _parameters(price: Price, product_id: str) -> Mapping[str, Any]:
    parameters: dict[str, Any] = {
        "product": product_id,
        "currency": price.money.currency,
        "unit_amount": price.money.amount,
        "lookup_key": price.lookup_key,
        "transfer_lookup_key": True,
        "nickname": price.lookup_key,
    }
    if price.interval is not None:
        parameters["recurring"] = {"interval": price.interval, "interval_count": price.interval_count}
    return parameters
