"""Delivers what is due: many endpoints side by side, each within its share, so that a slow one delays nobody else.

Killed at any moment it loses nothing: what was claimed comes free when its lease ends, and is sent again. So a message
may arrive twice, with the same id.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from .. import deliveries, logs
from ..clock import Clock
from ..db.engine import Database
from ..deliveries import Claim
from ..domain.destinations import NotADestination, destination
from ..telemetry import NOTIFICATION_SECONDS, NOTIFICATIONS
from . import endpoints
from .post import TIMEOUT, Answer, NoAnswer, Post
from .signing import Signer

log = structlog.get_logger(__name__)

RETRIES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))
)
"""How long after each failure the next attempt is made, as Standard Webhooks has it: ten attempts in 75 hours."""
JITTER = 0.1
LONGEST_WAIT = timedelta(hours=24)
"""How far an endpoint may put off the next attempt by Retry-After."""
LEASE = TIMEOUT * 4
POLL_EVERY = timedelta(seconds=1)
"""How long a missed NOTIFY can delay a message, and by how much a retry may be late."""
GONE = 410


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `error` is a sentence for the endpoint's owner."""

    error: str
    status: int | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Courier:
    """One process' deliveries; `at_once` of them at a time."""

    database: Database
    clock: Clock
    signer: Signer
    post: Post
    at_once: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it when there may be something to do."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Delivers until `stopping` is set and `wake` with it; what is under way then is finished first."""
        if not self.signer.ready:
            log.warning("SECRET_KEY is not set: no notifications are delivered")
            return
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                self.wake.clear()
                for claimed in await self._claim_or_wait(self.at_once - len(under_way)):
                    task = group.create_task(self._deliver(claimed))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    task.add_done_callback(lambda _: self.wake.set())

    async def deliver_due(self) -> int:
        """Delivers what is due now, side by side; returns how many attempts were made. Call it until it makes none."""
        async with self.database.transaction() as tx:
            claims = await deliveries.claim(tx, limit=self.at_once, lease=LEASE)
        await asyncio.gather(*(self._deliver(one) for one in claims))
        return len(claims)

    async def _claim_or_wait(self, limit: int) -> list[Claim]:
        """What is due; nothing after a pause in which nothing was."""
        try:
            if limit > 0:
                async with self.database.transaction() as tx:
                    if claims := await deliveries.claim(tx, limit=limit, lease=LEASE):
                        return claims
        except Exception:
            log.exception("notifications cannot be claimed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), POLL_EVERY.total_seconds())
        return []

    async def _deliver(self, claimed: Claim) -> None:
        """One attempt and what becomes of it. Never raises: what is not settled comes free when its lease ends."""
        with logs.concerning(message_id=claimed.message_id, endpoint_id=claimed.endpoint_id):
            try:
                outcome = await self._attempt(claimed)
                if isinstance(outcome, Failure):
                    named = await self._failed(claimed, outcome)
                else:
                    named = await self._succeeded(claimed, outcome)
            except Exception:
                log.exception("what became of a notification is not stored")
                return
            NOTIFICATIONS.labels(named).inc()
            log.info("notification sent", attempt=claimed.attempts + 1, status=outcome.status, outcome=named)

    async def _attempt(self, claimed: Claim) -> Answer | Failure:
        try:
            to = destination(claimed.url, allow_private=self.post.allow_private)
            signed = self.signer.headers(
                claimed.endpoint_id,
                claimed.generation,
                claimed.message_id,
                claimed.body,
                datetime.now(UTC),  # real time, wherever the service's clock stands: the app compares it with its own
                overlaps=claimed.overlaps,
            )
            headers = {"Content-Type": "application/json", **signed}
            answer = await self.post(to, headers, claimed.body.encode())
        except (NotADestination, NoAnswer) as error:
            return Failure(str(error))
        if 200 <= answer.status < 300:
            return answer
        return Failure(_said(answer.status), answer.status, answer.retry_after)

    async def _succeeded(self, claimed: Claim, answer: Answer) -> str:
        async with self.database.transaction() as tx:
            await endpoints.note_success(tx, claimed.endpoint_id)
            waited = await deliveries.succeed(tx, claimed, answer.status)
        if waited is not None:
            NOTIFICATION_SECONDS.observe(waited)
        return "delivered"

    async def _failed(self, claimed: Claim, why: Failure) -> str:
        async with self.database.transaction() as tx:
            endpoint = await endpoints.lock(tx, claimed.endpoint_id)
            if endpoint is None:
                return "endpoint-deleted"
            lost = await endpoints.note_failure(tx, endpoint)
            if endpoint.disabled_at is not None or why.status == GONE or lost:
                await deliveries.give_up(tx, claimed, why.status, why.error)
                if endpoint.disabled_at is None:
                    because = endpoints.GONE if why.status == GONE else endpoints.FAILED_FOR_DAYS
                    await endpoints.disable(tx, endpoint, because, at=self.clock.now())
                return "given-up"
            if claimed.attempts >= len(RETRIES):
                await deliveries.give_up(tx, claimed, why.status, why.error)
                return "given-up"
            await deliveries.defer(tx, claimed, _wait(claimed.attempts, why.retry_after), why.status, why.error)
        return "deferred"


def _wait(attempts: int, asked: timedelta | None) -> timedelta:
    """Until the next attempt, after `attempts` and the one that just failed; later where the endpoint asks for it."""
    usual = RETRIES[attempts] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return max(usual, min(asked or timedelta(), LONGEST_WAIT))


def _said(status: int) -> str:
    if 300 <= status < 400:
        return f"It answered {status}: redirects are not followed, so register the URL it leads to."
    return f"It answered {status}: anything but 2xx is a failure."
