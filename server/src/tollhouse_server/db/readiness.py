"""Whether the database is as this code needs it. Asked at each start, so without Alembic, which is slow to import."""

from pathlib import Path

from sqlalchemy import Connection, text

from . import isolation
from .engine import Database
from .tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """The revision this code needs: the last, as their files are numbered."""
    return max(file.name for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py")).partition("_")[0]


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def is_of_a_newer_version(revision: str | None) -> bool:
    """Revisions are numbered. Releases only add to the schema, so this code finds what it needs in a newer one."""
    return revision is not None and revision > head()


async def has_schema(database: Database) -> bool:
    """Whether the database has the schema this code needs: its own, or a newer version's."""
    async with database.engine.connect() as connection:
        revision = await connection.run_sync(current)
    return revision == head() or is_of_a_newer_version(revision)


async def missing_isolation(database: Database) -> list[str]:
    """What keeps the projects of this database from being apart; `tollhouse migrate` mends it."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(isolation.missing, metadata)
