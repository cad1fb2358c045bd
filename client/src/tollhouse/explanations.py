"""Why a user may or may not use a feature, as values that do not change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .answers import Value


@dataclass(frozen=True, slots=True)
class ExplainedSource:
    """One reason for access that was considered, and whether it counted."""

    kind: str
    """`subscription`, `purchase` or `grant`."""
    id: str
    products: tuple[str, ...]
    counts: bool
    value: Value | None
    since: datetime | None = field(metadata={"wire": "from"})
    until: datetime | None
    rule: str
    sentence: str
    stripe_ids: tuple[str, ...]
    event_ids: tuple[str, ...] = ()
    """Stripe's events that last changed what it gives, newest first."""
    policy: Mapping[str, object] | None = None
    """By which it was judged."""


@dataclass(frozen=True, slots=True)
class Served:
    """What was answered at an instant in the past."""

    allowed: bool
    value: Value
    valid_until: datetime | None
    rule: str
    source: str | None
    version: int | None
    changed_at: datetime
    """When that began to be so."""
    audit_id: int
    actor: str
    cause: str
    """What made it so: of Stripe, its event ids."""
    differs: bool
    """Whether what is known now says otherwise for that instant."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a user may or may not use a feature at an instant; `sentence` is for people."""

    feature: str
    at: datetime
    allowed: bool
    value: Value
    valid_until: datetime | None
    rule: str
    sentence: str
    next_change_at: datetime | None
    policy: Mapping[str, object]
    """The project's policy as it was applied."""
    sources: tuple[ExplainedSource, ...]
    served: Served | None = None
    """Of an instant in the past: what was served then."""

    def __bool__(self) -> bool:
        return self.allowed
