"""A burst of events for many customers: how soon it is worked off, how often each is re-read, who waits longest.

10,000 signed events about 1,000 customers are posted as fast as they are taken in, in no order, while a worker works.
"""

import random
import time
from typing import Any

import psycopg

from benchmarks.account import PENDING, Account, account
from benchmarks.harness import LOAD_CORE, Measured, Scale, Target, compare, load, pin
from benchmarks.workers import READY, wait_until
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import temporary_postgres

EVENTS_EACH = 10
CLAIMS = """
SELECT count(*), count(*) FILTER (WHERE since < interval '1 second'), extract(epoch FROM min(since))::float
FROM (SELECT claimed_at - lag(claimed_at) OVER (PARTITION BY subject ORDER BY claimed_at) AS since
      FROM (SELECT DISTINCT subject, claimed_at FROM inbox WHERE claimed_at IS NOT NULL) claim) later
"""
WAITS = """
SELECT max(wait), percentile_disc(0.5) WITHIN GROUP (ORDER BY wait)
FROM (SELECT extract(epoch FROM min(settled_at) - min(received_at))::float AS wait FROM inbox GROUP BY subject) first
"""


def main() -> None:
    scale = Scale.asked(__doc__)
    size = scale.of(1_000, quick=100)
    pin(LOAD_CORE)  # the sandbox too, which runs in this process
    with temporary_postgres() as postgres, account(postgres, size) as burst:
        compare(
            "burst",
            "customers/s",
            {f"{size * EVENTS_EACH:,} events, {size:,} customers": lambda: worked_off(burst)},
            None,
            about="Ten events for each customer, posted in no order as fast as they are taken in, until the last is"
            " settled by one worker. Server and worker share a core, the sandbox has the other.",
            targets=[
                Target(f"{size * EVENTS_EACH:,} events, {size:,} customers", "re-reads within a second", at_most=0)
            ],
            scale=scale,
            rounds=1,
        )


def worked_off(burst: Account) -> Measured:
    numbers = [1 + number % burst.customers for number in range(burst.customers * EVENTS_EACH)]
    random.Random(7).shuffle(numbers)
    with (
        burst.serve() as server,
        burst.work(core=0) as worker,
        psycopg.connect(conninfo(burst.database_url), autocommit=True) as db,
    ):
        wait_until(db, READY, 1)
        before, started = worker.cpu_seconds(), time.perf_counter()
        load(server, map(burst.request, numbers), seconds=600, warm_up=0)
        taken_in = time.perf_counter() - started
        wait_until(db, PENDING, 0)
        seconds = time.perf_counter() - started
        used = worker.cpu_seconds() - before
        claims, early, closest = _row(db, CLAIMS)
        longest, median = _row(db, WAITS)
        assert _row(db, "SELECT count(*) FROM inbox WHERE state = 'settled'") == (len(numbers),)
    return Measured(
        burst.customers / seconds,
        {
            "seconds to store all": taken_in,
            "seconds to settle all": seconds,
            "re-reads": claims,
            "re-reads a customer a second": claims / burst.customers / seconds,
            "re-reads within a second": early,
            "closest two, s": closest or 0.0,
            "wait of a customer, median, s": median,
            "longest wait of a customer, s": longest,
            "CPU ms a re-read": used / claims * 1e3,
        },
    )


def _row(db: "psycopg.Connection[Any]", query: str) -> tuple[Any, ...]:
    row = db.execute(query).fetchone()
    assert row is not None
    return tuple(row)


if __name__ == "__main__":
    main()
