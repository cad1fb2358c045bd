"""Processes under measurement: each on a core of its own, and what they use of it and of memory."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs, and those it started."""

    pid: int

    def cpu_seconds(self) -> float:
        """What it and its children have used of processors so far, in steps of 10 ms; /proc tells."""
        return sum(_ticks(pid) for pid in self._family()) / _TICKS

    def resident_bytes(self) -> int:
        """What it and its children hold in memory now; what they share is counted for each."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._family()) * page

    def _family(self) -> Iterator[int]:
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())


@dataclass(frozen=True, slots=True)
class Served(Process):
    """A server process that accepts connections on 127.0.0.1."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, core: int | None = SERVER_CORE
) -> Iterator[Process]:
    """A process until the block ends, kept to one core where there are two (`core=None`: to none)."""
    process = subprocess.Popen(command, env=os.environ | (environment or {}), cwd=_ROOT)
    try:
        pin(core, process.pid)
        yield Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    core: int | None = SERVER_CORE,
    port: int | None = None,
) -> Iterator[Served]:
    """A server on `port`, or a free one, once it accepts connections: told as APP_HOST_PORT and for `{port}`."""
    port = port or free_port()
    told = {"APP_HOST_PORT": str(port), "LOG_LEVEL": "ERROR", **(environment or {})}
    with running([part.replace("{port}", str(port)) for part in command], told, core=core) as process:
        _wait_until_accepted(process, port)
        yield Served(process.pid, port)


@contextlib.contextmanager
def serving_app(
    app: str, environment: Mapping[str, str] | None = None, *, core: int | None = SERVER_CORE
) -> Iterator[Served]:
    """A plain ASGI app (`benchmarks.bare:app`) by uvicorn as it comes, without a log: what others are compared with."""
    command = [sys.executable, "-m", "uvicorn", app, "--log-level", "error", "--no-access-log", "--port", "{port}"]
    with serving(command, environment, core=core) as served:
        yield served


def pin(core: int | None, pid: int = 0) -> None:
    """Keeps a process (0: the calling thread) to one core, where the machine has it and allows it."""
    with contextlib.suppress(OSError, AttributeError):  # no such core; not Linux
        if core is not None:
            os.sched_setaffinity(pid, {core})


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keeps the calling thread to one core until the block ends."""
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_accepted(process: Process, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None or time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.02)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
