"""The cache on a real Valkey: never an error, never older than a second, never wrong about an end."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.cache import Cell
from tollhouse_server.cache.breaker import FAILURES_BEFORE_REST
from tollhouse_server.cache.local import LIVES_SECONDS
from tollhouse_server.cache.shared import FLOOR_MS, LIVES_MS, Deadline, Shared
from tollhouse_server.db.engine import Change
from tollhouse_server.domain.entitlements import Entitlement, Reason
from tollhouse_server.domain.time import Period
from tollhouse_server.testing import World, running_world

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 1, tzinfo=UTC)
OPEN = (
    Entitlement(
        "premium_export",
        True,
        Period(START, START + timedelta(days=30)),
        (Reason("sub_1", "subscription", "subscription-active"),),
    ),
)


def cell(version: int, *, read_ago: float = 0.0) -> Cell:
    return Cell(version, OPEN, time.monotonic() - read_ago + LIVES_SECONDS)


@pytest.fixture
def project() -> uuid.UUID:
    """Of this test's own: the Valkey is shared."""
    return uuid.uuid4()


@pytest.fixture
async def shared(valkey_url: str) -> AsyncIterator[Shared]:
    opened = Shared(valkey_url, seconds=5)  # on a machine that has much to do
    yield opened
    await opened.close()


@pytest.fixture
async def valkey(valkey_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey_url) as client:
        yield client


async def keys_of(valkey: Redis, project: uuid.UUID) -> list[Any]:
    return list(await valkey.keys(f"*{project}*"))


async def read(shared: Shared, project: uuid.UUID, user_id: str = "ada") -> Cell | None:
    return (await shared.get(project, user_id))[0]


async def deadline_of(shared: Shared, project: uuid.UUID) -> Deadline:
    """What a reader who begins now is told."""
    deadline = (await shared.get(project, "ada"))[1]
    assert deadline is not None
    return deadline


async def fill(shared: Shared, project: uuid.UUID, version: int) -> bool | None:
    """By a reader who begins now."""
    return await shared.fill(project, "ada", cell(version), await deadline_of(shared, project))


async def floor(shared: Shared, project: uuid.UUID, version: int) -> bool:
    return await shared.floor([Change(project, "ada", version)])


async def test_what_is_filled_is_read_back_whole(shared: Shared, project: uuid.UUID) -> None:
    """A hit is the snapshot as PostgreSQL has it; another user's and another project's are misses."""
    assert await read(shared, project) is None
    assert await fill(shared, project, 3)
    assert await read(shared, project) == cell(3)
    assert await read(shared, project, "bob") is None
    assert await read(shared, uuid.uuid4()) is None


async def test_a_cell_ends_a_second_after_its_read_began(shared: Shared, valkey: Redis, project: uuid.UUID) -> None:
    """However late it is filled, and for whoever it is handed on to; and nothing stays in Valkey for ever."""
    began = time.monotonic()
    deadline = await deadline_of(shared, project)
    await asyncio.sleep(0.3)
    assert await shared.fill(project, "ada", cell(3, read_ago=time.monotonic() - began), deadline)
    held = await read(shared, project)
    assert held is not None and held.expires <= began + LIVES_SECONDS + 0.01
    lives = {key: await valkey.pttl(key) for key in await keys_of(valkey, project)}
    assert lives and all(0 < left <= FLOOR_MS for left in lives.values())
    holding = [left for key, left in lives.items() if b"premium_export" in (await valkey.get(key) or b"")]
    assert holding and max(holding) <= LIVES_MS - 300


async def test_a_fill_after_its_deadline_is_refused(shared: Shared, project: uuid.UUID) -> None:
    """Whoever read more than a second ago brings nothing."""
    over = Deadline(await deadline_of(shared, project) - LIVES_MS - 1)
    assert await shared.fill(project, "ada", cell(3, read_ago=1), over) is False
    assert await read(shared, project) is None


async def test_after_a_floor_nothing_older_is_served_or_filled(shared: Shared, project: uuid.UUID) -> None:
    """From the floor on the old snapshot is gone, and a slow reader who brings it late is refused."""
    await fill(shared, project, 3)
    assert await floor(shared, project, 4)
    assert await read(shared, project) is None
    assert await fill(shared, project, 3) is False
    assert await read(shared, project) is None
    assert await fill(shared, project, 4)
    assert await read(shared, project) == cell(4)


async def test_a_floor_outlives_the_cells_filled_above_it(shared: Shared, valkey: Redis, project: uuid.UUID) -> None:
    """A transaction may take long from its announcement to its commit."""
    await floor(shared, project, 4)
    await fill(shared, project, 4)
    for key in await keys_of(valkey, project):
        if await valkey.pttl(key) <= LIVES_MS:
            await valkey.delete(key)  # as if its second were over
    assert await fill(shared, project, 3) is False


async def test_of_two_readers_the_one_who_saw_more_is_believed(shared: Shared, project: uuid.UUID) -> None:
    """Even where nobody announced what he saw."""
    slow = await deadline_of(shared, project)
    assert await fill(shared, project, 5)
    assert await shared.fill(project, "ada", cell(4), slow) is False
    assert await read(shared, project) == cell(5)


async def test_a_late_floor_takes_nothing_newer_away(shared: Shared, project: uuid.UUID) -> None:
    """Two writers' floors may arrive in the other order: the higher one stands."""
    await fill(shared, project, 5)
    await floor(shared, project, 4)
    await floor(shared, project, 5)
    assert await read(shared, project) == cell(5)
    await floor(shared, project, 6)
    await floor(shared, project, 5)
    assert await fill(shared, project, 5) is False


LIES: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    lambda told: {**told, "user": "bob"},
    lambda told: {**told, "project": str(uuid.uuid4())},
    lambda told: {**told, "read_at": told["read_at"] - 1},
    lambda told: {**told, "read_at": told["read_at"] + 60},
    lambda told: {key: value for key, value in told.items() if key != "read_at"},
]


@pytest.mark.parametrize("lie", LIES, ids=["another's user", "another project", "of before", "of later", "no time"])
async def test_a_redis_that_lies_is_not_believed(
    shared: Shared, valkey: Redis, project: uuid.UUID, lie: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """A cell says whose it is and when it was read; one that is another's, or was kept too long, is a miss."""
    await fill(shared, project, 3)
    for key in await keys_of(valkey, project):
        if (await valkey.get(key) or b"").startswith(b"{"):
            await valkey.set(key, json.dumps(lie(json.loads(await valkey.get(key)))), keepttl=True)
    assert await read(shared, project) is None


async def test_a_cell_without_an_end_is_none_of_ours(shared: Shared, valkey: Redis, project: uuid.UUID) -> None:
    """It would be kept for ever."""
    await fill(shared, project, 3)
    for key in await keys_of(valkey, project):
        await valkey.persist(key)
    assert await read(shared, project) is None


GARBAGE = ["", "7", "7 {}", "not ours", b"\x80", "[]", "null", '{"version": 3}', "[" * 100_000,
           '{"version": 3, "entitlements": "x"}', '{"version": 3, "entitlements": [{"feature": 1}]}']  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_in_a_key_is_a_miss_and_is_filled_over(
    shared: Shared, valkey: Redis, project: uuid.UUID, garbage: str | bytes
) -> None:
    """What some other program or version wrote there is neither served nor in the way."""
    await fill(shared, project, 3)
    for key in await keys_of(valkey, project):
        await valkey.set(key, garbage)
    assert await read(shared, project) is None
    await floor(shared, project, 8)
    await fill(shared, project, 8)
    assert await read(shared, project) == cell(8)


async def test_a_key_of_another_type_is_a_miss_and_is_filled_over(
    shared: Shared, valkey: Redis, project: uuid.UUID
) -> None:
    """It is no error for the reader, and gone with the next fill."""
    await fill(shared, project, 3)
    for key in await keys_of(valkey, project):
        await valkey.delete(key)
        await valkey.rpush(key, "a list")
    assert await read(shared, project) is None
    await fill(shared, project, 3)
    assert await read(shared, project) == cell(3)


async def test_a_full_valkey_refuses_and_reading_goes_on(shared: Shared, valkey: Redis, project: uuid.UUID) -> None:
    """Out of memory it takes nothing more, but what is told to go goes; with room again it is used again."""
    await fill(shared, project, 3)
    await valkey.config_set("maxmemory-policy", "noeviction")
    await valkey.config_set("maxmemory", "1")
    try:
        assert await floor(shared, project, 4)
        for _ in range(2 * FAILURES_BEFORE_REST):
            assert await read(shared, project) is None
            assert not await shared.fill(project, "bob", cell(3), await deadline_of(shared, project))
        assert await shared.tell("{}", "a message") in (0, None)
    finally:
        await valkey.config_set("maxmemory", "64mb")
        await valkey.config_set("maxmemory-policy", "allkeys-lru")
    await fill(shared, project, 4)
    assert await read(shared, project) == cell(4)


async def test_without_a_redis_it_holds_nothing(project: uuid.UUID) -> None:
    """REDIS_URL may be absent."""
    without = Shared(None)
    assert await without.get(project, "ada") == (None, None)
    assert await without.fill(project, "ada", cell(1), None) is None
    await without.close()


@asynccontextmanager
async def answering(said: bytes | None) -> AsyncIterator[tuple[str, list[int]]]:
    """A Redis that accepts every connection and answers with `said`, or never; and how often it was asked."""
    asked: list[int] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            asked.append(1)
            if said is not None:
                writer.write(said)
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.parametrize("said", [None, b":abc\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$5\r\nab", b"*1\r\n:x\r\n"])
async def test_a_redis_that_hangs_or_talks_nonsense_is_left_to_rest(said: bytes | None, project: uuid.UUID) -> None:
    """No call raises; after a few failures it is not asked for a second, so that nobody keeps waiting for it."""
    async with answering(said) as (url, asked):
        shared = Shared(url)
        started = asyncio.get_running_loop().time()
        for _ in range(FAILURES_BEFORE_REST):
            assert await shared.get(project, "ada") == (None, None)
        seen = len(asked)
        assert seen > 0
        for _ in range(100):
            assert await shared.get(project, "ada") == (None, None)
            await floor(shared, project, 1)
        assert asyncio.get_running_loop().time() - started < 1.5
        assert len(asked) == seen
        await shared.close()


def test_checks_are_answered_through_the_cache(sandbox: RunningSandbox, database_url: str, valkey_url: str) -> None:
    """A change is felt at once, and an end is kept at its instant even by a cell filled before it."""
    with running_world(sandbox, database_url, redis_url=valkey_url) as world:
        world.publish(CATALOG)
        headers = {"Authorization": f"Bearer {world.new_key('pdf-tool')}"}
        path = "/v1/customers/ada/entitlements/premium_export"

        def allowed() -> bool:  # by the service: a client would answer from its copy
            return bool(world.operator.get(path, headers=headers).raise_for_status().json()["allowed"])

        assert not allowed()
        ends = world.service.clock.now() + timedelta(seconds=10)
        given = world.operator.post(
            "/v1/admin/grants",
            json={
                "project": "pdf-tool",
                "user_id": "ada",
                "feature": "premium_export",
                "ends_at": ends.isoformat(),
                "reason": "a test",
            },
        )
        assert given.is_success, given.text
        assert allowed()
        for _ in range(3):
            world.service.clock.set(ends - timedelta(seconds=1))
            assert allowed()
            world.service.clock.set(ends)
            assert not allowed()


CATALOG = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "features": {"premium_export": {"name": "Premium export"}},
    "products": {
        "pro": {
            "name": "Pro",
            "opens": {"premium_export": True},
            "prices": {"once": {"amount": 900, "currency": "eur"}},
        }
    },
}


@pytest.mark.parametrize("redis_url", ["redis://127.0.0.1:9/0", "hangs"])
async def test_checks_are_answered_without_the_cache(
    sandbox: RunningSandbox, database_url: str, redis_url: str
) -> None:
    """With a Redis that is away or never answers, a check is answered all the same, and a change is felt at once."""

    def ask(url: str) -> None:
        with running_world(sandbox, database_url, redis_url=url) as world:
            _grant_and_check(world)

    async with answering(None) as (hanging, _):
        await asyncio.to_thread(ask, hanging if redis_url == "hangs" else redis_url)


def _grant_and_check(world: World) -> None:
    app: Tollhouse = world.publish(CATALOG)
    ada = world.customer("ada", app)
    assert not ada.may("premium_export")
    given = {"project": "pdf-tool", "user_id": "ada", "feature": "premium_export", "reason": "a test"}
    assert world.operator.post("/v1/admin/grants", json=given).is_success
    assert all(ada.may("premium_export") for _ in range(10))
