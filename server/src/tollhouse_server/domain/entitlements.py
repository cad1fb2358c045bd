"""What a customer may use, from when until when and why: `compute`, and reading the result at an instant.

The law: `compute` is a pure function of catalog, evidence, policy and instant. A period counts from its start up to,
not including, its end. What is computed at one instant answers for every later one, as long as the evidence stands.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from .catalog import Catalog, Feature, Policy, Value
from .evidence import Evidence, SourceKind
from .merging import closed, merge, weight
from .openings import Opening, openings
from .rules import Rule
from .stacking import stacked
from .time import EVER, LAST, Period, boundaries, written


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
    """A stretch of time in which a feature has one value for one set of reasons."""

    feature: str
    value: Value
    """False or 0: an override closes it. Where nothing opens it and nothing overrides there is no stretch."""
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
    """When `allowed` or `value` next changes by time alone, or an override that closes ends; None: never."""
    reason: str
    source: str | None


def compute(catalog: Catalog, evidence: Evidence, policy: Policy, at: datetime) -> tuple[Entitlement, ...]:
    """Every stretch that is not over at `at`: by feature code, then in order of time, disjoint.

    A stretch that is open at `at` keeps its true start, so computing again later gives the same stretches again.
    """
    passes = stacked(catalog, evidence.purchases, policy)
    return tuple(
        entitlement
        for _, feature in sorted(catalog.features.items())
        for entitlement in _stretches(feature, openings(catalog, evidence, policy, feature, passes))
        if entitlement.period.end is None or at < entitlement.period.end
    )


def of_everybody(catalog: Catalog) -> tuple[Entitlement, ...]:
    """What somebody has of whom nothing is known: what the default product opens, always."""
    return compute(catalog, Evidence(), catalog.policy, EVER)


def answer(entitlements: Iterable[Entitlement], feature: Feature, at: datetime) -> Answer:
    """What the feature is at `at`, which is not before the instant the entitlements were computed for."""
    now, until = reading(entitlements, feature.code, at)
    if now is None:
        rule = Rule.NO_SOURCE if until is None else Rule.NOT_YET
        return Answer(feature.code, False, closed(feature), until, str(rule), None)
    reason = now.reasons[0]
    return Answer(feature.code, bool(now.value), now.value, until, reason.rule, reason.source_id)


def reading(
    entitlements: Iterable[Entitlement], feature_code: str, at: datetime
) -> tuple[Entitlement | None, datetime | None]:
    """The feature's stretch at `at`, if there is one, and when what it says next changes by time alone."""
    ahead = stretches_ahead(entitlements, feature_code, at)
    if ahead and at in ahead[0].period:
        return ahead[0], end_of_value(ahead)
    return None, next((one.period.start for one in ahead if one.value), None)


def stretches_ahead(entitlements: Iterable[Entitlement], feature_code: str, at: datetime) -> list[Entitlement]:
    """The feature's stretches that are not over at `at`, in order of time; the first may be yet to begin."""
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
    """Goes through time once, edge by edge; between two edges nothing changes."""
    counting = _Counting(feature)
    begun, said = LAST, None
    for edge, at_once in groupby(_edges(opened), key=_INSTANT):
        for _, change, opening in at_once:
            change(counting, opening)
        following = counting.says()
        if following == said:
            continue
        if said is not None:
            yield Entitlement(feature.code, said[0], Period(begun, edge), said[1])
        begun, said = edge, following
    if said is not None:
        yield Entitlement(feature.code, said[0], Period(begun), said[1])


class _Counting:
    """What counts at an instant, in order: the source that gives most comes first; the override given last, last."""

    def __init__(self, feature: Feature) -> None:
        self._feature = feature
        self._openings: list[_Counted] = []
        self._overrides: list[_Counted] = []
        self._everybodys: list[_Counted] = []

    def add(self, opening: Opening) -> None:
        among, place = self._place(opening)
        reason = Reason(opening.source_id, opening.kind, str(opening.standing.rule))
        insort(among, (place, opening.value, reason), key=_PLACE)

    def drop(self, opening: Opening) -> None:
        among, place = self._place(opening)
        del among[bisect_left(among, place, key=_PLACE)]

    def says(self) -> tuple[Value, tuple[Reason, ...]] | None:
        """The value and why; None where nothing counts, or nothing of what counts gives anything."""
        if self._overrides:
            _, value, reason = self._overrides[-1]
            return value, (reason,)
        given = merge(self._feature, [value for _, value, _ in self._openings])
        value = merge(self._feature, [given], self._everybodys[0][1]) if self._everybodys else given
        if not value:
            return None
        everybodys_first = value != given
        told = [*self._everybodys, *self._openings] if everybodys_first else [*self._openings, *self._everybodys]
        return value, tuple(dict.fromkeys(reason for *_, reason in told))

    def _place(self, opening: Opening) -> tuple[list["_Counted"], tuple[Any, ...]]:
        if opening.overrides is not None:
            return self._overrides, (opening.overrides, opening.source_id)
        most_first = -weight(opening.value), opening.kind, opening.source_id, opening.standing.rule
        return self._everybodys if opening.kind == "default" else self._openings, most_first


_Counted = tuple[tuple[Any, ...], Value, Reason]
_PLACE = _INSTANT = itemgetter(0)
_Edge = tuple[datetime, Callable[[_Counting, Opening], None], Opening]


def _edges(opened: Iterable[Opening]) -> list[_Edge]:
    """When each begins to count and when it ends, in order of time."""
    edges: list[_Edge] = []
    for opening in opened:
        if (period := opening.standing.period) is not None:
            edges.append((period.start, _Counting.add, opening))
            if period.end is not None:
                edges.append((period.end, _Counting.drop, opening))
    return sorted(edges, key=_INSTANT)


def dump(entitlements: Iterable[Entitlement]) -> list[dict[str, object]]:
    """The entitlements as plain JSON values, for storing a snapshot; `load` reads them back exactly."""
    return [
        {
            **_named(entitlement),
            "value": entitlement.value,
            "from": written(entitlement.period.start),
            "until": None if entitlement.period.end is None else written(entitlement.period.end),
            "reasons": [asdict(reason) for reason in entitlement.reasons],
        }
        for entitlement in entitlements
    ]


def _named(entitlement: Entitlement) -> dict[str, object]:
    # A version from before there were overrides takes each entry for open: of one that is closed it finds no feature.
    if entitlement.value:
        return {"feature": entitlement.feature}
    return {"feature": "", "closed": entitlement.feature}


def load(stored: Iterable[Mapping[str, Any]]) -> tuple[Entitlement, ...]:
    """What `dump` wrote."""
    return tuple(
        Entitlement(
            entry["feature"] or entry["closed"],
            entry["value"],
            Period(datetime.fromisoformat(entry["from"]), entry["until"] and datetime.fromisoformat(entry["until"])),
            tuple(Reason(**reason) for reason in entry["reasons"]),
        )
        for entry in stored
    )
