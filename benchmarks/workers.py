"""Whether two worker processes do twice the work of one: the same backlog, and a Stripe that takes its time.

Stripe takes half a second for each answer, as the real one may, so that workers wait and do not compete for the
machine's processors: what keeps two from being twice as fast is then what they do to each other in PostgreSQL.
"""

import time
from contextlib import ExitStack
from functools import partial

import psycopg

from benchmarks.account import PENDING, Account, account
from benchmarks.harness import Measured, Scale, Target, compare
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import temporary_postgres

LATENCY = 0.5
EVENTS_EACH = 5
READY = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN tollhouse_%'"


def main() -> None:
    scale = Scale.asked(__doc__)
    with temporary_postgres() as postgres, account(postgres, scale.of(48, quick=24), latency=LATENCY) as backlog:
        compare(
            "workers",
            "customers/s",
            {"one worker": partial(drained, backlog, 1), "two workers": partial(drained, backlog, 2)},
            "one worker",
            about="A backlog of customers, five events each, re-read by one `tollhouse work` and by two, with"
            " WORKER_CONCURRENCY 4 and a Stripe that takes 0.5 s for an answer.",
            targets=[Target("two workers", at_least=1.6)],
            scale=scale,
            rounds=1 if scale.quick else 3,
        )


def drained(backlog: Account, workers: int) -> Measured:
    """How many customers a second so many workers settle."""
    backlog.forget()
    with ExitStack() as stack, psycopg.connect(conninfo(backlog.database_url), autocommit=True) as db:
        hands = [stack.enter_context(backlog.work()) for _ in range(workers)]
        wait_until(db, READY, workers)
        before = sum(one.cpu_seconds() for one in hands)
        started = time.perf_counter()
        backlog.store(backlog.customers * EVENTS_EACH)
        wait_until(db, PENDING, 0)
        seconds = time.perf_counter() - started
        used = sum(one.cpu_seconds() for one in hands) - before
    return Measured(backlog.customers / seconds, {"CPU ms a customer": used / backlog.customers * 1e3})


def wait_until(db: psycopg.Connection, query: str, wanted: int) -> None:
    while (db.execute(query).fetchone() or (None,))[0] != wanted:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
