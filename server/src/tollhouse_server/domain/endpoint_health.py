"""When a notification endpoint is given up: after days of nothing but failure, never after failures now and then.

The law: the clock starts when several attempts have failed within a day, and any success stops it. An endpoint whose
clock has run for five days is given up.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

SEVERAL: Final = 5
WITHIN: Final = timedelta(hours=24)
GIVEN_UP_AFTER: Final = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Health:
    """What is kept of an endpoint's failures. Its default is that of one whose last attempt succeeded."""

    failures: int = 0
    """Since the last success, or since a day passed without several of them."""
    first_failed_at: datetime | None = None
    """When the first of these failed."""
    failing_since: datetime | None = None
    """When the clock started; None: it does not run."""


HEALTHY: Final = Health()


def after_failure(health: Health, at: datetime) -> Health:
    """The health of an endpoint of which another attempt failed at `at`."""
    first = health.first_failed_at
    if first is None or (health.failing_since is None and at - first > WITHIN):
        return Health(1, at)
    failures = health.failures + 1
    return Health(failures, first, health.failing_since or (at if failures >= SEVERAL else None))


def is_given_up(health: Health, at: datetime) -> bool:
    return health.failing_since is not None and at - health.failing_since >= GIVEN_UP_AFTER
