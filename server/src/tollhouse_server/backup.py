"""A backup of the whole database as one file, and a database made of such a file: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from .db.engine import conninfo
from .embedded.errors import EmbeddedServerError
from .embedded.programs import archive_contents, postgres_program, run_program

Connection = psycopg.Connection[Any]

_ESSENTIAL = ("alembic_version", "audit", "customer", "inbox", "project", "snapshot")
_ASIDE = "public_before_restore"


class CannotBackUp(Exception):
    """The backup or the restore was not made; the message says why and what to do. Nothing is half done."""


def back_up(url: str, target: Path) -> int:
    """Dumps the database at `url` to `target` and returns its size in bytes.

    The file appears once it is whole and was read back; nobody else may read it. Raises CannotBackUp.
    """
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        dump, restore = (postgres_program(name, _server_major(url)) for name in ("pg_dump", "pg_restore"))
        # Without owners and rights: whoever restores it owns it, and a migration brings the rights about.
        run_program(dump, url, "--format=custom", "--no-owner", "--no-privileges", "--file", unfinished)
        _check(restore, unfinished)
        size = unfinished.stat().st_size
        unfinished.replace(target)
    except (OSError, EmbeddedServerError, psycopg.Error) as failed:
        raise CannotBackUp(f"No backup was made: {str(failed).strip()}") from failed
    finally:
        unfinished.unlink(missing_ok=True)
    return size


@contextmanager
def restored(url: str, source: Path, *, replace: bool) -> Iterator[int]:
    """The database at `url` as `source` says; what the block does to it belongs to the restore.

    Gives the highest version of a customer that the database held before, 0 where it was empty. With `replace` what it
    held is kept beside until the block ends, and comes back if it raises. Raises CannotBackUp.
    """
    try:
        program = postgres_program("pg_restore", _server_major(url))
        _check(program, source)
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            _refuse_while_used(connection)
            _bring_back(connection)  # from a restore that was killed
            if not replace and _holds_tables(connection):
                raise CannotBackUp(
                    "The database is not empty, and nothing was changed. Restore into an empty one, or say --replace "
                    "to lose what it holds."
                )
            highest = _highest_version(connection)
            connection.execute(f"ALTER SCHEMA public RENAME TO {_ASIDE}")
            try:
                connection.execute("CREATE SCHEMA public")
                connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")  # as PostgreSQL makes it
                run_program(program, url, "--no-owner", "--no-privileges", "--single-transaction", source)
                yield highest
            except BaseException:
                _bring_back(connection)
                raise
            connection.execute(f"DROP SCHEMA {_ASIDE} CASCADE")
    except (OSError, EmbeddedServerError, psycopg.Error) as failed:
        raise CannotBackUp(f"Nothing was restored: {str(failed).strip()}") from failed


def _check(pg_restore: Path, archive: Path) -> None:
    """Raises EmbeddedServerError, CannotBackUp unless the file is a whole dump of a database of ours."""
    listed = archive_contents(pg_restore, archive)
    lacking = [table for table in _ESSENTIAL if f" TABLE DATA public {table} " not in listed]
    if lacking:
        raise CannotBackUp(f"{archive} is a dump, but not of Tollhouse: it lacks {', '.join(lacking)}.")


def _server_major(url: str) -> int:
    with psycopg.connect(conninfo(url), connect_timeout=10) as connection:
        return connection.info.server_version // 10_000


def _refuse_while_used(connection: Connection) -> None:
    others = connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'tollhouse'"
    ).fetchone()
    if others and others[0]:
        raise CannotBackUp(
            f"{others[0]} connections of Tollhouse are open, and nothing was changed. Stop `tollhouse serve` and "
            "`tollhouse work` first."
        )


def _bring_back(connection: Connection) -> None:
    """What a restore had put aside, where it did not come to its end."""
    if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (_ASIDE,)).fetchone():
        with connection.transaction():
            connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
            connection.execute(f"ALTER SCHEMA {_ASIDE} RENAME TO public")


def _holds_tables(connection: Connection) -> bool:
    found = connection.execute("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace LIMIT 1").fetchone()
    return found is not None


def _highest_version(connection: Connection) -> int:
    if connection.execute("SELECT to_regclass('public.customer')").fetchone() == (None,):
        return 0
    highest = connection.execute("SELECT coalesce(max(version), 0) FROM customer").fetchone()
    return int(highest[0]) if highest else 0
