"""Brings the schema to the version this code needs: one process at a time, whoever else tries waits."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from . import isolation
from .engine import Database, psycopg_url
from .tables import metadata

LOCK = 7_263_001
"""The advisory lock that a migration holds; any number that nobody else on this database uses."""


def config() -> Config:
    """Alembic's configuration: the scripts lie in this package, so there is no alembic.ini."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.set_main_option("path_separator", "os")
    return settings


def head() -> str:
    """The revision this code needs."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    assert revision is not None
    return revision


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def _is_of_a_newer_version(revision: str | None) -> bool:
    """Revisions are numbered. Releases only add to the schema, so this code finds what it needs in a newer one."""
    return revision is not None and revision > head()


def upgrade(url: str) -> str:
    """Migrates the database at `url` to head and returns the revision. Waits for a migration under way elsewhere.

    The schema of a newer version is left as it is: who goes back to the version before keeps it. Raises CannotIsolate.
    """
    engine = create_engine(psycopg_url(url), poolclass=NullPool)
    settings = config()
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        try:
            revision = current(connection)
            connection.commit()
            if revision is not None and _is_of_a_newer_version(revision):
                return revision
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
            connection.commit()
            isolation.bring_about(connection, metadata)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()
    return head()


async def has_schema(database: Database) -> bool:
    """Whether the database has the schema this code needs: its own, or a newer version's."""
    async with database.engine.connect() as connection:
        revision = await connection.run_sync(current)
    return revision == head() or _is_of_a_newer_version(revision)


async def missing_isolation(database: Database) -> list[str]:
    """What keeps the projects of this database from being apart; `upgrade` mends it."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(isolation.missing, metadata)
