"""How fast a check is: when the process knows the customer, when PostgreSQL must be asked, and with how many customers.

One server process on one core, 32 connections. The references are a bare ASGI answer of the same uvicorn, and a bare
ASGI answer after one read by primary key.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle, islice

import psycopg

from benchmarks.harness import Measured, Scale, Served, Target, compare, load, serving_app
from benchmarks.shop import PROJECT, Shop, running_valkey, shop
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import temporary_postgres

FEW, MANY, LARGE = 1_000, 100_000, 1_000_000
"""Customers."""


def main() -> None:
    scale = Scale.asked(__doc__)
    many = scale.of(MANY, large=LARGE)
    with (
        temporary_postgres() as postgres,
        shop(many, postgres=postgres, name="many") as large,
        shop(FEW, postgres=postgres, name="few") as small,
    ):
        hits(small, scale)
        misses(large, many, scale)
        flat(small, large, many, scale)


def hits(bench: Shop, scale: Scale) -> None:
    """What a process knows is answered from its memory, whether or not there is a Redis."""
    with ExitStack() as stack:
        bare = stack.enter_context(serving_app("benchmarks.bare:app"))
        plain = stack.enter_context(bench.serve())
        cached = stack.enter_context(bench.serve(REDIS_URL=stack.enter_context(running_valkey())))
        asked = [bench.asks()]
        compare(
            "check",
            "answers/s",
            {
                "bare ASGI": lambda: rate(bare, asked, scale),
                "check": lambda: rate(plain, asked, scale),
                "check, Valkey": lambda: rate(cached, asked, scale),
            },
            "bare ASGI",
            about="One customer's check, asked again and again, beside an answer made beforehand.",
            targets=[
                Target("check", at_least=0.75),
                Target("check", "p99 ms", at_most=5),
                Target("check, Valkey", at_least=0.75),
            ],
            scale=scale,
        )


def misses(bench: Shop, customers: int, scale: Scale) -> None:
    """Each customer is asked about once, and then not for longer than anything is kept."""
    with ExitStack() as stack:
        told = {"DATABASE": conninfo(bench.database_url), "PROJECT_ID": project_id(bench)}
        bare = stack.enter_context(serving_app("benchmarks.bare_read:app", told))
        plain = stack.enter_context(bench.serve())
        cached = stack.enter_context(bench.serve(REDIS_URL=stack.enter_context(running_valkey())))
        asked = of(bench, 1, customers)
        compare(
            "check_miss",
            "answers/s",
            {
                "bare read": lambda: rate(bare, asked, scale),
                "check": lambda: rate(plain, asked, scale),
                "check, Valkey": lambda: rate(cached, asked, scale),
            },
            "bare read",
            about=f"Checks of {customers:,} customers in turn, none of whom is known, beside an answer made beforehand "
            "after one read by primary key with the same driver.",
            targets=[Target("check", at_least=0.5)],
            scale=scale,
        )


def flat(small: Shop, large: Shop, customers: int, scale: Scale) -> None:
    """The same traffic, about as many customers, of few and of many."""
    with ExitStack() as stack:
        few, many = stack.enter_context(small.serve()), stack.enter_context(large.serve())
        few_read = stack.enter_context(small.serve(CACHE_IN_PROCESS="false"))
        many_read = stack.enter_context(large.serve(CACHE_IN_PROCESS="false"))
        asked_of_few, asked_of_many = of(small, 1, FEW), of(large, customers // FEW, customers)
        # A request of each once, so that all of both tables is in PostgreSQL's memory as it may be.
        rate(many_read, asked_of_many, scale)
        rate(few_read, asked_of_few, scale)
        compare(
            "check_flat",
            "answers/s",
            {
                f"of {FEW:,}": lambda: rate(few, asked_of_few, scale),
                f"of {customers:,}": lambda: rate(many, asked_of_many, scale),
                f"of {FEW:,}, nothing kept": lambda: rate(few_read, asked_of_few, scale),
                f"of {customers:,}, nothing kept": lambda: rate(many_read, asked_of_many, scale),
            },
            f"of {FEW:,}",
            about=f"Checks of {FEW:,} customers in turn, where there are no others and where there are {customers:,}.",
            targets=[Target(f"of {customers:,}", at_least=1 / 1.2)],
            scale=scale,
        )


def rate(server: Served, asked: list[bytes], scale: Scale) -> Measured:
    """Answers a second; and what the server holds in memory then."""
    seen = Measured.rate(load(server, turns(server, asked), seconds=scale.seconds))
    return Measured(seen.value, {**seen.also, "memory MB": server.resident_bytes() / 1e6})


_at: dict[int, int] = {}


def turns(server: Served, asked: list[bytes]) -> Iterator[bytes]:
    """The requests in turn, from where this server was asked last: whom it knows from then it does not meet again."""
    for number, one in enumerate(islice(cycle(asked), _at.get(server.pid, 0), None), _at.get(server.pid, 0) + 1):
        _at[server.pid] = number % len(asked)
        yield one


def of(bench: Shop, step: int, customers: int) -> list[bytes]:
    """A check of each `step`-th customer."""
    return [bench.asks(f"user {number}") for number in range(1, customers, step)]


def project_id(bench: Shop) -> str:
    with psycopg.connect(conninfo(bench.database_url)) as connection:
        found = connection.execute("SELECT id FROM project WHERE slug = %s", (PROJECT,)).fetchone()
    assert found is not None
    return str(found[0])


if __name__ == "__main__":
    main()
