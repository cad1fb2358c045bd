"""The change feed on a real PostgreSQL: every commit is heard, a loss is told, and rollbacks are silent."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text, update

from tollhouse_server.db.change_feed import CHANNEL, Change, ChangeFeed
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import project

from .conftest import Shop

pytestmark = pytest.mark.anyio


class Ear:
    """Keeps what it hears; `resumptions` counts how often it was told that it may have missed something."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Change] = asyncio.Queue()
        self.resumptions: asyncio.Queue[None] = asyncio.Queue()

    def changed(self, change: Change) -> None:
        self.heard.put_nowait(change)

    def resumed(self) -> None:
        self.resumptions.put_nowait(None)

    async def next(self) -> Change:
        return await asyncio.wait_for(self.heard.get(), 5)


@pytest.fixture
async def feed(database_url: str) -> AsyncIterator[ChangeFeed]:
    opened = ChangeFeed(database_url)
    async with opened.running():
        yield opened


@pytest.fixture
def ear(feed: ChangeFeed) -> Ear:
    made = Ear()
    feed.subscribe(made)
    return made


async def rename(database: Database, project_id: uuid.UUID, name: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(update(project).where(project.c.id == project_id).values(name=name))


async def test_a_commit_is_heard_and_a_rollback_is_not(shop: Shop, database: Database, ear: Ear) -> None:
    """Whoever commits, and in the order of the commits."""
    with contextlib.suppress(ZeroDivisionError):
        async with database.transaction() as tx:
            await tx.execute(update(project).values(name="never"))
            raise ZeroDivisionError
    await rename(database, shop.project_id, "PDF")
    await rename(database, shop.project_id, "PDF Tool 2")
    first, second = await ear.next(), await ear.next()
    assert (first.project, first.user) == (shop.project_id, None)
    assert second == Change(shop.project_id, None, first.version + 1)


async def test_what_is_not_ours_is_passed_over(shop: Shop, database: Database, ear: Ear) -> None:
    """Anybody who is let into the database may say something on the channel."""
    async with database.transaction() as tx:
        for said in ("", "7", "[]", "{}", '{"project": 7, "user": null, "version": 1}'):
            await tx.execute(text("SELECT pg_notify(:channel, :said)"), {"channel": CHANNEL, "said": said})
    await rename(database, shop.project_id, "PDF")
    assert (await ear.next()).project == shop.project_id


async def test_who_lost_the_connection_is_told_so_and_hears_again(
    shop: Shop, database: Database, database_url: str, feed: ChangeFeed, ear: Ear
) -> None:
    """A subscriber then knows that it may have missed something."""
    await asyncio.wait_for(ear.resumptions.get(), 5)
    assert feed.listening
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as db:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tollhouse changes'"
        await db.execute(cut)
    await asyncio.wait_for(ear.resumptions.get(), 5)
    await rename(database, shop.project_id, "PDF")
    assert (await ear.next()).project == shop.project_id


async def test_without_a_database_the_process_starts_all_the_same() -> None:
    """It goes on trying; nobody is told anything."""
    feed, ear = ChangeFeed("postgresql://nobody@127.0.0.1:9/none"), Ear()
    feed.subscribe(ear)
    async with feed.running(ready_within=0.2):
        assert not feed.listening
        assert ear.resumptions.empty()
