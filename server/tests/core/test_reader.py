"""The reads of checks, many at a time: never an older one than was asked for, never another project's."""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import OperationalError

from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import project_by_id
from tollhouse_server.commands.issue_key import IssuedKey, issue_key
from tollhouse_server.commands.revoke_key import revoke_key
from tollhouse_server.db.engine import Database, DatabaseBusy
from tollhouse_server.db.reader import MOST_AT_ONCE, Reader, StoredKey
from tollhouse_server.db.tables import customer, project, snapshot

pytestmark = pytest.mark.anyio

WHY = Cause("grace", "a test")
Has = Callable[..., Awaitable[None]]


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    opened = Reader(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(database: Database, shop: Any) -> uuid.UUID:
    """Another project."""
    async with database.transaction() as tx:
        id_ = uuid.uuid4()
        await tx.execute(insert(project).values(id=id_, slug="guild-bot", name="", redirect_origins=[]))
        return id_


@pytest.fixture
async def has(database: Database, now: Any) -> Has:
    """Gives users of a project a snapshot of this version."""

    async def give(project_id: uuid.UUID, version: int, *users: str) -> None:
        async with database.transaction() as tx:
            made = [{"id": uuid.uuid4(), "project_id": project_id, "user_id": user} for user in users]
            await tx.execute(insert(customer), made)
            told = {"project_id": project_id, "version": version, "catalog_version": 1, "computed_at": now}
            rows = [{**told, "user_id": one["user_id"], "customer_id": one["id"], "entitlements": []} for one in made]
            await tx.execute(insert(snapshot), rows)

    return give


async def test_it_reads_what_is_stored(reader: Reader, shop: Any, has: Has) -> None:
    """A user of whom nothing is stored has version 0."""
    await has(shop.project_id, 7, "bob")
    before = time.monotonic()
    stored = await reader.snapshot(shop.project_id, "bob")
    assert (stored.version, stored.entitlements) == (7, []) and before <= stored.began <= time.monotonic()
    assert (await reader.snapshot(shop.project_id, "nobody"))[:2] == (0, [])


async def test_all_who_ask_at_one_moment_are_one_query(reader: Reader, shop: Any, has: Has) -> None:
    """And who asks for what another asks for has the same answer."""
    users = [f"user {number}" for number in range(40)]
    await has(shop.project_id, 3, *users)
    stored = await asyncio.gather(*(reader.snapshot(shop.project_id, user) for user in [*users, "nobody", "user 1"]))
    assert [one.version for one in stored] == [3] * 40 + [0, 3]
    assert len({one.began for one in stored}) == 1


async def test_more_than_a_query_asks_for_are_read_in_several(reader: Reader, shop: Any, has: Has) -> None:
    await has(shop.project_id, 1, *(f"user {number}" for number in range(0, 2 * MOST_AT_ONCE + 1, 100)))
    asked = [reader.snapshot(shop.project_id, f"user {number}") for number in range(2 * MOST_AT_ONCE + 1)]
    versions = [one.version for one in await asyncio.gather(*asked)]
    assert versions == [int(number % 100 == 0) for number in range(2 * MOST_AT_ONCE + 1)]


async def test_nobody_is_handed_a_read_that_began_before_they_asked(
    reader: Reader, shop: Any, database: Database, has: Has
) -> None:
    """What was committed before the question is in the answer, however many reads are under way."""
    await has(shop.project_id, 0, "bob")
    committed, late = 0, []

    async def ask() -> None:
        while committed < 150:
            before, began = committed, time.monotonic()
            stored = await reader.snapshot(shop.project_id, "bob")
            if stored.version < before or stored.began < began:
                late.append((before, stored))

    async def write() -> None:
        nonlocal committed
        for version in range(1, 151):
            async with database.transaction() as tx:
                await tx.execute(update(snapshot).where(snapshot.c.user_id == "bob").values(version=version))
            committed = version

    await asyncio.gather(write(), *(ask() for _ in range(8)))
    assert late == []


async def test_each_project_is_behind_its_own_wall(database_url: str, shop: Any, other: uuid.UUID, has: Has) -> None:
    """Over one connection and in turns; what the query forgot to say, PostgreSQL would not show."""
    await has(shop.project_id, 1, "bob")
    await has(other, 2, "bob", "eve")
    reader = Reader(database_url, connections=1)
    for _ in range(2):
        asked = [(shop.project_id, "bob"), (other, "bob"), (shop.project_id, "eve"), (other, "eve")]
        stored = await asyncio.gather(*(reader.snapshot(*one) for one in asked))
        assert [one.version for one in stored] == [1, 2, 0, 2]
    await reader.snapshot(other, "bob")
    connection = reader._desks[0].connection
    assert connection is not None
    seen = await (await connection.execute("SELECT DISTINCT project_id, current_user FROM snapshot")).fetchall()
    assert seen == [(other, "tollhouse_project")]
    assert await reader.key("TestVector01") is None  # of the keys, the project's role sees none
    seen = await (await connection.execute("SELECT count(DISTINCT project_id) FROM snapshot")).fetchall()
    assert seen == [(2,)]
    await reader.close()


async def issued(database: Database, owner: uuid.UUID | None, now: Any, **more: Any) -> IssuedKey:
    async with database.transaction() as tx:
        project = await project_by_id(tx, owner) if owner else None
        return await issue_key(tx, project, "test", WHY, at=now, **more)


async def test_keys_are_read_with_their_project(reader: Reader, shop: Any, database: Database, now: Any) -> None:
    """All of it that a request needs; the end of a key is for who uses it to see."""
    ends = now + timedelta(days=1)
    one, another = [await issued(database, shop.project_id, now, expires_at=ends) for _ in range(2)]
    found = await asyncio.gather(reader.key(one.id), reader.key(another.id), reader.key("unknown00000"))
    assert found[2] is None
    key = found[0]
    assert isinstance(key, StoredKey)
    assert (key.id, key.scopes, key.expires_at, key.last_used_at) == (one.id, ["check", "checkout"], ends, None)
    assert (key.project_id, key.slug, key.redirect_origins, key.catalog_version) == (shop.project_id, "pdf-tool", [], 1)
    async with database.transaction() as tx:
        await revoke_key(tx, shop.project_id, one.id, WHY, at=now)
    assert await reader.key(one.id) is None
    still = await reader.key(another.id)
    assert still is not None and still.version == key.version + 1


async def test_an_operators_key_is_no_projects(reader: Reader, database: Database, now: Any) -> None:
    assert await reader.key((await issued(database, None, now)).id) is None


async def cut(database: Database) -> None:
    """Ends every connection to the database but one, as a restart of PostgreSQL does."""
    async with database.transaction() as tx:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        await tx.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))


async def test_connections_that_were_cut_are_made_anew_unnoticed(
    reader: Reader, shop: Any, other: uuid.UUID, database: Database, has: Has
) -> None:
    """Whoever asks next is answered, at once, and behind the right wall."""
    await has(shop.project_id, 5, "bob")
    for _ in range(2):
        await asyncio.gather(*(reader.snapshot(one, "bob") for one in (shop.project_id, other, shop.project_id)))
        await cut(database)
        asked = [(shop.project_id, "bob"), (other, "bob"), (shop.project_id, "nobody")] * 3
        stored = await asyncio.gather(*(reader.snapshot(*one) for one in asked))
        assert [one.version for one in stored] == [5, 0, 0] * 3


async def test_one_who_gives_up_takes_nobody_along(reader: Reader, shop: Any, has: Has) -> None:
    """Two wait for one user; the caller of one hangs up."""
    await has(shop.project_id, 5, "bob")
    one, other = [asyncio.create_task(reader.snapshot(shop.project_id, "bob")) for _ in range(2)]
    await asyncio.sleep(0)
    one.cancel()
    assert (await other).version == 5
    with pytest.raises(asyncio.CancelledError):
        await one


async def test_a_postgresql_that_is_away_is_an_error_at_once() -> None:
    """For each who asks; nobody waits for a time-out."""
    reader = Reader("postgresql://nobody@127.0.0.1:9/none")
    started = time.monotonic()
    asked = [reader.snapshot(uuid.uuid4(), "bob"), reader.snapshot(uuid.uuid4(), "ada"), reader.key("TestVector01")]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, OperationalError)
    assert time.monotonic() - started < 1
    await reader.close()


async def test_a_postgresql_that_hangs_is_given_up_in_time() -> None:
    """Also by those who come while it is being waited for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = Reader(f"postgresql://nobody@127.0.0.1:{listener.getsockname()[1]}/none", connections=1, seconds=0.3)
        started = time.monotonic()
        first = asyncio.create_task(reader.snapshot(uuid.uuid4(), "bob"))
        await asyncio.sleep(0.1)
        for one in (first, reader.snapshot(uuid.uuid4(), "ada")):
            with pytest.raises(DatabaseBusy):
                await one
        assert time.monotonic() - started < 0.8
        await reader.close()


async def test_a_row_that_is_locked_for_long_is_given_up(
    database_url: str, shop: Any, database: Database, has: Has
) -> None:
    """A migration may hold the table: within its seconds, and then the connection is as good as new."""
    await has(shop.project_id, 5, "bob")
    reader = Reader(database_url, connections=1, seconds=0.3)
    assert (await reader.snapshot(shop.project_id, "bob")).version == 5
    async with database.transaction() as tx:
        await tx.execute(text("LOCK TABLE snapshot"))
        with pytest.raises((DatabaseBusy, OperationalError)):
            await reader.snapshot(shop.project_id, "bob")
    assert (await reader.snapshot(shop.project_id, "bob")).version == 5
    await reader.close()


async def test_closing_gives_up_who_still_waits(database_url: str, shop: Any, database: Database) -> None:
    reader = Reader(database_url, connections=1)
    await reader.snapshot(shop.project_id, "ada")
    async with database.transaction() as tx:
        await tx.execute(text("LOCK TABLE snapshot"))
        asked = [asyncio.create_task(reader.snapshot(shop.project_id, "ada")) for _ in range(2)]
        await asyncio.sleep(0.05)
        asked.append(asyncio.create_task(reader.snapshot(shop.project_id, "ada")))
        await asyncio.sleep(0)
        await reader.close()
        for one in asked:
            with pytest.raises(DatabaseBusy):
                await one
