"""The database is away, or a bug strikes: nothing is lost, and nobody is told what they should not know."""

import io
import logging
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.logs import configure_logs
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def logs(own_logs: logging.Logger) -> Callable[[], str]:
    """The logs as a running service writes them; called, what was written so far."""
    written = io.StringIO()
    configure_logs(level="INFO", fmt="json", role="server")
    assert isinstance(own_logs.handlers[0], logging.StreamHandler)
    own_logs.handlers[0].setStream(written)
    return written.getvalue


def test_a_bug_says_nothing_of_itself(
    world: World, http: httpx.Client, refused: Refused, logs: Callable[[], str]
) -> None:
    """A column that is not as the code believes stands for any bug: 500 without a word of SQL; the log has the
    traceback under the same request id, and neither has the caller's key."""
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value()), autocommit=True) as db:
        db.execute("ALTER TABLE snapshot RENAME COLUMN entitlements TO elsewhere")
        try:
            answer = http.get("/v1/customers/a-secret-name/entitlements")
        finally:
            db.execute("ALTER TABLE snapshot RENAME COLUMN elsewhere TO entitlements")
    body = refused(answer, 500, "internal")
    assert not {"snapshot", "column", "select", "psycopg"} & set(answer.text.lower().split())
    assert http.get("/v1/customers/a-secret-name/entitlements").status_code == 200
    logged = logs()
    assert body["instance"] in logged and "UndefinedColumn" in logged and "entitlements.py" in logged
    assert http.headers["Authorization"].split("_")[2] not in logged
    assert "a-secret-name" not in logged


def test_without_its_database_the_service_says_so_and_comes_back(
    world: World,
    postgres_server: PostgresServer,
    http: httpx.Client,
    stranger: httpx.Client,
    deliver: Callable[..., httpx.Response],
    refused: Refused,
) -> None:
    """Reads, writes and webhooks are 503 to be tried again: Stripe must never hear 200 for what is not stored."""
    name = make_url(world.service.settings.database_url.get_secret_value()).database
    event = b'{"id": "evt_outage", "type": "customer.updated", "data": {"object": {"id": "cus_x"}}}'
    with psycopg.connect(conninfo(postgres_server.url("postgres")), autocommit=True) as db:
        db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # type: ignore[arg-type]
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        answers = [
            http.get("/v1/customers/ada/entitlements/premium_export"),
            http.get("/v1/catalog"),
            http.post("/v1/portal-sessions", json={"user_id": "ada", "return_url": "https://app.test/"}),
            world.operator.get("/v1/admin/projects"),
            world.operator.post("/v1/admin/projects", json={"slug": "new", "name": "New"}),
            deliver(event),
        ]
        for answer in answers:
            refused(answer, 503, "store-unavailable")
            assert answer.headers["Retry-After"] == "1"
        ready = stranger.get("/readyz")
        assert (ready.status_code, ready.json()) == (
            503,
            {"ready": False, "database": False, "migrations": False, "worker": False},
        )
        assert stranger.get("/healthz").json() == {"status": "alive"}
        metrics = stranger.get("/metrics").text
        assert 'tollhouse_dependency_up{dependency="database"} 0.0' in metrics
        assert 'tollhouse_inbox_events{state="pending"} NaN' in metrics
        assert "tollhouse_inbox_oldest_seconds NaN" in metrics and "tollhouse_workers_alive NaN" in metrics
        db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')  # type: ignore[arg-type]
    assert deliver(event).json() == {"outcome": "stored"}
    assert http.get("/v1/customers/ada/entitlements/premium_export").status_code == 200


def test_readiness_names_what_is_missing(world: World, stranger: httpx.Client) -> None:
    """Without a worker events would pile up unseen; without a migration nothing would work."""
    waiting = stranger.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json() == {"ready": False, "database": True, "migrations": True, "worker": False}
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value()), autocommit=True) as db:
        db.execute("INSERT INTO worker VALUES ('test', now())")
        assert stranger.get("/readyz").json() == {"ready": True, "database": True, "migrations": True, "worker": True}
        db.execute("UPDATE worker SET seen_at = now() - interval '31 seconds'")
        assert stranger.get("/readyz").json()["worker"] is False
        db.execute("UPDATE alembic_version SET version_num = '0000'")
        missing = stranger.get("/readyz")
        assert missing.status_code == 503
        assert missing.json() == {"ready": False, "database": True, "migrations": False, "worker": False}
