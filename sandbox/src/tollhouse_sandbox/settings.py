"""What can be set for the account beside the API, as on Stripe's dashboard. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.versions import API_VERSION, OLDEST, VERSIONS

DAY = 86_400


@dataclass(frozen=True)
class Setting:
    """What it is at first, and what it must be, in words and as a check."""

    default: Any
    rule: str
    fits: Callable[[Any], bool]


def _one_of(default: str, *others: str) -> Setting:
    names = (default, *others)
    return Setting(default, f"one of {', '.join(names)}", lambda value: value in names)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_delays(value: Any, least: int, most: int) -> bool:
    return isinstance(value, list) and all(_is_whole(each) and least <= each <= most for each in value)


SETTINGS: Mapping[str, Setting] = {
    # What becomes of a subscription whose last retry failed.
    "after_dunning": _one_of("cancel", "unpaid", "pause", "past_due"),
    # Whether a renewal that fails is retried or its subscription paused at once.
    "after_first_failure": _one_of("retry", "pause"),
    # The API version of calls and endpoints that name none, and of the events that are listed.
    "api_version": Setting(API_VERSION, f"an API version since {OLDEST}", lambda value: value in VERSIONS),
    # Seconds from the day a bill that was sent is due to the end of its dunning.
    "overdue_after": Setting(30 * DAY, "whole seconds", lambda value: _are_delays([value], 1, 365 * DAY)),
    # Seconds from each failed payment to the next try: as many tries as entries.
    "retries_after": Setting(
        [3 * DAY, 5 * DAY, 7 * DAY],
        "a list of at most 8 delays in seconds",
        lambda value: _are_delays(value, 1, 365 * DAY) and len(value) <= 8,
    ),
    # Whether the invoice that was never paid is marked uncollectible.
    "uncollectible_after_dunning": Setting(False, "true or false", lambda value: isinstance(value, bool)),
    # When a delivery that failed is tried again: a schedule that `delivery` knows, or one of its own.
    "webhook_retries": Setting(
        "live",
        "live, sandbox or a list of seconds",
        lambda value: value in ("live", "sandbox") or _are_delays(value, 0, 30 * DAY),
    ),
}


def defaults() -> dict[str, Any]:
    """Every setting as it is at first."""
    return {name: setting.default for name, setting in SETTINGS.items()}


def check(given: Mapping[str, Any]) -> None:
    """Raises `StripeError` 400 for a setting there is not, or a value it cannot have."""
    for name, value in given.items():
        if name not in SETTINGS:
            raise StripeError(f"There is no setting {name}, but {', '.join(SETTINGS)}.", param=name)
        if not SETTINGS[name].fits(value):
            raise StripeError(f"{name} must be {SETTINGS[name].rule}.", param=name)
