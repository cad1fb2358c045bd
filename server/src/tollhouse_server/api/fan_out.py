"""What changes, told to every open stream of this process: looked up once for each project, and rendered once.

A process looks for itself, woken by PostgreSQL within milliseconds of a commit and by its own clock each second, so it
needs neither the other processes nor a message that cannot be lost. docs/decisions/0015 says why.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..catalogs import Project, current_catalog
from ..changes_since import Found, Position, look
from ..clock import Clock
from ..db.change_feed import Change, ChangeFeed
from ..db.engine import Database
from ..domain.catalog import Catalog
from ..state import customer_snapshot
from ..telemetry import STREAM_ENDS, STREAM_EVENTS, STREAM_LAG_SECONDS, STREAMS_OPEN

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.01
"""How long changes are gathered after the first one was told: a burst is a few looks, not one for each commit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process does for its streams."""

    look_every: float = 1.0
    """Seconds: how often it looks though nobody told it to, and whether the keys of its streams are still in use."""
    blind: float = 5.0
    """Seconds that streams stay open while PostgreSQL cannot be asked: beyond, they would promise what nobody knows."""
    page: int = 200
    """Customers that are read and rendered in one go, so that nothing else waits long."""
    catch_up: int = 10_000
    """Customers that are told one by one; who has missed more is told so, and asks again as it needs."""
    waiting: int = 4 * 1024 * 1024
    """Bytes that may wait for one reader."""


class Ending(StrEnum):
    """Why a stream ended."""

    CLIENT = "client"
    SLOW = "slow"
    KEY = "key"
    SHUTDOWN = "shutdown"
    BEHIND = "behind"
    """More had changed at once than is told one by one, or the database was restored."""
    BLIND = "blind"
    """PostgreSQL could not be asked."""


class Reader:
    """One open stream: what is yet to be sent on it."""

    def __init__(self, key_id: str, first: Sequence[bytes], *, most_waiting: int) -> None:
        """`first` is sent before anything else, however much it is."""
        self.key_id = key_id
        self.ended = asyncio.Event()
        self.why: Ending | None = None
        self._first = deque(first)
        self._waiting: deque[bytes] = deque()
        self._size, self._most = 0, most_waiting
        self._something = asyncio.Event()

    def push(self, chunk: bytes) -> None:
        if self._size and self._size + len(chunk) > self._most:
            self.end(Ending.SLOW)
            return
        self._waiting.append(chunk)
        self._size += len(chunk)
        self._something.set()

    def end(self, why: Ending) -> None:
        """Ends the stream now; what still waits is not sent: the reader goes on from where it was."""
        if self.why is None:
            self.why = why
            self.ended.set()
            self._something.set()

    async def next(self) -> bytes | None:
        """What is to be sent next, as soon as there is something; None when the stream has ended."""
        while self.why is None:
            if self._first:
                return self._first.popleft()
            if self._waiting:
                chunk = self._waiting.popleft()
                self._size -= len(chunk)
                return chunk
            self._something.clear()
            await self._something.wait()
        return None


class _Tail:
    """How far one project has been told, and to whom."""

    def __init__(self, found: Found, catalog: Catalog) -> None:
        self.project, self.position, self.catalog = found.project, found.position, catalog
        self.joined = 0
        """Streams that are open or about to be."""
        self.readers: set[Reader] = set()
        self.looking = asyncio.Lock()
        self.looked = self.beat = time.monotonic()

    def push(self, kind: str, chunk: bytes, events: int = 1) -> None:
        for reader in self.readers:
            reader.push(chunk)
        STREAM_EVENTS.labels(kind).inc(events * len(self.readers))

    def end(self, why: Ending) -> None:
        for reader in self.readers:
            reader.end(why)


class FanOut:
    """The open streams of this process."""

    def __init__(
        self,
        database: Database,
        changes: ChangeFeed,
        clock: Clock,
        good_keys: Callable[[Collection[str], datetime], Awaitable[set[str]]],
        *,
        heartbeat_seconds: float,
        limits: Limits = Limits(),
    ) -> None:
        """`good_keys` tells those of the keys that may be streamed to at an instant."""
        self.heartbeat_seconds, self._good_keys = heartbeat_seconds, good_keys
        self._database, self._changes, self._clock, self._limits = database, changes, clock, limits
        self._tails: dict[uuid.UUID, _Tail] = {}
        self._beginning = asyncio.Lock()
        self._wake = asyncio.Event()
        self._dirty: set[uuid.UUID] = set()
        self._keys_changed = False
        self._over = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks for changes while the block runs."""
        task = asyncio.create_task(self._run(), name="fan-out")
        self._changes.subscribe(self)
        try:
            yield
        finally:
            self.end()
            self._changes.unsubscribe(self)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def changed(self, change: Change) -> None:
        """PostgreSQL tells of a commit."""
        if change.project in self._tails:
            self._dirty.add(change.project)
            self._keys_changed |= change.user is None
            self._wake.set()

    def resumed(self) -> None:
        """Some commits may not have been told."""
        self._dirty.update(self._tails)
        self._wake.set()

    def end(self) -> None:
        """Ends every stream; none can be opened any more."""
        self._over = True
        for tail in self._tails.values():
            tail.end(Ending.SHUTDOWN)

    @asynccontextmanager
    async def reading(self, project: Project, key_id: str, last_event_id: str | None) -> AsyncIterator[Reader]:
        """A new stream, open while the block runs. Its first event says hello; then comes what its reader has missed.

        Raises what the database raises.
        """
        tail = await self._join(project)
        try:
            reader = await self._greeted(tail, key_id, last_event_id)
            STREAMS_OPEN.inc()
            try:
                yield reader
            finally:
                tail.readers.discard(reader)
                reader.end(Ending.CLIENT)
                STREAMS_OPEN.dec()
                STREAM_ENDS.labels(reader.why).inc()
        finally:
            self._leave(tail)

    async def _greeted(self, tail: _Tail, key_id: str, last_event_id: str | None) -> Reader:
        async with tail.looking:
            since, missed = await self._missed(tail, last_event_id)
            hello = {
                "project": tail.project.slug,
                "catalog_version": tail.catalog.version,
                "resumed": since is not None,
                "heartbeat_seconds": self.heartbeat_seconds,
            }
            # After what was missed comes a heartbeat, so that the reader knows that this was all.
            caught_up = [*missed, _event("heartbeat", "{}", tail.position)] if since else []
            said = [_event("hello", json.dumps(hello), since or tail.position), *caught_up]
            reader = Reader(key_id, said, most_waiting=self._limits.waiting)
            if self._over:
                reader.end(Ending.SHUTDOWN)
            tail.readers.add(reader)
            return reader

    async def _join(self, project: Project) -> _Tail:
        async with self._beginning:
            if project.id not in self._tails:
                async with self._database.statement(project=project.id) as tx:
                    found = await look(tx, project.id, None, most=0)
                    catalog = await current_catalog(tx, found.project)
                self._tails[project.id] = _Tail(found, catalog)
                self._wake.set()  # who waits does so for nothing but to be told, as long as there is no stream
            tail = self._tails[project.id]
            tail.joined += 1
            return tail

    def _leave(self, tail: _Tail) -> None:
        tail.joined -= 1
        if not tail.joined:
            del self._tails[tail.project.id]

    async def _missed(self, tail: _Tail, last_event_id: str | None) -> tuple[Position | None, list[bytes]]:
        """From where the stream goes on, None where that cannot be said, and what changed from there to the tail."""
        since = Position.parse(last_event_id or "")
        if since is None or since.origin != tail.position.origin:
            return None, []
        await self._look(tail)  # another process may have told its readers more than this one has seen
        if since.oldest > tail.position.newest:
            return None, []
        missed: list[bytes] = []
        try:
            async for found, _, page in self._pages(tail.project, since, tail.position):
                if page:
                    missed.append(page)
                    STREAM_EVENTS.labels("customer").inc(len(found.changed))
        except _TooMuch:
            return None, []
        return since, missed

    async def _look(self, tail: _Tail) -> None:
        """Tells the readers what has changed since the last time. The caller has the tail's lock."""
        upto = None
        try:
            async for found, catalog, page in self._pages(tail.project, tail.position, None):
                upto = upto or found.position
                if catalog.version != tail.catalog.version:
                    tail.catalog = catalog
                    said = json.dumps({"catalog_version": catalog.version})
                    tail.push("catalog", _event("catalog", said, tail.position))
                if page:
                    tail.push("customer", page, len(found.changed))
                now = self._clock.now()
                for one in found.changed:
                    STREAM_LAG_SECONDS.observe(max(0.0, (now - one.computed_at).total_seconds()))
        except _TooMuch as much:
            tail.end(Ending.BEHIND)
            upto = much.upto
        tail.position, tail.looked = upto or tail.position, time.monotonic()

    async def _pages(
        self, project: Project, since: Position, upto: Position | None
    ) -> AsyncIterator[tuple[Found, Catalog, bytes]]:
        """What changed between the positions, as events; `upto` None: until now, which the first page tells.

        Raises _TooMuch.
        """
        told, after = 0, None
        while True:
            async with self._database.statement(project=project.id) as tx:
                found = await look(tx, project.id, since, upto=upto, after=after, most=self._limits.page)
                catalog = await current_catalog(tx, found.project)
            upto = upto or found.position
            told += len(found.changed)
            if told > self._limits.catch_up or upto.origin != since.origin:
                raise _TooMuch(upto)
            is_last = len(found.changed) < self._limits.page
            yield found, catalog, self._events(found, catalog, since, upto if is_last else since)
            if is_last:
                return
            after = found.changed[-1]

    def _events(self, found: Found, catalog: Catalog, since: Position, then: Position) -> bytes:
        """An event for each customer, each saying from where to go on after it: only after the last all were told."""
        at, last = self._clock.now(), len(found.changed) - 1
        return b"".join(
            _event(
                "customer",
                customer_snapshot(
                    found.project.slug, one.user_id, one.version, catalog, one.entitlements, at
                ).model_dump_json(by_alias=True),
                then if number == last else since,
            )
            for number, one in enumerate(found.changed)
        )

    async def _run(self) -> None:
        next_round = time.monotonic()
        while True:
            await self._until_told(next_round)
            try:
                if time.monotonic() >= next_round:
                    next_round = time.monotonic() + min(self._limits.look_every, self.heartbeat_seconds)
                    self._dirty.update(self._tails)
                    self._keys_changed = True
                await self._round()
            except (SQLAlchemyError, OSError) as error:
                log.warning("cannot look for changes", error=type(error).__name__)
            except Exception:
                log.exception("looking for changes failed")
            self._end_the_blind()

    async def _until_told(self, moment: float) -> None:
        """Until something is told, or, while there are streams, until the moment."""
        seconds = max(0.0, moment - time.monotonic()) if self._tails else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                await asyncio.sleep(GATHER_SECONDS)
        self._wake.clear()

    async def _round(self) -> None:
        if self._keys_changed:
            await self._end_those_without_key()
            self._keys_changed = False
        while self._dirty:
            tail = self._tails.get(self._dirty.pop())
            if tail is not None:
                async with tail.looking:
                    await self._look(tail)
                self._beat(tail)

    def _beat(self, tail: _Tail) -> None:
        """A heartbeat says that all is told that was committed until a moment ago."""
        if tail.looked >= tail.beat + self.heartbeat_seconds:
            tail.beat = tail.looked
            tail.push("heartbeat", _event("heartbeat", "{}", tail.position))

    async def _end_those_without_key(self) -> None:
        readers = [reader for tail in self._tails.values() for reader in tail.readers]
        if readers:
            key_ids = {reader.key_id for reader in readers}
            good = await self._good_keys(key_ids, self._clock.now())
            for reader in readers:
                if reader.key_id not in good:
                    reader.end(Ending.KEY)

    def _end_the_blind(self) -> None:
        for tail in self._tails.values():
            if time.monotonic() - tail.looked > self._limits.blind:
                tail.end(Ending.BLIND)


class _TooMuch(Exception):
    """More has changed up to `upto` than is told one by one, or all of it."""

    def __init__(self, upto: Position) -> None:
        super().__init__(upto)
        self.upto = upto


def _event(kind: str, data: str, at: Position) -> bytes:
    return f"event: {kind}\nid: {at}\ndata: {data}\n\n".encode()
