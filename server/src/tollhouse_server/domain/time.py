"""Instants and half-open periods, always aware and in UTC."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self


def utc(instant: datetime) -> datetime:
    """The same instant in UTC. Raises ValueError for a naive datetime: it names no instant."""
    if instant.tzinfo is UTC:
        return instant
    if instant.tzinfo is None:
        raise ValueError(f"naive datetime {instant!r}: say which time zone it is in")
    return instant.astimezone(UTC)


def from_timestamp(seconds: int) -> datetime:
    """Stripe's Unix seconds as an instant."""
    return datetime.fromtimestamp(seconds, UTC)


def written(instant: datetime) -> str:
    """RFC 3339 in UTC, as in 2026-11-03T09:30:00Z; `datetime.fromisoformat` reads it back."""
    return utc(instant).isoformat().replace("+00:00", "Z")


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day(instant: datetime) -> str:
    """The day in UTC as people write it, whatever the machine's language: 3 Nov 2026."""
    instant = utc(instant)
    return f"{instant.day} {_MONTHS[instant.month - 1]} {instant.year}"


def until(end: datetime | None) -> str:
    """How long something lasts, to follow the words "access lasts"."""
    return "for ever" if end is None else f"until {day(end)}"


def earliest(instant: datetime, limit: datetime | None) -> datetime:
    """The earlier of the two; no limit limits nothing."""
    return instant if limit is None else min(instant, limit)


EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When what was always so began: before anybody bought anything."""
LAST: Final = datetime.max.replace(tzinfo=UTC)
"""The last instant there is."""


def later(instant: datetime, by: timedelta, times: int = 1) -> datetime:
    """The instant so much later, `times` over; the last one there is, where it would lie beyond."""
    try:
        return instant + by * times
    except OverflowError:
        return LAST


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open: contains `start`, does not contain `end`; `end=None` never ends. Never empty."""

    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", utc(self.start))
        if self.end is not None:
            object.__setattr__(self, "end", utc(self.end))
            if self.end <= self.start:
                raise ValueError(f"a period must end after it starts: {self.start} .. {self.end}")

    @classmethod
    def maybe(cls, start: datetime, end: datetime | None) -> Self | None:
        """The period, or None where it would be empty."""
        return cls(start, end) if end is None or utc(end) > utc(start) else None

    @classmethod
    def days(cls, start: datetime, days: int) -> Self:
        """`days` times 24 hours from `start`."""
        return cls(start, start + timedelta(days=days))

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant and (self.end is None or instant < self.end)


def boundaries(periods: Iterable[Period]) -> list[datetime]:
    """Every instant at which one of the periods starts or ends, in order, each once."""
    return sorted({edge for period in periods for edge in (period.start, period.end) if edge is not None})
