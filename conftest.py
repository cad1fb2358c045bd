"""The stores that tests run on: a real PostgreSQL and a real Valkey, started when first asked for."""

import itertools
from collections.abc import Iterator

import pytest

from tollhouse_sandbox.testing import RunningSandbox, running_sandbox
from tollhouse_server.db import migrate
from tollhouse_server.embedded.postgres import PostgresServer, temporary_postgres
from tollhouse_server.embedded.valkey import running_valkey
from tollhouse_server.testing import World, running_world

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server whose data are deleted at the end; each xdist worker has its own."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database at the newest schema, to be copied and never connected to."""
    postgres_server.create_database("template_migrated")
    migrate.upgrade(postgres_server.url("template_migrated"))
    return "template_migrated"


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of this test's own, at the newest schema and empty, where commits and concurrency are real."""
    name = f"test_{next(_numbers)}"
    postgres_server.create_database(name, template=migrated_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey of this test process; tests that write to it choose keys of their own or flush it."""
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def sandbox() -> Iterator[RunningSandbox]:
    """Stripe on a desk; each test that uses it through `world` finds it empty."""
    with running_sandbox(frozen=True) as running:
        yield running


@pytest.fixture
def world(sandbox: RunningSandbox, database_url: str) -> Iterator[World]:
    """The service, its database and Stripe, empty and at one time of day."""
    with running_world(sandbox, database_url) as running:
        yield running
