"""Streams on a real PostgreSQL: what they tell is all there is, or they end."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import psycopg
import pytest
from sqlalchemy import make_url, text

from tollhouse_server.api.fan_out import Ending, FanOut, Limits, Reader
from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import Project, project_by_id
from tollhouse_server.clock import SystemClock
from tollhouse_server.commands.begin_epoch import begin_epoch
from tollhouse_server.commands.give_grant import GrantRequest, give_grant
from tollhouse_server.db.change_feed import ChangeFeed
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.refresh import Refresh

from .conftest import Shop

pytestmark = pytest.mark.anyio
GRACE = Cause("grace", "test")


async def every_key(key_ids: Collection[str], _: datetime) -> set[str]:
    return set(key_ids)


@asynccontextmanager
async def running(shop: Shop, database_url: str, **limits: float) -> AsyncIterator[FanOut]:
    feed = ChangeFeed(database_url)
    fan_out = FanOut(
        shop.database,
        feed,
        SystemClock(),
        every_key,
        heartbeat_seconds=0.05,
        limits=Limits(**limits),  # type: ignore[arg-type]
    )
    async with feed.running(), fan_out.running():
        yield fan_out


async def owner(shop: Shop) -> Project:
    async with shop.database.transaction() as tx:
        return await project_by_id(tx, shop.project_id)


async def give(shop: Shop, users: Collection[str], at: datetime, *, hold: float = 0.0) -> None:
    """A grant for each of the users in one transaction, which is held open for so many seconds before its commit."""
    async with shop.database.transaction() as tx:
        project = await project_by_id(tx, shop.project_id)
        for user in users:
            ends = at + timedelta(days=random.randint(1, 10_000))
            wanted = GrantRequest(user, "test", feature="premium_export", ends_at=ends)
            await give_grant(tx, Refresh(), project, wanted, GRACE, at=at)
        await asyncio.sleep(hold)


class Heard:
    """What came on one stream."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.last, self.resumed, self.beats = reader, "", False, 0
        self.versions: dict[str, int] = {}

    async def read(self) -> bool:
        """Takes what comes next; False at the end."""
        async with asyncio.timeout(10):
            chunk = await self.reader.next()
        for block in (chunk or b"").decode().split("\n\n")[:-1]:
            said = dict(line.split(": ", 1) for line in block.splitlines())
            self.last, data = said["id"], json.loads(said["data"])
            if said["event"] == "hello":
                self.resumed = data["resumed"]
            self.beats += said["event"] == "heartbeat"
            if said["event"] == "customer":
                assert data["version"] >= self.versions.get(data["user_id"], 0), "a stream went back"
                self.versions[data["user_id"]] = data["version"]
        return chunk is not None

    async def read_until(self, users: Collection[str]) -> None:
        while not self.versions.keys() >= set(users):
            assert await self.read(), self.reader.why

    async def end(self) -> Ending | None:
        while await self.read():
            pass
        return self.reader.why


@asynccontextmanager
async def listening(fan_out: FanOut, project: Project, last: str | None = None) -> AsyncIterator[Heard]:
    async with fan_out.reading(project, "key", last) as reader:
        heard = Heard(reader)
        await heard.read()
        yield heard


async def test_whoever_breaks_off_and_comes_back_hears_of_every_change(
    shop: Shop, database_url: str, now: datetime
) -> None:
    """Writers whose transactions take any time, so that they end in another order than they began; readers who leave
    at any moment and go on at one of two processes, which look for themselves. Each user changes once, so that no later
    change makes up for one that was missed."""
    begun = [asyncio.Event() for _ in range(3)]
    over = asyncio.Event()

    async def write(writer: int) -> None:
        for number in range(8):
            await give(
                shop, [f"{writer} {number} a", f"{writer} {number} b"], now, hold=random.choice((0.0, 0.01, 0.04))
            )

    async def read(fan_outs: list[FanOut], connected: asyncio.Event) -> set[str]:
        users: set[str] = set()
        last = None
        while True:
            beyond = over.is_set()
            async with listening(random.choice(fan_outs), project, last) as heard:
                connected.set()
                assert heard.resumed == (last is not None)
                for _ in range(random.randint(1, 5)):
                    assert await heard.read(), heard.reader.why
                while beyond and not heard.beats:  # which says that all that was missed has been told
                    assert await heard.read(), heard.reader.why
                users |= heard.versions.keys()
                last = heard.last
            if beyond:
                return users

    project = await owner(shop)
    async with running(shop, database_url, page=3) as one, running(shop, database_url, page=3) as two:
        readers = [asyncio.create_task(read([one, two], connected)) for connected in begun]
        await asyncio.gather(*(connected.wait() for connected in begun))
        await asyncio.gather(*(write(writer) for writer in range(4)))
        over.set()
        found = await asyncio.gather(*readers)
    everybody = {f"{writer} {number} {letter}" for writer in range(4) for number in range(8) for letter in "ab"}
    assert [everybody - users for users in found] == [set()] * len(found)


async def test_who_missed_too_much_is_told_so(shop: Shop, database_url: str, now: datetime) -> None:
    """Who listens while more changes than is told one by one is cut off, and cannot go on from where it was."""
    project = await owner(shop)
    async with running(shop, database_url, catch_up=4, page=2) as fan_out:
        async with listening(fan_out, project) as heard:
            await give(shop, ["a", "b", "c", "d"], now)
            await heard.read_until(["a", "b", "c", "d"])
            before = heard.last
            await give(shop, ["a", "b", "c", "d", "e"], now)
            assert await heard.end() is Ending.BEHIND
        async with listening(fan_out, project, before) as again:
            assert not again.resumed
            await give(shop, ["f"], now)
            await again.read_until(["f"])


async def test_a_restore_ends_every_stream(shop: Shop, database_url: str, now: datetime) -> None:
    """Versions begin anew above all that were, and no place from before means anything."""
    project = await owner(shop)
    await give(shop, ["a"], now)
    async with running(shop, database_url) as fan_out, listening(fan_out, project) as heard:
        try:
            async with shop.database.transaction() as tx:
                await begin_epoch(tx, GRACE, at=now)
            assert await heard.end() is Ending.BEHIND
            async with listening(fan_out, project, heard.last) as again:
                assert not again.resumed
        finally:
            async with shop.database.transaction() as tx:
                await tx.execute(text("ALTER TABLE customer ALTER COLUMN version SET DEFAULT 0"))


async def test_a_stream_ends_when_nobody_can_say_what_changed(
    shop: Shop, database_url: str, postgres_server: PostgresServer, now: datetime
) -> None:
    """A heartbeat promises that all was told; without the database there is none, and soon no stream."""
    project, name = await owner(shop), make_url(database_url).database
    async with running(shop, database_url, look_every=0.05, blind=0.3) as fan_out:
        with psycopg.connect(conninfo(postgres_server.url("postgres")), autocommit=True) as db:
            async with listening(fan_out, project) as heard:
                try:
                    db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # type: ignore[arg-type]
                    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                    assert await heard.end() is Ending.BLIND
                finally:
                    db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')  # type: ignore[arg-type]
        async with listening(fan_out, project, heard.last) as again:
            assert again.resumed
            await give(shop, ["a"], now)
            await again.read_until(["a"])
