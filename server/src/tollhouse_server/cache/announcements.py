"""What a commit changes is told before it and after it: to Redis, and to every process that keeps cells of its own.

Before the commit the writer waits until all who listen have put the floor under what they keep, but not for long; so
when the commit is there, nobody has anything older to serve. After it the same is said again, to no longer wait.

A process hears of the others' changes through Redis where there is one, and through PostgreSQL, a little later, always.
Its own tier is closed while it may be the only one who did not hear.
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ..db.engine import Change
from ..telemetry import ANNOUNCEMENTS
from .breaker import REST_SECONDS, Breaker
from .local import Local
from .shared import Shared

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS: Final = 0.5
"""How long nothing may be heard before the subscription is tried."""

SETTLE_SECONDS: Final = 0.1
"""Longer than what was announced before a process listened takes to be committed, unless PostgreSQL is slow."""
HEARD_SECONDS: Final = 0.005
"""How long it takes for all who live to have heard, on a machine that has something else to do too."""


class Announcements:
    """Tells and hears what commits change, for one process' tiers."""

    def __init__(self, shared: Shared, local: Local | None) -> None:
        self._shared, self._local = shared, local
        self._silence = Breaker()
        """Open where others do not say that they heard: a host that died is counted as a listener for a while."""

    async def before(self, changes: Sequence[Change]) -> None:
        """Waits until everybody has heard, or a few milliseconds."""
        self._floor(changes)
        if self._shared.redis is not None:
            outcome = await self._tell(changes) if await self._shared.floor(changes) else "failed"
            ANNOUNCEMENTS.labels(outcome).inc()

    async def after(self, changes: Sequence[Change]) -> None:
        """The floors again, for the case that Redis forgot them meanwhile; nobody is waited for."""
        self._floor(changes)
        if self._shared.redis is not None and await self._shared.floor(changes):
            await self._shared.publish(_written(None, changes))

    def _floor(self, changes: Sequence[Change]) -> None:
        if self._local is not None:
            for one in changes:
                self._local.floor(one.project, one.user, one.version)

    async def _tell(self, changes: Sequence[Change]) -> str:
        id_ = uuid.uuid4().hex
        listening = await self._shared.tell(_written(id_, changes), id_)
        if listening is None:
            return "failed"
        if listening == 0:
            return "heard"
        if not self._silence.may_try():
            # Somebody who is counted does not answer; those who live need no longer than this.
            await self._shared.all_heard(id_, within=HEARD_SECONDS)
            return "unheard"
        if await self._shared.all_heard(id_, within=self._shared.seconds):
            self._silence.succeeded()
            return "heard"
        self._silence.failed()
        return "unheard"

    @asynccontextmanager
    async def listening(self, *, ready_within: float = 1.0) -> AsyncIterator[None]:
        """Hears what others announce while the block runs; it begins once that is so, or Redis does not answer."""
        redis, local = self._shared.redis, self._local
        if redis is None or local is None:
            yield
            return
        local.suspend()
        settled = asyncio.Event()
        task = asyncio.create_task(self._listen(redis, local, settled), name="announcements")
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(settled.wait(), ready_within)
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            local.suspend()

    async def _listen(self, redis: Redis, local: Local, settled: asyncio.Event) -> None:
        def begin() -> None:
            local.resume()
            settled.set()

        while True:
            subscribed = False
            try:
                async with asyncio.timeout(None) as limit, redis.pubsub() as pubsub:
                    limit.reschedule(asyncio.get_running_loop().time() + 2 * self._shared.seconds)
                    await pubsub.subscribe(self._shared.channel)
                    await _next(pubsub)
                    limit.reschedule(None)
                    subscribed = True
                    beginning = asyncio.get_running_loop().call_later(SETTLE_SECONDS, begin)
                    try:
                        await self._hear(pubsub, local)
                    finally:
                        beginning.cancel()
            except Exception as error:  # the library's own, and a ValueError where what answers is no Redis
                if subscribed:
                    # Others may go on telling each other what this process does not hear.
                    local.suspend()
                    log.warning("the subscription to changes is lost", error=type(error).__name__)
                    continue
            # Redis is away: then a second is the bound, and PostgreSQL tells us mostly sooner.
            begin()
            await asyncio.sleep(REST_SECONDS)

    async def _hear(self, pubsub: PubSub, local: Local) -> None:
        """Returns never; raises when the subscription is lost."""
        tried = False
        while True:
            heard = await _next(pubsub, LOOK_EVERY_SECONDS)
            if heard is None:
                if tried:
                    raise TimeoutError
                await pubsub.ping()
            elif heard["type"] == "subscribe":
                raise ConnectionError  # the library has made a new connection; something may be lost
            elif heard["type"] == "message":
                id_, changes = _changes(heard["data"])
                for one in changes:
                    local.floor(one.project, one.user, one.version)
                if id_ is not None:
                    await self._shared.heard(id_)
            tried = heard is None

    def changed(self, change: Change) -> None:
        """What PostgreSQL told of a commit, this process' own or another's."""
        if self._local is not None:
            self._local.floor(change.project, change.user, change.version)

    def resumed(self) -> None:
        """PostgreSQL is heard again; what it told meanwhile was missed."""
        if self._local is not None:
            self._local.clear()


async def _next(pubsub: PubSub, within: float | None = None) -> dict[str, Any] | None:
    """The next message; None where there is none within so many seconds."""
    heard: dict[str, Any] | None = await pubsub.get_message(timeout=within)
    return heard


def _written(id_: str | None, changes: Sequence[Change]) -> str:
    return json.dumps({"id": id_, "changes": [[str(one.project), one.user, one.version] for one in changes]})


def _changes(written: Any) -> tuple[str | None, list[Change]]:
    """The id that is to be told when this was heard, None for nobody waits; and what changed."""
    try:
        told = json.loads(written)
        return told["id"], [Change(uuid.UUID(one[0]), one[1], int(one[2])) for one in told["changes"]]
    except (ValueError, TypeError, LookupError, AttributeError):
        log.warning("something that is not ours was published as a change")
        return None, []
