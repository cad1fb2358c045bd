"""The schema: one way to it, the same as the tables, and nothing runs on another."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tollhouse_server.app import build_app
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import psycopg_url
from tollhouse_server.db.readiness import current, head
from tollhouse_server.db.tables import metadata
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.settings import Settings

SECRETS = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef01234567"}


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without a schema."""
    postgres_server.create_database("test_empty")
    yield postgres_server.url("test_empty")
    postgres_server.drop_database("test_empty")


def test_migrations_and_tables_agree(database_url: str) -> None:
    """What the migrations make is what the code queries, server defaults included."""
    engine = create_engine(psycopg_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert current(connection) == head()
    engine.dispose()


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    """Four replicas upgrade an empty database at the same time: one does it, the others wait, none fails."""
    with ThreadPoolExecutor(4) as replicas:
        assert set(replicas.map(migrate.upgrade, [empty_url] * 4)) == {head()}
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


@pytest.mark.parametrize("command", ["serve", "work"])
def test_on_an_older_schema_nothing_starts(empty_url: str, command: str, tmp_path: Path) -> None:
    """It says which command helps, and exits."""
    said = subprocess.run(
        [sys.executable, "-m", "tollhouse_server.cli", command],
        env={**os.environ, **SECRETS, "DATABASE_URL": empty_url, "LOG_LEVEL": "WARNING"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "tollhouse migrate" in said.stderr and "Traceback" not in said.stderr


def readiness(url: str) -> tuple[int, dict[str, Any]]:
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(url),
        stripe_secret_key=SecretStr(SECRETS["STRIPE_SECRET_KEY"]),
        stripe_webhook_secret=SecretStr(SECRETS["STRIPE_WEBHOOK_SECRET"]),
    )

    async def ask() -> httpx.Response:
        app = build_app(settings)
        async with app.app.router.lifespan_context(app.app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://tollhouse") as http:
                return await http.get("/readyz")

    answer = asyncio.run(ask())
    return answer.status_code, answer.json()


def test_readyz_says_what_is_missing(database_url: str, empty_url: str) -> None:
    """The database, its schema, a worker: each is named, and ready is only who has all three."""
    missing = {"ready": False, "database": False, "migrations": False, "worker": False}
    assert readiness("postgresql://tollhouse@127.0.0.1:9/tollhouse") == (503, missing)
    assert readiness(empty_url) == (503, missing | {"database": True})
    assert readiness(database_url) == (503, missing | {"database": True, "migrations": True})
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO worker (id, seen_at) VALUES ('w', now())")
    everything = {"ready": True, "database": True, "migrations": True, "worker": True}
    assert readiness(database_url) == (200, everything)


def test_the_version_before_goes_on_with_a_newer_schema(own_database_url: str) -> None:
    """Releases only add to the schema: while the next one is rolled out, and after going back, the one before is ready
    and leaves the schema alone."""
    with psycopg.connect(own_database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert readiness(own_database_url)[1]["migrations"] is True
    assert migrate.upgrade(own_database_url) == "9999"
