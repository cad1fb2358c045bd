"""What a customer may use, from when until when and why: `compute`, and reading the result at an instant.

The law: `compute` is a pure function of catalog, evidence, policy and instant. A period counts from its start up to,
not including, its end. What is computed at one instant answers for every later one, as long as the evidence stands.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from .catalog import Catalog, Feature, Policy, Value
from .evidence import Evidence
from .merging import closed, merge, weight
from .openings import Opening, SourceKind, openings
from .rules import Rule
from .time import EVER, Period, boundaries, written


@dataclass(frozen=True, slots=True)
class Reason:
    """A source that opens a feature, and the rule by which it counts."""

    source_id: str
    """Stripe's id (`sub_…`, `cs_…`), the grant's own, or the code of the product that everybody has."""
    kind: SourceKind
    rule: str
    """The name of a `Rule`; text, so that a stored snapshot stays readable if a rule is ever retired."""


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A stretch of time in which a feature is open with one value for one set of reasons."""

    feature: str
    value: Value
    period: Period
    reasons: tuple[Reason, ...]
    """The one that gives most comes first; never empty. What everybody has is first only where the others give less."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a feature is at one instant."""

    feature: str
    allowed: bool
    value: Value
    valid_until: datetime | None
    """When `allowed` or `value` next changes by time alone; None: never."""
    reason: str
    source: str | None


def compute(catalog: Catalog, evidence: Evidence, policy: Policy, at: datetime) -> tuple[Entitlement, ...]:
    """Every stretch that is open at `at` or later: by feature code, then in order of time, disjoint.

    A stretch that is open at `at` keeps its true start, so computing again later gives the same stretches again.
    """
    return tuple(
        entitlement
        for _, feature in sorted(catalog.features.items())
        for entitlement in _stretches(feature, openings(catalog, evidence, policy, feature))
        if entitlement.period.end is None or at < entitlement.period.end
    )


def of_everybody(catalog: Catalog) -> tuple[Entitlement, ...]:
    """What somebody has of whom nothing is known: what the default product opens, always."""
    return compute(catalog, Evidence(), catalog.policy, EVER)


def answer(entitlements: Iterable[Entitlement], feature: Feature, at: datetime) -> Answer:
    """What the feature is at `at`, which is not before the instant the entitlements were computed for."""
    ahead = stretches_ahead(entitlements, feature.code, at)
    if not ahead:
        return Answer(feature.code, False, closed(feature), None, str(Rule.NO_SOURCE), None)
    now = ahead[0]
    if at not in now.period:
        return Answer(feature.code, False, closed(feature), now.period.start, str(Rule.NOT_YET), None)
    reason = now.reasons[0]
    return Answer(feature.code, True, now.value, end_of_value(ahead), reason.rule, reason.source_id)


def stretches_ahead(entitlements: Iterable[Entitlement], feature_code: str, at: datetime) -> list[Entitlement]:
    """The feature's stretches that are not over at `at`, in order of time; the first may be open or yet to begin."""
    return [
        entitlement
        for entitlement in entitlements
        if entitlement.feature == feature_code and (entitlement.period.end is None or at < entitlement.period.end)
    ]


def end_of_value(stretches: Sequence[Entitlement]) -> datetime | None:
    """When the value of the first of these stretches ends; others may follow on with the same value."""
    for now, following in pairwise(stretches):
        if now.period.end != following.period.start or now.value != following.value:
            return now.period.end
    return stretches[-1].period.end


def next_change(entitlements: Iterable[Entitlement], at: datetime) -> datetime | None:
    """The first instant after `at` at which some stretch begins or ends; None: time alone changes nothing any more."""
    return next((edge for edge in boundaries(entitlement.period for entitlement in entitlements) if edge > at), None)


def _stretches(feature: Feature, opened: Iterable[Opening]) -> Iterator[Entitlement]:
    counting = [(opening.standing.period, opening) for opening in opened if opening.standing.period is not None]
    current: Entitlement | None = None
    for piece in _pieces([period for period, _ in counting]):
        following = _piece(feature, piece, [opening for period, opening in counting if piece.start in period])
        if current and following and (current.value, current.reasons) == (following.value, following.reasons):
            current = replace(current, period=Period(current.period.start, piece.end))
            continue
        if current:
            yield current
        current = following
    if current:
        yield current


def _pieces(periods: Sequence[Period]) -> Iterator[Period]:
    """Time from the first start on, cut at every edge of the periods; within one piece nothing changes."""
    edges = boundaries(periods)
    yield from map(Period, edges, edges[1:])
    if any(period.end is None for period in periods):
        yield Period(edges[-1])


def _piece(feature: Feature, period: Period, opened: Sequence[Opening]) -> Entitlement | None:
    least = [opening for opening in opened if opening.kind == "default"]
    others = sorted(
        (opening for opening in opened if opening.kind != "default"),
        key=lambda opening: (-weight(opening.value), opening.kind, opening.source_id, opening.standing.rule),
    )
    given = merge(feature, [opening.value for opening in others])
    value = merge(feature, [given], least[0].value) if least else given
    if not value:
        return None
    most_first = [*others, *least] if value == given else [*least, *others]
    reasons = dict.fromkeys(
        Reason(opening.source_id, opening.kind, str(opening.standing.rule)) for opening in most_first
    )
    return Entitlement(feature.code, value, period, tuple(reasons))


def dump(entitlements: Iterable[Entitlement]) -> list[dict[str, object]]:
    """The entitlements as plain JSON values, for storing a snapshot; `load` reads them back exactly."""
    return [
        {
            "feature": entitlement.feature,
            "value": entitlement.value,
            "from": written(entitlement.period.start),
            "until": None if entitlement.period.end is None else written(entitlement.period.end),
            "reasons": [asdict(reason) for reason in entitlement.reasons],
        }
        for entitlement in entitlements
    ]


def load(stored: Iterable[Mapping[str, Any]]) -> tuple[Entitlement, ...]:
    """What `dump` wrote."""
    return tuple(
        Entitlement(
            entry["feature"],
            entry["value"],
            Period(datetime.fromisoformat(entry["from"]), entry["until"] and datetime.fromisoformat(entry["until"])),
            tuple(Reason(**reason) for reason in entry["reasons"]),
        )
        for entry in stored
    )
