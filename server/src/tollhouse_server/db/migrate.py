"""Brings the schema to the version this code needs: one process at a time, whoever else tries waits."""

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from . import isolation
from .engine import psycopg_url
from .readiness import MIGRATIONS, current, head, is_of_a_newer_version
from .tables import metadata

LOCK = 7_263_001
"""The advisory lock that a migration holds; any number that nobody else on this database uses."""


def config() -> Config:
    """Alembic's configuration: the scripts lie in this package, so there is no alembic.ini."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    settings.set_main_option("path_separator", "os")
    return settings


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
            if revision is not None and is_of_a_newer_version(revision):
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
