"""A burst of events: every customer is re-read at most once a second, the first time at once, and nobody starves.

Two workers, each with its loops and its ear as in a process of its own, while events about many customers arrive in no
order, and one customer never has a quiet moment.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
from sqlalchemy import text

from reliability.desk import Desk, Send, desk
from reliability.figures import Figures, Scale
from tollhouse_server.db import migrate
from tollhouse_server.doctor import broken_invariants
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.inbox import Event
from tollhouse_server.worker import Worker

CUSTOMERS = 40
EVENTS = 400
ARRIVE_WITHIN = 2.5
"""Seconds."""
BUSY_EVERY = 0.01
"""Seconds between two events of the customer who is never quiet."""
PATIENCE = 60.0

CLAIMS = """
SELECT count(*) AS claims, count(*) FILTER (WHERE since < interval '1 second') AS early
FROM (SELECT claimed_at - lag(claimed_at) OVER (PARTITION BY subject ORDER BY claimed_at) AS since
      FROM (SELECT DISTINCT subject, claimed_at FROM inbox) claim) later
"""
WAITS = """
SELECT max(settled_at - received_at) AS longest, max(first) AS first
FROM inbox JOIN (
  SELECT subject, extract(epoch FROM min(settled_at) - min(received_at))::float AS first FROM inbox GROUP BY subject
) one USING (subject)
"""


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I19", "a burst of events", seed)
    with figures.timed(), temporary_postgres() as postgres:
        migrate.upgrade(postgres.url())
        asyncio.run(_burst(postgres.url(), scale.whole(1, 20), random.Random(seed), figures))
    return figures


async def _burst(url: str, times: int, chance: random.Random, figures: Figures) -> None:
    never: dict[str, Any] = {
        "reconcile_catch_up_seconds": 0,
        "reconcile_sweep_seconds": 0,
        "reconcile_sweep_daily_at": "never",
    }
    async with desk(url, reread_pause_seconds=1, **never) as opened:
        reads = Reads(opened)
        customers = [await _customer(opened, number) for number in range(CUSTOMERS)]
        workers = [Worker(opened.resources) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for one in workers:
                group.create_task(one.run())
            began = time.monotonic()
            for _ in range(times):
                await _arrive(opened, customers, chance, figures)
            figures.measured["seconds of arrivals"] = time.monotonic() - began
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await _rest(opened)
            took = time.monotonic() - began
            for one in workers:
                one.stop()
        await _judge(opened, reads, took, figures)


class Reads:
    """How often each customer was asked for, as Stripe sees it."""

    def __init__(self, opened: Desk) -> None:
        self.of: Counter[str] = Counter()
        opened.wire.weather = self._seen

    async def _seen(self, request: httpx.Request, send: Send) -> httpx.Response:
        if request.url.path.startswith("/v1/customers/"):
            self.of[request.url.path.rpartition("/")[2]] += 1
        return await send(request)


async def _customer(opened: Desk, number: int) -> str:
    """One of ours, whom our books will know by the first read."""
    stamp = {"metadata__tollhouse_project": opened.owner.slug, "metadata__tollhouse_user_id": f"user {number}"}
    return str((await opened.ask("POST", "/v1/customers", **stamp))["id"])


async def _arrive(opened: Desk, customers: list[str], chance: random.Random, figures: Figures) -> None:
    """The first customer is the busy one; of the others each event has its moment."""
    busy, *others = customers
    moments = sorted((chance.uniform(0, ARRIVE_WITHIN), chance.choice(others)) for _ in range(EVENTS))
    moments += [(number * BUSY_EVERY, busy) for number in range(int(ARRIVE_WITHIN / BUSY_EVERY))]
    began = time.monotonic()

    async def one(moment: float, subject: str) -> None:
        await asyncio.sleep(began + moment - time.monotonic())
        figures.count("events")
        told = Event(
            f"evt_{figures.counted['events']}", "customer.updated", None, opened.resources.clock.now(), "{}", subject
        )
        assert await opened.resources.intake.store(told)

    await asyncio.gather(*(one(moment, subject) for moment, subject in moments))


async def _rest(opened: Desk) -> None:
    pending = "SELECT count(*) AS many FROM inbox WHERE next_attempt_at IS NOT NULL"
    while (await _row(opened, pending)).many:  # noqa: ASYNC110 - the inbox is the only one who knows
        await asyncio.sleep(0.05)


async def _judge(opened: Desk, reads: Reads, took: float, figures: Figures) -> None:
    claims, waits = await _row(opened, CLAIMS), await _row(opened, WAITS)
    unsettled = await _row(opened, "SELECT count(*) AS many FROM inbox WHERE outcome IS DISTINCT FROM 'applied'")
    figures.must_be_zero("not applied", unsettled.many)
    figures.must_be_zero("re-reads within a second of the last", claims.early)
    figures.count("re-reads", claims.claims)
    figures.must(sum(reads.of.values()) == claims.claims, f"Stripe saw {sum(reads.of.values())} reads")
    often = max(reads.of.values())
    figures.must(often <= took + 1, f"a customer was re-read {often} times in {took:.1f} s")
    figures.must(len(reads.of) == CUSTOMERS, f"only {len(reads.of)} customers were re-read")
    figures.measured["re-reads a customer a second, at most"] = often / took
    figures.measured["longest wait, s"] = waits.longest.total_seconds()
    figures.measured["longest first wait, s"] = waits.first
    # Nobody waits longer than it takes to go round all customers once, and a pause.
    round_ = CUSTOMERS * took / claims.claims
    figures.must(waits.longest.total_seconds() <= 2 * round_ + 1.5, f"somebody waited {waits.longest}")
    found = await broken_invariants(opened.resources.database)
    figures.must_be_zero("doctor's findings", len(found), found[:3])


async def _row(opened: Desk, query: str) -> Any:
    async with opened.resources.database.transaction() as tx:
        return (await tx.execute(text(query))).one()
