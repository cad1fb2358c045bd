"""What a sweep costs: objects a second against the sandbox, the share spent waiting for it, the cost per subscription.

Ten customers differ at every size, so that what grows is the lists. `--large` adds 100,000 subscriptions.
"""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import psycopg
import uvicorn
from rich.console import Console

from benchmarks.shop import copy
from tollhouse_sandbox.app import build_app
from tollhouse_sandbox.sandbox import Sandbox
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import conninfo
from tollhouse_server.db.tables import billing, checkout, customer, subscription
from tollhouse_server.embedded.postgres import PostgresServer, temporary_postgres
from tollhouse_server.reconcile import Asked, Kind, Trigger, runs
from tollhouse_server.resources import open_resources
from tollhouse_server.testing import FAST, World, running_world

SIZES = (1_000, 10_000)
LARGE = 100_000
DIFFERENT = 10
LISTS = ("customers", "subscriptions", "sessions", "charges", "refunds", "disputes")
CATALOG = {
    "project": "bench",
    "name": "Bench",
    "redirect_origins": ["https://app.test"],
    "features": {"premium_export": {"name": "Premium export"}},
    "products": {
        "pro": {
            "name": "Pro",
            "opens": {"premium_export": True},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
        }
    },
}


def main() -> None:
    console, first = Console(), 0.0
    with temporary_postgres() as postgres:
        for size in (*SIZES, LARGE) if "--large" in sys.argv[1:] else SIZES:
            row, seconds = sweep(postgres, size)
            listed = sum(row.counts[f"{name}.listed"] for name in LISTS)
            each = seconds / size * 1e3
            first = first or each
            console.print(
                f"{size:7,} subscriptions: {listed:9,} objects, {row.requests:5,} requests in {seconds:6.1f} s,"
                f" {listed / seconds:6,.0f} objects/s, {row.stripe_seconds / seconds:4.0%} waiting for Stripe,"
                f" {each:.2f} ms a subscription, ratio {each / first:.2f}"
            )


def sweep(postgres: PostgresServer, size: int) -> tuple[Any, float]:
    """One sweep of an account of this size: its row, and how many seconds it took."""
    name = f"bench_{size}"
    postgres.create_database(name)
    migrate.upgrade(postgres.url(name))
    with sandbox_here() as (sandbox, running), running_world(running, postgres.url(name)) as world:
        sell_one(world)
        sell_the_rest(sandbox, postgres.url(name), size)
        return asyncio.run(measured(world))


def sell_one(world: World) -> None:
    """The pattern of all others, sold as it is really done."""
    world.customer(world.publish(CATALOG), "ada").buys("bench.pro.monthly")


def sell_the_rest(sandbox: Sandbox, url: str, size: int) -> None:
    """Copies of the one sale on both sides, and the last ten canceled where only Stripe knows."""
    store = sandbox.account.store
    kinds = ("customer", "subscription", "checkout.session", "charge")
    pattern = {kind: next(store.newest_first(kind)) for kind in kinds}
    for number in range(1, size):
        own = {"customer": f"cus_{number}"}
        stamp = {**pattern["customer"]["metadata"], "tollhouse_user_id": f"user {number}"}
        store.put({**pattern["customer"], "id": f"cus_{number}", "metadata": stamp})
        over = {"status": "canceled", "ended_at": sandbox.account.now} if number >= size - DIFFERENT else {}
        store.put({**pattern["subscription"], **own, "id": f"sub_{number}", **over})
        session = {"id": f"cs_{number}", "subscription": f"sub_{number}"}
        store.put({**pattern["checkout.session"], **own, **session})
        store.put({**pattern["charge"], **own, "id": f"ch_{number}"})
        if number % 1_000 == 0:
            store.commit()
    store.commit()
    with psycopg.connect(conninfo(url)) as connection:
        own = {"user_id": "'user ' || n", "stripe_customer_id": "'cus_' || n"}
        copy(connection, customer, size, id="gen_random_uuid()", **own)
        theirs = "(SELECT id FROM customer WHERE stripe_customer_id = 'cus_' || n)"
        evidence = "jsonb_set(evidence, '{id}', to_jsonb('sub_' || n))"
        copy(connection, subscription, size, id="'sub_' || n", customer_id=theirs, evidence=evidence)
        copy(connection, billing, size, id="'sub_' || n", customer_id=theirs)
        copy(connection, checkout, size, id="'chk_' || n", customer_id=theirs, stripe_session_id="'cs_' || n")
        connection.execute("ANALYZE")


async def measured(world: World) -> tuple[Any, float]:
    async with open_resources(world.service.settings, clock=world.service.clock) as resources:
        reconciler = replace(resources.reconciler, requests_per_second=FAST)
        started = perf_counter()
        run_id = await reconciler.run_now(Asked(Kind.SWEEP, Trigger.CLI, "bench"))
        seconds = perf_counter() - started
        async with resources.database.transaction() as tx:
            row = await runs.get(tx, run_id)
    assert row is not None and row.state == "finished" and row.counts["customers.differed"] == DIFFERENT, row
    return row, seconds


@contextmanager
def sandbox_here() -> Iterator[tuple[Sandbox, RunningSandbox]]:
    """A sandbox in a thread of this process, to be filled without a request for each object."""
    listener = socket.create_server(("127.0.0.1", 0))
    sandbox = Sandbox(f"http://127.0.0.1:{listener.getsockname()[1]}")
    config = uvicorn.Config(build_app(sandbox), log_level="warning", ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    running = RunningSandbox(sandbox.account.url)
    yield sandbox, running
    running.close()
    server.should_exit = True
    thread.join(10)
    listener.close()


if __name__ == "__main__":
    main()
