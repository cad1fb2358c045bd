"""Real processes that can be killed at any moment and started again: the service's, and PostgreSQL."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tollhouse_server.embedded.postgres import PostgresServer, running_postgres


class Processes:
    """`tollhouse serve` and `tollhouse work` processes, each started within milliseconds."""

    def __init__(self, environ: Mapping[str, str], directory: Path) -> None:
        self._forker = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forker.py")],
            env=dict(environ),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if "RELIABILITY_LOG" in os.environ else subprocess.DEVNULL,
            text=True,
        )
        self._pids: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Starts `serve`, or `work` under any name that begins so (`work 1`)."""
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.write(f"{name.split()[0]}\n")
        self._forker.stdin.flush()
        self._pids[name] = int(self._forker.stdout.readline())

    def alive(self, name: str) -> bool:
        try:
            os.kill(self._pids[name], 0)
        except (ProcessLookupError, KeyError):
            return False
        return True

    def kill(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self._pids.pop(name), signal.SIGKILL)

    def pause(self, name: str, seconds: float) -> None:
        """Stops it in the middle of what it does, for so long that others must think it dead."""
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self._pids[name], signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(self._pids[name], signal.SIGCONT)

    def close(self) -> None:
        for name in list(self._pids):
            self.kill(name)
        self._forker.communicate()


class KillablePostgres:
    """A durable PostgreSQL whose postmaster and children can all be killed at once, as when a machine's power fails."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._running: AbstractContextManager[PostgresServer] | None = None
        self.start()

    def start(self) -> None:
        """Starts it; after a kill it recovers from its log first."""
        self._running = running_postgres(self._data_dir, durable=True)
        self.server = self._running.__enter__()

    def kill(self) -> None:
        assert self._running is not None
        postmaster = int((self._data_dir / "cluster/postmaster.pid").read_text().splitlines()[0])
        for pid in (postmaster, *_children(postmaster)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._running.__exit__(None, None, None)
        self._running = None

    def close(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)


def _children(parent: int) -> list[int]:
    """Direct children: each of PostgreSQL's processes is one of its postmaster's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                after = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after[1]) == parent:
                    found.append(int(entry.name))
    return found


@contextmanager
def killable_postgres() -> Iterator[KillablePostgres]:
    """Data that survive kills, and are deleted at the end."""
    data_dir = Path(tempfile.gettempdir()) / f"tollhouse-reliability-{os.getpid()}-{time.time_ns():x}"
    postgres = KillablePostgres(data_dir)
    try:
        yield postgres
    finally:
        postgres.close()
        shutil.rmtree(data_dir, ignore_errors=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
