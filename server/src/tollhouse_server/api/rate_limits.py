"""How often one caller may call one process: a leaky bucket per key, in memory, for microseconds a request.

In memory, because asking another process would cost each check more than the limit saves: with n processes a key has n
times the rate. It keeps one runaway app from the others' share, and is no quota that anybody is billed by.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..domain.errors import Problem

WINDOW = 10.0
"""Seconds: so much of the rate may come at once."""
MOST_BUCKETS = 10_000


class RateLimited(Problem):
    """Too many requests with this key, or too many that could not be authenticated from this address.

    Wait as long as the Retry-After header says; RateLimit-Policy tells the limit.
    """

    status = 429
    code = "rate-limited"


class Standing(NamedTuple):
    """Where a caller stands after a request."""

    left: int
    """Requests that may follow at once."""
    restored_in: float
    """Seconds until all of the window may come at once again."""
    wait: float
    """Seconds until the request would have been let through; 0 where it was."""


class RateLimit:
    """So many requests a second for each caller, and ten seconds' worth of them at once (GCRA)."""

    def __init__(
        self,
        name: str,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_buckets: int = MOST_BUCKETS,
    ) -> None:
        self.policy = f'"{name}";q={math.floor(per_second * WINDOW)};w={WINDOW:.0f}'
        self._lines = f'ratelimit-policy: {self.policy}\r\nratelimit: "{name}";r=%d;t=%d\r\n'.encode()
        self.name, self._interval, self._clock, self._most = name, 1 / per_second, clock, most_buckets
        self._full_again: dict[str, float] = {}
        """When the caller's bucket is full again, least lately used first."""

    def take(self, caller: str) -> Standing:
        """One request of the caller's; one that is refused costs nothing, so that waiting always helps."""
        now = self._clock()
        full_again = max(self._full_again.pop(caller, now), now)
        after = full_again + self._interval
        wait = after - now - WINDOW
        if wait > 1e-9:
            self._full_again[caller] = full_again
            return Standing(0, full_again - now, wait)
        self._full_again[caller] = after
        if len(self._full_again) > self._most:
            del self._full_again[next(iter(self._full_again))]
        return Standing(math.floor((WINDOW - (after - now)) / self._interval + 1e-6), after - now, 0)

    def headers(self, standing: Standing) -> list[tuple[bytes, bytes]]:
        """As the IETF's draft has them (draft-ietf-httpapi-ratelimit-headers-10)."""
        told = f'"{self.name}";r={standing.left};t={math.ceil(standing.restored_in)}'
        return [(b"ratelimit-policy", self.policy.encode()), (b"ratelimit", told.encode())]

    def lines(self, standing: Standing) -> bytes:
        """The same as they go over the wire."""
        return self._lines % (standing.left, math.ceil(standing.restored_in))


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limits of one process; None is no limit."""

    reads: RateLimit | None = None
    writes: RateLimit | None = None
    refusals: RateLimit | None = None
    """For who cannot be authenticated, by address: only what fails counts, so that nobody suffers for a neighbour."""


def rate_limits(*, reads: float, writes: float, refusals: float) -> RateLimits:
    """From requests a second; 0 is no limit."""

    def limit(name: str, per_second: float) -> RateLimit | None:
        return RateLimit(name, per_second) if per_second else None

    return RateLimits(limit("reads", reads), limit("writes", writes), limit("refusals", refusals))
