"""Announcements between processes, each played by tiers and connections of its own, on a real Valkey and PostgreSQL."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import update

from tollhouse_server.audit import Cause
from tollhouse_server.cache import Cache, Cell
from tollhouse_server.cache.announcements import Announcements
from tollhouse_server.cache.breaker import FAILURES_BEFORE_REST, REST_SECONDS, Breaker
from tollhouse_server.cache.local import LIVES_SECONDS, Local
from tollhouse_server.catalogs import announce_project, project_by_id
from tollhouse_server.commands.issue_key import issue_key
from tollhouse_server.commands.register_project import describe_project
from tollhouse_server.commands.revoke_key import revoke_key
from tollhouse_server.commands.rotate_key import rotate_key
from tollhouse_server.db.change_feed import ChangeFeed
from tollhouse_server.db.engine import Change, Database, announce
from tollhouse_server.db.tables import project

pytestmark = pytest.mark.anyio

PATIENCE = 5.0
"""Seconds for one command of Redis: these tests are of what is said, not of a machine that has much to do."""


class Process:
    """What one `tollhouse serve` keeps and hears."""

    def __init__(self, redis_url: str | None, *, patience: float = PATIENCE) -> None:
        self.local = Local()
        self.cache = Cache(redis_url, local=self.local, redis_seconds=patience)
        self.announcements = Announcements(self.cache.shared, self.local)

    async def fill(self, project_id: uuid.UUID, version: int) -> None:
        """By a reader who begins now and reads this."""
        cell, deadline = await self.cache.get(project_id, "ada")
        if cell is None:
            await self.cache.fill(project_id, "ada", Cell(version, (), time.monotonic() + LIVES_SECONDS), deadline)

    async def version(self, project_id: uuid.UUID) -> int | None:
        cell, _ = await self.cache.get(project_id, "ada")
        return None if cell is None else cell.version


@pytest.fixture
def project_id() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
async def processes(valkey_url: str) -> AsyncIterator[list[Process]]:
    """Three, who listen."""
    async with AsyncExitStack() as stack:
        opened = [Process(valkey_url) for _ in range(3)]
        for one in opened:
            stack.push_async_callback(one.cache.close)
            await stack.enter_async_context(one.announcements.listening())
        # What comes from Redis counts as older by its way here, and nobody keeps what may be older than the listening.
        await asyncio.sleep(0.1)
        yield opened


async def test_when_it_was_announced_nobody_has_anything_older(processes: list[Process], project_id: uuid.UUID) -> None:
    """Not the writer, not the others, not Redis; nor does anybody take it back who read before."""
    for one in processes:
        await one.fill(project_id, 3)
        assert one.local.get(project_id, "ada") is not None
    await processes[0].announcements.before([Change(project_id, "ada", 4)])
    assert [one.local.get(project_id, "ada") for one in processes] == [None] * 3
    assert [await one.version(project_id) for one in processes] == [None] * 3
    for one in processes:
        await one.fill(project_id, 3)
    assert [await one.version(project_id) for one in processes] == [None] * 3
    await processes[1].fill(project_id, 4)
    assert [await one.version(project_id) for one in processes] == [4] * 3


async def test_who_begins_to_listen_after_it_was_announced_keeps_nothing_older(
    processes: list[Process], valkey_url: str, project_id: uuid.UUID
) -> None:
    """Redis refuses what it brings, and so it does not keep it either: the commit may be still to come."""
    await processes[0].announcements.before([Change(project_id, "ada", 4)])
    late = Process(valkey_url)
    async with late.announcements.listening():
        await late.fill(project_id, 3)
        assert await late.version(project_id) is None
    await late.cache.close()


async def test_a_project_is_announced_as_its_customers_are(processes: list[Process], project_id: uuid.UUID) -> None:
    """What its keys may do is forgotten everywhere; several changes of one commit are told together."""
    changes = [Change(project_id, None, 7), Change(project_id, "ada", 4)]
    for one in processes:
        await one.fill(project_id, 3)
    await processes[0].announcements.before(changes)
    for one in processes:
        assert one.local._floor(project_id, None, time.monotonic()) == 7
        assert await one.version(project_id) is None


async def test_a_listener_who_says_nothing_is_waited_for_a_few_times_only(
    valkey_url: str, project_id: uuid.UUID
) -> None:
    """A host that died is a listener to Redis for a while; no commit waits long for it, and soon none does."""
    writer = Process(valkey_url, patience=0.3)
    async with Redis.from_url(valkey_url) as client, client.pubsub() as dead:
        await dead.subscribe(writer.cache.shared.channel)
        took = []
        for version in range(FAILURES_BEFORE_REST + 5):
            started = time.monotonic()
            await writer.announcements.before([Change(project_id, "ada", version)])
            took.append(time.monotonic() - started)
    assert min(took[:FAILURES_BEFORE_REST]) > 0.25
    assert min(took[FAILURES_BEFORE_REST:]) < 0.25
    await writer.cache.close()


async def test_who_loses_the_subscription_keeps_nothing_until_it_is_back(
    processes: list[Process], valkey_url: str, project_id: uuid.UUID
) -> None:
    """It forgets what it has, hears again, and from then on what is announced."""
    await processes[1].fill(project_id, 3)
    async with Redis.from_url(valkey_url) as client:
        await client.client_kill_filter(_type="pubsub")
        async with asyncio.timeout(5):
            while (await client.pubsub_numsub(processes[1].cache.shared.channel))[0][1] < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert processes[1].local.get(project_id, "ada") is None
    await processes[1].fill(project_id, 3)
    await processes[0].announcements.before([Change(project_id, "ada", 4)])
    assert await processes[1].version(project_id) is None


async def test_without_a_redis_that_answers_the_tier_of_the_process_goes_on(project_id: uuid.UUID) -> None:
    """Its cells end within a second, and this process' own commits are felt at once."""
    alone = Process("redis://127.0.0.1:9/0")
    async with alone.announcements.listening():
        await alone.fill(project_id, 3)
        assert await alone.version(project_id) == 3
        await alone.announcements.before([Change(project_id, "ada", 4)])
        assert await alone.version(project_id) is None
    await alone.cache.close()


async def test_without_a_redis_postgresql_tells_of_others_commits(shop: Any, database: Database) -> None:
    """Within milliseconds after the commit, whoever made it, and though nobody announced it."""
    other = Process(None)
    feed = ChangeFeed(database.engine.url.render_as_string(hide_password=False))
    feed.subscribe(other.announcements)
    async with feed.running():
        async with database.transaction() as tx:
            await tx.execute(update(project).values(name="another"))
        async with asyncio.timeout(5):
            while other.local._floor(shop.project_id, None, time.monotonic()) < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


class Recorder:
    """An announcer who keeps what it is told, and whether the commit was there then."""

    def __init__(self, database: Database, *, fails: bool = False) -> None:
        self.told: list[tuple[str, int, int]] = []
        self._database, self._fails = database, fails

    async def before(self, changes: Any) -> None:
        await self._note("before", changes)

    async def after(self, changes: Any) -> None:
        await self._note("after", changes)

    async def _note(self, when: str, changes: Any) -> None:
        async with self._database.statement() as tx:
            stands = (await tx.execute(project.select())).one().version
        self.told += [(when, one.version, stands) for one in changes]
        if self._fails:
            raise RuntimeError("nobody hears me")


async def rename(database: Database, project_id: uuid.UUID, *, and_then_fail: bool = False) -> None:
    async with database.transaction() as tx:
        await tx.execute(update(project).values(name="another"))
        await announce_project(tx, project_id)
        if and_then_fail:
            raise ZeroDivisionError


@pytest.mark.parametrize("fails", [False, True])
async def test_a_transaction_tells_before_its_commit_and_after_it(shop: Any, database: Database, fails: bool) -> None:
    """And commits, even if that fails; one that fails itself before its end tells nothing."""
    database.announcer = recorder = Recorder(database, fails=fails)
    async with database.statement() as tx:
        before = (await tx.execute(project.select())).one().version
    with pytest.raises(ZeroDivisionError):
        await rename(database, shop.project_id, and_then_fail=True)
    await rename(database, shop.project_id)
    assert recorder.told == [("before", before + 1, before), ("after", before + 1, before + 1)]


async def test_whatever_ends_a_key_or_changes_a_project_is_announced(
    shop: Any, database: Database, now: datetime
) -> None:
    """With the project's version that the commit gives it."""
    database.announcer = recorder = Recorder(database)
    why = Cause("grace", "a test")
    async with database.transaction() as tx:
        owner = await project_by_id(tx, shop.project_id)
        keys = [await issue_key(tx, owner, "test", why, at=now) for _ in range(2)]
    assert recorder.told == []  # a key that is new opens nothing that was kept
    for change in (
        lambda tx: revoke_key(tx, shop.project_id, keys[0].id, why, at=now),
        lambda tx: rotate_key(tx, shop.project_id, keys[1].id, why, at=now),
        lambda tx: describe_project(tx, owner, "another", [], why, at=now),
    ):
        recorder.told.clear()
        async with database.transaction() as tx:
            await change(tx)
        (_, told, before), (_, again, stands) = recorder.told
        assert told == again == stands == before + 1


async def test_where_nobody_is_to_be_told_a_transaction_is_as_ever(shop: Any, database: Database) -> None:
    """Announcing costs nothing there."""
    async with database.transaction() as tx:
        announce(tx, Change(shop.project_id, "ada", 1))


def test_a_breaker_lets_one_try_through_after_each_rest() -> None:
    """It opens after a few failures in a row, not before, and closes with a success."""
    now = 0.0
    breaker = Breaker(clock=lambda: now)
    for _ in range(3):
        for _ in range(FAILURES_BEFORE_REST - 1):
            assert breaker.may_try() and not breaker.failed()
        breaker.succeeded()
    for _ in range(FAILURES_BEFORE_REST):
        assert breaker.may_try()
        opened = breaker.failed()
    assert opened and breaker.is_open and not breaker.may_try()
    now += REST_SECONDS
    assert breaker.may_try() and not breaker.may_try()
    assert not breaker.failed() and not breaker.may_try()
    now += REST_SECONDS
    assert breaker.may_try()
    breaker.succeeded()
    assert not breaker.is_open and breaker.may_try() and breaker.may_try()


def test_a_try_of_which_nothing_is_heard_does_not_close_it_for_ever() -> None:
    """Whoever was to try may have been cancelled."""
    now = 0.0
    breaker = Breaker(clock=lambda: now)
    for _ in range(FAILURES_BEFORE_REST):
        breaker.failed()
    now += REST_SECONDS
    assert breaker.may_try()
    now += REST_SECONDS
    assert breaker.may_try()
