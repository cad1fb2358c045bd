"""A backup brings everything back but time: what was sold since is read from Stripe, and no version goes back."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tollhouse import Tollhouse
from tollhouse_server import backup, cli
from tollhouse_server.db.engine import conninfo
from tollhouse_server.doctor import broken_invariants_of
from tollhouse_server.domain.versions import changes_of, epoch_of
from tollhouse_server.embedded.errors import EmbeddedServerError
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.embedded.programs import postgres_program, run_program
from tollhouse_server.reconcile import Kind
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World, running_service

PDF_TOOL: dict[str, Any] = {
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
MONTHLY = "pdf-tool.pro.monthly"
USERS = ("ada", "bob", "cyd", "late")

Command = Callable[..., str]


@pytest.fixture
def tollhouse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], world: World, own_logs: logging.Logger
) -> Command:
    """The command's own entry, on a database; answers with what it printed, on which stream ever."""

    def call(database_url: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["tollhouse", *map(str, arguments)])
        for name, value in {
            "DATABASE_URL": database_url,
            "STRIPE_SECRET_KEY": world.sandbox.secret_key,
            "STRIPE_API_BASE": world.sandbox.url,
            "LOG_LEVEL": "ERROR",
        }.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main()
        printed = capsys.readouterr()
        return printed.out + printed.err

    return call


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Another database, with nothing in it."""
    postgres_server.create_database("restored")
    yield postgres_server.url("restored")
    postgres_server.drop_database("restored")


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(conninfo(url)) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_restored_and_read_again_everything_is_as_stripe_says(
    world: World, tollhouse: Command, empty_url: str, tmp_path: Path
) -> None:
    """Backed up while people buy and cancel, restored elsewhere: after a read of Stripe the answers are the same as
    before, of whoever came or went since too, and every version is above all that was seen."""
    app = world.publish(PDF_TOOL)
    for user in USERS[:3]:
        world.customer(user, app).buys(MONTHLY)
    key = world.new_key("pdf-tool")
    url, file = world.service.settings.database_url.get_secret_value(), tmp_path / "night.dump"

    busy = threading.Thread(target=_change_again_and_again, args=(world, subscription_of(app, "cyd")))
    busy.start()
    try:
        assert "whole and readable" in tollhouse(url, "backup", file)
    finally:
        busy.join()
    assert file.stat().st_mode & 0o777 == 0o600 and list(tmp_path.iterdir()) == [file]

    world.stripe.v1.subscriptions.cancel(subscription_of(app, "ada"))
    world.customer("late", app).buys(MONTHLY)
    seen = {user: app.check(user, "export") for user in USERS}
    assert {user: bool(check) for user, check in seen.items()} == {"ada": False, "bob": True, "cyd": True, "late": True}

    assert "Restored: the schema is at revision" in tollhouse(empty_url, "restore", file)
    at_once, after = _read_again(world, key, empty_url)
    assert (bool(at_once["ada"]), bool(at_once["late"])) == (True, False), "the backup was older"
    for user in USERS:
        assert bool(after[user]) is bool(seen[user])
        assert (after[user].version or 0) > (seen[user].version or 0) > 0
    told = rows(empty_url, "SELECT c.version, s.version FROM customer c JOIN snapshot s ON s.customer_id = c.id")
    assert all(ours == snapshot for ours, snapshot in told) and len(told) == len(USERS)
    changes = dict(
        rows(empty_url, "SELECT customer_id, count(*) FROM audit WHERE action = 'entitlements.changed' GROUP BY 1")
    )
    versions = dict(rows(empty_url, "SELECT id, version FROM customer"))
    assert changes == {customer: changes_of(version) for customer, version in versions.items()}
    assert broken_invariants_of(empty_url) == []
    [(before, epoch)] = rows(empty_url, "SELECT before, after FROM audit WHERE action = 'database.restored'")
    assert before == {"epoch": 0} and {epoch_of(version) for version in versions.values()} == {epoch["epoch"]}


def subscription_of(app: Tollhouse, user: str) -> str:
    [one] = app.customer(user).subscriptions
    return one.id


def _change_again_and_again(world: World, subscription: str) -> None:
    for turn in range(6):
        world.stripe.v1.subscriptions.update(subscription, {"cancel_at_period_end": turn % 2 == 0})
        world.arrive()


def _read_again(world: World, key: str, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a service on the database at `url` answers: at first, and after a worker has done what it begins with."""

    async def reconcile(resources: Resources) -> None:
        for kind in Kind:
            assert await resources.reconciler.go_on(kind), "the restore has left it to the worker"

    with running_service(world.sandbox, url) as service:
        service.clock.set(world.service.clock.now())
        with Tollhouse(service.url, key, retries=0, check_timeout=20, stream=False, poll_interval=0) as again:
            at_once = {user: again.check(user, "export") for user in USERS}
            service.run(reconcile)
            service.work()
            return at_once, {user: again.check(user, "export") for user in USERS}


def test_nothing_is_replaced_by_mistake(
    world: World, tollhouse: Command, own_database_url: str, tmp_path: Path
) -> None:
    """A database that holds something, that is in use, or a file that is torn or of somebody else's: said in a
    sentence, and nothing is changed. With --replace the versions go on above those of what is lost."""
    url, file, torn = world.service.settings.database_url.get_secret_value(), tmp_path / "a.dump", tmp_path / "torn"
    tollhouse(own_database_url, "backup", file)
    assert world.operator.get("/v1/admin/projects").is_success
    assert "connections of Tollhouse are open" in tollhouse(url, "restore", file)
    assert "not empty" in tollhouse(own_database_url, "restore", file)
    torn.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "Nothing was restored" in tollhouse(own_database_url, "restore", torn, "--replace")
    assert "No backup was made" in tollhouse(own_database_url, "backup", tmp_path / "no" / "such" / "place")
    away = tollhouse("postgresql://u:hidden-password@127.0.0.1:9/x", "backup", tmp_path / "b.dump")
    assert "No backup was made" in away and "hidden-password" not in away
    with psycopg.connect(conninfo(own_database_url), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO project (id, slug, name, redirect_origins) VALUES (gen_random_uuid(), 'p', 'P', '{}')"
        )
        connection.execute(
            "INSERT INTO customer (id, project_id, user_id, version) SELECT gen_random_uuid(), id, 'u', 9::bigint << 50"
            " FROM project"
        )
    assert rows(own_database_url, "SELECT user_id FROM customer") == [("u",)]
    said = tollhouse(own_database_url, "restore", file, "--replace")
    assert f"versions go on in epoch {(9 << 18) + 1}." in said
    assert rows(own_database_url, "SELECT user_id FROM customer") == []
    assert rows(own_database_url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'public%'") == [("public",)]


def test_a_restore_that_fails_gives_back_what_was_there(own_database_url: str, tmp_path: Path) -> None:
    """Whatever breaks between the dump's last row and the end; and killed there, the next one begins from before."""
    file = tmp_path / "a.dump"
    backup.back_up(own_database_url, file)
    with psycopg.connect(conninfo(own_database_url), autocommit=True) as connection:
        connection.execute("CREATE TABLE since_then ()")
        with pytest.raises(RuntimeError), backup.restored(own_database_url, file, replace=True):
            assert connection.execute("SELECT to_regclass('since_then')").fetchone() == (None,)
            raise RuntimeError
        assert connection.execute("SELECT to_regclass('since_then')").fetchone() == ("since_then",)
        connection.execute("ALTER SCHEMA public RENAME TO public_before_restore")  # as if killed
        with (
            pytest.raises(backup.CannotBackUp, match="not empty"),
            backup.restored(own_database_url, file, replace=False),
        ):
            pass
        assert connection.execute("SELECT to_regclass('since_then')").fetchone() == ("since_then",)


def test_the_password_is_on_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every account of the machine could read it."""
    fake = tmp_path / "pg_dump"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 18.6"; exit; }\n'
        'echo "$@"; echo "env $PGPASSWORD"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("TOLLHOUSE_PG_BINDIR", str(tmp_path))
    url = "postgresql+psycopg://u:s%40fe@db:5433/x?sslmode=require"
    said = run_program(postgres_program("pg_dump", 18), url, "--file", "f")
    assert said == "--file f --no-password --dbname postgresql://u@db:5433/x?sslmode=require\nenv s@fe\n"
    with pytest.raises(EmbeddedServerError, match="postgresql-client-99"):
        postgres_program("pg_dump", 99)
