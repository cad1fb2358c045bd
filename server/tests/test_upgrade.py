"""An upgrade closes nothing: the version before and this one work side by side over this one's schema.

The version before is a commit of this repository, run as it was from a copy of it. `make upgrade-test` runs these.
"""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import stripe

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.db import readiness
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import PostgresServer

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
BEFORE = "8408173"
"""The release before this one. Whoever releases moves it on."""

REVISION = "SELECT version_num FROM alembic_version"
OPERATOR = {"Authorization": "Bearer an-operators-key-for-tests-only", "Tollhouse-Operator": "grace"}
CATALOG = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://app.test"],
    "features": {"export": {"name": "Export"}},
    "products": {
        "pro": {
            "name": "Pro",
            "opens": {"export": True},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
        }
    },
}


@pytest.fixture(scope="session")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the version before, where this repository has its history."""
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history of this checkout does not reach back to {BEFORE}")
    place = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as sources:
        sources.extractall(place, filter="data")
    return place


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    postgres_server.create_database("upgraded")
    yield postgres_server.url("upgraded")
    postgres_server.drop_database("upgraded")


@dataclass
class Version:
    """One version's programs on the one database. `code` is None for the version under test."""

    code: Path | None
    env: dict[str, str]
    directory: Path

    def begin(self, *arguments: str, **settings: str) -> "subprocess.Popen[bytes]":
        path = {} if self.code is None else {"PYTHONPATH": ":".join(map(str, self.code.glob("*/src")))}
        environment = os.environ | self.env | path | settings
        command = [sys.executable, "-m", "tollhouse_server.cli", *arguments]
        log = (self.directory / f"{'now' if self.code is None else 'before'}-{arguments[0]}.log").open("ab")
        with log:
            return subprocess.Popen(command, env=environment, cwd=self.directory, stdout=log, stderr=log)

    def migrate(self) -> None:
        with self.begin("migrate") as process:
            assert process.wait(60) == 0

    @contextlib.contextmanager
    def serving(self, sandbox: RunningSandbox) -> Iterator[httpx.Client]:
        """`serve`, with a webhook endpoint of its own in Stripe."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        client = stripe.StripeClient(sandbox.secret_key, base_addresses={"api": sandbox.url})
        endpoint = client.v1.webhook_endpoints.create({"url": f"{url}/v1/stripe/webhook", "enabled_events": ["*"]})
        process = self.begin("serve", APP_HOST_PORT=url.rsplit(":", 1)[1], STRIPE_WEBHOOK_SECRET=endpoint["secret"])
        with stopped(process), httpx.Client(base_url=url, headers=OPERATOR, trust_env=False, timeout=20) as http:
            wait_until(lambda: answers(http))
            yield http
            client.v1.webhook_endpoints.delete(endpoint.id)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        with stopped(self.begin("work")):
            yield


@contextlib.contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Alive as long as the block, and then told to stop."""
    with process:
        try:
            yield
            assert process.poll() is None, "it ended by itself"
        finally:
            process.terminate()
            process.wait(30)


def answers(http: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get("/healthz").is_success
    return False


def wait_until(so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 45
    while not so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def buys(sandbox: RunningSandbox, app: Tollhouse, user: str) -> None:
    """Pays on the hosted page and is let in once a worker has heard of it."""
    opened = app.open_checkout(
        user, "pdf-tool.pro.monthly", success_url="https://app.test/", cancel_url="https://app.test/"
    )
    assert opened.url is not None
    sandbox.pay(opened.url)
    sandbox.drain()
    wait_until(lambda: app.check(user, "export"))


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(conninfo(url)) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


@pytest.fixture
def versions(
    sandbox: RunningSandbox, empty_url: str, code_before: Path, tmp_path: Path
) -> Iterator[tuple[Version, Version]]:
    """The version before and this one."""
    sandbox.reset()
    env = {
        "DATABASE_URL": empty_url, "STRIPE_SECRET_KEY": sandbox.secret_key, "STRIPE_API_BASE": sandbox.url,
        "ADMIN_API_KEY": OPERATOR["Authorization"].split()[1], "FOLLOW_SANDBOX_CLOCK": "true", "LOG_LEVEL": "WARNING",
        "SECRET_KEY": "a-secret-key-for-tests-0123456789-0123456789",
    }  # fmt: skip
    yield Version(code_before, env, tmp_path), Version(None, env, tmp_path)


def test_old_and_new_sell_side_by_side(
    sandbox: RunningSandbox, empty_url: str, versions: tuple[Version, Version]
) -> None:
    """The old one serves and works while the schema is migrated under it, then both do, then the old one alone on the
    new schema, as after going back: everybody who pays is let in, by whichever version, and nothing is left over."""
    before, now = versions
    before.migrate()
    with before.serving(sandbox) as old:
        assert old.put("/v1/admin/projects/pdf-tool/catalog", json=CATALOG).is_success
        key = old.post("/v1/admin/projects/pdf-tool/keys", json={"name": "test"}).json()["key"]
        with (
            Tollhouse(str(old.base_url), key, retries=0, check_timeout=20, stream=False, poll_interval=0) as old_app,
            before.working(),
        ):
            buys(sandbox, old_app, "before")
            now.migrate()
            buys(sandbox, old_app, "migrated")
            with (
                now.serving(sandbox) as new,
                Tollhouse(str(new.base_url), key, retries=0, check_timeout=20, stream=False, poll_interval=0) as app,
            ):
                buys(sandbox, app, "by-the-old-worker")
                with now.working():
                    buys(sandbox, app, "side-by-side")
                    buys(sandbox, old_app, "the-other-side")
                    for user in ("before", "migrated"):
                        assert app.check(user, "export") and app.customer(user).subscriptions
            buys(sandbox, old_app, "gone-back")
    with now.working():
        wait_until(lambda: rows(empty_url, "SELECT count(*) FROM inbox WHERE state <> 'settled'") == [(0,)])
    versions_told = "SELECT c.version, s.version FROM customer c JOIN snapshot s ON s.customer_id = c.id"
    assert rows(empty_url, versions_told) == [(1, 1)] * 6
    with now.begin("audit", "verify") as verified:
        assert verified.wait(30) == 0


@pytest.mark.parametrize("table", ["customer", "audit"])
def test_a_migration_killed_in_the_middle_is_run_again(
    empty_url: str, versions: tuple[Version, Version], table: str
) -> None:
    """It waits for a table that somebody reads, and is killed there: what it had done stands whole, the rest is done
    by the next run, and nobody else was kept from starting for good."""
    before, now = versions
    before.migrate()
    assert rows(empty_url, REVISION) < [(readiness.head(),)], "it was not the code of the version before"
    with psycopg.connect(conninfo(empty_url)) as reader:
        reader.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")  # type: ignore[arg-type]
        with now.begin("migrate") as migration:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: rows(empty_url, waiting) != [(0,)] or migration.poll() is not None)
            migration.send_signal(signal.SIGKILL)
        assert migration.returncode == -signal.SIGKILL
    now.migrate()
    assert rows(empty_url, REVISION) == [(readiness.head(),)]
