"""What a sweep costs: beside that of the smallest account, the cost per subscription.

Ten customers differ at every size, so that what grows is the lists. `--large` adds 100,000 subscriptions.
"""

import asyncio
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.account import stripe_here
from benchmarks.harness import Measured, Scale, Target, compare
from benchmarks.shop import copy
from tollhouse_sandbox.sandbox import Sandbox
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import conninfo
from tollhouse_server.db.tables import billing, checkout, customer, subscription
from tollhouse_server.embedded.postgres import PostgresServer, temporary_postgres
from tollhouse_server.reconcile import Asked, Kind, Trigger, runs
from tollhouse_server.resources import open_resources
from tollhouse_server.testing import FAST, World, running_world

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
    scale = Scale.asked(__doc__)
    sizes = (200, 1_000) if scale.quick else (1_000, 10_000, 100_000) if scale.large else (1_000, 10_000)
    with temporary_postgres() as postgres:
        compare(
            "reconcile",
            "ms a subscription",
            {f"{size:,} subscriptions": partial(sweep, postgres, size) for size in sizes},
            f"{sizes[0]:,} subscriptions",
            about="A whole sweep of an account, ten of whose customers differ, beside one of the smallest account."
            " The sandbox runs in the same process; the sweep's own pace is lifted.",
            targets=[Target(f"{size:,} subscriptions", at_most=1.2) for size in sizes[1:]],
            scale=scale,
            rounds=1 if scale.quick or scale.large else 3,
        )


def sweep(postgres: PostgresServer, size: int) -> Measured:
    """One sweep of an account of this size."""
    name = f"bench_{size}"
    postgres.create_database(name)
    migrate.upgrade(postgres.url(name))
    with stripe_here() as (sandbox, running), running_world(running, postgres.url(name)) as world:
        sell_one(world)
        sell_the_rest(sandbox, postgres.url(name), size)
        row, seconds = asyncio.run(measured(world))
    postgres.drop_database(name)
    listed = sum(row.counts[f"{name}.listed"] for name in LISTS)
    also = {
        "objects": listed,
        "requests": row.requests,
        "seconds": seconds,
        "objects/s": listed / seconds,
        "% waiting for Stripe": row.stripe_seconds / seconds * 100,
    }
    return Measured(seconds / size * 1e3, also)


def sell_one(world: World) -> None:
    """The pattern of all others, sold as it is really done."""
    world.customer("ada", world.publish(CATALOG)).buys("bench.pro.monthly")


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


if __name__ == "__main__":
    main()
