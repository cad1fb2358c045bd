"""When an endpoint is given up."""

from datetime import UTC, datetime, timedelta

from tollhouse_server.domain.endpoint_health import (
    GIVEN_UP_AFTER,
    HEALTHY,
    SEVERAL,
    WITHIN,
    Health,
    after_failure,
    is_given_up,
)

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


def failing(*hours: float) -> Health:
    """After failures so many hours after NOW, and nothing else."""
    health = HEALTHY
    for one in hours:
        health = after_failure(health, NOW + timedelta(hours=one))
    return health


def test_the_clock_starts_with_the_fifth_failure_of_a_day() -> None:
    """Not with the first, which may be a deployment."""
    assert failing(*range(SEVERAL - 1)).failing_since is None
    assert failing(*range(SEVERAL)).failing_since == NOW + timedelta(hours=SEVERAL - 1)
    assert failing(*range(SEVERAL + 3)).failing_since == NOW + timedelta(hours=SEVERAL - 1), "it is not set back"


def test_failures_now_and_then_never_start_it() -> None:
    """Four a day, for a year."""
    health = failing(*(day * 24.5 + minute for day in range(365) for minute in (0, 0.1, 0.2, 0.3)))
    assert health.failing_since is None and health.failures <= 4


def test_the_day_ends_after_24_hours() -> None:
    """A failure at its very end belongs to it; one later begins another."""
    within = WITHIN / timedelta(hours=1)
    assert failing(0, 1, 2, 3, within).failing_since is not None
    assert failing(0, 1, 2, 3, within + 0.01) == Health(1, NOW + timedelta(hours=within + 0.01))


def test_five_days_of_nothing_else_are_enough() -> None:
    """To the instant."""
    health = failing(*range(SEVERAL))
    assert health.failing_since is not None
    assert not is_given_up(health, health.failing_since + GIVEN_UP_AFTER - timedelta(microseconds=1))
    assert is_given_up(health, health.failing_since + GIVEN_UP_AFTER)
    assert not is_given_up(HEALTHY, NOW + timedelta(days=1000))
