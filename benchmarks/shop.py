"""What is measured on: a project with a catalog, a key and as many customers as asked, and servers for it."""

import contextlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg

from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import conninfo
from tollhouse_server.db.tables import customer, grant, metadata, snapshot
from tollhouse_server.embedded.postgres import PostgresServer, temporary_postgres
from tollhouse_server.embedded.valkey import running_valkey as running_valkey
from tollhouse_server.testing import OPERATOR_KEY, running_world

from .processes import SERVER_CORE, Process, Served, running, serving

PROJECT, FEATURE, USER = "bench", "premium_export", "ada"
CATALOG: dict[str, Any] = {
    "project": PROJECT,
    "name": "Bench",
    "redirect_origins": ["https://app.test"],
    "features": {
        FEATURE: {"name": "Premium export"},
        "pages_per_day": {"name": "Pages a day", "kind": "limit"},
    },
    "products": {
        "pro": {
            "name": "Pro",
            "opens": {FEATURE: True, "pages_per_day": 500},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
        }
    },
}


@dataclass(frozen=True, slots=True)
class Shop:
    """A project `bench` in a database; customer `ada` and `user 1` to `user n - 1` have been granted `pro`."""

    postgres: PostgresServer
    database_url: str
    sandbox: RunningSandbox
    key: str
    """With every scope of the project."""
    environment: dict[str, str]
    """The settings of its processes."""

    def serve(
        self, *, core: int | None = SERVER_CORE, port: int | None = None, **environment: str
    ) -> AbstractContextManager[Served]:
        """`tollhouse serve` on that port or a free one, with these settings beside or instead: `REDIS_URL=…`."""
        command = [sys.executable, "-m", "tollhouse_server.cli", "serve"]
        return serving(command, self.environment | environment, core=core, port=port)

    def work(self, *, core: int | None = SERVER_CORE, **environment: str) -> AbstractContextManager[Process]:
        """`tollhouse work`, likewise."""
        command = [sys.executable, "-m", "tollhouse_server.cli", "work"]
        return running(command, {"LOG_LEVEL": "ERROR"} | self.environment | environment, core=core)

    def asks(self, user_id: str = USER, feature: str = FEATURE, headers: str = "") -> bytes:
        """A check as it goes over the wire; `headers` are further ones, each with its CRLF."""
        path = f"/v1/customers/{quote(user_id, safe='')}/entitlements/{quote(feature, safe='')}"
        return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n{headers}\r\n".encode()


@contextlib.contextmanager
def shop(customers: int = 1, *, postgres: PostgresServer | None = None, name: str = "bench") -> Iterator[Shop]:
    """A shop in a database `name` of `postgres`, or of a server of its own, which gives up durability for speed."""
    with contextlib.ExitStack() as stack:
        postgres = postgres or stack.enter_context(temporary_postgres())
        postgres.create_database(name)
        url = postgres.url(name)
        migrate.upgrade(url)
        sandbox = stack.enter_context(running_sandbox())
        with running_world(sandbox, url) as world:
            world.publish(CATALOG)
            key = world.new_key(PROJECT)
            granted = {"project": PROJECT, "user_id": USER, "product": "pro", "reason": "benchmark"}
            world.operator.post("/v1/admin/grants", json=granted).raise_for_status()
            settings = world.service.settings
            environment = {
                "DATABASE_URL": url,
                "STRIPE_SECRET_KEY": sandbox.secret_key,
                "STRIPE_WEBHOOK_SECRET": settings.webhook_secrets[0],
                "STRIPE_API_BASE": sandbox.url,
                "ADMIN_API_KEY": OPERATOR_KEY,
                "SECRET_KEY": settings.secret_keys[0],
                "NOTIFICATIONS_ALLOW_PRIVATE": "true",
                # As high as they go: each request is counted like any other, and none is refused.
                "RATE_LIMIT_READS": "1000000",
                "RATE_LIMIT_WRITES": "1000000",
                "RATE_LIMIT_REFUSALS": "1000000",
            }
        sandbox.freeze(False)
        fill(url, customers)
        yield Shop(postgres, url, sandbox, key, environment)


def fill(url: str, customers: int) -> None:
    """As many customers as that: copies of the one who was granted access as it is really done."""
    with psycopg.connect(conninfo(url)) as connection:
        # Past the triggers, which would tell everybody of each; the copies are as the pattern is.
        connection.execute("SET session_replication_role = replica")
        copy(connection, customer, customers, id="gen_random_uuid()", user_id="'user ' || n")
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE of_number AS SELECT id, user_id FROM customer")
            cursor.execute("CREATE UNIQUE INDEX ON of_number (user_id)")
        theirs = "(SELECT id FROM of_number WHERE user_id = 'user ' || n)"
        copy(connection, grant, customers, id="'grant_' || n", customer_id=theirs)
        copy(connection, snapshot, customers, user_id="'user ' || n", customer_id=theirs)
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def copy(connection: "psycopg.Connection[Any]", table: Any, size: int, **changed: str) -> None:
    """The table's one row again and again until there are `size`, with these columns made of the number `n`."""
    columns = [one.name for one in metadata.tables[table.name].columns]
    made = ", ".join(changed.get(one, f'"{one}"') for one in columns)
    names = ", ".join(f'"{one}"' for one in columns)
    pattern = f"(SELECT * FROM {table.name} LIMIT 1) AS pattern"
    connection.execute(
        f"INSERT INTO {table.name} ({names}) SELECT {made} FROM {pattern}, generate_series(1, {size - 1}) AS n"
    )
