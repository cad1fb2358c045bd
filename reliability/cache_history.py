"""I4, I5: what checks were answered, held against the history of the commits, while Redis is tormented.

Three processes' worth of caches (their own tiers, subscriptions and connections), writers as servers and as workers
have them, a real PostgreSQL and a real Valkey. Every read of a few hot customers is compared with what was committed
when it began: without a fault it must not be older at all, with one not older than a second; one that names a version
must not be older than that, whatever is wrong.
"""

import asyncio
import contextlib
import random
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import insert, select, update

from reliability.cache_desk import KillableValkey, Wire, killable_valkey
from reliability.figures import Figures, Scale
from tollhouse_server.cache import Cache
from tollhouse_server.cache.announcements import Announcements
from tollhouse_server.cache.local import LIVES_SECONDS, Local
from tollhouse_server.db import migrate
from tollhouse_server.db.change_feed import ChangeFeed
from tollhouse_server.db.engine import Change, Database, announce
from tollhouse_server.db.reader import Reader
from tollhouse_server.db.tables import customer, project, snapshot
from tollhouse_server.embedded.postgres import temporary_postgres

USERS = tuple(f"user {number}" for number in range(6))
READERS_EACH = 3
"""Of each process."""
SLACK_SECONDS = 0.02
"""By which a clock that is read a little later than the thing happened may be wrong."""


class Killed(BaseException):
    """A writer that dies: nothing of what comes after is done."""


@dataclass
class History:
    """Which version of whom was committed when, as the writer learnt it; and what readers saw."""

    figures: Figures
    commits: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    mode: str = ""
    exact: bool = True
    """Whether nothing is wrong now, nor was a second ago."""
    worst: float = 0.0
    unheard_at: float = -1.0
    """When an announcement last came to nothing, or was not acknowledged in time: the machine may be busy."""

    def committed(self, change: Change) -> None:
        assert change.user is not None
        self.commits[change.user].append((time.monotonic(), change.version))

    def newest(self, user: str, at: float) -> int:
        return next((version for when, version in reversed(self.commits[user]) if when <= at), 0)

    def saw(self, user: str, version: int, began: float, *, exact: bool) -> None:
        self.figures.count("reads")
        if version >= self.newest(user, began):
            return
        replaced = next(when for when, newer in self.commits[user] if newer > version)
        self.worst = max(self.worst, began - replaced)
        exact = exact and began > self.unheard_at + LIVES_SECONDS + SLACK_SECONDS
        self.figures.count("stale with a fault" if not exact else "stale without a fault")
        if exact:
            self.figures.must(False, f"{self.mode}: {user} was told version {version}, {began - replaced:.3f} s late")
        elif began - replaced > LIVES_SECONDS + SLACK_SECONDS:
            self.figures.count("older than a second")
            self.figures.must(False, f"{self.mode}: {user} was told version {version}, {began - replaced:.3f} s late")


class Teller:
    """The announcer of a writer, which may die before its commit or right after it."""

    def __init__(self, inner: Announcements, history: History, chance: random.Random) -> None:
        self._inner, self._history, self._chance = inner, history, chance
        self.dies = self.aborts = 0.0
        """How often."""

    async def before(self, changes: Sequence[Change]) -> None:
        unheard = _unheard()
        await self._inner.before(changes)
        if _unheard() > unheard:
            self._history.unheard_at = time.monotonic()
        if self._chance.random() < self.aborts:
            self._history.figures.count("announced and not committed")
            raise Killed

    async def after(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._history.committed(change)
        if self._chance.random() < self.dies:
            self._history.figures.count("died after the commit")
            raise Killed
        await self._inner.after(changes)


class Process:
    """One `tollhouse serve`, with or without a tier of its own, or one `tollhouse work`."""

    def __init__(self, database_url: str, redis_url: str, *, keeps: bool, history: History, seed: int) -> None:
        self.local = Local() if keeps else None
        self.cache = Cache(redis_url, local=self.local, reader=Reader(database_url))
        announcements = Announcements(self.cache.shared, self.local)
        self.teller = Teller(announcements, history, random.Random(seed))
        self.database = Database(database_url, pool_size=4)
        self.database.announcer = self.teller
        self._announcements, self._feed = announcements, ChangeFeed(database_url)
        self._feed.subscribe(announcements)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            stack.push_async_callback(self.cache.close)
            if self.local is not None:
                await stack.enter_async_context(self._feed.running())
                await stack.enter_async_context(self._announcements.listening())
            yield self


class Storm:
    """Readers and writers that go on while something is done to Redis."""

    def __init__(
        self, history: History, project_id: uuid.UUID, servers: Sequence[Process], worker: Process, seed: int
    ) -> None:
        self._history, self._project_id = history, project_id
        self.servers, self.worker = servers, worker
        self._chance = random.Random(seed)
        self._over = False

    async def rage(self, torment: Callable[[], Awaitable[None]]) -> None:
        """Reads and writes until the torment is over."""
        self._over = False
        async with asyncio.TaskGroup() as tasks:
            for one in self.servers:
                for _ in range(READERS_EACH):
                    tasks.create_task(self._read(one))
                tasks.create_task(self._read_with_versions(one))
            # Each has its own customers: nobody's announcement stands in for one that was lost.
            tasks.create_task(self._write(self.servers[0], USERS[::2]))
            tasks.create_task(self._write(self.worker, USERS[1::2]))
            await torment()
            self._over = True

    async def _read(self, process: Process) -> None:
        while not self._over:
            user, exact = self._chance.choice(USERS), self._history.exact
            began = time.monotonic()
            cell = await process.cache.read(self._project_id, user)
            self._history.saw(user, cell.version, began, exact=exact and self._history.exact)
            self._history.figures.count("reads beside a Redis left alone", process.cache.shared.rests)
            await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.003)))

    async def _read_with_versions(self, process: Process) -> None:
        """As an app does that was told of a change."""
        while not self._over:
            user = self._chance.choice(USERS)
            told = self._history.newest(user, time.monotonic())
            cell = await process.cache.read(self._project_id, user, at_least=told)
            self._history.figures.count("reads with a version")
            if cell.version < told:
                self._history.figures.count("older than the version")
            await asyncio.sleep(self._chance.uniform(0, 0.01))

    async def _write(self, process: Process, users: Sequence[str]) -> None:
        while not self._over:
            user = self._chance.choice(users)
            with contextlib.suppress(Killed):
                async with process.database.transaction() as tx:
                    await self._change(tx, user)
            await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def _change(self, tx: object, user: str) -> None:
        execute = tx.execute  # type: ignore[attr-defined]
        mine = (customer.c.project_id == self._project_id) & (customer.c.user_id == user)
        row = (await execute(select(customer.c.version).where(mine).with_for_update(key_share=True))).one()
        version = row.version + 1
        await execute(update(customer).where(mine).values(version=version))
        of = (snapshot.c.project_id == self._project_id) & (snapshot.c.user_id == user)
        await execute(update(snapshot).where(of).values(version=version))
        announce(tx, Change(self._project_id, user, version))  # type: ignore[arg-type]


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I4, I5", "cache against the commits", seed)
    with figures.timed(), temporary_postgres() as postgres:
        migrate.upgrade(postgres.url())
        asyncio.run(_run(figures, scale, seed, postgres.url()))
    for result in ("kept", "refused"):
        figures.count(f"fills {result}", _counted("tollhouse_cache_fills_total", result=result))
    figures.count("announcements heard", _counted("tollhouse_announcements_total", outcome="heard"))
    figures.count("announcements unheard", _unheard())
    figures.count("hits", sum(_counted("tollhouse_cache_reads_total", tier=tier, result="hit") for tier in TIERS))
    figures.must_be_zero("stale without a fault", figures.counted["stale without a fault"])
    figures.must_be_zero("older than a second", figures.counted["older than a second"])
    figures.must_be_zero("older than the version", figures.counted["older than the version"])
    figures.must_be_reached(
        "fills refused", "announcements heard", "announced and not committed", "died after the commit", "hits",
        "stale with a fault", "reads beside a Redis left alone", "reads with a version",
    )  # fmt: skip
    return figures


TIERS = ("process", "redis")


def _unheard() -> int:
    return sum(_counted("tollhouse_announcements_total", outcome=outcome) for outcome in ("unheard", "failed"))


def _counted(name: str, **labels: str) -> int:
    return int(REGISTRY.get_sample_value(name, labels) or 0)


async def _run(figures: Figures, scale: Scale, seed: int, database_url: str) -> None:
    history = History(figures)
    project_id = await _customers(database_url)
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(killable_valkey())
        near, far = [await stack.enter_async_context(Wire(valkey).running()) for _ in range(2)]

        async def process(redis_url: str, number: int, *, keeps: bool) -> Process:
            made = Process(database_url, redis_url, keeps=keeps, history=history, seed=seed + number)
            return await stack.enter_async_context(made.running())

        # The third does without a tier of its own.
        servers = [await process(near.url, number, keeps=number < 2) for number in range(3)]
        worker = await process(far.url, 3, keeps=False)
        storm = Storm(history, project_id, servers, worker, seed)
        torments = Torments(valkey, near, far, storm, random.Random(seed))
        for name, exact, seconds in PLAN:
            history.mode, history.exact = name, exact
            await storm.rage(partial(torments.go, name, scale.of(seconds, 60 * seconds)))
            figures.measured[f"worst in seconds, {name}"] = history.worst
            history.worst = 0.0
            if not exact:
                # What the fault left is over a second later, and what it broke is tried again by then.
                await asyncio.sleep(2 * LIVES_SECONDS + 0.3)


PLAN = (
    ("no fault", True, 4),
    ("writers die", True, 3),
    ("Redis killed", False, 3),
    ("writers cut off", False, 4),
    ("flushed", False, 1.5),
    ("full", False, 1.5),
    ("garbage", False, 1.5),
)
"""Each with whether nothing stale may be served, and the seconds it takes in CI."""


class Torments:
    """What is done to Redis, and to the wires to it."""

    def __init__(self, valkey: KillableValkey, near: Wire, far: Wire, storm: Storm, chance: random.Random) -> None:
        self._valkey, self._near, self._far, self._storm, self._chance = valkey, near, far, storm, chance

    async def go(self, name: str, seconds: float) -> None:
        do = {
            "writers die": self._writers_die,
            "Redis killed": self._kill,
            "writers cut off": self._cut,
            "flushed": self._flush,
            "full": self._fill_up,
            "garbage": self._litter,
        }.get(name, self._nothing)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await do()
            await asyncio.sleep(self._chance.uniform(0.05, 0.2))
        self._far.heal()
        for one in (*self._storm.servers, self._storm.worker):
            one.teller.dies = one.teller.aborts = 0.0

    async def _nothing(self) -> None:
        pass

    async def _writers_die(self) -> None:
        for one in (self._storm.servers[0], self._storm.worker):
            one.teller.dies, one.teller.aborts = 0.3, 0.1

    async def _kill(self) -> None:
        await self._valkey.kill()
        await asyncio.sleep(self._chance.uniform(0, 0.4))
        await self._valkey.start()
        await asyncio.sleep(self._chance.uniform(0.2, 1.2))

    async def _cut(self) -> None:
        """The worker cannot tell anybody; the servers go on with what they have."""
        self._chance.choice((self._far.cut, self._far.hang))()
        await asyncio.sleep(self._chance.uniform(0.3, 1.6))
        self._far.heal()

    async def _flush(self) -> None:
        async with Redis(unix_socket_path=str(self._valkey.socket)) as redis:
            await redis.flushall()

    async def _fill_up(self) -> None:
        async with Redis(unix_socket_path=str(self._valkey.socket)) as redis:
            await redis.config_set("maxmemory", self._chance.choice(("1", "64mb")))

    async def _litter(self) -> None:
        async with Redis(unix_socket_path=str(self._valkey.socket)) as redis:
            await redis.config_set("maxmemory", "64mb")
            for key in await redis.keys("tollhouse:*"):
                async with redis.pipeline(transaction=True) as pipeline:
                    pipeline.delete(key)
                    if self._chance.random() < 0.5:
                        pipeline.rpush(key, "a list")
                    else:
                        pipeline.set(key, b"\x80 {}")
                    await pipeline.execute()


async def _customers(database_url: str) -> uuid.UUID:
    database, project_id = Database(database_url, pool_size=1), uuid.uuid4()
    async with database.transaction() as tx:
        await tx.execute(insert(project).values(id=project_id, slug="hot", name="Hot", redirect_origins=[]))
        for user in USERS:
            id_ = uuid.uuid4()
            await tx.execute(insert(customer).values(id=id_, project_id=project_id, user_id=user))
            stored = {"version": 0, "catalog_version": 0, "entitlements": [], "computed_at": datetime.now(UTC)}
            values = {"project_id": project_id, "user_id": user, "customer_id": id_, **stored}
            await tx.execute(insert(snapshot).values(**values))
    await database.close()
    return project_id
