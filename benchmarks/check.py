"""How fast a check is, beside a bare ASGI answer of the same server: one process, 32 connections, one run."""

import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from tollhouse_sandbox.testing import running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.embedded.valkey import running_valkey
from tollhouse_server.testing import World, running_world

CONNECTIONS = 32
SECONDS = 5.0
WARM_UP = 1.0

BARE = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"allowed": true}'})
"""
CATALOG = {
    "project": "bench",
    "name": "Bench",
    "features": {"premium_export": {"name": "Premium export"}},
    "products": {"pro": {"name": "Pro", "opens": {"premium_export": True}}},
}


def main() -> None:
    with ExitStack() as stack:
        postgres = stack.enter_context(temporary_postgres())
        postgres.create_database("bench")
        migrate.upgrade(postgres.url("bench"))
        sandbox = stack.enter_context(running_sandbox())
        world = stack.enter_context(running_world(sandbox, postgres.url("bench")))
        world.publish(CATALOG)
        key = world.new_key("bench")
        grant = {"project": "bench", "user_id": "ada", "product": "pro", "reason": "benchmark"}
        world.operator.post("/v1/admin/grants", json=grant).raise_for_status()

        path = "/v1/customers/ada/entitlements/premium_export"
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        with bare() as port:
            reference = asyncio.run(measure(port, request))
        with service(world) as port:
            plain = asyncio.run(measure(port, request))
        valkey = stack.enter_context(running_valkey())
        with service(world, REDIS_URL=valkey) as port:
            cached = asyncio.run(measure(port, request))
    console = Console()
    for name, (rate, p50, p99) in (("bare ASGI", reference), ("check", plain), ("check, Valkey", cached)):
        ratio = rate / reference[0]
        console.print(f"{name:14} {rate:8.0f} req/s  ratio {ratio:.2f}  p50 {p50 * 1e3:.1f} ms  p99 {p99 * 1e3:.1f} ms")


@contextmanager
def bare() -> Iterator[int]:
    run = "import os, uvicorn\nuvicorn.run(app, port=int(os.environ['APP_HOST_PORT']), log_level='error')"
    with server([sys.executable, "-c", f"{BARE}\n{run}"], {}) as port:
        yield port


@contextmanager
def service(world: World, **environment: str) -> Iterator[int]:
    settings = world.service.settings
    told = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_WEBHOOK_SECRET": settings.webhook_secrets[0],
        "STRIPE_API_BASE": settings.stripe_api_base,
        "RATE_LIMIT_READS": "1000000",  # counted like any other, and never reached
    }
    with server([sys.executable, "-m", "tollhouse_server.cli", "serve"], told | environment) as port:
        yield port


@contextmanager
def server(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A server process on a free port, once it accepts connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"APP_HOST_PORT": str(port), "LOG_LEVEL": "ERROR"}
    process = subprocess.Popen(command, env=os.environ | environment | told)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


async def measure(port: int, request: str) -> tuple[float, float, float]:
    """Answers a second over all connections, and the median and the 99th percentile of one answer's seconds."""
    took: list[float] = []
    begins = time.perf_counter() + WARM_UP
    ends = begins + SECONDS

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (started := time.perf_counter()) < ends:
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await (reader.readexactly(int(length[1])) if length else reader.readuntil(b"0\r\n\r\n"))
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            if started >= begins:
                took.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    quantiles = statistics.quantiles(took, n=100)
    return len(took) / SECONDS, quantiles[49], quantiles[98]


if __name__ == "__main__":
    main()
