"""Stores Stripe's events as they arrive: those that arrive at the same time in one statement, which is one commit.

A commit costs a write to the disk, and one that wakes the workers waits for every other that does. So while one batch
is being committed the events that arrive meanwhile make the next. Nobody's event waits for another to come.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
import structlog

from . import inbox
from .db.engine import DatabaseBusy, connect
from .inbox import Event
from .telemetry import INTAKE_BATCH

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 64
"""Events in one statement."""
CONNECTIONS = 2
"""While one batch is being committed, the next is on its way."""
TIMEOUT_SECONDS = 5.0
"""How long one batch may take, the connecting included."""


class _Waiting(NamedTuple):
    event: Event
    answer: asyncio.Future[bool]


class Intake:
    """The way of one process' events into the inbox, over connections of its own, which nothing else can keep busy."""

    def __init__(self, url: str) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._idle = [_Line(url) for _ in range(CONNECTIONS)]
        self._writers: set[asyncio.Task[None]] = set()

    async def store(self, event: Event) -> bool:
        """Returns once the event is committed: whether it is new here. Raises DatabaseBusy, psycopg.Error."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(event, answer))
        if self._idle:
            writer = asyncio.create_task(self._write(self._idle.pop()))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await answer

    async def close(self) -> None:
        """What is being committed is committed first."""
        if self._writers:
            await asyncio.wait(self._writers)
        for line in self._idle:
            await line.close()

    async def _write(self, line: "_Line") -> None:
        """Batch after batch, as long as anybody waits."""
        try:
            while self._waiting:
                await _store([self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))], line)
        finally:
            self._idle.append(line)


async def _store(batch: Sequence[_Waiting], line: "_Line") -> None:
    """Stores a batch, and tells everybody in it what became of theirs."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            new = await line.commit([one.event for one in batch])
    except TimeoutError:
        _refuse(batch, DatabaseBusy("the database did not store the events in time"))
        await line.close()
    except psycopg.OperationalError as error:
        _refuse(batch, error)
        await line.close()
    except Exception as error:  # whatever it is, it is those who wait that must hear of it
        if len(batch) == 1:
            _refuse(batch, error)
        else:  # one event that cannot be stored takes no other with it
            for one in batch:
                await _store([one], line)
    else:
        INTAKE_BATCH.observe(len(batch))
        for event, answer in batch:
            if not answer.done():  # who asked may have given up
                answer.set_result(event.id in new)
            new.discard(event.id)  # of two deliveries of one event in a batch, one is the first


def _refuse(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.answer.done():
            one.answer.set_exception(error)


class _Line:
    """A connection that is made when it is needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection | None = None

    async def commit(self, events: Sequence[Event]) -> set[str]:
        """Stores the events; the ids of those that are new. A connection that was cut meanwhile is made anew, once."""
        columns = inbox.columns_of(events)
        if self._connection is not None:
            try:
                return await _executed(self._connection, columns)
            except psycopg.OperationalError as error:
                log.info("a connection is made anew", error=type(error).__name__)
                await self.close()
        self._connection = await connect(self._url)
        return await _executed(self._connection, columns)

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None


async def _executed(connection: psycopg.AsyncConnection, columns: Sequence[Any]) -> set[str]:
    return inbox.new_of(await (await connection.execute(inbox.STORE, columns)).fetchone())
