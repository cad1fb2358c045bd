"""The second wall between projects, with the first one off: raw SQL that forgets whose rows it wants."""

import itertools
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Table, create_engine, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import InternalError, ProgrammingError
from sqlalchemy.pool import NullPool

from tollhouse_server.audit import Cause, record
from tollhouse_server.db import isolation, migrate, readiness
from tollhouse_server.db.engine import Database, conninfo, psycopg_url
from tollhouse_server.db.isolation import ENTER, ROLE, CannotIsolate
from tollhouse_server.db.tables import audit_seal, customer, metadata, project
from tollhouse_server.embedded.postgres import PostgresServer

TENANTS = {table.name: table for table in metadata.sorted_tables if table.name == "project" or "project_id" in table.c}
ELSEWHERE = [table.name for table in metadata.sorted_tables if table.name not in TENANTS]
DENIED = psycopg.errors.InsufficientPrivilege
"""Of a right that was not granted, and of a row that the policy refuses."""

_numbers = itertools.count(1)
_VALUES: dict[str, Any] = {
    "UUID": uuid.uuid4,
    "TEXT": lambda: f"text {next(_numbers)}",
    "TEXT[]": lambda: ["text"],
    "INTEGER": lambda: next(_numbers),
    "BIGINT": lambda: next(_numbers),
    "SMALLINT": lambda: next(_numbers),
    "BOOLEAN": lambda: True,
    "JSON": lambda: "{}",
    "JSONB": lambda: "{}",
    "BYTEA": lambda: f"bytes {next(_numbers)}".encode(),
    "NUMERIC": lambda: next(_numbers),
    "DOUBLE PRECISION": lambda: next(_numbers),
    "DATE": lambda: "2026-11-22",
    "TIMESTAMP WITH TIME ZONE": lambda: "2026-11-22T09:00:00Z",
}


class TwoProjects:
    """A transaction, never committed, in which two projects have one row each in every table of a tenant."""

    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self.db, self.a, self.b = db, uuid.uuid4(), uuid.uuid4()
        # Rows that could not be otherwise: no foreign key, check or trigger looks at them.
        db.execute("SET LOCAL session_replication_role = replica")
        self._run("SELECT conname, conrelid::regclass::text AS name FROM pg_constraint WHERE contype = 'c'")
        for constraint, name in self.rows:
            if name in TENANTS:
                self._run("ALTER TABLE {} DROP CONSTRAINT {}", name, constraint)
        for name, table in TENANTS.items():
            for owner in (self.a, self.b):
                self.insert(name, table, owner)

    def insert(self, name: str, table: Table, owner: uuid.UUID) -> None:
        """A row of which only the owner is right."""
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        needed = [one for one in table.c if not one.nullable and one.server_default is None and not one.identity]
        row = {one.name: _VALUES[one.type.compile(dialect).partition("(")[0]]() for one in needed}
        row["id" if name == "project" else "project_id"] = owner
        columns = sql.SQL(", ").join(map(sql.Identifier, row))
        values = sql.SQL(", ").join(map(sql.Literal, row.values()))
        self.db.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(name), columns, values))

    def become(self, owner: uuid.UUID | str) -> None:
        """As a call of the project does."""
        self.db.execute(ENTER.encode(), (str(owner),))

    def owner(self) -> None:
        self.db.execute("RESET ROLE")

    def attempt(self, statement: LiteralString, *names: str) -> int | None:
        """How many rows it saw or changed; None where it was denied."""
        try:
            with self.db.transaction():
                return self.db.execute(sql.SQL(statement).format(*map(sql.Identifier, names))).rowcount
        except DENIED:
            return None

    def _run(self, statement: LiteralString, *names: str) -> None:
        cursor = self.db.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        self.rows = cursor.fetchall() if cursor.description else []


@pytest.fixture
def two(database_url: str) -> Iterator[TwoProjects]:
    with psycopg.connect(conninfo(database_url)) as db:
        yield TwoProjects(db)
        db.rollback()


def of(table: str) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {}").format(
        sql.Identifier("id" if table == "project" else "project_id"), sql.Identifier(table)
    )


def test_a_forgotten_where_shows_the_projects_own_rows(two: TwoProjects) -> None:
    """Of every table that a project's call may read, and there are no rows at all where no project was said."""
    seen = set()
    for name in TENANTS:
        for owner, rows in ((two.b, [(two.b,)]), ("", [])):
            two.become(owner)
            try:
                with two.db.transaction():
                    assert two.db.execute(of(name)).fetchall() == rows, name
                    seen.add(name)
            except DENIED:
                pass
            two.owner()
        assert sorted(two.db.execute(of(name)).fetchall()) == sorted([(two.a,), (two.b,)]), "the login role sees all"
    assert seen >= {"project", "catalog", "price", "customer", "subscription", "purchase", "access_grant", "snapshot"}
    assert {"api_key", "inbox"}.isdisjoint(seen)


def test_a_forgotten_where_changes_no_other_projects_rows(two: TwoProjects) -> None:
    """Whatever may be updated is the project's own; nothing may be deleted; the rights are those that are declared."""
    two.become(two.b)
    may = {verb: set[str]() for verb in ("update", "delete", "truncate")}
    for name, table in TENANTS.items():
        owner = "id" if name == "project" else "project_id"
        updated = [two.attempt("UPDATE {0} SET {1} = {1}", name, column.name) for column in table.c]
        assert set(updated) <= {None, 1}, name
        # Not even its own row may be handed to another.
        assert two.attempt("UPDATE {} SET {} = gen_random_uuid()", name, owner) is None
        done = {"delete": two.attempt("DELETE FROM {}", name), "truncate": two.attempt("TRUNCATE {} CASCADE", name)}
        for verb, count in {"update": next(filter(None, updated), None), **done}.items():
            may[verb] |= {name} if count is not None else set()
    assert may == {
        verb: {name for name, table in TENANTS.items() if any(one.startswith(verb.upper()) for one in rights(table))}
        for verb in may
    }
    assert may["update"] >= {"customer", "checkout"} and not may["truncate"]
    two.owner()
    for name in TENANTS:
        assert (two.a,) in two.db.execute(of(name)).fetchall()


def rights(table: Table) -> tuple[str, ...]:
    found: tuple[str, ...] = table.info.get("project_may", ())
    return found


def test_nothing_is_written_into_another_project(two: TwoProjects) -> None:
    """A row that names another project is refused; one of its own only where the table says that it may be added."""
    for name, table in TENANTS.items():
        two.become(two.b)
        with pytest.raises(DENIED), two.db.transaction():
            two.insert(name, table, two.a)
        added = True
        try:
            with two.db.transaction():
                two.insert(name, table, two.b)
        except DENIED:
            added = False
        except psycopg.errors.UniqueViolation:
            assert name == "project" or "project_id" in {one.name for one in table.primary_key}
        two.owner()
        assert added == ("INSERT" in rights(table)), name


def test_what_is_nobodys_is_closed(two: TwoProjects) -> None:
    """Workers, operators, the schema's revision: none of a project's business."""
    two.become(two.b)
    for name in [*ELSEWHERE, "alembic_version"]:
        assert two.attempt("SELECT FROM {}", name) is None, name


def test_every_table_of_a_tenant_is_behind_the_wall(database_url: str) -> None:
    """As PostgreSQL has them, whichever code made them: closed, with our policy and no second one that opens them."""
    with psycopg.connect(conninfo(database_url)) as db:
        policies = db.execute(
            "SELECT tablename, policyname, permissive, roles::text, cmd, qual = with_check,"
            " qual LIKE '%%tollhouse.project%%' FROM pg_policies WHERE schemaname = current_schema()"
        ).fetchall()
        closed = {name for (name,) in db.execute("SELECT relname FROM pg_class WHERE relrowsecurity")}
        role = db.execute(
            "SELECT rolsuper, rolbypassrls, rolcanlogin, rolcreaterole FROM pg_roles WHERE rolname = %s", (ROLE,)
        ).fetchone()
    assert set(TENANTS) <= closed
    assert sorted(policies) == [
        (name, isolation.POLICY, "PERMISSIVE", "{public}", "ALL", True, True) for name in sorted(closed)
    ]
    assert role == (False, False, False, False)


@pytest.mark.anyio
async def test_a_transaction_of_a_project_leaves_nothing_behind(database_url: str) -> None:
    """The next one on the same connection is whoever it says it is; `statement` is bounded in the same way."""
    database = Database(database_url, pool_size=1)
    ids = {"a": uuid.uuid4(), "b": uuid.uuid4()}
    try:
        async with database.transaction() as tx:
            for slug, id_ in ids.items():
                await tx.execute(project.insert().values(id=id_, slug=slug, name=slug, redirect_origins=[]))
        slugs = select(project.c.slug).order_by(project.c.slug)
        for _ in range(7):  # more often than psycopg waits before it prepares a statement
            async with database.transaction(project=ids["a"]) as tx:
                assert (await tx.scalars(slugs)).all() == ["a"]
            async with database.statement(project=ids["b"]) as tx:
                assert (await tx.scalars(slugs)).all() == ["b"]
            async with database.transaction() as tx:
                assert (await tx.scalars(slugs)).all() == ["a", "b"]
            async with database.statement() as tx:
                assert (await tx.scalars(slugs)).all() == ["a", "b"]
        with pytest.raises(InternalError, match="read-only"):
            async with database.statement(project=ids["a"]) as tx:
                await tx.execute(customer.delete())
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with database.transaction(project=ids["a"]) as tx:
                await tx.execute(customer.insert().values(id=uuid.uuid4(), project_id=ids["b"], user_id="x"))
        async with database.transaction() as tx:
            assert (await tx.scalars(slugs)).all() == ["a", "b"]
    finally:
        await database.close()


@pytest.mark.anyio
async def test_an_audit_entry_of_a_projects_call_is_sealed(database_url: str) -> None:
    """Though the call may neither see nor write the chain: the database seals it at the commit."""
    database = Database(database_url, pool_size=1)
    id_ = uuid.uuid4()
    why = Cause("app", "a test")
    try:
        async with database.transaction() as tx:
            await tx.execute(project.insert().values(id=id_, slug="a", name="a", redirect_origins=[]))
        async with database.transaction(project=id_) as tx:
            await record(tx, "thing.done", why, at=datetime(2026, 11, 22, tzinfo=UTC), project_id=id_)
        async with database.transaction() as tx:
            assert (await tx.scalars(select(audit_seal.c.position).where(audit_seal.c.project_id == id_))).all() == [1]
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with database.transaction(project=id_) as tx:
                await record(tx, "thing.done", why, at=datetime(2026, 11, 22, tzinfo=UTC))
    finally:
        await database.close()


def test_a_role_that_may_not_make_the_wall_is_told_what_to_run(
    postgres_server: PostgresServer, own_database_url: str
) -> None:
    """The message is what the administrator runs; afterwards migrating succeeds, and until then nothing is well."""
    login = f"limited_{next(_numbers)}"
    with psycopg.connect(conninfo(own_database_url), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        admin.execute(sql.SQL("CREATE DATABASE limited OWNER {}").format(sql.Identifier(login)))
        url = psycopg_url(postgres_server.url("limited")).set(username=login).render_as_string(hide_password=False)
        try:
            with pytest.raises(CannotIsolate, match=rf"GRANT {ROLE} TO {login};"):
                migrate.upgrade(url)
            assert missing(url) == [f"this role may not become {ROLE}"] + [
                f"table {name} is open" for name in sorted(TENANTS)
            ]
            admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(ROLE), sql.Identifier(login)))
            assert migrate.upgrade(url) == readiness.head()
            assert missing(url) == []
        finally:
            admin.execute("DROP DATABASE limited WITH (FORCE)")
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def missing(url: str) -> list[str]:
    engine = create_engine(psycopg_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        found = isolation.missing(connection, metadata)
    engine.dispose()
    return found


def test_a_login_role_that_does_not_own_the_tables_is_noticed(own_database_url: str) -> None:
    """It would be shown nothing of any project, and workers would take that for the truth."""
    login = f"stranger_{next(_numbers)}"
    with psycopg.connect(conninfo(own_database_url), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {0} LOGIN IN ROLE tollhouse_project").format(sql.Identifier(login)))
        url = psycopg_url(own_database_url).set(username=login).render_as_string(hide_password=False)
        try:
            [said] = missing(url)
            assert said.startswith("this role is behind the wall itself") and "customer" in said
            admin.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(login)))
            assert missing(url) == []
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def test_a_wall_that_was_torn_down_is_seen_and_mended(own_database_url: str) -> None:
    """As after restoring a dump without its rights and policies: migrating builds it again."""
    with psycopg.connect(conninfo(own_database_url)) as db:
        db.execute("ALTER TABLE customer DISABLE ROW LEVEL SECURITY")
        db.execute(f"DROP POLICY {isolation.POLICY} ON price")
        db.execute("REVOKE ALL ON customer FROM tollhouse_project")
        db.execute("GRANT DELETE ON price TO tollhouse_project")
        db.execute("CREATE TABLE somebody_elses (project_id uuid)")
    assert missing(own_database_url) == ["table customer is open", "table price is open"]
    migrate.upgrade(own_database_url)
    assert missing(own_database_url) == []
    with psycopg.connect(conninfo(own_database_url)) as db:
        two = TwoProjects(db)
        two.become(two.b)
        assert two.attempt("SELECT FROM {}", "customer") == 1
        assert two.attempt("DELETE FROM {}", "price") is None
        two.owner()
        elses = db.execute("SELECT relrowsecurity FROM pg_class WHERE relname = 'somebody_elses'").fetchone()
        assert elses == (False,)
        db.rollback()
