"""What must be done in Stripe so that it has what a catalog says: decided from what was read, nothing is asked here.

What a product or a price must say is written once, in `product_says` and `price_says`, and what Stripe's object says of
it in `said_of_product` and `said_of_price`, under Stripe's own names. What differs is a change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import stripe

from ..domain.catalog import Catalog, Price, Product
from .parse import PROJECT

PRODUCT = "tollhouse_product"
PRODUCT_ID_PREFIX = "tollhouse_"
"""Stripe lets the maker of a product choose its id: a second try finds what the first one made."""

Says = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FoundFeature:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class FoundProduct:
    id: str
    says: Says
    attached: Mapping[str, str]
    """The lookup key of each feature it opens, and the id under which it is attached."""


@dataclass(frozen=True, slots=True)
class FoundPrice:
    id: str
    says: Says
    active: bool
    lookup_key: str | None


@dataclass(frozen=True, slots=True)
class InStripe:
    """What Stripe has under the names that the catalog uses; what is not there is missing here."""

    features: Mapping[str, FoundFeature]
    products: Mapping[str, FoundProduct]
    prices: Mapping[str, FoundPrice]
    """The holder of each lookup key."""
    counted: Mapping[str, FoundPrice]
    """By id, those that the catalog counts as its products' and does not sell."""


class Do(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    ARCHIVE = "archive"


class Kind(StrEnum):
    FEATURE = "feature"
    PRODUCT = "product"
    ATTACHMENT = "attachment"
    """Of a feature to a product, so that Stripe's own entitlements say the same for whoever looks there."""
    PRICE = "price"


@dataclass(frozen=True, slots=True)
class Step:
    """One request that changes something at Stripe."""

    do: Do
    kind: Kind
    name: str
    """The lookup key of a feature or price, the id of a product."""
    after: Says = field(default_factory=dict)
    """What Stripe is asked to make it say."""
    before: Says = field(default_factory=dict)
    """What the object, or the price that this one takes over from, says of the same now."""
    stripe_id: str | None = None
    """The object that is changed or archived, or taken over from."""
    product: str | None = None
    """The product that a feature is attached to or detached from."""

    @property
    def said(self) -> str:
        """As a sentence, for when it is done."""
        match self.do, self.kind:
            case Do.CREATE, Kind.ATTACHMENT:
                return f"attached feature {self.name} to product {self.product}"
            case Do.ARCHIVE, Kind.ATTACHMENT:
                return f"detached feature {self.name} from product {self.product}"
            case Do.CREATE, Kind.PRICE if self.stripe_id is not None:
                return f"replaced price {self.name}: whoever has the old one keeps it"
            case Do.CHANGE, Kind.PRICE if "active" in self.after:
                return f"reactivated price {self.name}"
            case Do.ARCHIVE, Kind.PRICE:
                return f"archived price {self.stripe_id}: it is sold no longer"
            case Do.CREATE, kind:
                return f"created {kind} {self.name}"
            case _, kind:
                return f"updated {kind} {self.name}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def product_id(catalog: Catalog, code: str) -> str:
    return f"{PRODUCT_ID_PREFIX}{catalog.project}_{code}"


def feature_key(catalog: Catalog, code: str) -> str:
    return f"{catalog.project}.{code}"


def product_says(product: Product) -> Says:
    """What Stripe's product must say, by Stripe's names."""
    tax = {} if product.tax_code is None else {"tax_code": product.tax_code}
    return {"name": product.name, "active": True, **tax}


def said_of_product(found: stripe.Product) -> Says:
    """The same of the product that is there."""
    tax_code = found.tax_code if isinstance(found.tax_code, str) or found.tax_code is None else found.tax_code.id
    return {"name": found.name, "active": found.active, "tax_code": tax_code}


def price_says(price: Price, stripe_product: str) -> Says:
    """What Stripe's price must say, by Stripe's names. What of it cannot change is another price.

    What the catalog leaves out (`tax_behavior`, a currency) may be there as somebody else made it.
    """
    recurring = None
    if price.interval is not None:
        recurring = {"interval": price.interval, "interval_count": price.interval_count}
    return {
        "product": stripe_product,
        "currency": price.money.currency,
        "unit_amount": price.money.amount,
        "recurring": recurring,
        "currency_options": dict(price.currency_options),
        "tax_behavior": price.tax_behavior and str(price.tax_behavior),
    }


def price_parameters(says: Says) -> dict[str, Any]:
    """How Stripe is asked to have a price say this."""
    asked = {name: value for name, value in says.items() if value not in (None, {})}
    if "currency_options" in asked:
        tax = {"tax_behavior": asked["tax_behavior"]} if "tax_behavior" in asked else {}
        asked["currency_options"] = {
            currency: {"unit_amount": cost, **tax} for currency, cost in asked["currency_options"].items()
        }
    return asked


def said_of_price(found: stripe.Price) -> Says:
    """The same of the price that is there, which must show its currency options."""
    recurring = found.recurring
    options = found.to_dict().get("currency_options") or {}
    return {
        "product": found.product,
        "currency": found.currency,
        "unit_amount": found.unit_amount,
        "recurring": recurring and {"interval": recurring.interval, "interval_count": recurring.interval_count},
        "currency_options": {
            currency: option["unit_amount"] for currency, option in options.items() if currency != found.currency
        },
        "tax_behavior": found.tax_behavior,
    }


_NEVER_CHANGES = ("product", "currency", "unit_amount", "recurring")


def is_another_price(says: Says, wanted: Says) -> bool:
    """Whether a price that says this cannot be made to say what is wanted: Stripe only lets it be said more."""
    told: Mapping[str, int | None] = says["currency_options"]
    costs_otherwise = any(told.get(currency, cost) != cost for currency, cost in wanted["currency_options"].items())
    taxed_otherwise = wanted["tax_behavior"] not in (None, says["tax_behavior"])
    return (
        any(says[name] != wanted[name] for name in _NEVER_CHANGES)
        or costs_otherwise
        or (taxed_otherwise and says["tax_behavior"] not in (None, "unspecified"))
    )


def _said_more(says: Says, wanted: Says) -> Says:
    """What a price that may stay has yet to say."""
    further = {
        currency: cost
        for currency, cost in wanted["currency_options"].items()
        if currency not in says["currency_options"]
    }
    taxed = wanted["tax_behavior"] not in (None, says["tax_behavior"])
    return {
        **({"currency_options": further} if further else {}),
        **({"tax_behavior": wanted["tax_behavior"]} if taxed else {}),
    }


def steps(catalog: Catalog, there: InStripe, on_sale: Mapping[str, str]) -> tuple[Step, ...]:
    """What is to be done, in its order; empty where Stripe has it all.

    `on_sale` are our prices that Stripe sells, price id → lookup key. Those that the catalog does not sell are archived
    last of all: until the new catalog is published the old one sells them.
    """
    return (
        *_features(catalog, there),
        *_products(catalog, there),
        *_prices(catalog, there),
        *_archived(catalog, there, on_sale),
    )


def _features(catalog: Catalog, there: InStripe) -> Iterator[Step]:
    for feature in catalog.features.values():
        key = feature_key(catalog, feature.code)
        found = there.features.get(key)
        if found is None:
            yield Step(Do.CREATE, Kind.FEATURE, key, {"name": feature.name})
        elif found.name != feature.name:
            yield Step(Do.CHANGE, Kind.FEATURE, key, {"name": feature.name}, {"name": found.name}, found.id)


def _products(catalog: Catalog, there: InStripe) -> Iterator[Step]:
    for product in catalog.products.values():
        id_ = product_id(catalog, product.code)
        wanted, found = product_says(product), there.products.get(id_)
        if found is None:
            marks = {"metadata": {PROJECT: catalog.project, PRODUCT: product.code}}
            made = {key: value for key, value in wanted.items() if value is not None}
            yield Step(Do.CREATE, Kind.PRODUCT, id_, {**made, **marks})
        elif otherwise := [key for key in wanted if wanted[key] != found.says[key]]:
            before = {key: found.says[key] for key in otherwise}
            yield Step(Do.CHANGE, Kind.PRODUCT, id_, {key: wanted[key] for key in otherwise}, before, id_)
        attached = found.attached if found else {}
        keys = [feature_key(catalog, code) for code in product.opens]
        for key, attachment in attached.items():
            if key not in keys:
                yield Step(Do.ARCHIVE, Kind.ATTACHMENT, key, stripe_id=attachment, product=id_)
        for key in keys:
            if key not in attached:
                yield Step(Do.CREATE, Kind.ATTACHMENT, key, product=id_)


def _prices(catalog: Catalog, there: InStripe) -> Iterator[Step]:
    for price in catalog.prices.values():
        wanted, found = price_says(price, product_id(catalog, price.product)), there.prices.get(price.lookup_key)
        if found is None:
            yield Step(Do.CREATE, Kind.PRICE, price.lookup_key, wanted)
        elif is_another_price(found.says, wanted):
            yield Step(Do.CREATE, Kind.PRICE, price.lookup_key, wanted, found.says, found.id)
        else:
            more = _said_more(found.says, wanted)
            before = {name: found.says[name] for name in more}
            if not found.active:
                more, before = {**more, "active": True}, {**before, "active": False}
            if more:
                yield Step(Do.CHANGE, Kind.PRICE, price.lookup_key, more, before, found.id)


def _archived(catalog: Catalog, there: InStripe, on_sale: Mapping[str, str]) -> Iterator[Step]:
    kept, replaced = set(), {}
    for price in catalog.prices.values():
        found = there.prices.get(price.lookup_key)
        wanted = price_says(price, product_id(catalog, price.product))
        if found is not None and not is_another_price(found.says, wanted):
            kept.add(found.id)
        elif found is not None and found.active:
            replaced[found.id] = price.lookup_key
    for price_id, key in {**replaced, **on_sale}.items():
        if price_id not in kept:
            yield Step(Do.ARCHIVE, Kind.PRICE, key, {"active": False}, {"active": True}, price_id)
