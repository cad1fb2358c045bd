"""Promises that a suite of the ordinary tests tries whole; its figures are how many of them held."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from reliability.figures import Figures

ROOT = Path(__file__).parents[1]


def tested(invariant: str, name: str, seed: int, files: Sequence[str]) -> Figures:
    """The figures of the tests in these files; one that fails is named, and a run of none is broken."""
    figures = Figures(invariant, name, seed)
    with figures.timed():
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = dict.fromkeys(("passed", "failed", "error"), 0)
    summary = done.stdout.strip().rpartition("\n")[2]
    found |= {what: int(many) for many, what in re.findall(r"(\d+) (passed|failed|error)", summary)}
    figures.counted["tests passed"] = found["passed"]
    figures.must_be_zero("tests failed", found["failed"] + found["error"])
    figures.must_be_reached("tests passed")
    figures.wrong += re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
    figures.must(done.returncode == 0, f"pytest ended with {done.returncode}")
    return figures
