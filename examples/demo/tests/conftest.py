"""The whole stack as `tollhouse dev` starts it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, str]]:
    """`tollhouse dev` on free ports with a data directory of its own; ended by Ctrl-C, which must succeed."""
    with tempfile.TemporaryDirectory(prefix="tollhouse-demo-") as directory:
        Path(directory).chmod(0o755)  # under root, PostgreSQL's own account has to get through
        ready, log = Path(directory, "ready.json"), Path(directory, "dev.log")
        options = ["--data", f"{directory}/data", "--ready-file", str(ready)]
        command = [sys.executable, "-m", "tollhouse_server.cli", "dev", *options]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=directory, env=_own_environment(), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield _wait_for(ready, process, log)
        finally:
            process.send_signal(signal.SIGINT)
            exit_code = process.wait(timeout=30)
        assert exit_code == 0, log.read_text()[-3000:]


@pytest.fixture(scope="session")
def demo_url(stack: dict[str, str]) -> str:
    return stack["demo"]


@pytest.fixture(scope="session")
def sandbox_url(stack: dict[str, str]) -> str:
    return stack["sandbox"]


def _own_environment() -> dict[str, str]:
    """Ours, without what would lead to somebody's own database or Stripe account; port 0 is any free one."""
    leading_elsewhere = ("STRIPE_", "DATABASE_URL", "REDIS_URL", "ADMIN_API_KEY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(leading_elsewhere)}
    return kept | {"APP_HOST_PORT": "0", "SANDBOX_HOST_PORT": "0", "DEMO_HOST_PORT": "0"}


def _wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None, f"tollhouse dev ended:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"tollhouse dev is not ready:\n{log.read_text()[-3000:]}"
        time.sleep(0.1)
    running: dict[str, str] = json.loads(ready.read_text())
    return running
