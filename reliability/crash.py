"""I1: what was acknowledged is applied once, whoever is killed at whatever moment.

Real processes: `tollhouse serve`, two `tollhouse work`, a durable PostgreSQL. They are killed with SIGKILL, singly and
together, while events arrive as Stripe sends them: signed, some twice, each until it is answered 2xx. The ledger at the
end counts what was acknowledged and lost, not applied, applied twice, and what nobody sent.
"""

import asyncio
import contextlib
import json
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg

from reliability.figures import Figures, Scale
from reliability.killable import KillablePostgres, Processes, free_port, killable_postgres
from reliability.ledger import assert_customers_are_as_stripe_says, assert_versions_are_gapless
from reliability.shop import MONTHLY, SHOP
from tollhouse_sandbox.delivery import signature
from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.doctor import broken_invariants_of
from tollhouse_server.testing import running_world

SECRET = "whsec_of_the_crash_run_which_is_long_enough"
WORKERS = ("work 1", "work 2")
CUSTOMERS = 40
DUPLICATED = 0.3
LEASE_SECONDS = 3
BACKLOG = 150
"""So many events may be under way before Stripe's side waits; a backlog without end would never meet a kill."""
QUIET_WITHIN = 60.0
"""Seconds within which everything must be settled once nobody is killed any more."""

PENDING = "SELECT count(*) FROM inbox WHERE next_attempt_at IS NOT NULL"


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I1, I14", "killed at any moment", seed)
    with figures.timed(), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(killable_postgres())
        migrate.upgrade(postgres.server.url())
        sandbox = stack.enter_context(running_sandbox(frozen=True))
        subscriptions = sold(sandbox, postgres.server.url())
        port = free_port()
        processes = Processes(environment(sandbox, postgres.server.url(), port), directory)
        stack.callback(processes.close)
        storm = Storm(figures, random.Random(seed), sandbox, postgres, processes, port, subscriptions)
        asyncio.run(storm.rage(scale.of(35, 1800)))
        storm.ledger()
    return figures


def sold(sandbox: RunningSandbox, database_url: str) -> list[str]:
    """Everybody has a subscription, known to the service; from here on Stripe delivers nothing by itself."""
    with running_world(sandbox, database_url) as world:
        app = world.publish(SHOP)
        for number in range(CUSTOMERS):
            opened = app.open_checkout(
                f"user {number}", MONTHLY, success_url="https://app.test/", cancel_url="https://app.test/"
            )
            assert opened.url is not None
            sandbox.pay(opened.url)
        world.arrive()
        world.hold_webhooks()
        return [one.id for one in world.stripe.v1.subscriptions.list({"limit": 100}).data]


def environment(sandbox: RunningSandbox, database_url: str, port: int) -> Mapping[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "STRIPE_SECRET_KEY": sandbox.secret_key,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_BASE": sandbox.url,
        "APP_HOST_PORT": str(port),
        "CLAIM_LEASE_SECONDS": str(LEASE_SECONDS),
        # A net would hide what falls.
        "RECONCILE_CATCH_UP_SECONDS": "0",
        "RECONCILE_SWEEP_SECONDS": "0",
        "RECONCILE_SWEEP_DAILY_AT": "never",
        "LOG_LEVEL": "WARNING",
    }


class Storm:
    """Changes at Stripe, their delivery, the kills, and what was seen meanwhile."""

    def __init__(
        self,
        figures: Figures,
        chance: random.Random,
        sandbox: RunningSandbox,
        postgres: KillablePostgres,
        processes: Processes,
        port: int,
        subscriptions: list[str],
    ) -> None:
        self.figures, self.chance, self.sandbox = figures, chance, sandbox
        self.postgres, self.processes, self.subscriptions = postgres, processes, subscriptions
        self.url = f"http://127.0.0.1:{port}/v1/stripe/webhook"
        self.database_url = postgres.server.url()
        self.acked: set[str] = set()
        self.sent: set[str] = set()
        self.leases: dict[str, set[str]] = defaultdict(set)
        """Event → the leases it was seen under."""
        self._sending: set[asyncio.Task[None]] = set()
        self._over = False
        with psycopg.connect(self.database_url) as db:
            self._before = {row[0] for row in db.execute("SELECT event_id FROM inbox")}

    async def rage(self, seconds: float) -> None:
        for name in ("serve", *WORKERS):
            self.processes.start(name)
        limits = httpx.Limits(max_connections=32)
        async with (
            httpx.AsyncClient(timeout=10, trust_env=False, limits=limits) as self._receiver,
            httpx.AsyncClient(
                base_url=self.sandbox.url,
                timeout=30,
                trust_env=False,
                headers={"Authorization": f"Bearer {self.sandbox.secret_key}"},
            ) as self._stripe,
        ):
            watching = asyncio.create_task(self._watch())
            ends = time.monotonic() + seconds
            await asyncio.gather(self._change(ends), self._kill(ends))
            calm = time.monotonic()
            await self._settle(calm + QUIET_WITHIN)
            self.figures.measured["seconds to calm"] = time.monotonic() - calm
            self._over = True
            await watching

    async def _change(self, ends: float) -> None:
        """Stripe's side: subscriptions are cancelled and resumed, and each change is an event that is sent."""
        ending = dict.fromkeys(self.subscriptions, False)
        last = (await self._events(None))[0]["id"]
        while time.monotonic() < ends:
            for one in self.chance.sample(self.subscriptions, 6):
                ending[one] = not ending[one]
                await self._ask("POST", f"/v1/subscriptions/{one}", cancel_at_period_end=str(ending[one]).lower())
            for event in reversed(await self._events(last)):
                last = event["id"]
                self._send(event)
            if self.chance.random() < 0.2:
                # Often enough that the library's own retries do not mend it, for some that are read beside each other.
                self.sandbox.fail_next(500, times=7, method="GET", path="/v1/subscriptions")
            while len(self._sending) > BACKLOG and time.monotonic() < ends:
                await asyncio.wait(self._sending, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(self.chance.uniform(0.02, 0.2))

    async def _events(self, after: str | None) -> list[dict[str, Any]]:
        """Newest first, as Stripe lists them."""
        query = {"limit": "100"} | ({"ending_before": after} if after else {})
        listed: list[dict[str, Any]] = (await self._ask("GET", "/v1/events", **query))["data"]
        return listed

    async def _ask(self, method: str, path: str, **given: str) -> dict[str, Any]:
        sent = {"params": given} if method == "GET" else {"data": given}
        while True:
            answer = await self._stripe.request(method, path, **sent)  # type: ignore[arg-type]
            if answer.is_success:
                return dict(answer.json())
            assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR, answer.text

    def _send(self, event: dict[str, Any]) -> None:
        self.sent.add(event["id"])
        self.figures.count("events")
        for _ in range(1 + (self.chance.random() < DUPLICATED)):
            self.figures.count("deliveries")
            task = asyncio.create_task(self._deliver(event, self.chance.uniform(0, 0.5)))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, event: dict[str, Any], wait: float) -> None:
        """Until it is acknowledged, as Stripe does, only sooner again."""
        body = json.dumps(event).encode()
        while True:
            await asyncio.sleep(wait)
            headers = {"Stripe-Signature": signature(body, int(time.time()), SECRET)}
            try:
                answer = await self._receiver.post(self.url, content=body, headers=headers)
            except httpx.HTTPError:
                self.figures.count("unanswered")
            else:
                if answer.is_success:
                    self.acked.add(event["id"])
                    return
                self.figures.count(f"refused {answer.status_code}")
            wait = self.chance.uniform(0.1, 0.4)

    async def _kill(self, ends: float) -> None:
        victims = (*WORKERS, *WORKERS, *WORKERS, "serve", "serve", "postgres", "everything")
        while time.monotonic() < ends:
            await asyncio.sleep(self.chance.uniform(0.15, 0.9))
            victim = self.chance.choice(victims)
            if victim in ("postgres", "everything"):
                self.figures.count("kills postgres")
                if victim == "everything":
                    self._kill_processes("serve", *WORKERS)
                await asyncio.to_thread(self.postgres.kill)
                await asyncio.sleep(self.chance.uniform(0, 0.5))
                await asyncio.to_thread(self.postgres.start)
            else:
                self._kill_processes(victim)
                await asyncio.sleep(self.chance.uniform(0, 0.2))
            self._supervise()

    def _kill_processes(self, *names: str) -> None:
        for name in names:
            self.figures.count(f"kills {name.split()[0]}")
            self.processes.kill(name)

    def _supervise(self) -> None:
        for name in ("serve", *WORKERS):
            if not self.processes.alive(name):
                self.processes.start(name)

    async def _watch(self) -> None:
        """Who has which event in hand, again and again; PostgreSQL may be away."""
        while not self._over:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as db:
                    while not self._over:
                        rows = await db.execute("SELECT event_id, lease::text FROM inbox WHERE lease IS NOT NULL")
                        async for event, lease in rows:
                            self.leases[event].add(lease)
                        await asyncio.sleep(0.03)
            await asyncio.sleep(0.1)

    async def _settle(self, deadline: float) -> None:
        """Nobody is killed any more: everything must be acknowledged, and come to rest."""
        while time.monotonic() < deadline:
            self._supervise()
            if not self._sending and await self._pending() == 0:
                return
            await asyncio.sleep(0.1)
        for task in self._sending:
            task.cancel()

    async def _pending(self) -> int | None:
        """How many events wait for a worker; None while PostgreSQL is away."""
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(self.database_url) as db:
                row = await (await db.execute(PENDING)).fetchone()
                return None if row is None else int(row[0])
        return None

    def ledger(self) -> None:
        """The four counters, the versions, and that the run got to where it hurts."""
        figures = self.figures
        with psycopg.connect(self.database_url) as db:
            rows = {row[0]: row[1:] for row in db.execute("SELECT event_id, state, outcome, attempts FROM inbox")}
            causes = [row[0] for row in db.execute("SELECT cause FROM audit WHERE action = 'entitlements.changed'")]
            named = [event for cause in causes for event in cause.split(", ")]
            mine = self.sent | self._before
            lost = self.acked - set(rows)
            open_ = {event for event in self.sent if rows.get(event, ("lost",))[0] not in ("settled", "buried")}
            twice = {event for event in named if event.startswith("evt_") and named.count(event) > 1}
            figures.count("acknowledged", len(self.acked))
            figures.must(self.acked == self.sent, f"{len(self.sent - self.acked)} events were never acknowledged")
            figures.must_be_zero("acknowledged and lost", len(lost), sorted(lost)[:3])
            figures.must_be_zero("not applied", len(open_ - lost), sorted(open_)[:3])
            figures.must_be_zero("applied twice", len(twice), sorted(twice)[:3])
            figures.must_be_zero("unexpected", len(set(rows) - mine), sorted(set(rows) - mine)[:3])
            figures.must_be_zero("buried", sum(row[0] == "buried" for row in rows.values()))
            assert_versions_are_gapless(db, figures)
            assert_customers_are_as_stripe_says(db, self.sandbox, figures)
        broken = broken_invariants_of(self.database_url)
        figures.must_be_zero("doctor's findings", len(broken), broken[:3])
        figures.count("leases taken over", sum(len(leases) > 1 for leases in self.leases.values()))
        figures.count("deferred", sum(row[2] > 1 for row in rows.values()))
        figures.must(not figures.counted["refused 500"], "an event was answered with 500")
        figures.must_be_reached(
            "kills work", "kills serve", "kills postgres", "leases taken over", "deferred", "refused 503", "unanswered"
        )
