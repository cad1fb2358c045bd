"""What each line of each source does for one feature: the step `compute` and `explain` share, so they cannot differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .catalog import Catalog, Earlier, Feature, Policy, Product, Value
from .evidence import (
    Bundled,
    Evidence,
    Grant,
    PlannedItem,
    Purchase,
    PurchaseItem,
    Source,
    SourceKind,
    Subscription,
    SubscriptionItem,
    begun,
)
from .merging import closed, fits, for_quantity
from .rules import Rule
from .stacking import Passes
from .standing import Standing, after_change, before_change, standing, standing_of_default
from .time import day


@dataclass(frozen=True, slots=True)
class Opening:
    """One line of a source, judged for one feature: the item of a subscription or purchase, or a grant as a whole.

    The product that everybody has is a source of one line, its code the source's id.
    """

    kind: SourceKind
    source_id: str
    product: str | None
    """Our product code; None for a grant of the bare feature and for a price the catalog has never known."""
    stripe_price: str | None
    value: Value
    """What it gives while it counts; False or 0 where it gives this feature nothing at any time."""
    standing: Standing
    policy: Policy | None = None
    """By which it was judged; None where no policy has a say."""
    overrides: datetime | None = None
    """Set on an override, which counts alone: when it was given. The one given last decides."""


def openings(
    catalog: Catalog, evidence: Evidence, policy: Policy, feature: Feature, passes: Passes
) -> Iterator[Opening]:
    """Every line of the evidence, including those that do not count for this feature.

    `passes` are what `stacked` makes of the same catalog, evidence and policy.
    """
    for source in evidence.sources:
        yield from _lines(catalog, source, policy, feature, passes)
    for line in evidence.bundled:
        yield _of_bundle(catalog, line, feature)
    if catalog.default_product is not None:
        yield _of_everybody(catalog.products[catalog.default_product], feature)


def _of_everybody(product: Product, feature: Feature) -> Opening:
    value = _value(product, feature, 1)
    stands = standing_of_default(product) if value else _opens_nothing(Rule.OPENS_OTHER_FEATURES)
    return Opening("default", product.code, product.code, None, value, stands)


def _lines(catalog: Catalog, source: Source, policy: Policy, feature: Feature, passes: Passes) -> Iterator[Opening]:
    if isinstance(source, Grant):
        if source.product is None:
            yield _of_feature(source, policy, feature)
        else:
            yield _of_product(catalog, source, policy, feature, product_code=source.product)
        return
    planned = source.scheduled_change if isinstance(source, Subscription) else None
    kept = {(item.stripe_price, item.quantity) for item in (planned.items if planned else ())}
    items: Sequence[SubscriptionItem | PurchaseItem] = source.items
    for place, item in enumerate(items):
        stands = passes.get((source.id, place)) if isinstance(source, Purchase) else None
        opening = _of_item(catalog, source, policy, feature, item, stands)
        if planned and (item.stripe_price, item.quantity) not in kept:
            opening = replace(opening, standing=before_change(opening.standing, planned.at))
        yield opening
    had = {(item.stripe_price, item.quantity) for item in source.items}
    for new in planned.items if planned else ():
        if planned and (new.stripe_price, new.quantity) not in had:
            opening = _of_item(catalog, source, policy, feature, new)
            yield replace(opening, standing=after_change(opening.standing, planned.at))


def _of_item(
    catalog: Catalog, source: Source, policy: Policy, feature: Feature,
    item: SubscriptionItem | PurchaseItem | PlannedItem, stands: Standing | None = None,
) -> Opening:  # fmt: skip
    return _of_product(
        catalog, source, policy, feature,
        product_code=item.product, stripe_price=item.stripe_price, quantity=item.quantity, stands=stands,
    )  # fmt: skip


def _of_feature(grant: Grant, policy: Policy, feature: Feature) -> Opening:
    value, overrides = closed(feature), None
    if grant.feature != feature.code:
        stands = _opens_nothing(Rule.OPENS_OTHER_FEATURES)
    elif grant.value is None or not fits(feature, grant.value):
        stands = _opens_nothing(Rule.VALUE_DOES_NOT_FIT)
    else:
        value, stands = grant.value, standing(grant, policy)
        overrides = (grant.given_at or grant.starts_at) if grant.override else None
    return Opening("grant", grant.id, None, None, value, stands, overrides=overrides)


def _of_product(
    catalog: Catalog, source: Source, policy: Policy, feature: Feature, *,
    product_code: str | None, stripe_price: str | None = None, quantity: int = 1, stands: Standing | None = None,
) -> Opening:  # fmt: skip
    product, given = catalog.product(product_code), catalog.given(product_code, begun(source))
    value = _value(given, feature, quantity)
    if product is None or given is None or not value:
        return Opening(kind_of(source), source.id, product_code, stripe_price, value, _no_standing(given))
    applied = product.under(policy)
    stands = _by(given, stands or standing(source, applied, given.lasts))
    judged_by = None if isinstance(source, Grant) else applied
    return Opening(kind_of(source), source.id, product_code, stripe_price, value, stands, judged_by)


def _of_bundle(catalog: Catalog, line: Bundled, feature: Feature) -> Opening:
    given = catalog.given(line.product, line.begun)
    value = _value(given, feature, line.quantity)
    if given is None or not value:
        return Opening(line.kind, line.source_id, line.product, None, value, _no_standing(given))
    through = f"{line.sentence} Through {line.via} of {line.project}."
    stands = _by(given, Standing(line.period, line.rule, through))
    return Opening(line.kind, line.source_id, line.product, None, value, stands)


def _no_standing(given: Product | Earlier | None) -> Standing:
    return _opens_nothing(Rule.PRODUCT_UNKNOWN if given is None else Rule.OPENS_OTHER_FEATURES)


def _value(given: Product | Earlier | None, feature: Feature, quantity: int) -> Value:
    opens = None if given is None else given.opens.get(feature.code)
    return for_quantity(opens, quantity) if opens is not None and fits(feature, opens.value) else closed(feature)


def _by(given: Product | Earlier, stands: Standing) -> Standing:
    if not isinstance(given, Earlier):
        return stands
    return replace(stands, sentence=f"{stands.sentence} By the opening before {day(given.before)}.")


def _opens_nothing(rule: Rule) -> Standing:
    return Standing(None, rule, rule.sentence)


def kind_of(source: Source) -> SourceKind:
    """What a source is called."""
    if isinstance(source, Grant):
        return "grant"
    return "subscription" if isinstance(source, Subscription) else "purchase"
