"""The reads that checks are made of: all that wait at one moment are one query, over a few connections of their own.

So the cost of a read is shared by those who ask at the same time, and nobody is handed a read that began before they
asked: who comes while a query is under way waits for the next.

A connection stands behind the second wall (isolation.py) for one project at a time: the role and the project are set
for the session, in the same round trip as the first query for that project. Keys are read by the login role, as no
project is known before.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Select, Text, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import OperationalError

from .engine import CHECK_SECONDS, DatabaseBusy, conninfo
from .isolation import ROLE, SETTING
from .tables import api_key, project, snapshot

CONNECTIONS = 3
MOST_AT_ONCE = 500
"""Rows that one query asks for; who is beyond waits for the next."""

_ENTER = f"SELECT set_config('role', %s, false), set_config('{SETTING}', %s, false)"


def _compiled(query: Select[Any]) -> str:
    return str(query.compile(dialect=PGDialect_psycopg()))  # type: ignore[no-untyped-call]


_WANTED = any_(bindparam("wanted", type_=ARRAY(Text)))
_SNAPSHOTS = _compiled(
    select(snapshot.c.user_id, snapshot.c.version, snapshot.c.entitlements).where(
        snapshot.c.project_id == bindparam("project"), snapshot.c.user_id == _WANTED
    )
)
_KEYS = _compiled(
    select(
        api_key.c.id,
        api_key.c.hash,
        api_key.c.scopes,
        api_key.c.expires_at,
        api_key.c.last_used_at,
        project.c.id.label("project_id"),
        project.c.slug,
        project.c.redirect_origins,
        project.c.catalog_version,
        project.c.version,
    )
    .join(project, project.c.id == api_key.c.project_id)
    .where(api_key.c.revoked_at.is_(None), api_key.c.id == _WANTED)
)


class StoredSnapshot(NamedTuple):
    """A customer's snapshot as it is stored."""

    version: int
    entitlements: list[dict[str, Any]]
    """As `domain.entitlements.dump` wrote it."""
    began: float
    """When its read began, in seconds of `time.monotonic()`."""


class StoredKey(NamedTuple):
    """A project's key that is not revoked, and its project. Whether it has ended, ask its time."""

    id: str
    hash: bytes
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    project_id: uuid.UUID
    slug: str
    redirect_origins: list[str]
    catalog_version: int
    version: int
    """The project's."""
    began: float
    """As a snapshot's."""


@dataclass(slots=True)
class _Desk:
    """One connection, and behind whose wall it stands: a project's, or None for the login role's own."""

    connection: "psycopg.AsyncConnection[Any] | None" = None
    of: uuid.UUID | None = None
    task: "asyncio.Task[None] | None" = None
    """While it is at work."""

    async def leave(self) -> None:
        """Closes the connection: what it had been told is unknown."""
        connection, self.connection, self.of = self.connection, None, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


_Answer = tuple[Any, float]
"""The row, None where there is none, and when its read began."""


class Reader:
    """Snapshots and keys by their ids. Connects when first asked, and anew when a connection was cut."""

    def __init__(self, url: str, *, connections: int = CONNECTIONS, seconds: float = CHECK_SECONDS) -> None:
        """`seconds` is how long one read may take, the wait for its turn included."""
        self._conninfo, self._seconds = conninfo(url), seconds
        self._waiting: dict[uuid.UUID | None, dict[str, list[asyncio.Future[_Answer]]]] = {}
        """Project → user id → who asks for the snapshot; None → key id → who asks for the key. First come, first."""
        self._desks = [_Desk() for _ in range(connections)]

    async def snapshot(self, project_id: uuid.UUID, user_id: str) -> StoredSnapshot:
        """The stored snapshot; version 0 for a user of whom nothing was ever stored.

        Raises DatabaseBusy where it takes too long, SQLAlchemy's OperationalError where PostgreSQL is away.
        """
        row, began = await self._read(project_id, user_id)
        return StoredSnapshot(0, [], began) if row is None else StoredSnapshot(row[1], row[2], began)

    async def key(self, key_id: str) -> StoredKey | None:
        """The key of this id, unless it is revoked or an operator's. Raises as `snapshot` does."""
        row, began = await self._read(None, key_id)
        return None if row is None else StoredKey._make((*row, began))

    async def close(self) -> None:
        """Gives up whoever still waits."""
        for desk in self._desks:
            if desk.task is not None:
                desk.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await desk.task
            await desk.leave()
        for wanted in self._waiting.values():
            _refuse(wanted, DatabaseBusy("the reader was closed"))
        self._waiting.clear()

    async def _read(self, of: uuid.UUID | None, wanted: str) -> _Answer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()
        self._waiting.setdefault(of, {}).setdefault(wanted, []).append(answer)
        self._begin(of, loop)
        late = loop.call_later(self._seconds, _give_up, answer)
        try:
            return await answer
        finally:
            late.cancel()

    def _begin(self, of: uuid.UUID | None, loop: asyncio.AbstractEventLoop) -> None:
        """Sets a desk to work, if one is free: rather one that stands where it would have to."""
        free = [desk for desk in self._desks if desk.task is None]
        if free:
            chosen = min(free, key=lambda desk: (desk.connection is None, desk.of != of))
            # Begun in the loop's next turn: whoever asks in this one is in the same query.
            chosen.task = loop.create_task(self._work(chosen))

    async def _work(self, desk: _Desk) -> None:
        try:
            while self._waiting:
                of = next(iter(self._waiting))  # who came first; a busy project must not keep the others waiting
                wanted = self._take(of)
                try:
                    rows, began = await self._answers(desk, of, list(wanted))
                except asyncio.CancelledError:
                    _refuse(wanted, DatabaseBusy("the reader was closed"))
                    raise
                except Exception as error:
                    _refuse(wanted, error)
                    continue
                for row in rows:
                    _hand(wanted.pop(row[0], ()), (row, began))
                for waiting in wanted.values():
                    _hand(waiting, (None, began))
        finally:
            desk.task = None

    def _take(self, of: uuid.UUID | None) -> dict[str, list[asyncio.Future[_Answer]]]:
        """All that is waited for of the project now, or so much of it as one query may ask for."""
        waiting = self._waiting.pop(of)
        taken = dict(islice(waiting.items(), MOST_AT_ONCE))
        if len(taken) < len(waiting):
            self._waiting[of] = {one: waiting[one] for one in waiting if one not in taken}
        return taken

    async def _answers(self, desk: _Desk, of: uuid.UUID | None, wanted: list[str]) -> tuple[Sequence[Any], float]:
        """What is stored under these ids, and when that read began."""
        try:
            async with asyncio.timeout(self._seconds) as limit:
                was_open = desk.connection is not None
                try:
                    return await self._query(desk, of, wanted)
                except (psycopg.OperationalError, psycopg.InterfaceError):
                    await desk.leave()
                    if not was_open:
                        raise
                # PostgreSQL was restarted since, as like as not: a new connection may do.
                return await self._query(desk, of, wanted)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            await desk.leave()
            raise OperationalError("a read of a check", None, error, hide_parameters=True) from error
        except TimeoutError:
            await desk.leave()
            if not limit.expired():
                raise
            raise DatabaseBusy("a read took too long") from None
        except BaseException:
            await desk.leave()
            raise

    async def _query(self, desk: _Desk, of: uuid.UUID | None, wanted: list[str]) -> tuple[Sequence[Any], float]:
        if desk.connection is None:
            desk.connection = await self._connect()
        connection = desk.connection
        query, asked = _KEYS, dict[str, Any](wanted=wanted)
        if of is not None:
            query, asked = _SNAPSHOTS, {"wanted": wanted, "project": of}
        began = time.monotonic()
        if desk.of == of:
            return await (await connection.execute(query, asked)).fetchall(), began
        desk.of = None
        async with connection.pipeline():
            await connection.execute(_ENTER, (ROLE, str(of)) if of is not None else ("none", ""))
            found = await connection.execute(query, asked)
        desk.of = of
        return await found.fetchall(), began

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        return await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name="tollhouse",
            options=f"-c statement_timeout={round(self._seconds * 1000)} -c timezone=UTC"
            " -c default_transaction_read_only=on",
            connect_timeout=5,
        )


def _hand(waiting: Sequence["asyncio.Future[_Answer]"], answer: _Answer) -> None:
    for one in waiting:
        if not one.done():
            one.set_result(answer)


def _refuse(wanted: dict[str, list["asyncio.Future[_Answer]"]], error: Exception) -> None:
    for waiting in wanted.values():
        for one in waiting:
            if not one.done():
                one.set_exception(error)


def _give_up(answer: "asyncio.Future[_Answer]") -> None:
    if not answer.done():
        answer.set_exception(DatabaseBusy("a read took too long"))
