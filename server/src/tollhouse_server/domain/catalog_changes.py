"""What publishing a catalog changes, in sentences for the person who publishes it."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import TypeVar

from .catalog import Catalog, Combine, Earlier, Feature, Kind, Opens, Policy, Price, Product
from .money import Money
from .time import day

_Entry = TypeVar("_Entry")


def differences(old: Catalog | None, new: Catalog) -> list[str]:
    """One sentence for each thing that is new, gone or otherwise; none where the two say the same."""
    old = old or Catalog(new.project, 0, {}, {}, {}, name=new.name)
    return [
        *_project(old, new),
        *_policy(old.policy, new.policy),
        *_entries(old.features, new.features, "feature", _feature, _feature_changes),
        *_entries(old.products, new.products, "product", _product, product_changes, new.retired),
        *_retired(old, new),
        *_entries(old.prices, new.prices, "price", _price, _price_changes),
    ]


def _project(old: Catalog, new: Catalog) -> Iterator[str]:
    if old.name != new.name:
        yield f"Project: the name {old.name} becomes {new.name}."
    if old.automatic_tax != new.automatic_tax:
        yield f"Project: Stripe {'adds tax' if new.automatic_tax else 'no longer adds tax'} to new sales."
    for origin in sorted({*new.redirect_origins} - {*old.redirect_origins}):
        yield f"Project: customers may be sent back to {origin}."
    for origin in sorted({*old.redirect_origins} - {*new.redirect_origins}):
        yield f"Project: customers may no longer be sent back to {origin}."
    if old.default_product != new.default_product:
        if new.default_product is not None:
            yield f"Project: everybody has the product {new.default_product} without buying it."
        if old.default_product is not None:
            yield f"Project: nobody has the product {old.default_product} any more unless they bought it."


def _policy(old: Policy, new: Policy) -> Iterator[str]:
    for item in fields(Policy):
        before, after = getattr(old, item.name), getattr(new, item.name)
        if before != after:
            yield f"Policy: {item.name.replace('_', ' ')} {_said(before)} becomes {_said(after)}."


def _entries(
    old: Mapping[str, _Entry], new: Mapping[str, _Entry], noun: str,
    described: Callable[[_Entry], str], changes: Callable[[_Entry, _Entry], Iterator[str]],
    kept: Container[str] = (),
) -> Iterator[str]:  # fmt: skip
    for code, entry in new.items():
        if code not in old:
            yield f"New {noun} {code}: {described(entry)}."
        else:
            yield from (f"{noun.capitalize()} {code}: {change}." for change in changes(old[code], entry))
    for code in old:
        if code not in new:
            yield f"{noun.capitalize()} {code} is gone: {_GONE[noun] if code not in kept else _KEPT}."


_GONE = {
    "feature": "nothing opens it any more, and asking for it is an error",
    "product": "whoever holds it loses what it opened",
    "price": "it can no longer be bought; those who pay it keep it",
}
_KEPT = "it can no longer be bought"


def _feature(feature: Feature) -> str:
    if feature.kind is Kind.SWITCH:
        return f"{feature.name}, a switch"
    several = "the sum" if feature.combine is Combine.SUM else "the largest"
    return f"{feature.name}, a limit ({several} of several counts)"


def _feature_changes(old: Feature, new: Feature) -> Iterator[str]:
    if old != new:
        yield f"{_feature(old)}, becomes {_feature(new)}"


def _product(product: Product) -> str:
    opens = ", ".join(f"{code} {_opens(opens)}" for code, opens in product.opens.items())
    brings = f" and brings {', '.join(product.bundles)}" if product.bundles else ""
    own = ", with a policy of its own" * bool(product.policy)
    return f"{product.name} opens {opens or 'nothing'}{brings}{own}"


def _counted(old: Product, new: Product) -> Iterator[str]:
    for price_id in sorted({*new.stripe_prices} - {*old.stripe_prices}):
        yield f"whoever has Stripe's {price_id} holds it"
    for price_id in sorted({*old.stripe_prices} - {*new.stripe_prices}):
        yield f"whoever has Stripe's {price_id} holds it no longer"


def product_changes(old: Product, new: Product) -> Iterator[str]:
    """What is otherwise of a product, each as the end of a sentence."""
    if old.name != new.name:
        yield f"the name {old.name} becomes {new.name}"
    if old.plan_group != new.plan_group:
        yield f"plan group {_said(old.plan_group)} becomes {_said(new.plan_group)}"
    if old.lasts != new.lasts:
        past = ", past ones too," if new.earlier == old.earlier else ""
        yield f"purchases{past} last {_lasts(new.lasts)} instead of {_lasts(old.lasts)}"
    if old.tax_code != new.tax_code:
        yield f"tax code {old.tax_code or 'none'} becomes {new.tax_code or 'none'}"
    for name in dict.fromkeys([*new.policy, *old.policy]):
        was, becomes = (_said(one.policy[name]) if name in one.policy else "the project's" for one in (old, new))
        if was != becomes:
            yield f"policy: {name.replace('_', ' ')} {was} becomes {becomes}"
    yield from _counted(old, new)
    for code in dict.fromkeys([*new.opens, *old.opens]):
        before, after = old.opens.get(code), new.opens.get(code)
        if before is None and after is not None:
            yield f"now opens {code} {_opens(after)}"
        elif before is not None and after is None:
            yield f"no longer opens {code}"
        elif before is not None and after is not None and before != after:
            yield f"{code} {_opens(before)} becomes {_opens(after)}"
    yield from (f"now brings {one}" for one in new.bundles if one not in old.bundles)
    yield from (f"no longer brings {one}" for one in old.bundles if one not in new.bundles)
    yield from _kept(old.earlier, new.earlier)


def _kept(old: tuple[Earlier, ...], new: tuple[Earlier, ...]) -> Iterator[str]:
    for one in new:
        if one not in old:
            yield f"who has it from before {day(one.before)} keeps {_given(one)}"
    for one in old:
        if one not in new:
            yield f"who has it from before {day(one.before)} no longer keeps {_given(one)}"


def _given(one: Earlier) -> str:
    opens = ", ".join([*(f"{code} {_opens(opens)}" for code, opens in one.opens.items()), *one.bundles]) or "nothing"
    return opens if one.lasts is None else f"{opens}, for {_lasts(one.lasts)}"


def _retired(old: Catalog, new: Catalog) -> Iterator[str]:
    """What becomes of those who have a product that is sold no longer."""
    for code in {**old.products, **old.retired}:
        if code not in new.products:
            before = old.products.get(code) or old.retired[code]
            kept = new.retired[code].earlier if code in new.retired else ()
            yield from (f"Product {code}: {change}." for change in _kept(before.earlier, kept))


def _price(price: Price) -> str:
    others = "".join(f" or {Money(amount, currency)}" for currency, amount in price.currency_options.items())
    costs = f"{price.money}{others}{f' ({price.tax_behavior} of tax)' if price.tax_behavior else ''}"
    if price.interval is None:
        return f"{costs} once"
    every = price.interval if price.interval_count == 1 else f"{price.interval_count} {price.interval}s"
    card = "" if price.trial_card else " without a card"
    trial = f" after a trial of {price.trial_days} days{card}" if price.trial_days else ""
    return f"{costs} every {every}{trial}"


def _price_changes(old: Price, new: Price) -> Iterator[str]:
    if old != new:
        yield f"{_price(old)} becomes {_price(new)} for new customers; those who pay it keep theirs"


def _opens(opens: Opens) -> str:
    value = {True: "on", False: "off"}[opens.value] if isinstance(opens.value, bool) else str(opens.value)
    return f"{value} per seat" if opens.per_seat else value


def _lasts(lasts: timedelta | None) -> str:
    return "for ever" if lasts is None else _said(lasts)


def _said(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value.days} day{'' if value.days == 1 else 's'}"
    return "none" if value is None else str(value).replace("_", " ")
