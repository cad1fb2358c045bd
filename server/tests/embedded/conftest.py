"""Data directories, and a way to hold a server from another process."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tollhouse_server.embedded.postgres import running_postgres

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that PostgreSQL's account can enter too; pytest's own `tmp_path` belongs to its user alone."""
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def used_data() -> Iterator[Path]:
    """A data directory whose cluster exists already, so that starting on it is quick."""
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-test-"))
    directory.chmod(0o755)
    with running_postgres(directory / "data", durable=False):
        pass
    yield directory / "data"
    shutil.rmtree(directory)


@pytest.fixture
def hold(room: Path) -> Iterator[Hold]:
    """Start `hold.py`, which runs a server or a child in a process of its own until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str | Path, python: str = sys.executable, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [python, Path(__file__).with_name("hold.py"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(room)} | (env or {}),  # a killed owner leaves its socket's directory
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate(timeout=20)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something another process does has happened; fail after ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within ten seconds"
            time.sleep(0.01)

    return wait
