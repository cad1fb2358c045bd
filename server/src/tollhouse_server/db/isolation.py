"""The second wall between projects: PostgreSQL itself hides what is another's from a project's call.

A project's call runs as a role that is not the owner of the tables, with the project set for the transaction; row-level
security then shows it that project's rows and no others, whatever a query forgot to say. Everything else (finding a
key, workers, operators, Stripe's events) runs as the login role, which owns the tables and sees every row.

What the role may do is declared beside each table (`info=project_may(…)`), and is brought about after each migration:
a table is closed to it until somebody says otherwise. docs/decisions/0007 says what this is worth.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, MetaData, Row, text
from sqlalchemy.exc import ProgrammingError

ROLE = "tollhouse_project"
SETTING = "tollhouse.project"
ENTER = f"SELECT set_config('role', '{ROLE}', true), set_config('{SETTING}', %s, true)"
"""Makes the transaction under way the one of a project, whose id is the parameter."""

POLICY = "of_the_project"
_OF_THE_PROJECT = f"{{column}} = nullif(current_setting('{SETTING}', true), '')::uuid"
_RIGHTS = "project_may"


class CannotIsolate(Exception):
    """PostgreSQL does not let us keep the projects apart; the message says what its administrator runs."""


def project_may(*rights: str) -> dict[str, Any]:
    """The `info=` of a table of which a project's call may do this, each as GRANT takes it."""
    return {_RIGHTS: rights}


def bring_about(connection: Connection, metadata: MetaData) -> None:
    """The role, its rights, and a policy on every table of a tenant, where they are not there. Raises CannotIsolate."""
    _have_role(connection)
    for table in _tenant_tables(connection, metadata):
        if not table.closed:
            connection.execute(text(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY"))
        if not table.policy:
            own = _OF_THE_PROJECT.format(column="id" if table.name == "project" else "project_id")
            # For whoever does not own the table, and so naming no role: a dump can be restored before there is ours.
            connection.execute(text(f"CREATE POLICY {POLICY} ON {table.name} USING ({own}) WITH CHECK ({own})"))
    for statement in _grants(metadata):
        connection.execute(text(statement))


def missing(connection: Connection, metadata: MetaData) -> list[str]:
    """What keeps the projects from being apart, in words; nothing where all is well."""
    if not connection.scalar(text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)"), {"role": ROLE}):
        return [f"there is no role {ROLE}"]
    found = [] if _may_become(connection) else [f"this role may not become {ROLE}"]
    tables = _tenant_tables(connection, metadata)
    found += [f"table {table.name} is open" for table in tables if not (table.closed and table.policy)]
    kept_out = ", ".join(table.name for table in tables if table.kept_out)
    # Workers and operators would see nothing, and take it for the truth.
    return found + (
        [f"this role is behind the wall itself, as it does not own the tables: {kept_out}"] if kept_out else []
    )


def _have_role(connection: Connection) -> None:
    """It is the cluster's, not the database's: another database's migration may have made it, or make it now."""
    user = connection.scalar(text("SELECT quote_ident(current_user)"))
    try:
        with connection.begin_nested():
            connection.execute(
                text(
                    f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN"
                    f" CREATE ROLE {ROLE} NOLOGIN; END IF;"
                    " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
                )
            )
            if not _may_become(connection):
                connection.execute(text(f"GRANT {ROLE} TO {user}"))
    except ProgrammingError as refused:
        raise CannotIsolate(
            f"PostgreSQL does not let {user} make the role that keeps projects apart. Let its administrator run this, "
            f"then migrate again:\n  CREATE ROLE {ROLE} NOLOGIN;  -- unless there is one\n  GRANT {ROLE} TO {user};"
        ) from refused


def _may_become(connection: Connection) -> bool:
    # PostgreSQL 16 tells being a member from being allowed to act as one.
    right = "SET" if (connection.dialect.server_version_info or (0,)) >= (16,) else "MEMBER"
    return bool(connection.scalar(text(f"SELECT pg_has_role('{ROLE}', '{right}')")))


def _tenant_tables(connection: Connection, metadata: MetaData) -> list[Row[Any]]:
    """As the database has them. Ours only: a table of somebody else's in the same schema is none of our business."""
    ours = [one.name for one in metadata.sorted_tables if one.name == "project" or "project_id" in one.c]
    return list(
        connection.execute(
            text(
                "SELECT c.relname AS name, c.relrowsecurity AS closed, row_security_active(c.oid) AS kept_out,"
                " EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = :policy) AS policy"
                " FROM pg_class c"
                " WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (:ours) ORDER BY 1"
            ),
            {"policy": POLICY, "ours": ours},
        )
    )


def _grants(metadata: MetaData) -> Iterator[str]:
    for table in metadata.sorted_tables:
        yield f"REVOKE ALL ON TABLE {table.name} FROM {ROLE}"
        for right in table.info.get(_RIGHTS, ()):
            yield f"GRANT {right} ON TABLE {table.name} TO {ROLE}"
