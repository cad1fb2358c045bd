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


def upgrade(url: str) -> str:
    """Migrates the database at `url` to head and returns the revision. Waits for a migration under way elsewhere.

    Raises CannotIsolate.
    """
    engine = create_engine(psycopg_url(url), poolclass=NullPool)
    settings = config()
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        try:
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
            connection.commit()
            isolation.bring_about(connection, metadata)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()
    engine.dispose()
    return head()


async def is_at_head(database: Database) -> bool:
    """Whether the database has the schema this code needs."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(current) == head()


async def missing_isolation(database: Database) -> list[str]:
    """What keeps the projects of this database from being apart; `upgrade` mends it."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(isolation.missing)
