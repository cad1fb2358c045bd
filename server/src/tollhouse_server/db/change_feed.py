"""PostgreSQL tells what changed: one connection of a process listens, and whoever subscribes hears it.

Each commit that changed a customer, a project or its keys is told, whoever made it, within milliseconds. What is told
while nobody listens is lost: then every subscriber is told that it missed something, and looks for itself.
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import psycopg
import structlog

from .engine import Change as Change
from .engine import conninfo

log = structlog.get_logger(__name__)

CHANNEL = "tollhouse_changes"
"""Where the triggers of revision 0010 tell it."""
LOOK_EVERY_SECONDS = 5.0
"""How long nothing may be heard before the connection is tried."""
ANSWER_WITHIN_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 1.0
"""Between two tries to connect; the first one after a loss is made at once."""


class Subscriber(Protocol):
    """Is called in the event loop and must neither wait nor raise."""

    def changed(self, change: Change) -> None: ...

    def resumed(self) -> None:
        """From now on every commit is heard; of those before, some may not have been."""


class ChangeFeed:
    """Hears of commits while it is `running`."""

    def __init__(self, url: str) -> None:
        self._conninfo = conninfo(url)
        self._subscribers: list[Subscriber] = []
        self._heard = asyncio.Event()
        self.listening = False
        """Whether commits are heard now, as far as this process knows."""

    def subscribe(self, subscriber: Subscriber) -> None:
        """It hears of all that comes from now on; `resumed` is called when, or as soon as, the feed listens."""
        self._subscribers.append(subscriber)
        if self.listening:
            subscriber.resumed()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.remove(subscriber)

    @asynccontextmanager
    async def running(self, *, ready_within: float = 1.0) -> AsyncIterator[None]:
        """Listens while the block runs, which begins when it does, or after so many seconds without PostgreSQL."""
        task = asyncio.create_task(self._run(), name="change feed")
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), ready_within)
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.listening = False

    async def _run(self) -> None:
        pause = 0.0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, connect_timeout=5, application_name="tollhouse changes"
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    pause = 0.0
                    self._resume()
                    await self._hear(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if pause:
                    log.warning("cannot hear of changes", error=type(error).__name__)
            finally:
                self.listening = False
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause or 0.05)

    def _resume(self) -> None:
        self.listening = True
        self._heard.set()
        for one in list(self._subscribers):
            one.resumed()

    async def _hear(self, connection: psycopg.AsyncConnection) -> None:
        """Returns never; raises when the connection is lost."""
        while True:
            async for heard in connection.notifies(timeout=LOOK_EVERY_SECONDS):
                change = _change(heard.payload)
                if change is not None:
                    for one in list(self._subscribers):
                        one.changed(change)
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
                await connection.execute("SELECT 1")


def _change(payload: str) -> Change | None:
    try:
        told = json.loads(payload)
        return Change(uuid.UUID(told["project"]), told["user"], int(told["version"]))
    except (ValueError, TypeError, LookupError, AttributeError):
        log.warning("something that is not ours was told of changes")
        return None
