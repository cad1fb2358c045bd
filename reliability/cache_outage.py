"""I6: a check never fails because of Redis, and is hardly slowed by it, whatever Redis does.

A real service behind HTTP, whose wire to a real Valkey is cut, hung, slowed; whose Valkey is killed, flushed, full or
holds garbage; callers ask check upon check meanwhile. No answer may be other than 200. While Redis hangs, the time that
ninety-nine in a hundred take is measured; and again once it is left alone. The run fails by the medians: the machine
may have something else to do.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
from redis.asyncio import Redis

from reliability.cache_desk import KillableValkey, Wire, killable_valkey
from reliability.figures import Figures, Scale
from reliability.shop import SHOP
from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.cache.breaker import FAILURES_BEFORE_REST
from tollhouse_server.db import migrate
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.testing import NO_TLS, running_world

CALLERS = 4
USERS = 200
"""So many that no tier holds all of them warm: Redis is asked."""
HUNG_MS, LEFT_ALONE_MS = 100.0, 25.0


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I6", "checks while Redis fails", seed)
    with figures.timed(), temporary_postgres() as postgres, running_sandbox(frozen=True) as sandbox:
        migrate.upgrade(postgres.url())
        asyncio.run(_run(figures, scale.of(1.2, 120), sandbox, postgres.url()))
    figures.must_be_zero("failed", figures.counted["failed"])
    figures.must_be_reached("checks, hung", "checks, left alone", "checks, cut", "checks, full", "checks, garbage")
    return figures


async def _run(figures: Figures, seconds: float, sandbox: RunningSandbox, database_url: str) -> None:
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(killable_valkey())
        wire = await stack.enter_async_context(Wire(valkey).running())
        world = await asyncio.to_thread(stack.enter_context, running_world(sandbox, database_url, redis_url=wire.url))
        await asyncio.to_thread(world.publish, SHOP)
        key = await asyncio.to_thread(world.new_key, SHOP["project"])
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=world.service.url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=10,
                trust_env=False,
                verify=NO_TLS,
            )
        )
        callers = Callers(figures, http)
        await callers.ask("well", seconds)
        for name, do in _faults(valkey, wire).items():
            await do()
            if name == "hung":
                # The first of them wait for it; then nobody does but one a second.
                await callers.ask("hung", 0.0, at_least=CALLERS * FAILURES_BEFORE_REST)
                await callers.ask("left alone", seconds)
            else:
                await callers.ask(name, seconds)
            wire.heal()
        well = figures.measured["median ms, well"]
        for name, most in (("hung", HUNG_MS), ("left alone", LEFT_ALONE_MS)):
            usual = figures.measured[f"median ms, {name}"]
            # Whoever waits for Redis waits each time: on a machine that does something else too, the median tells.
            figures.must(usual <= well + most, f"{name}: a check took {usual:.0f} ms, and {well:.0f} ms before")


def _faults(valkey: KillableValkey, wire: Wire) -> dict[str, Callable[[], Awaitable[None]]]:
    async def cut() -> None:
        wire.cut()

    async def hang() -> None:
        wire.hang()

    async def slow() -> None:
        wire.delay = 0.2

    async def killed() -> None:
        await valkey.kill()

    async def started_and_full() -> None:
        await valkey.start()
        async with Redis(unix_socket_path=str(valkey.socket)) as redis:
            await redis.config_set("maxmemory", "1")

    async def garbage() -> None:
        async with Redis(unix_socket_path=str(valkey.socket)) as redis:
            await redis.config_set("maxmemory", "64mb")
            for key in await redis.keys("tollhouse:*"):
                await redis.delete(key)
                await redis.rpush(key, "a list")

    async def flushed() -> None:
        async with Redis(unix_socket_path=str(valkey.socket)) as redis:
            await redis.flushall()

    return {
        "hung": hang,
        "cut": cut,
        "slow": slow,
        "killed": killed,
        "full": started_and_full,
        "garbage": garbage,
        "flushed": flushed,
    }


class Callers:
    """A few apps that ask one check after the other."""

    def __init__(self, figures: Figures, http: httpx.AsyncClient) -> None:
        self._figures, self._http = figures, http
        self._users = itertools.cycle(range(USERS))

    async def ask(self, name: str, seconds: float, *, at_least: int = 0) -> None:
        """For so long, and so many; notes how long they took."""
        took: list[float] = []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or len(took) < at_least:
            took += await asyncio.gather(*(self._check(name) for _ in range(CALLERS)))
        self._figures.count(f"checks, {name}", len(took))
        self._figures.measured[f"p99 ms, {name}"] = 1000 * statistics.quantiles(took, n=100)[98]
        self._figures.measured[f"median ms, {name}"] = 1000 * statistics.median(took)

    async def _check(self, name: str) -> float:
        started = time.monotonic()
        answer = await self._http.get(f"/v1/customers/user-{next(self._users)}/entitlements/export")
        if answer.status_code != httpx.codes.OK:
            self._figures.count("failed")
            self._figures.must(False, f"{name}: {answer.status_code} {answer.text[:100]}")
        return time.monotonic() - started
