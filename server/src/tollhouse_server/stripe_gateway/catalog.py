"""Reads what Stripe has of a catalog, and does there what `catalog_plan` found missing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import stripe

from ..domain.catalog import Catalog
from .catalog_plan import (
    Do,
    FoundFeature,
    FoundPrice,
    FoundProduct,
    InStripe,
    Kind,
    Step,
    feature_key,
    price_parameters,
    product_id,
    said_of_price,
    said_of_product,
)
from .client import stripe_errors

_KEYS_AT_ONCE = 10
"""As many lookup keys as Stripe lets be asked for."""
_IDS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class StripePrice:
    """Where one of the catalog's prices lies in Stripe."""

    lookup_key: str
    price_id: str
    product_id: str


async def read_catalog(client: stripe.StripeClient, catalog: Catalog) -> InStripe:
    """What Stripe has under the names that the catalog uses. Raises StripeUnavailable, StripeRefused."""
    with stripe_errors():
        return InStripe(
            features=await _features(client, [feature_key(catalog, code) for code in catalog.features]),
            products=await _products(client, [product_id(catalog, code) for code in catalog.products]),
            prices=await _prices(client, list(catalog.prices)),
            counted=await _counted(client, [id_ for one in catalog.products.values() for id_ in one.stripe_prices]),
        )


async def apply_steps(
    client: stripe.StripeClient, catalog: Catalog, there: InStripe, todo: Iterable[Step]
) -> tuple[StripePrice, ...]:
    """Does the steps that come before the catalog is published; where its prices lie then.

    May be run again after any failure, with what was read and decided anew. A price never changes in Stripe: another
    amount is a new price, which takes the lookup key over. Raises StripeUnavailable, StripeRefused.
    """
    features = {key: found.id for key, found in there.features.items()}
    prices = {key: found.id for key, found in there.prices.items()}
    with stripe_errors():
        for step in todo:
            if not _waits(step):
                await _do(client, step, features, prices)
    return tuple(
        StripePrice(key, prices[key], product_id(catalog, price.product)) for key, price in catalog.prices.items()
    )


async def archive_prices(client: stripe.StripeClient, todo: Iterable[Step]) -> list[str]:
    """Does the steps that wait until the catalog is published: takes prices off sale; subscriptions go on.

    Returns the prices' ids.
    """
    done = []
    with stripe_errors():
        for step in filter(_waits, todo):
            assert step.stripe_id is not None
            await client.v1.prices.update_async(step.stripe_id, {"active": False})
            done.append(step.stripe_id)
    return done


def _waits(step: Step) -> bool:
    return (step.do, step.kind) == (Do.ARCHIVE, Kind.PRICE)


async def _do(client: stripe.StripeClient, step: Step, features: dict[str, str], prices: dict[str, str]) -> None:
    """One step; what it made is entered in `features` or `prices`, by lookup key."""
    v1, asked, id_ = client.v1, {**step.after}, step.stripe_id or ""
    made: Any
    match step.do, step.kind:
        case Do.CREATE, Kind.FEATURE:
            made = await v1.entitlements.features.create_async({"lookup_key": step.name, "name": asked["name"]})
            features[step.name] = made.id
        case Do.CHANGE, Kind.FEATURE:
            await v1.entitlements.features.update_async(id_, {"name": asked["name"]})
        case Do.CREATE, Kind.PRODUCT:
            await v1.products.create_async({"id": step.name, **asked})  # type: ignore[typeddict-item]
        case Do.CHANGE, Kind.PRODUCT:
            await v1.products.update_async(id_, asked)  # type: ignore[arg-type]
        case Do.CREATE, Kind.ATTACHMENT:
            await v1.products.features.create_async(step.product or "", {"entitlement_feature": features[step.name]})
        case Do.ARCHIVE, Kind.ATTACHMENT:
            await v1.products.features.delete_async(step.product or "", id_)
        case Do.CREATE, Kind.PRICE:
            made = await v1.prices.create_async(_parameters(step))  # type: ignore[arg-type]
            prices[step.name] = made.id
        case _:
            await v1.prices.update_async(id_, price_parameters(step.after))  # type: ignore[arg-type]


def _parameters(step: Step) -> Mapping[str, Any]:
    return {**price_parameters(step.after), "lookup_key": step.name, "transfer_lookup_key": True, "nickname": step.name}


@dataclass(frozen=True, slots=True)
class PriceShown:
    """A Stripe price for people: what it costs, and what Stripe calls what is sold."""

    id: str
    product: str
    amount: int | None
    """Minor units; None where it depends on the quantity (tiers)."""
    currency: str
    interval: str | None
    interval_count: int
    lookup_key: str | None


async def show_prices(client: stripe.StripeClient, ids: Iterable[str]) -> dict[str, PriceShown]:
    """By id; without those that Stripe does not know. Raises StripeUnavailable, StripeRefused."""
    shown = {}
    with stripe_errors():
        for id_ in ids:
            try:
                one = (await client.v1.prices.retrieve_async(id_, {"expand": ["product"]})).to_dict()
            except stripe.InvalidRequestError as missing:
                if missing.code != "resource_missing":
                    raise
                continue
            each = one["recurring"] or {"interval": None, "interval_count": 1}
            name = one["product"].get("name", one["product"]["id"])  # a deleted one says nothing else
            money = one["unit_amount"], one["currency"]
            shown[id_] = PriceShown(id_, name, *money, each["interval"], each["interval_count"], one["lookup_key"])
    return shown


async def _features(client: stripe.StripeClient, keys: Sequence[str]) -> dict[str, FoundFeature]:
    found = {}
    for key in keys:
        listed = await client.v1.entitlements.features.list_async({"lookup_key": key, "limit": 1})
        if listed.data:
            found[key] = FoundFeature(listed.data[0].id, listed.data[0].name)
    return found


async def _products(client: stripe.StripeClient, ids: Sequence[str]) -> dict[str, FoundProduct]:
    found = {}
    for some in _some(ids, _IDS_AT_ONCE):
        listed = await client.v1.products.list_async({"ids": some, "limit": _IDS_AT_ONCE})
        for one in listed.data:
            attached = await client.v1.products.features.list_async(one.id, {"limit": 100})
            features = {each.entitlement_feature.lookup_key: each.id async for each in attached.auto_paging_iter()}
            found[one.id] = FoundProduct(one.id, said_of_product(one), features)
    return found


async def _prices(client: stripe.StripeClient, keys: Sequence[str]) -> dict[str, FoundPrice]:
    """With those that are archived: one may come back."""
    found: dict[str, FoundPrice] = {}
    for some in _some(keys, _KEYS_AT_ONCE):
        listed = await client.v1.prices.list_async(
            {"lookup_keys": some, "limit": _KEYS_AT_ONCE, "expand": ["data.currency_options"]}
        )
        found |= {one.lookup_key or "": _found(one) for one in listed.data}
    return found


async def _counted(client: stripe.StripeClient, ids: Sequence[str]) -> dict[str, FoundPrice]:
    found = {}
    for id_ in ids:
        try:
            found[id_] = _found(await client.v1.prices.retrieve_async(id_, {"expand": ["currency_options"]}))
        except stripe.InvalidRequestError as missing:
            if missing.code != "resource_missing":
                raise
    return found


def _found(price: stripe.Price) -> FoundPrice:
    return FoundPrice(price.id, said_of_price(price), price.active, price.lookup_key)


def _some(all_: Sequence[str], most: int) -> Iterator[list[str]]:
    for start in range(0, len(all_), most):
        yield list(all_[start : start + most])
