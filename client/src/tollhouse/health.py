"""Whether the service answers, as this process found it, and so when it is asked again. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from .errors import ApiError, InsufficientScope, NotFound, RateLimited, TollhouseError, Unauthenticated, Unreachable

LONGEST_PAUSE = 30.0
"""Seconds: as often as this a service that does not answer is tried, whatever happened."""
LONGEST_RETRY_AFTER = 300.0
MOST_TROUBLES = 1000
_PASSING = (502, 503, 504)


def pause(failures: int, first: float, longest: float, chance: float) -> float:
    """Seconds until the next attempt: doubling from `first` up to `longest`, up to half of it taken off by chance.

    So many who failed together come back apart.
    """
    ceiling: float = min(longest, first * 2.0 ** min(failures, 30))
    return ceiling * (1 - chance / 2)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What one user's question met, where the service as a whole answers."""

    failures: int
    until: float


class Health:
    """What the last answers say of the service as a whole, and of the questions about single users."""

    away = False
    """The service did not answer when it was asked last."""
    barred = False
    """It answered that the key is not good for this."""
    contacted = False
    """It has been asked at least once, with whatever outcome."""

    def __init__(self, first: float, longest: float, chance: Callable[[], float]) -> None:
        self._first, self._longest, self._chance = first, longest, chance
        self._failures = 0
        self._until = 0.0
        self._troubles: dict[str, _Trouble] = {}

    def paused_until(self, user_id: str) -> float:
        """Up to then nobody is to ask about this user: an instant, maybe past."""
        trouble = self._troubles.get(user_id)
        return max(self._until if self.away or self.barred else 0.0, trouble.until if trouble else 0.0)

    def answers(self, user_id: str | None = None) -> bool:
        """An answer came, and it was good. True if that is news."""
        news = self.away or self.barred or not self.contacted
        self.away, self.barred, self.contacted, self._failures = False, False, True, 0
        if user_id is not None:
            self._troubles.pop(user_id, None)
        return news

    def failed(self, error: TollhouseError, now: float, user_id: str) -> None:
        """A question came to nothing."""
        self.contacted = True
        self.barred = isinstance(error, Unauthenticated | InsufficientScope)
        if self.barred or _nobody_is_answered(error):
            self.away = not self.barred
            wait = pause(self._failures, self._first, self._longest, self._chance())
            self._failures += 1
            self._until = now + max(wait, _retry_after(error))
            return
        if len(self._troubles) >= MOST_TROUBLES:
            self._troubles.clear()
        earlier = self._troubles.get(user_id)
        failures = earlier.failures if earlier else 0
        wait = pause(failures, self._first, self._longest, self._chance())
        self._troubles[user_id] = _Trouble(failures + 1, now + wait)


def _retry_after(error: TollhouseError) -> float:
    return min(error.retry_after, LONGEST_RETRY_AFTER) if isinstance(error, ApiError) else 0.0


def _nobody_is_answered(error: TollhouseError) -> bool:
    """Whether this would have befallen a question about any other user too."""
    if isinstance(error, ApiError):
        return isinstance(error, RateLimited) or error.status in _PASSING or _elsewhere(error)
    return isinstance(error, Unreachable)


def _elsewhere(error: ApiError) -> bool:
    """What answers is not Tollhouse: a login page, a redirect, another site's 404."""
    unreadable = error.code == "unreadable-answer" or error.code.startswith("http-3")
    return unreadable or (isinstance(error, NotFound) and error.code == "http-404")
