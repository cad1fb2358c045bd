"""An account at Stripe with customers who have just subscribed, of which the service has heard nothing yet.

Each re-read is then a whole one: a subscription, a paid bill, access that opens, an audit entry, a message.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.harness import SERVER_CORE, Process, Served, running, serving
from benchmarks.shop import CATALOG, copy
from tollhouse_sandbox.app import build_app
from tollhouse_sandbox.delivery import signature
from tollhouse_sandbox.sandbox import Sandbox
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import conninfo
from tollhouse_server.db.tables import customer
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.testing import running_world

SECRET = "whsec_of_the_benchmarks_which_is_long_enough"
PENDING = "SELECT count(*) FROM inbox WHERE next_attempt_at IS NOT NULL"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Account:
    """`cus_1` to `cus_n` are known on both sides; what they bought only at Stripe."""

    database_url: str
    customers: int
    environment: dict[str, str]
    """The settings of the service's processes."""

    def event(self, number: int) -> bytes:
        """An event of Stripe's about the customer of this number."""
        subscription = {
            "id": f"sub_{number}",
            "object": "subscription",
            "customer": f"cus_{number}",
            "status": "active",
        }
        items = [{"id": f"si_{one}", "price": {"id": "price_1", "metadata": {"about": "x" * 200}}} for one in range(6)]
        told = {
            "id": f"evt_{next(_numbers)}_{time.time_ns():x}",
            "object": "event",
            "type": "customer.subscription.updated",
            "api_version": "2026-10-28.endive",
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": {**subscription, "items": {"object": "list", "data": items}}},
        }
        return json.dumps(told, indent=2).encode()

    def request(self, number: int) -> bytes:
        """The same as Stripe posts it."""
        body = self.event(number)
        head = (
            "POST /v1/stripe/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\n"
            f"Stripe-Signature: {signature(body, int(time.time()), SECRET)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def store(self, events: int) -> None:
        """So many events in the inbox, spread over all customers, as if they had arrived at this moment."""
        with psycopg.connect(conninfo(self.database_url), autocommit=True) as db:
            db.execute(
                "INSERT INTO inbox (event_id, type, subject, body, occurred_at, state, next_attempt_at)"
                " SELECT 'evt_stored_' || n || '_' || extract(epoch FROM now()), 'customer.subscription.updated',"
                " 'cus_' || 1 + n %% %s, '{}', now(), 'received', clock_timestamp() FROM generate_series(0, %s) n",
                (self.customers, events - 1),
            )
            db.execute("NOTIFY tollhouse_inbox")

    def forget(self) -> None:
        """As it was before the first event: a second round finds the same work."""
        tables = "inbox, subscription, purchase, billing, money_fact, stretch, seen_worth, snapshot, outbox, delivery"
        with psycopg.connect(conninfo(self.database_url), autocommit=True) as db:
            db.execute("SET session_replication_role = replica")
            db.execute(f"TRUNCATE {tables}")
            db.execute("UPDATE customer SET read_number = 0, version = 0")
            db.execute("VACUUM ANALYZE customer")

    def serve(self, *, core: int | None = SERVER_CORE) -> contextlib.AbstractContextManager[Served]:
        """`tollhouse serve` on a free port."""
        return serving([sys.executable, "-m", "tollhouse_server.cli", "serve"], self.environment, core=core)

    def work(self, *, core: int | None = None, **environment: str) -> contextlib.AbstractContextManager[Process]:
        """`tollhouse work` with these settings beside or instead."""
        return running(
            [sys.executable, "-m", "tollhouse_server.cli", "work"], self.environment | environment, core=core
        )


@contextlib.contextmanager
def account(postgres: PostgresServer, customers: int, *, latency: float = 0.0) -> Iterator[Account]:
    """`latency`: seconds that Stripe takes for each answer beside its work."""
    name = f"account_{time.time_ns():x}"
    postgres.create_database(name)
    url = postgres.url(name)
    migrate.upgrade(url)
    with stripe_here(latency) as (sandbox, desk):
        with running_world(desk, url) as world:
            app = world.publish(CATALOG)
            world.hold_webhooks()
            world.customer("ada", app).buys("bench.pro.monthly")
            environment = {
                "DATABASE_URL": url,
                "STRIPE_SECRET_KEY": desk.secret_key,
                "STRIPE_WEBHOOK_SECRET": SECRET,
                "STRIPE_API_BASE": desk.url,
                "LOG_LEVEL": "ERROR",
                "WORKER_CONCURRENCY": "4",
                "RECONCILE_CATCH_UP_SECONDS": "0",
                "RECONCILE_SWEEP_SECONDS": "0",
                "RECONCILE_SWEEP_DAILY_AT": "never",
            }
        _sell(sandbox, customers)
        with psycopg.connect(conninfo(url)) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("TRUNCATE inbox")
            own = {"user_id": "'user ' || n", "stripe_customer_id": "'cus_' || n"}
            copy(connection, customer, customers + 1, id="gen_random_uuid()", **own)
        yield Account(url, customers, environment)


def _sell(sandbox: Sandbox, customers: int) -> None:
    """Copies of the one sale, at Stripe."""
    store = sandbox.account.store
    pattern = {kind: next(store.newest_first(kind)) for kind in ("customer", "subscription", "invoice", "charge")}
    for number in range(1, customers + 1):
        own = {"customer": f"cus_{number}"}
        stamp = {**pattern["customer"]["metadata"], "tollhouse_user_id": f"user {number}"}
        store.put({**pattern["customer"], "id": f"cus_{number}", "metadata": stamp})
        bill = {"latest_invoice": f"in_{number}"}
        store.put({**pattern["subscription"], **own, **bill, "id": f"sub_{number}"})
        store.put({**pattern["invoice"], **own, "id": f"in_{number}", **_of(pattern["invoice"], number)})
        store.put({**pattern["charge"], **own, "id": f"ch_{number}"})
    store.commit()


def _of(invoice: dict[str, Any], number: int) -> dict[str, Any]:
    """What names the subscription within a bill."""
    text = json.dumps({name: invoice[name] for name in ("lines", "parent")})
    [old] = {found for found in text.split('"') if found.startswith("sub_")}
    told: dict[str, Any] = json.loads(text.replace(old, f"sub_{number}"))
    return told


@contextlib.contextmanager
def stripe_here(latency: float = 0.0) -> Iterator[tuple[Sandbox, RunningSandbox]]:
    """A sandbox in a thread of this process, to be filled without a request for each object.

    `latency` is how many seconds it waits before it answers.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    sandbox = Sandbox(f"http://127.0.0.1:{listener.getsockname()[1]}")
    within = build_app(sandbox)

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await asyncio.sleep(latency)
        await within(scope, receive, send)

    config = uvicorn.Config(late if latency else within, log_level="warning", ws="none", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    desk = RunningSandbox(sandbox.account.url)
    yield sandbox, desk
    desk.close()
    server.should_exit = True
    thread.join(10)
    listener.close()
