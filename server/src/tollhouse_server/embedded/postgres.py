"""A PostgreSQL of our own: started on a data directory, reached by a unix socket only, gone when we are gone.

A second process that asks for the same data attaches to the running server and does not stop it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from tollhouse_server.embedded.accounts import Account, server_account, started_as
from tollhouse_server.embedded.binaries import postgres_bindir, postgres_major
from tollhouse_server.embedded.errors import EmbeddedServerError
from tollhouse_server.embedded.postmaster import Postmaster, running_postmaster, stale_pid
from tollhouse_server.embedded.watchdog import GuardedProcess

_ROLE = "tollhouse"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_SOCKET_NAME = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 103  # macOS; Linux allows 107
_ALWAYS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "max_connections": "200",
}
# A test's data need not survive a power cut.
_NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}


@dataclass(frozen=True)
class PostgresServer:
    """A running server. `owned` is False when another process started it."""

    socket_dir: Path
    owned: bool

    def url(self, database: str = "tollhouse") -> str:
        """`postgresql://…` for psycopg; SQLAlchemy wants `postgresql+psycopg://`."""
        return f"postgresql://{_ROLE}@/{quote(database, safe='')}?host={quote(str(self.socket_dir))}"

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a file-level copy of `template` (nobody may be connected to it) when one is named."""
        statement: sql.Composed = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
        self._execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop a database if it is there, ending the connections to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def has_database(self, name: str) -> bool:
        with psycopg.connect(self.url("postgres")) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def running_postgres(data_dir: Path, *, durable: bool = True) -> Iterator[PostgresServer]:
    """A server on the data in `data_dir` (created when absent), with a database `tollhouse`, until the block ends.

    `durable=False` trades the safety of the data for speed and is for tests. Raises EmbeddedServerError.
    """
    data_dir = data_dir.absolute()
    account = server_account()
    _make_data_dir(data_dir, account)
    with contextlib.ExitStack() as stack:
        with _start_lock(data_dir):
            postmaster = running_postmaster(data_dir / "cluster")
            if postmaster is None:
                process, socket_dir = _started(data_dir, account, durable=durable)
                stack.callback(_stop, process, socket_dir)
                server = PostgresServer(socket_dir, owned=True)
            else:
                server = PostgresServer(postmaster.socket_dir, owned=False)
            if not server.has_database("tollhouse"):
                server.create_database("tollhouse")
        yield server


@contextlib.contextmanager
def temporary_postgres() -> Iterator[PostgresServer]:
    """A server for tests and benchmarks: fast, on data that are deleted afterwards."""
    data_dir = Path(tempfile.gettempdir()) / f"tollhouse-temporary-{os.getpid()}-{time.time_ns():x}"
    try:
        with running_postgres(data_dir, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def reachable_data_dir(preferred: Path) -> Path:
    """Where a checkout's data live: `preferred`, unless we are root and PostgreSQL's account cannot get there.

    Then a directory under /var/lib/tollhouse that always belongs to the same `preferred`.
    """
    account = server_account()
    preferred = preferred.absolute()
    if account is None or account.can_enter(preferred):
        return preferred
    return Path("/var/lib/tollhouse") / hashlib.sha256(str(preferred).encode()).hexdigest()[:12]


def _make_data_dir(data_dir: Path, account: Account | None) -> None:
    try:
        data_dir.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            data_dir.mkdir(mode=0o700)
            if account:
                os.chown(data_dir, account.uid, account.gid)
    except OSError as error:
        raise EmbeddedServerError(f"The data directory {data_dir} cannot be made: {error.strerror}.") from error
    if account and not account.can_enter(data_dir):
        raise EmbeddedServerError(
            f"PostgreSQL cannot run as root and runs as {account.name}, but that account cannot enter {data_dir}. "
            "Choose a data directory below one that every account may enter, or do not run as root."
        )


@contextlib.contextmanager
def _start_lock(data_dir: Path) -> Iterator[None]:
    """One process at a time decides whether to start or to attach."""
    try:
        lock = (data_dir / "start.lock").open("a")
    except PermissionError as error:
        raise EmbeddedServerError(f"The data in {data_dir} belong to another account of this machine.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _started(data_dir: Path, account: Account | None, *, durable: bool) -> tuple[GuardedProcess, Path]:
    bindir = postgres_bindir(account)
    cluster = data_dir / "cluster"
    if not cluster.exists():
        _initialise(bindir, cluster, account)
    _refuse_other_version(bindir, cluster)
    socket_dir = _socket_dir(data_dir, account)
    settings = _ALWAYS | {"unix_socket_directories": str(socket_dir)} | ({} if durable else _NOT_DURABLE)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    environment = _environment()
    if (pid := stale_pid(cluster)) is not None:
        # Postgres takes a zombie, or a stranger that was given the old number, for a live postmaster, except for this
        # pid. So it still makes its own check that no backend of the old server is left, and replaces postmaster.pid.
        environment["PG_GRANDPARENT_PID"] = str(pid)
    log_file = data_dir / "postgres.log"
    with log_file.open("ab") as log:
        said_before = log.tell()
        process = GuardedProcess(
            [bindir / "postgres", "-D", cluster, *options],
            stop_signal=signal.SIGINT,  # "fast shutdown": ends sessions, writes a checkpoint
            whole_group=False,
            log=log,
            env=environment,
            cwd=Path("/"),
            account=account,
        )
    try:
        _wait_until_ready(process, cluster, log_file, said_before)
    except BaseException:
        _stop(process, socket_dir)
        raise
    return process, socket_dir


def _initialise(bindir: Path, cluster: Path, account: Account | None) -> None:
    unfinished = cluster.with_name("cluster.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    locale = ["--locale=C.UTF-8"]
    if postgres_major(bindir) >= 17:  # its own C.UTF-8, the same on every system
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    answer = subprocess.run(
        [bindir / "initdb", "-D", unfinished, "-U", _ROLE, "--auth=trust", "--encoding=UTF8", "--no-sync", *locale],
        capture_output=True,
        text=True,
        cwd="/",
        env=_environment(),
        check=False,
        **started_as(account),
    )
    if answer.returncode != 0:
        raise EmbeddedServerError(f"PostgreSQL could not create its data in {cluster}:\n{answer.stderr.strip()}")
    unfinished.rename(cluster)  # a cluster is there whole or not at all


def _refuse_other_version(bindir: Path, cluster: Path) -> None:
    made_by, found = int((cluster / "PG_VERSION").read_text()), postgres_major(bindir)
    if made_by != found:
        raise EmbeddedServerError(
            f"The data in {cluster} were made by PostgreSQL {made_by}, but {bindir} is PostgreSQL {found}. "
            f"Set TOLLHOUSE_PG_BINDIR to a PostgreSQL {made_by}, or move the data away to begin anew."
        )


def _socket_dir(data_dir: Path, account: Account | None) -> Path:
    """A short directory under the temp directory, which only the server's account (and root) can enter."""
    name = "tollhouse-" + hashlib.sha256(str(data_dir).encode()).hexdigest()[:10]
    owner = account.uid if account else os.geteuid()
    for temp in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - made 0700 and its owner checked
        directory = temp / name
        too_long = len(str(directory / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH
        if too_long or (account and not account.can_enter(temp)):
            continue
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if account:
                os.chown(directory, account.uid, account.gid)
        found = directory.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077:
            return directory
    raise EmbeddedServerError(f"No place for PostgreSQL's socket: neither {tempfile.gettempdir()} nor /tmp will do.")


def _environment() -> dict[str, str]:
    """Ours, without what would lead PostgreSQL elsewhere (PGDATA, PGPORT, …) or translate its messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LANG": "C"}


def _wait_until_ready(process: GuardedProcess, cluster: Path, log_file: Path, said_before: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        postmaster = Postmaster.read(cluster)
        if postmaster and postmaster.pid == process.pid and postmaster.ready:
            return
        if process.exit_code() is not None or time.monotonic() > deadline:
            said = log_file.read_bytes()[said_before:].decode(errors="replace").strip()
            raise EmbeddedServerError(f"PostgreSQL did not start on {cluster}:\n{said}")
        time.sleep(0.02)


def _stop(process: GuardedProcess, socket_dir: Path) -> None:
    process.stop(within=_STOP_SECONDS, otherwise=signal.SIGQUIT)
    with contextlib.suppress(OSError):
        socket_dir.rmdir()
