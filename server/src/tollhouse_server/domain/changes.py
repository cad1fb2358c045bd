"""What a customer gained or lost between two computations."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .catalog import Value
from .entitlements import Entitlement, reading


class ChangeKind(StrEnum):
    OPENED = "opened"
    CLOSED = "closed"
    VALUE = "value"
    """Still open, with another value."""
    VALID_UNTIL = "valid-until"
    """As open or closed as before, but until another instant: a renewal, a cancellation, a grant that will begin."""


@dataclass(frozen=True, slots=True)
class Change:
    feature: str
    kind: ChangeKind
    before: Value | None
    """None: it was closed."""
    after: Value | None
    """None: it is closed."""
    valid_until: datetime | None
    """When `after` next changes by time alone; None: never."""


def diff(
    before: Iterable[Entitlement], after: Iterable[Entitlement], at: datetime, since: datetime | None = None
) -> tuple[Change, ...]:
    """Each feature that changed, by its code: what `after` says at `at` against what `before` said at `since`.

    Give as `since` the instant for which `before` was last told; then what time alone opened or closed in between is
    a change too. Without it both are read at `at`.
    """
    before, after = tuple(before), tuple(after)
    features = sorted({entitlement.feature for entitlement in (*before, *after)})
    changes = (_change(code, _read(before, code, since or at), _read(after, code, at)) for code in features)
    return tuple(change for change in changes if change is not None)


_Reading = tuple[Value | None, datetime | None]
"""The value, None where closed, and when it next changes."""


def _read(entitlements: Iterable[Entitlement], feature: str, at: datetime) -> _Reading:
    now, until = reading(entitlements, feature, at)
    return (now.value or None) if now else None, until


def _change(feature: str, before: _Reading, after: _Reading) -> Change | None:
    if before == after:
        return None
    if before[0] == after[0]:
        kind = ChangeKind.VALID_UNTIL
    elif before[0] is None:
        kind = ChangeKind.OPENED
    else:
        kind = ChangeKind.CLOSED if after[0] is None else ChangeKind.VALUE
    return Change(feature, kind, before[0], after[0], after[1])
