"""I15: apps hear of every committed change, in order, whatever endpoints and workers do.

Ten endpoints: some answer, some fail or hang up now and then, one never answers, one sends elsewhere, one is gone. Two
real workers deliver; in the second phase both are killed again and again. At the end each endpoint that answers has
acknowledged every version of every customer, each for the first time after all before it. In the first phase, where
nobody is killed, the endpoint that hangs must not delay those that answer.
"""

import os
import random
import socket
import statistics
import struct
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import psycopg

from reliability.figures import Figures, Scale
from reliability.killable import Processes
from reliability.shop import SHOP
from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.doctor import broken_invariants_of
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.testing import NO_TLS, Receiver, World, answering, running_world

SECRET = "a-secret-key-for-tests-and-nothing-else"
WELL = ("/well/1", "/well/2", "/well/3", "/well/4", "/well/5")
SICK = ("/fails", "/resets")
"""Four in ten of their requests come to nothing."""
HOPELESS = ("/hangs", "/elsewhere", "/gone")
WORKERS = ("work 1", "work 2")
CUSTOMERS = 12
WITHIN = 5.0
"""Seconds within which nine in ten messages arrive at an endpoint that answers: far less than the 15 that one hangs."""
QUIET_WITHIN = 90.0

# A retry after five minutes is waited for by nobody here; what hangs or leads elsewhere keeps its own time.
BRING_FORWARD = """
UPDATE delivery SET next_attempt_at = now() FROM notification_endpoint e
WHERE e.id = endpoint_id AND next_attempt_at > now() AND lease_until IS NULL AND e.url ~ '/(fails|resets)$'
"""
FORGET_THE_DEAD = "UPDATE delivery SET lease_until = now() WHERE lease_until > now()"


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I15", "notifications", seed)
    with figures.timed(), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(temporary_postgres())
        migrate.upgrade(postgres.url())
        sandbox = stack.enter_context(running_sandbox(frozen=True))
        world = stack.enter_context(running_world(sandbox, postgres.url()))
        receiver = stack.enter_context(Receiver().running())
        apps = Apps(receiver, random.Random(seed))
        world.publish(SHOP)
        apps.listen(world)
        db = stack.enter_context(psycopg.connect(postgres.url(), autocommit=True))
        processes = Processes(environment(sandbox, postgres.url()), directory)
        stack.callback(processes.close)
        storm = Storm(figures, random.Random(seed), world, db, processes, apps)
        storm.calm(scale.whole(4, 10))
        storm.rage(scale.whole(8, 60))
        storm.settle()
        storm.ledger()
        broken = broken_invariants_of(postgres.url())
        figures.must_be_zero("doctor's findings", len(broken), broken[:3])
    return figures


def environment(sandbox: RunningSandbox, database_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "STRIPE_SECRET_KEY": sandbox.secret_key,
        "STRIPE_API_BASE": sandbox.url,
        "SECRET_KEY": SECRET,
        "NOTIFICATIONS_ALLOW_PRIVATE": "true",
        "RECONCILE_CATCH_UP_SECONDS": "0",
        "RECONCILE_SWEEP_SECONDS": "0",
        "RECONCILE_SWEEP_DAILY_AT": "never",
        "LOG_LEVEL": "WARNING",
    }


@dataclass
class Apps:
    """The endpoints, and what each has acknowledged."""

    receiver: Receiver
    chance: random.Random
    acked: list[tuple[str, str, float]] = field(default_factory=list)
    """Path, message and when, in the order in which they were acknowledged."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def listen(self, world: World) -> None:
        answers = self.receiver.answers
        for path in WELL:
            answers[path] = self._acknowledges
        answers["/fails"] = self._now_and_then(answering(500))
        answers["/resets"] = self._now_and_then(_reset)
        answers["/elsewhere"] = answering(302, Location=f"{self.receiver.url}/well/1")
        answers["/gone"] = answering(410)
        self.receiver.hang("/hangs")
        headers = {"Authorization": f"Bearer {world.new_key('shop')}"}
        with httpx.Client(base_url=world.service.url, headers=headers, verify=NO_TLS, timeout=30) as client:
            for path in (*WELL, *SICK, *HOPELESS):
                client.post("/v1/notification-endpoints", json={"url": self.receiver.url + path}).raise_for_status()

    def _acknowledges(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.acked.append((handler.path, handler.headers["webhook-id"], time.time()))
        answering(204)(handler)

    def _now_and_then(self, otherwise: Callable[[BaseHTTPRequestHandler], object]) -> Callable[..., None]:
        def play(handler: BaseHTTPRequestHandler) -> None:
            with self._lock:
                well = self.chance.random() >= 0.4
            (self._acknowledges if well else otherwise)(handler)

        return play


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Hangs up with a reset instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


@dataclass
class Storm:
    figures: Figures
    chance: random.Random
    world: World
    db: "psycopg.Connection[Any]"
    processes: Processes
    apps: Apps
    _value: int = 0

    def calm(self, rounds: int) -> None:
        """Nobody is killed: how long does a message take, while one of ten endpoints hangs?"""
        for name in WORKERS:
            self.processes.start(name)
        self._until(lambda: bool(self.db.execute("SELECT 1 FROM worker").fetchall()), 20)
        for _ in range(rounds):
            self._change()
            time.sleep(0.5)
        self._until(self._well_have_heard, 20)
        made = dict(self.db.execute("SELECT id, extract(epoch FROM created_at)::float FROM outbox").fetchall())
        took = sorted(at - made[message] for path, message, at in self.apps.acked if path in WELL)
        slowest = statistics.quantiles(took, n=10)[-1]
        self.figures.measured["seconds, nine in ten"] = slowest
        self.figures.must(slowest <= WITHIN, f"nine in ten messages took up to {slowest:.1f} s beside one that hangs")

    def rage(self, rounds: int) -> None:
        """Both workers are killed in the middle of what they do. What they had in hand is free at once, as they are
        dead for certain: a lease would only make the run longer."""
        for _ in range(rounds):
            self._change()
            time.sleep(self.chance.uniform(0, 0.6))
            for name in WORKERS:
                self.processes.kill(name)
                self.figures.count("kills")
            held = self.db.execute(FORGET_THE_DEAD).rowcount
            self.figures.count("taken over", held)
            for name in WORKERS:
                self.processes.start(name)
            self.db.execute(BRING_FORWARD)

    def settle(self) -> None:
        """Until the endpoints that answer, sometimes or always, have nothing left to hear."""
        self._until(lambda: self._left() == 0, QUIET_WITHIN)

    def _change(self) -> None:
        """A change for everybody: three versions each, or so."""
        self._value += 3
        wanted = [(f"user {number}", self._value - more) for number in range(CUSTOMERS) for more in (2, 1, 0)]

        def give(user_and_value: tuple[str, int]) -> None:
            user, value = user_and_value
            given = {"project": "shop", "user_id": user, "feature": "pages", "value": value, "reason": "a run"}
            self.world.operator.post("/v1/admin/grants", json=given).raise_for_status()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(give, wanted))

    def _well_have_heard(self) -> bool:
        [[left]] = self.db.execute(
            "SELECT count(*) FROM delivery d JOIN notification_endpoint e ON e.id = endpoint_id"
            " WHERE d.state = 'pending' AND e.url LIKE '%/well/%'"
        ).fetchall()
        return bool(left == 0)

    def _left(self) -> int:
        self.db.execute(BRING_FORWARD)
        [[left]] = self.db.execute(
            "SELECT count(*) FROM delivery d JOIN notification_endpoint e ON e.id = endpoint_id"
            " WHERE d.state = 'pending' AND e.url ~ '/(well/.|fails|resets)$'"
        ).fetchall()
        return int(left)

    def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.1)

    def ledger(self) -> None:
        figures = self.figures
        messages = {
            row[0]: (row[1], row[2])
            for row in self.db.execute("SELECT id, customer_id, version FROM outbox WHERE customer_id IS NOT NULL")
        }
        given_up = set(
            self.db.execute(
                "SELECT regexp_replace(e.url, '^http://[^/]+', ''), message_id FROM delivery d"
                " JOIN notification_endpoint e ON e.id = endpoint_id WHERE d.state = 'given_up'"
            ).fetchall()
        )
        heard: dict[tuple[str, Any], list[int]] = defaultdict(list)
        first: set[tuple[str, str]] = set()
        for path, message, _ in self.apps.acked:
            if message in messages and (path, message) not in first:
                customer, version = messages[message]
                heard[path, customer].append(version)
            first.add((path, message))
        wanted = {(path, message) for path in (*WELL, *SICK) for message in messages}
        lost = wanted - first - given_up
        disordered = [key for key, versions in heard.items() if versions != sorted(versions)]
        figures.count("messages", len(messages))
        figures.count("deliveries", len(first))
        figures.count("delivered twice", len(self.apps.acked) - len(first))
        figures.count("given up", len(given_up & wanted))
        figures.must_be_zero("lost", len(lost), sorted(lost)[:3])
        figures.must_be_zero("out of order", len(disordered), disordered[:3])
        led_on = [one for one in self.apps.receiver.received if one.path == "/elsewhere"]
        gone = self.db.execute("SELECT disabled_at FROM notification_endpoint WHERE url LIKE '%/gone'").fetchone()
        figures.must(bool(led_on) and gone is not None and gone[0] is not None, "an endpoint that is gone is asked on")
        [[versions]] = self.db.execute("SELECT coalesce(sum(version), 0) FROM customer").fetchall()
        figures.must_be_zero("versions told to nobody", int(versions) - len(messages))
        figures.must_be_reached("kills", "taken over", "delivered twice")
