"""Time cut into calendar intervals, in UTC: days, weeks from Monday, months, years, or the whole."""

from datetime import datetime, timedelta
from typing import Final, Literal

from .errors import Problem
from .time import utc

Every = Literal["day", "week", "month", "year", "total"]
MOST: Final = 400
"""How many intervals one answer may have."""


class IntervalsInvalid(Problem):
    """The time asked for cannot be cut into these intervals.

    `from` must be before `to`, and there may be at most 400 intervals: ask for longer ones, or for less time.
    """

    status = 422
    code = "intervals-invalid"


def cut(start: datetime, end: datetime, every: Every) -> list[datetime]:
    """The edges of the intervals, first and last included; the first and the last interval may be cut short."""
    start, end = utc(start), utc(end)
    if start >= end:
        raise IntervalsInvalid("`from` must be before `to`, which is not part of what is told.")
    edges = [start]
    while (following := _next(edges[-1], every)) is not None and following < end:
        if len(edges) == MOST:
            raise IntervalsInvalid(f"That makes more than {MOST} intervals: ask for longer ones, or for less time.")
        edges.append(following)
    return [*edges, end]


def _next(instant: datetime, every: Every) -> datetime | None:
    """The first edge after an instant; None: there is none."""
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        match every:
            case "day":
                return midnight + timedelta(days=1)
            case "week":
                return midnight + timedelta(days=7 - midnight.weekday())
            case "month":
                return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
            case "year":
                return midnight.replace(year=midnight.year + 1, month=1, day=1)
            case _:  # the total is one interval
                return None
    except (OverflowError, ValueError):  # the year 9999 has no next one
        return None
