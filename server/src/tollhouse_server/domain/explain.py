"""Why a feature is open or closed at an instant: the verdict, and every source that was considered.

The law: the verdict is `answer(compute(…))`, and the values of the sources that count merge to the verdict's value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .catalog import Catalog, Feature, Policy, Value
from .entitlements import Answer, answer, compute, next_change
from .evidence import Evidence, SourceKind
from .merging import merge
from .openings import Opening, openings
from .rules import Rule
from .stacking import stacked
from .standing import Standing
from .time import Period, day, until

_AT_STRIPE: Final = ("subscription", "purchase")


@dataclass(frozen=True, slots=True)
class ConsideredSource:
    """What one source does for the feature; a purchase of products that last differently is several of these."""

    kind: SourceKind
    id: str
    products: tuple[str, ...]
    """The product codes concerned; those the catalog has never known are left out."""
    counts: bool
    """Whether it counts at the instant explained."""
    value: Value
    """What it gives while it counts; False or 0: it never gives anything, or is an override that closes."""
    period: Period | None
    """From when until when it counts; None: never."""
    rule: str
    sentence: str
    stripe_ids: tuple[str, ...]
    """Where to look at Stripe: the source and its prices. Empty for a grant and for what everybody has."""
    policy: Policy | None
    """By which it was judged: the project's, with what its product has of its own. None where none has a say."""


@dataclass(frozen=True, slots=True)
class Explanation:
    feature: str
    at: datetime
    allowed: bool
    value: Value
    valid_until: datetime | None
    rule: str
    sentence: str
    next_change_at: datetime | None
    """When time alone next changes anything about the feature, be it only the reason; never after `valid_until`."""
    policy: Policy
    """The project's."""
    sources: tuple[ConsideredSource, ...]
    """Those that count first, then those that an override keeps from it, then those that would give the feature at
    another time, then the others."""


def explain(catalog: Catalog, evidence: Evidence, feature: Feature, at: datetime) -> Explanation:
    """Why `feature` is open or closed at `at`, as far as the evidence known now tells."""
    ahead = [entry for entry in compute(catalog, evidence, catalog.policy, at) if entry.feature == feature.code]
    verdict = answer(ahead, feature, at)
    passes = stacked(catalog, evidence.purchases, catalog.policy)
    opened = tuple(openings(catalog, evidence, catalog.policy, feature, passes))
    sources = tuple(_considered(feature, opened, at))
    return Explanation(
        feature=feature.code,
        at=at,
        allowed=verdict.allowed,
        value=verdict.value,
        valid_until=verdict.valid_until,
        rule=verdict.reason,
        sentence=_sentence(verdict, sources),
        next_change_at=next_change(ahead, at),
        policy=catalog.policy,
        sources=sources,
    )


def _considered(feature: Feature, opened: Sequence[Opening], at: datetime) -> list[ConsideredSource]:
    together: dict[tuple[SourceKind, str, Standing, Policy | None], list[Opening]] = {}
    for opening in opened:
        alike = opening.kind, opening.source_id, opening.standing, opening.policy
        together.setdefault(alike, []).append(opening)
    decides = _override(opened, at)
    sources = [_source(feature, lines, at, decides) for lines in together.values()]
    return sorted(sources, key=_by_relevance)


def _by_relevance(source: ConsideredSource) -> tuple[object, ...]:
    ends = source.period.end if source.period else None
    # Of those that no longer count, the last to end is what the customer most likely asks about.
    return (
        not source.counts,
        source.rule != Rule.OVERRIDDEN,
        not source.value,
        source.kind == "default",
        -ends.timestamp() if ends else 0.0,
        source.kind,
        source.id,
        source.rule,
    )


def _override(opened: Sequence[Opening], at: datetime) -> Opening | None:
    """The override that decides at `at`; None: whatever counts, counts."""
    overriding = (one for one in opened if one.overrides and one.standing.period and at in one.standing.period)
    return max(overriding, key=lambda one: (one.overrides, one.source_id), default=None)


def _source(feature: Feature, lines: list[Opening], at: datetime, decides: Opening | None) -> ConsideredSource:
    first, stands = lines[0], lines[0].standing
    would_count = stands.period is not None and at in stands.period
    yields_to = decides if would_count and decides is not first else None
    prices = [line.stripe_price for line in lines if line.stripe_price is not None]
    return ConsideredSource(
        kind=first.kind,
        id=first.source_id,
        products=tuple(dict.fromkeys(line.product for line in lines if line.product is not None)),
        counts=would_count and yields_to is None,
        value=merge(feature, [line.value for line in lines]),
        period=stands.period,
        rule=str(stands.rule if yields_to is None else Rule.OVERRIDDEN),
        sentence=stands.sentence + (f" Overridden by {yields_to.source_id}." if yields_to else _tense(stands, at)),
        stripe_ids=tuple(dict.fromkeys([first.source_id, *prices])) if first.kind in _AT_STRIPE else (),
        policy=first.policy,
    )


def _tense(stands: Standing, at: datetime) -> str:
    """What the sentence of a standing, which knows no instant, leaves open."""
    if stands.period is None or at in stands.period or stands.rule is Rule.DISPUTED:
        return ""
    return " This has not begun." if at < stands.period.start else " This is over."


def _sentence(verdict: Answer, sources: tuple[ConsideredSource, ...]) -> str:
    if verdict.allowed:
        amount = "" if verdict.value is True else f" ({verdict.value})"
        because = next(
            source.sentence
            for source in sources
            if source.counts and (source.id, source.rule) == (verdict.source, verdict.reason)
        )
        return f"Allowed{amount} {until(verdict.valid_until)}. {because}"
    if verdict.source is not None:
        return f"Not allowed: closed by an override {until(verdict.valid_until)}. {sources[0].sentence}"
    if verdict.valid_until is not None:
        return f"Not allowed. {Rule.NOT_YET.sentence.format(opens=day(verdict.valid_until))}"
    concerned = [source for source in sources if source.rule != Rule.OPENS_OTHER_FEATURES]
    if not concerned:
        return f"Not allowed. {Rule.NO_SOURCE.sentence}"
    others = f" None of the {len(concerned)} sources concerned counts." if len(concerned) > 1 else ""
    return f"Not allowed. {concerned[0].sentence}{others}"
