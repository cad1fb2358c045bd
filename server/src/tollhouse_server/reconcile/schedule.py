"""When a reconciliation is due: a pure function of the last one, the settings and the instant."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from .runs import Kind


@dataclass(frozen=True, slots=True)
class Schedule:
    """None: never by itself."""

    catch_up_every: timedelta | None
    sweep_every: timedelta | None
    sweep_daily_at: time | None
    """In UTC."""

    def is_due(self, kind: Kind, last: datetime | None, now: datetime) -> bool:
        """Whether a run of the kind should begin; `last` is when the latest one began, None for the very first."""
        every = self.catch_up_every if kind is Kind.CATCH_UP else self.sweep_every
        daily_at = None if kind is Kind.CATCH_UP else self.sweep_daily_at
        if every is None and daily_at is None:
            return False
        if last is None:
            return True
        by_interval = every is not None and now - last >= every
        return by_interval or (daily_at is not None and last < _latest(daily_at, now) <= now)


def _latest(daily_at: time, now: datetime) -> datetime:
    """The latest such time of day that is not after `now`."""
    today = datetime.combine(now.astimezone(UTC).date(), daily_at, UTC)
    return today if today <= now else today - timedelta(days=1)
