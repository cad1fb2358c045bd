"""What it means that our books differ from Stripe's: which field, and whether somebody was told wrong by it.

The law: `judge` is a pure function of two histories and an instant. It compares what the books said before a repair
with what they say after, at one instant, so that time passing is never taken for drift.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from .entitlements import Entitlement
from .time import boundaries

Fields = Mapping[str, Any]
"""One object as we hold it: plain JSON values by field."""

EXISTS = "exists"
"""The field of an object that only one of the two sides has."""


class Verdict(StrEnum):
    PAID_BUT_LOCKED_OUT = "paid_but_locked_out"
    """A feature that Stripe's facts open was closed."""
    UNPAID_BUT_ALLOWED = "unpaid_but_allowed"
    """A feature that Stripe's facts close was open."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one object (`sub_…`, `cs_…`) that was not as Stripe has it."""

    object_id: str
    field: str
    ours: Any
    stripes: Any


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    since: datetime
    """Since when the answer was wrong without a break."""


def differences(ours: Mapping[str, Fields], stripes: Mapping[str, Fields]) -> tuple[Difference, ...]:
    """Every field in which two pictures of one customer differ, by object and field.

    A field that an object of ours lacks altogether was not kept when it was written: nobody was told wrong by it.
    """
    found: list[Difference] = []
    for id_ in sorted({*ours, *stripes}):
        held, shown = ours.get(id_), stripes.get(id_)
        if held is None or shown is None:
            found.append(Difference(id_, EXISTS, None if held is None else True, None if shown is None else True))
            continue
        before, after = dict(_flat(held)), dict(_flat(shown))
        found += [
            Difference(id_, field, before[field], after.get(field))
            for field in sorted(before)
            if before[field] != after.get(field)
        ]
        whole = [field for field in sorted({*after} - {*before}) if field.partition(".")[0] in held]
        found += [Difference(id_, field, None, after[field]) for field in whole if after[field] is not None]
    return tuple(found)


def judge(before: tuple[Entitlement, ...], after: tuple[Entitlement, ...], at: datetime) -> Judgement | None:
    """Who was told wrong at `at`; both are whole histories. Being locked out weighs more than being let in."""
    for verdict, wrongly, rightly in (
        (Verdict.PAID_BUT_LOCKED_OUT, before, after),
        (Verdict.UNPAID_BUT_ALLOWED, after, before),
    ):
        since = [
            begun
            for feature in sorted({one.feature for one in rightly})
            if (begun := _open_only_in(rightly, wrongly, feature, at)) is not None
        ]
        if since:
            return Judgement(verdict, min(since))
    return None


def _open_only_in(
    open_: tuple[Entitlement, ...], closed: tuple[Entitlement, ...], feature: str, at: datetime
) -> datetime | None:
    """Since when the feature is open in the one and closed in the other, up to `at`; None where at `at` it is not."""
    here = [one.period for one in open_ if one.feature == feature and one.value]
    there = [one.period for one in closed if one.feature == feature and one.value]
    since = None
    for edge in (edge for edge in reversed(boundaries([*here, *there])) if edge <= at):
        if not any(edge in period for period in here) or any(edge in period for period in there):
            break
        since = edge
    return since


def _flat(fields: Fields, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields with those of objects in them, as in `payment.refunded`; a list is one value."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
