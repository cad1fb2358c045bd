"""A customer's snapshot: what each feature is, from when until when, and how that is read at an instant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from .answers import Check, Customer, Entitlements, Value


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which a feature is open with one value; its end is not part of it."""

    value: Value
    since: datetime = field(metadata={"wire": "from"})
    until: datetime | None
    reason: str
    source: str | None


@dataclass(frozen=True, slots=True)
class SnapshotFeature:
    kind: str
    """`switch` or `limit`."""
    stretches: tuple[Stretch, ...]
    """In order of time, disjoint; those that were over when it was issued are left out."""
    overridden: tuple[Stretch, ...] = ()
    """When an operator's override closes it, whatever was bought; disjoint from those in which it is open."""

    @property
    def closed(self) -> Value:
        return 0 if self.kind == "limit" else False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every feature of the catalog for one user, for each instant from `issued_at` on, until something changes."""

    project: str
    user_id: str
    version: int
    """Grows with each change of the customer; 0 for a user of whom nothing is known."""
    catalog_version: int
    issued_at: datetime
    features: Mapping[str, SnapshotFeature]

    def check(self, feature: str, at: datetime) -> Check:
        """What the user may do at `at`, an instant not before `issued_at`. Raises KeyError for an unknown feature."""
        known = self.features[feature]
        closing = _ahead(known.overridden, at)
        if closing and closing[0].since <= at:
            now, until = closing[0], _end_of_value(closing)
            return Check(feature, False, known.closed, until, now.reason, now.source, self.version, at)
        ahead = _ahead(known.stretches, at)
        if not ahead:
            return Check(feature, False, known.closed, None, "no-source", None, self.version, at)
        now = ahead[0]
        if at < now.since:
            return Check(feature, False, known.closed, now.since, "not-yet", None, self.version, at)
        return Check(feature, True, now.value, _end_of_value(ahead), now.reason, now.source, self.version, at)


def _ahead(stretches: Sequence[Stretch], at: datetime) -> list[Stretch]:
    return [stretch for stretch in stretches if stretch.until is None or at < stretch.until]


def _end_of_value(ahead: list[Stretch]) -> datetime | None:
    """When the value of the first of these stretches ends; others may follow on with the same value."""
    for now, following in pairwise(ahead):
        if now.until != following.since or now.value != following.value:
            return now.until
    return ahead[-1].until


def from_entitlements(told: Entitlements | Customer, project: str, catalog_version: int) -> Snapshot:
    """As much of a snapshot as an answer about one instant tells: true until something in it ends."""
    checks = told.entitlements if isinstance(told, Customer) else told
    return Snapshot(
        project,
        told.user_id,
        told.version,
        catalog_version,
        told.checked_at,
        {code: _feature(check) for code, check in checks.features.items()},
    )


def _feature(check: Check) -> SnapshotFeature:
    kind = "switch" if isinstance(check.value, bool) else "limit"
    if not check.allowed and check.source is None:
        return SnapshotFeature(kind, ())
    told = (Stretch(check.value, check.checked_at, check.valid_until, check.reason, check.source),)
    return SnapshotFeature(kind, told) if check.allowed else SnapshotFeature(kind, (), told)
