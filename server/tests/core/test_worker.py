"""`tollhouse work` as a real process: stopped, cut off and killed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

MONTHLY = "pdf-tool.pro.monthly"
EXPORT = "premium_export"
KILLS = 10


def environment(world: World, stripe: str, **more: str) -> dict[str, str]:
    settings = world.service.settings
    assert settings.stripe_webhook_secret is not None
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_WEBHOOK_SECRET": settings.stripe_webhook_secret.get_secret_value(),
        "STRIPE_API_BASE": stripe,
        "LOG_LEVEL": "ERROR",
        "REREAD_PAUSE_SECONDS": "0",  # what happens within a second is what they are about
        # What these tests see done, the events did.
        "RECONCILE_CATCH_UP_SECONDS": "0",
        "RECONCILE_SWEEP_SECONDS": "0",
        "RECONCILE_SWEEP_DAILY_AT": "never",
        **more,
    }


def wait_until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Looks again and again; another process cannot tell us."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def app(world: World, pdf_tool_catalog: dict[str, Any]) -> Tollhouse:
    published = world.publish(pdf_tool_catalog)
    world.arrive()
    return published


@pytest.fixture
def table(world: World) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(world.service.settings.database_url.get_secret_value(), autocommit=True) as connection:
        yield connection


def all_of(connection: "psycopg.Connection[Any]", query: str) -> list[Any]:
    return connection.execute(query).fetchall()


def bought(world: World, app: Tollhouse, *users: str) -> None:
    """They pay, the webhooks arrive, and nobody has worked on them yet."""
    for user in users:
        opened = app.open_checkout(user, MONTHLY, success_url="https://app.test/", cancel_url="https://app.test/")
        assert opened.url is not None
        world.sandbox.pay(opened.url)
    world.sandbox.drain()


@contextlib.contextmanager
def working(world: World, stripe: str, directory: Path) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "tollhouse_server.cli", "work"]
    with subprocess.Popen(command, env=environment(world, stripe), cwd=directory) as process:
        try:
            yield process
        finally:
            process.kill()


PENDING = "SELECT id FROM inbox WHERE next_attempt_at IS NOT NULL"
LEASES = "SELECT DISTINCT lease FROM inbox WHERE lease IS NOT NULL"
LISTENING = "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN tollhouse_inbox'"


def test_sigterm_lets_the_work_in_hand_finish(
    world: World, app: Tollhouse, table: "psycopg.Connection[Any]", proxy: Any, tmp_path: Path
) -> None:
    """Told to stop while it reads Stripe, it reads on, commits and exits with 0: nothing is left under a lease."""
    bought(world, app, "ada")
    proxy.open.clear()
    with working(world, proxy.url, tmp_path) as process:
        wait_until(lambda: proxy.asked)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        assert all_of(table, "SELECT DISTINCT state FROM inbox WHERE lease IS NOT NULL") == [("received",)]
        proxy.open.set()
        assert process.wait(20) == 0
    assert all_of(table, PENDING) == [] and all_of(table, "SELECT id FROM inbox WHERE lease IS NOT NULL") == []
    assert app.check("ada", EXPORT)


def test_a_worker_survives_the_loss_of_its_connections(
    world: World, app: Tollhouse, table: "psycopg.Connection[Any]", tmp_path: Path
) -> None:
    """PostgreSQL restarts or a proxy cuts everything: it listens again and works again."""
    with working(world, world.sandbox.url, tmp_path) as process:
        wait_until(lambda: all_of(table, LISTENING))
        first = all_of(table, LISTENING)
        all_of(
            table,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        wait_until(lambda: all_of(table, LISTENING) not in ([], first))
        bought(world, app, "ada")
        wait_until(lambda: not all_of(table, PENDING))
        assert app.check("ada", EXPORT)
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 0


class Workers:
    """Workers that can be started within milliseconds and killed."""

    def __init__(self, environ: dict[str, str], directory: Path) -> None:
        self._forker = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fork_workers.py")],
            env=environ,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._pids: list[int] = []

    def start(self) -> None:
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.write("\n")
        self._forker.stdin.flush()
        self._pids.append(int(self._forker.stdout.readline()))

    def kill(self) -> None:
        while self._pids:
            os.kill(self._pids.pop(), signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self._forker.communicate()


def test_killed_at_any_moment_nothing_is_lost_or_done_twice(
    world: World, app: Tollhouse, table: "psycopg.Connection[Any]", tmp_path: Path
) -> None:
    """Two workers, killed with SIGKILL again and again in the middle of their work, and started again.

    In the end every event is settled, each customer's versions are gapless with one audit entry each that begins where
    the one before ended, and what is open is what Stripe says.
    """
    moments = random.Random(20261122)
    users = [f"user {number}" for number in range(6)]
    bought(world, app, *users)
    subscriptions = [one.id for one in world.stripe.v1.subscriptions.list({"limit": 100}).data]
    workers = Workers(environment(world, world.sandbox.url, CLAIM_LEASE_SECONDS="1"), tmp_path)
    changed, in_hand = 0, 0
    dead: set[Any] = set()
    try:
        for kill in range(KILLS):  # of two workers each
            workers.start()
            workers.start()
            for one in moments.sample(subscriptions, 3):
                world.stripe.v1.subscriptions.update(one, {"cancel_at_period_end": kill % 2 == 0})
                changed += 1
            world.sandbox.drain()
            wait_until(lambda: set(all_of(table, LEASES)) - dead or not all_of(table, PENDING))
            time.sleep(moments.uniform(0, 0.05))  # the moment is the point: anywhere in the work
            workers.kill()
            in_hand += bool(set(all_of(table, LEASES)) - dead)
            dead.update(all_of(table, LEASES))
        workers.start()
        wait_until(lambda: not all_of(table, PENDING))
    finally:
        workers.close()
    assert in_hand >= KILLS // 2, "too few kills came in the middle of the work"
    assert all_of(table, "SELECT DISTINCT state, outcome FROM inbox WHERE subject LIKE 'cus%'") == [
        ("settled", "applied")
    ]
    assert all_of(table, "SELECT id FROM inbox WHERE lease IS NOT NULL OR state <> 'settled'") == []
    sent = len(list(world.stripe.v1.events.list({"limit": 100}).auto_paging_iter()))
    assert all_of(table, "SELECT count(*) FROM inbox") == [(sent,)]
    _assert_versions_are_the_audit(table, len(users), changed)
    _assert_open_is_what_stripe_says(world, app, users)


def _assert_versions_are_the_audit(table: "psycopg.Connection[Any]", customers: int, changed: int) -> None:
    entries = all_of(
        table,
        "SELECT customer_id, array_agg(before ORDER BY id), array_agg(after ORDER BY id) FROM audit"
        " WHERE action = 'entitlements.changed' GROUP BY customer_id",
    )
    versions = dict(all_of(table, "SELECT customer_id, version FROM snapshot"))
    assert versions == dict(all_of(table, "SELECT id, version FROM customer"))
    assert versions == {customer_id: len(after) for customer_id, _, after in entries}
    assert len(entries) == customers and sum(versions.values()) <= customers + changed
    for _, before, after in entries:
        assert before == [[], *after[:-1]]
        assert all(old != new for old, new in zip(before, after, strict=True))


def _assert_open_is_what_stripe_says(world: World, app: Tollhouse, users: list[str]) -> None:
    for user in users:
        [ours] = app.customer(user).subscriptions
        theirs = world.stripe.v1.subscriptions.retrieve(ours.id)
        check = app.check(user, EXPORT)
        assert check and ours.status == theirs.status == "active"
        assert ours.renews is not theirs.cancel_at_period_end
        assert (check.valid_until == ours.current_period_end) is theirs.cancel_at_period_end
