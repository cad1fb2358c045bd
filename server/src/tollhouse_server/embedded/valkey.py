"""A Valkey of our own: a cache on a unix socket, empty at the start, gone when we are gone."""

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tollhouse_server.embedded.binaries import valkey_binary
from tollhouse_server.embedded.errors import EmbeddedServerError
from tollhouse_server.embedded.watchdog import GuardedProcess

_START_SECONDS = 10.0
_LONGEST_TEMP_PATH = 60  # leaves room in the 103 bytes a unix socket's path may have


@contextlib.contextmanager
def running_valkey() -> Iterator[str]:
    """Yield the `unix:///…` URL of an empty server that lives until the block ends. Raises EmbeddedServerError."""
    temp = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST_TEMP_PATH else "/tmp"  # noqa: S108
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-valkey-", dir=temp))
    try:
        with (directory / "valkey.log").open("wb") as log:
            process = GuardedProcess(_command(directory), log=log)
        try:
            _wait_until_ready(process, directory)
            yield f"unix://{directory / 'socket'}"
        finally:
            process.stop(within=5)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _command(directory: Path) -> list[str | Path]:
    return [
        valkey_binary(),
        *("--port", "0"),
        *("--unixsocket", directory / "socket"),
        *("--unixsocketperm", "700"),
        *("--dir", directory),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--maxmemory", "64mb"),
        *("--maxmemory-policy", "allkeys-lru"),
    ]


def _wait_until_ready(process: GuardedProcess, directory: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(str(directory / "socket"))
            return
        if process.exit_code() is not None or time.monotonic() > deadline:
            said = (directory / "valkey.log").read_text(errors="replace").strip()
            raise EmbeddedServerError(f"Valkey did not start:\n{said}")
        time.sleep(0.01)
