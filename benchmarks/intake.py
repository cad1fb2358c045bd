"""How fast Stripe's events are taken in: verified, stored, committed, answered; beside a bare INSERT per request.

Both on one process of the same uvicorn, the same PostgreSQL, which keeps what it has committed, and the same bodies.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from benchmarks.account import account
from benchmarks.bare_insert import TABLE
from benchmarks.harness import Measured, Scale, Target, compare, load, serving_app
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import PostgresServer, running_postgres

CUSTOMERS = 1_000


def main() -> None:
    scale = Scale.asked(__doc__)
    with ExitStack() as stack:
        events = stack.enter_context(account(stack.enter_context(durable_postgres()), 1))
        with psycopg.connect(conninfo(events.database_url), autocommit=True) as db:
            db.execute(TABLE)
        told = {"DATABASE_URL": conninfo(events.database_url)}
        bare = stack.enter_context(serving_app("benchmarks.bare_insert:app", told))
        ours = stack.enter_context(events.serve())

        def sent() -> Iterator[bytes]:
            return (events.request(number % CUSTOMERS) for number in itertools.count())

        compare(
            "intake",
            "events/s",
            {
                "bare INSERT": lambda: Measured.rate(load(bare, sent(), seconds=scale.seconds)),
                "intake": lambda: Measured.rate(load(ours, sent(), seconds=scale.seconds)),
            },
            "bare INSERT",
            about="Signed events as Stripe posts them, each answered after its commit, over 32 connections, beside a"
            " bare ASGI app that does one committed INSERT of the same body for each request.",
            targets=[Target("intake", at_least=0.5)],
            scale=scale,
            rounds=3 if scale.quick else 5,
        )


@contextmanager
def durable_postgres() -> Iterator[PostgresServer]:
    """A server that has on the disk what it says it has committed."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)  # for PostgreSQL's own account, where we are root
        with running_postgres(Path(directory) / "data") as server:
            yield server


if __name__ == "__main__":
    main()
