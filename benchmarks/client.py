"""What a check costs in the app, which keeps a copy; and the copy itself: memory, loading, being current again."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks.harness import LOAD_CORE, Measured, Scale, Served, Target, compare, free_port, pinned
from benchmarks.processes import Process
from benchmarks.shop import FEATURE, PROJECT, USER, Shop, shop
from tollhouse import AsyncTollhouse, Tollhouse
from tollhouse_server.testing import OPERATOR_KEY

BATCH = 100
"""Checks between two looks at the clock, which itself takes a twentieth of a microsecond."""
CLIENTS = 20
WITHIN = 60.0
"""Seconds after which something is taken not to come any more."""


def main() -> None:
    scale = Scale.asked(__doc__)
    held = scale.of(10_000, quick=500)
    port = free_port()
    with ExitStack() as stack:
        bench = stack.enter_context(shop(held))
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "snapshots"
        with bench.serve(port=port) as server:
            warm(bench, server, scale)
            keep(bench, server, file, held)
        loading(bench, file, held, scale)
        after_a_restart(bench, port, scale)


def warm(bench: Shop, server: Served, scale: Scale) -> None:
    """A check of a client that holds the customer, beside a dictionary and beside HTTP."""
    users = [USER, *(f"user {number}" for number in range(1, 100))]
    names = users * scale.of(200, quick=50)
    table = {(user, FEATURE): object() for user in users}
    path, headers = f"/v1/customers/{USER}/entitlements/{FEATURE}", {"Authorization": f"Bearer {bench.key}"}

    def look_up(some: Sequence[str]) -> None:
        for user in some:
            table[user, FEATURE]

    def check(some: Sequence[str]) -> None:
        for user in some:
            client.check(user, FEATURE)

    async def check_async(some: Sequence[str]) -> None:
        for user in some:
            await async_client.check(user, FEATURE)

    def ask(some: Sequence[str]) -> None:
        for _ in some:
            http.get(path).raise_for_status()

    with ExitStack() as stack:
        client = stack.enter_context(Tollhouse(server.url, bench.key))
        http = stack.enter_context(httpx.Client(base_url=server.url, headers=headers, trust_env=False))
        runner = stack.enter_context(asyncio.Runner())
        async_client = runner.run(opened(server, bench))
        stack.callback(lambda: runner.run(async_client.aclose()))
        stack.enter_context(pinned(LOAD_CORE))
        check(users)
        runner.run(check_async(users))
        wait_until(lambda: {client.check(user, FEATURE).freshness for user in users} == {"live"})
        compare(
            "client",
            "µs",
            {
                "look-up in a dictionary": lambda: timed(look_up, names),
                "check": lambda: timed(check, names),
                "check, async": lambda: runner.run(timed_async(check_async, names)),
                "check over HTTP by httpx": lambda: timed(ask, names[: scale.of(300, quick=50)], batch=1),
            },
            "look-up in a dictionary",
            about="A check in the app of a customer whom it holds, while its stream is healthy: 100 customers in turn,"
            " beside a look-up in a dictionary and the same question asked of the server each time.",
            targets=[Target("check", "value", at_most=2), Target("check, async", "value", at_most=2)],
            scale=scale,
        )


async def opened(server: Served, bench: Shop) -> AsyncTollhouse:
    client = AsyncTollhouse(server.url, bench.key)
    await client.start()
    return client


def timed(run: Callable[[Sequence[str]], None], names: Sequence[str], batch: int = BATCH) -> float:
    """Microseconds of one call, at the median of batches."""
    took = []
    for begin in range(0, len(names), batch):
        some = names[begin : begin + batch]
        started = time.perf_counter()
        run(some)
        took.append((time.perf_counter() - started) / len(some))
    return statistics.median(took) * 1e6


async def timed_async(run: Callable[[Sequence[str]], Awaitable[None]], names: Sequence[str]) -> float:
    """The same, where a call is awaited."""
    took = []
    for begin in range(0, len(names), BATCH):
        some = names[begin : begin + BATCH]
        started = time.perf_counter()
        await run(some)
        took.append((time.perf_counter() - started) / len(some))
        await asyncio.sleep(0)  # the stream is read in between, as in an app
    return statistics.median(took) * 1e6


def keep(bench: Shop, server: Served, file: Path, held: int) -> None:
    """A disk snapshot of that many customers, as a client leaves it behind."""
    with Tollhouse(server.url, bench.key, snapshot_file=file) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: client.check(f"user {number}", FEATURE), range(1, held)))


LOAD = """
import sys
from benchmarks.client import loaded
print(*loaded(*sys.argv[1:]))
"""


def loading(bench: Shop, file: Path, held: int, scale: Scale) -> None:
    """In a process of its own each time: what the copy takes of memory, and how long it takes to be there."""

    def turn(path: str) -> Measured:
        command = [sys.executable, "-c", LOAD, path, bench.key, "user 1", str(held)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
        milliseconds, size = map(float, said.stdout.split())
        return Measured(milliseconds, {"kB a customer": size / held / 1e3, "MB": size / 1e6})

    compare(
        "client_loading",
        "ms",
        {f"{held:,} customers": lambda: turn(str(file))},
        None,
        about="A client made while the server is away: until it answers from its file, and what it then holds.",
        scale=scale,
    )


def loaded(file: str, key: str, user: str, held: str) -> tuple[float, float]:
    """Milliseconds until a client answers of what its file holds, and the bytes that it takes."""
    own = Process(int(Path("/proc/self").resolve().name))
    Tollhouse("http://127.0.0.1:9", key, stream=False).close()  # what is imported when first needed
    before, started = own.resident_bytes(), time.perf_counter()
    with Tollhouse("http://127.0.0.1:9", key, snapshot_file=Path(file), connect_timeout=0.05) as client:
        answer = client.check(user, FEATURE)
        took = time.perf_counter() - started
        if not answer.allowed or answer.freshness == "fallback":
            raise RuntimeError(f"{held} customers were kept, and one of them is not known: {answer}")
        return took * 1e3, own.resident_bytes() - before


def after_a_restart(bench: Shop, port: int, scale: Scale) -> None:
    """Twenty clients whose server goes away; meanwhile a customer loses access; until all of them know."""
    with bench.serve() as other, operator(other) as desk:
        compare(
            "client_after_a_restart",
            "s",
            {f"{CLIENTS} clients": lambda: restarted(bench, port, desk)},
            None,
            about="The server was away while a customer lost access: from the moment it accepts connections again until"
            f" none of {CLIENTS} clients answers that the customer has it.",
            scale=scale,
            rounds=3,
        )


def restarted(bench: Shop, port: int, desk: httpx.Client) -> Measured:
    user = f"returning {time.time_ns()}"
    wanted = {"project": PROJECT, "user_id": user, "product": "pro", "reason": "benchmark"}
    granted = desk.post("/v1/admin/grants", json=wanted).raise_for_status().json()
    with ExitStack() as stack:
        with bench.serve(port=port) as server:
            clients = [stack.enter_context(Tollhouse(server.url, bench.key)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            wait_until(lambda: all(client.check(user, FEATURE).freshness == "live" for client in clients))
            assert all(client.check(user, FEATURE).allowed for client in clients)
        desk.post(f"/v1/admin/grants/{granted['id']}/revoke", json={"reason": "benchmark"}).raise_for_status()
        with bench.serve(port=port):
            started = time.perf_counter()
            wait_until(lambda: not any(client.check(user, FEATURE).allowed for client in clients))
            told = time.perf_counter() - started
            wait_until(lambda: all(client.check(user, FEATURE).freshness == "live" for client in clients))
            return Measured(told, {"until all streams are back, s": time.perf_counter() - started})


def operator(server: Served) -> httpx.Client:
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Tollhouse-Operator": "grace"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False)


def wait_until(reached: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + WITHIN
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)


if __name__ == "__main__":
    main()
