"""How fast one piece of work asks Stripe: a slot for each request, wider ones after Stripe says it is too much."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import stripe
import structlog

from .client import MAX_NETWORK_RETRIES, TIMEOUT_SECONDS, close_client
from .transport import MeasuredClient

log = structlog.get_logger(__name__)

LIMITED_TRIES = 8
"""How often one request is made again after a 429; with the pauses, about two minutes."""
LONGEST_PAUSE = 30.0
SLOWEST = 10.0
"""Seconds between two requests, at most."""
RECOVERS = 0.9
"""How much the slots narrow again with each answer that is not a 429."""


class Pace:
    """Lets requests go one after the other at an even rate, and keeps account of the time.

    One instance serves everything that one piece of work asks, so that the rate holds for all of it. Times are seconds
    of a monotonic clock: Stripe's limits live in real time.
    """

    def __init__(
        self,
        per_second: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._usual = self._interval = 1 / per_second
        self._now, self._sleep = now, sleep
        self._next = now()
        self._under_way = 0
        self._since = 0.0
        self._pauses = 0
        self.requests = 0
        self.stripe_seconds = 0.0
        """How long at least one request waited for Stripe's answer."""
        self.paced_seconds = 0.0
        """How long requests waited for their slot."""

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for the next slot; the request is made in the block."""
        started = self._now()
        at = max(self._next, started)
        self._next = at + self._interval
        if at > started:
            await self._sleep(at - started)
        self.paced_seconds += self._now() - started
        self.requests += 1
        if self._under_way == 0:
            self._since = self._now()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self.stripe_seconds += self._now() - self._since

    def limited(self, retry_after: str | None) -> None:
        """Stripe answered 429: nothing for `retry_after` seconds, else 1 s, 2 s, 4 s … 30 s; then half as fast."""
        pause = _seconds(retry_after)
        if pause is None:
            pause = 2.0**self._pauses
        self._pauses += 1
        self._interval = min(self._interval * 2, SLOWEST)
        self._next = max(self._next, self._now() + min(pause, LONGEST_PAUSE))
        log.warning("Stripe limits the rate", pause_seconds=pause, seconds_between_requests=self._interval)

    def answered(self) -> None:
        """Stripe answered: step by step back to the usual rate."""
        self._pauses = 0
        self._interval = max(self._interval * RECOVERS, self._usual)


def _seconds(retry_after: str | None) -> float | None:
    """Stripe says seconds; the header may hold a date too, which is not worth reading."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


class PacedClient(MeasuredClient):
    """The library's transport at a pace. It does not retry 429 by itself, and nobody above knows better than this."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(timeout=TIMEOUT_SECONDS)
        self._pace = pace

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        for attempt in range(1, LIMITED_TRIES + 1):
            async with self._pace.slot():
                answer = await super().request_async(method, url, headers, post_data)
            if answer[1] != 429 or attempt == LIMITED_TRIES:
                break
            self._pace.limited(answer[2].get("retry-after"))
        if answer[1] != 429:
            self._pace.answered()
        return answer


@asynccontextmanager
async def paced_client(secret_key: str, api_base: str, pace: Pace) -> AsyncIterator[stripe.StripeClient]:
    """A client of the account of which every request waits for its slot; closed when the block ends."""
    client = stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base},
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=PacedClient(pace),
    )
    try:
        yield client
    finally:
        await close_client(client)
