"""Opens transactions. Nothing else in the service commits."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import structlog
from sqlalchemy import URL, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from .isolation import ENTER

log = structlog.get_logger(__name__)

Tx = AsyncConnection
"""A connection inside a transaction that somebody else commits."""

_LATER = "tollhouse_after_commit"
_CHANGES = "tollhouse_changes"

STATEMENT_TIMEOUT_MS = 5_000
CHECK_SECONDS = 2.0
"""How long a single statement of a check may take, the wait for a connection included."""
WAIT_SECONDS = 1.0
"""How long a transaction waits for a connection."""
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
    f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    " -c timezone=UTC"
)
_CONNECT: dict[str, Any] = {"application_name": "tollhouse", "connect_timeout": 5}


def psycopg_url(url: str) -> URL:
    """`url` with psycopg 3 as its driver, whatever driver or none it names."""
    return make_url(url).set(drivername="postgresql+psycopg")


def conninfo(url: str) -> str:
    """`url` as psycopg itself takes it, for a connection that is not SQLAlchemy's."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def connect(url: str) -> psycopg.AsyncConnection:
    """A connection of its own, within the bounds of the pool's; each of its statements is a transaction by itself."""
    return await psycopg.AsyncConnection.connect(
        conninfo(url), autocommit=True, prepare_threshold=0, options=_OPTIONS, **_CONNECT
    )


def after_commit(tx: Tx, call: Callable[[], Awaitable[None]]) -> None:
    """Leaves `call` for the moment after the commit of `tx`; never made if it rolls back. It must not raise."""
    tx.info[_LATER].append(call)


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit changes. `user` None: the project itself, its keys or its catalog; `version` is then its own."""

    project: uuid.UUID
    user: str | None
    version: int


def announce(tx: Tx, change: Change) -> None:
    """Has the caches told of the change: right before `tx` commits, so that nothing older stays in them, and after.

    Told of one that is then rolled back, they only hold less.
    """
    tx.info[_CHANGES].append(change)


class Announcer(Protocol):
    """Who tells the caches. It takes milliseconds, whatever is the matter, and may raise."""

    async def before(self, changes: Sequence[Change]) -> None:
        """The changes are about to be committed, and their rows are locked."""

    async def after(self, changes: Sequence[Change]) -> None:
        """They are committed."""


class DatabaseBusy(PoolTimeout):
    """The database, or the pool of connections to it, has as much to do as it can."""


class Database:
    """A pool of connections to one PostgreSQL database.

    A fifth of them is kept for what must not wait behind the rest: checks. Stripe's events have ones of their own.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.announcer: Announcer | None = None
        """Whom transactions have tell what they change."""
        self.engine: AsyncEngine = create_async_engine(
            psycopg_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            # A connection that PostgreSQL's restart has cut is noticed before it is used, not by a request.
            pool_pre_ping=True,
            hide_parameters=True,  # an error's text goes to the logs, what people sent does not
            connect_args={"options": _OPTIONS, **_CONNECT},
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turns = asyncio.Semaphore(pool_size - min(pool_size - 1, max(1, pool_size // 5)))

    @asynccontextmanager
    async def transaction(self, *, project: uuid.UUID | None = None) -> AsyncIterator[Tx]:
        """Commits when the block ends, rolls back when it raises. Then does what was left for after the commit.

        What was announced is told before the commit and after it; neither can make the transaction fail.

        For a project's call with that `project`: then it sees and changes that project's rows only. Without, it sees
        every project's, as workers and operators must. Raises DatabaseBusy at once, or nearly, where none comes free.
        """
        async with self._turn(), self.engine.begin() as tx:
            if project is not None:
                await tx.exec_driver_sql(ENTER, (str(project),))
            later: list[Callable[[], Awaitable[None]]] = []
            changes: list[Change] = []
            tx.info.update({_LATER: later, _CHANGES: changes})
            yield tx
            if self.announcer is not None and changes:
                await _in_any_case(self.announcer.before(changes))
        if self.announcer is not None and changes:
            await _in_any_case(self.announcer.after(changes))
        for call in later:
            await call()

    @asynccontextmanager
    async def statement(self, *, project: uuid.UUID | None = None) -> AsyncIterator[Tx]:
        """For a single statement, which is a transaction by itself: it saves the round trips of BEGIN and COMMIT.

        With `project` as `transaction` has it, for reading: that needs a transaction, begun in one round trip. It goes
        ahead of transactions and is given up sooner: checks are made of such. Raises DatabaseBusy.
        """
        try:
            async with asyncio.timeout(CHECK_SECONDS) as limit, self._autocommit.connect() as connection:
                if project is not None:
                    await _read_as(connection, project)
                yield connection
        except TimeoutError:
            if not limit.expired():
                raise
            raise DatabaseBusy("a statement took too long") from None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise DatabaseBusy("no connection came free") from None
        try:
            yield
        finally:
            self._turns.release()

    async def close(self) -> None:
        await self.engine.dispose()


async def _in_any_case(telling: Awaitable[None]) -> None:
    try:
        await telling
    except Exception:  # the bound of a second holds without it
        log.exception("a change could not be announced")


async def _read_as(connection: AsyncConnection, project: uuid.UUID) -> None:
    """Begins a transaction of the project on a connection that commits by itself; the pool ends it."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    # In one message, which cannot be prepared nor have parameters; a UUID's text has nothing to quote.
    await driver.execute("BEGIN READ ONLY; " + ENTER.replace("%s", f"'{project}'"), prepare=False)
