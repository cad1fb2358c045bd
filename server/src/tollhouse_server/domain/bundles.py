"""What a product brings of other projects' products, to the user of the same id.

The law: whoever has a product has each product that it bundles, from when until when its source counts by the rules
and policies of the project in which the source is; and so on through bundles of bundles.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .catalog import Catalog, Earlier, Product
from .evidence import (
    Bundled,
    Evidence,
    Grant,
    Purchase,
    PurchaseItem,
    Source,
    Subscription,
    SubscriptionItem,
    begun,
)
from .openings import kind_of
from .owning import OVER
from .stacking import stacked
from .standing import Standing, after_change, before_change, standing


def split(reference: str) -> tuple[str, str]:
    """`project.product` as the two."""
    project, _, product = reference.partition(".")
    return project, product


def projects_brought(catalog: Catalog) -> set[str]:
    """The slugs of the projects of which some product brings one, be it only to those who kept it."""
    known = (*catalog.products.values(), *catalog.retired.values())
    return {split(reference)[0] for product in known for reference in _ever(product)}


def _ever(product: Product) -> list[str]:
    return [*product.bundles, *(reference for one in product.earlier for reference in one.bundles)]


def heights(brought: Mapping[str, set[str]]) -> dict[str, int]:
    """How many projects one below the other each brings products of, in the longest row; 0: of none.

    `brought` says for each project of which others it brings some, and is of no cycle.
    """
    found: dict[str, int] = {}

    def height(slug: str) -> int:
        if slug not in found:
            found[slug] = max((height(one) + 1 for one in brought.get(slug, ())), default=0)
        return found[slug]

    return {slug: height(slug) for slug in brought}


def leads_back(project: str, brought: Mapping[str, set[str]]) -> list[str]:
    """A way from the project through what is bundled back to itself, as slugs; empty where there is none."""
    ways = [[project, one] for one in sorted(brought.get(project, ()))]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        if way[-1] == project:
            return way
        if way[-1] not in seen:
            seen.add(way[-1])
            ways += [[*way, one] for one in sorted(brought.get(way[-1], ()))]
    return []


def brought(catalog: Catalog, evidence: Evidence) -> dict[str, tuple[Bundled, ...]]:
    """By project, what the customer's evidence brings the user of the same id there, in an order of its own."""
    found: dict[str, set[Bundled]] = {}
    for line in (*_bought(catalog, evidence), *evidence.bundled):
        given = catalog.given(line.product, line.begun)
        for reference in () if given is None else given.bundles:
            project, product = split(reference)
            found.setdefault(project, set()).add(replace(line, product=product))
    return {project: tuple(sorted(lines, key=_place)) for project, lines in sorted(found.items())}


def _place(line: Bundled) -> tuple[str, ...]:
    return line.kind, line.source_id, line.product, line.project, line.via, repr(line)


def _bought(catalog: Catalog, evidence: Evidence) -> Iterator[Bundled]:
    passes = stacked(catalog, evidence.purchases, catalog.policy)
    for source in evidence.sources:
        for line in _lines(source):
            given = catalog.given(line.product, begun(source))
            if line.product is not None and given is not None and given.bundles:
                alone = standing(_without_words(source), catalog.policy_of(line.product), given.lasts)
                stands = passes.get((source.id, line.place), alone) if isinstance(source, Purchase) else alone
                stands = before_change(stands, line.until) if line.until else stands
                stands = after_change(stands, line.since) if line.since else stands
                yield Bundled(
                    catalog.project, line.product, line.product, kind_of(source), source.id, line.quantity,
                    begun(source), stands.period, stands.rule, stands.sentence, _owned(source, given, stands),
                )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Line:
    """A product of a source; `since` and `until` are of a scheduled change that brings it or takes it away."""

    place: int
    product: str | None
    quantity: int
    since: datetime | None = None
    until: datetime | None = None


def _lines(source: Source) -> Iterator[_Line]:
    if isinstance(source, Grant):
        yield _Line(0, source.product, 1)
        return
    planned = source.scheduled_change if isinstance(source, Subscription) else None
    will = {(item.stripe_price, item.quantity) for item in (planned.items if planned else ())}
    has = {(item.stripe_price, item.quantity) for item in source.items}
    items: Sequence[SubscriptionItem | PurchaseItem] = source.items
    for place, item in enumerate(items):
        goes = planned is not None and (item.stripe_price, item.quantity) not in will
        yield _Line(place, item.product, item.quantity, until=planned.at if planned and goes else None)
    for new in planned.items if planned else ():
        if planned and (new.stripe_price, new.quantity) not in has:
            yield _Line(-1, new.product, new.quantity, since=planned.at)


def _without_words(source: Source) -> Source:
    """What an operator wrote about a customer of one project is not for another's."""
    return replace(source, reason="a bundle") if isinstance(source, Grant) else source


def _owned(source: Source, given: Product | Earlier, stands: Standing) -> bool:
    if isinstance(source, Subscription):
        return source.status not in OVER
    return isinstance(source, Purchase) and (source.settling or (given.lasts is None and stands.period is not None))
