"""What a figure was seen on: machine, versions and commit."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from tollhouse_server.embedded.accounts import server_account
from tollhouse_server.embedded.binaries import postgres_bindir, valkey_binary

ROOT = Path(__file__).parent.parent
# What a benchmark writes itself does not make the code another one.
WRITTEN = ("benchmarks/results/", "docs/explanation/performance.md", "docs/images/performance.svg")


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "postgresql": _version(postgres_bindir(server_account()) / "postgres"),
        "valkey": _version(valkey_binary()),
    }


def commit() -> tuple[str, bool]:
    """The commit, shortened, and whether the code differed from it."""
    short = _git("rev-parse", "--short=12", "HEAD").strip()
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    return short or "unknown", any(not path.startswith(WRITTEN) for path in changed)


def load_average() -> float:
    """How many processes wanted a processor over the last minute."""
    return round(os.getloadavg()[0], 1)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(binary: Path | str) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = [word.removeprefix("v=") for word in said.split()]
    return next((word for word in numbers if word[:1].isdigit()), "unknown")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout
