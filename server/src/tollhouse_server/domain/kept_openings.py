"""What existing customers of a product keep when a publish changes what it opens, or removes it.

The law: evidence that began before a publish that said `keep` opens what the product opened then, whatever is published
afterwards, until one says `move` of that product. A publish that says neither never keeps anybody on less.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf
from typing import Any, Final

from .catalog import UNLIMITED, Catalog, Earlier, Feature, Opens, Policy, Product
from .evidence import Bundled, Source, Subscription
from .merging import fits, for_quantity
from .owning import OVER
from .standing import standing
from .time import written


class Existing(StrEnum):
    """What becomes of those who have a product whose opening changes."""

    KEEP = "keep"
    MOVE = "move"


def kept_through(old: Catalog, new: Catalog, existing: Existing | None, at: datetime) -> Catalog:
    """`new`, read from its document alone, with the earlier openings that its customers keep. Published at `at`.

    Each product whose opening changes keeps the one it had (`keep`), forgets all it ever had (`move`), or, where
    nothing is said, forgets those that give nothing which the new one does not. Other products keep what they kept.
    """
    products = {code: _through(old, one, new.features, existing, at) for code, one in new.products.items()}
    gone = {code: one for code, one in {**old.products, **old.retired}.items() if code not in new.products}
    retired = {code: _retired(old, one, existing, at) for code, one in gone.items()}
    return replace(new, products=products, retired={code: one for code, one in retired.items() if one.earlier})


def changed(old: Catalog, new: Catalog) -> Iterator[tuple[Product, Product | None]]:
    """Each product sold until now that opens or lasts otherwise from now on; None for one that is removed."""
    for code, product in old.products.items():
        after = new.products.get(code)
        if after is None or not _alike(product, after):
            yield product, after


def _alike(one: Product, other: Product) -> bool:
    return (one.opens, one.lasts, set(one.bundles)) == (other.opens, other.lasts, set(other.bundles))


def _through(
    catalog: Catalog, new: Product, features: Mapping[str, Feature], existing: Existing | None, at: datetime
) -> Product:
    old = catalog.product(new.code)
    if old is None:
        return new
    earlier = old.earlier
    if new.code in catalog.products and not _alike(old, new):
        if existing is Existing.MOVE:
            earlier = ()
        elif existing is Existing.KEEP:
            earlier = (*earlier, Earlier(at, old.opens, old.lasts, old.bundles))
        # From the last on: one that goes from before another hands its customers on to that.
        while existing is None and earlier and not gives_less(earlier[-1], new, features):
            earlier = earlier[:-1]
    return replace(new, earlier=earlier)


def _retired(old: Catalog, product: Product, existing: Existing | None, at: datetime) -> Product:
    earlier = product.earlier
    if product.code in old.products:
        if existing is Existing.MOVE:
            earlier = ()
        elif existing is Existing.KEEP:
            earlier = (*earlier, Earlier(at, product.opens, product.lasts, product.bundles))
    return Product(product.code, product.name, {}, product.plan_group, earlier=earlier)


_SEATS: Final = (1, 1_000_000_000)
"""Of two values by quantity, each a constant or a multiple, one is less for some quantity only if it is for these."""


def gives_less(before: Product | Earlier, after: Product | Earlier | None, features: Mapping[str, Feature]) -> bool:
    """Whether somebody who has `before` could have less by `after`: a feature, a number of it, or time.

    `features` are those there will be: what they no longer know, or know as another kind, nobody can keep.
    """
    return any(lessened(before, after, features, quantity) for quantity in _SEATS) or shortened(before, after)


def lessened(
    before: Product | Earlier, after: Product | Earlier | None, features: Mapping[str, Feature], quantity: int
) -> bool:
    """Whether so many of `after` open less of some feature than so many of `before`, or bring less elsewhere."""
    if not {*before.bundles} <= ({*after.bundles} if after is not None else set()):
        return True
    given: Mapping[str, Opens] = {} if after is None else after.opens
    for code, opens in before.opens.items():
        feature = features.get(code)
        if feature is not None and fits(feature, opens.value):
            now = given.get(code)
            left = _weight(now, quantity) if now is not None and fits(feature, now.value) else 0
            if left < _weight(opens, quantity):
                return True
    return False


def shortened(before: Product | Earlier, after: Product | Earlier | None) -> bool:
    """Whether a purchase lasts less long than it did."""
    return after is not None and _longest(after.lasts) < _longest(before.lasts)


def holds(source: Source | Bundled, given: Product | Earlier, policy: Policy, at: datetime) -> bool:
    """Whether somebody has a source of `given` at `at`: it opens it now or will, or Stripe may still bill for it."""
    if isinstance(source, Subscription):
        return source.status not in OVER
    if isinstance(source, Bundled) and source.owned:
        return True
    period = source.period if isinstance(source, Bundled) else standing(source, policy, given.lasts).period
    return period is not None and (period.end is None or at < period.end)


def _longest(lasts: timedelta | None) -> timedelta:
    return timedelta.max if lasts is None else lasts


def _weight(opens: Opens, quantity: int) -> float:
    value = for_quantity(opens, quantity)
    return inf if value == UNLIMITED else int(value)


def dump(catalog: Catalog) -> dict[str, Any]:
    """What is kept, as JSON beside the catalog's document."""
    return {
        code: {
            "name": product.name,
            "plan_group": product.plan_group,
            "earlier": [_dump(one) for one in product.earlier],
        }
        for code, product in {**catalog.products, **catalog.retired}.items()
        if product.earlier
    }


def with_kept(catalog: Catalog, kept: Mapping[str, Any]) -> Catalog:
    """The catalog of a document with what `dump` wrote beside it."""
    if not kept:
        return catalog
    earlier = {code: tuple(map(_load, entry["earlier"])) for code, entry in kept.items()}
    products = {code: replace(one, earlier=earlier.get(code, ())) for code, one in catalog.products.items()}
    retired = {
        code: Product(code, entry["name"], {}, entry["plan_group"], earlier=earlier[code])
        for code, entry in kept.items()
        if code not in products
    }
    return replace(catalog, products=products, retired=retired)


def _dump(one: Earlier) -> dict[str, Any]:
    return {
        "before": written(one.before),
        "opens": {code: {"value": opens.value, "per_seat": opens.per_seat} for code, opens in one.opens.items()},
        "lasts_days": None if one.lasts is None else one.lasts.days,
        "bundles": list(one.bundles),
    }


def _load(entry: Mapping[str, Any]) -> Earlier:
    days = entry["lasts_days"]
    return Earlier(
        datetime.fromisoformat(entry["before"]),
        {code: Opens(opens["value"], opens["per_seat"]) for code, opens in entry["opens"].items()},
        None if days is None else timedelta(days=days),
        tuple(entry["bundles"]),
    )
