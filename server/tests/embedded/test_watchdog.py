"""A guarded child ends with its supervisor, and on its supervisor's word."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tollhouse_server.embedded.watchdog import GuardedProcess

# A child with a child of its own, which says both pids and then waits; the grandchild ignores the polite signal.
FAMILY = "trap '' TERM; sleep 60 & echo $$ $! > {said}; trap - TERM; wait"


def _runs(pid: int) -> bool:
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout[:1] not in "Z"


def test_the_exit_code_is_the_childs() -> None:
    """An exit by itself is seen with its code, and stopping afterwards harms nobody."""
    child = GuardedProcess(["sh", "-c", "exit 7"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.exit_code() == 7
    assert child.stop(within=5) == 7
    assert child.stop(within=5) == 7


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    """Both streams of the child end up in the log, and arguments reach it unchanged."""
    with (tmp_path / "log").open("wb") as log:
        child = GuardedProcess(["sh", "-c", 'printf "%s\\n" "$@"; echo err >&2', "sh", "a b", "$c 'd'"], log=log)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        child.stop(within=5)
    assert (tmp_path / "log").read_text() == "a b\n$c 'd'\nerr\n"


def test_stop_ends_the_whole_family(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    """A grandchild that ignores the polite signal is ended with the child."""
    said = tmp_path / "said"
    child = GuardedProcess(["sh", "-c", FAMILY.format(said=said)])
    eventually(lambda: said.exists() and len(said.read_text().split()) == 2)
    assert child.stop(within=5) == -signal.SIGTERM
    eventually(lambda: not any(_runs(int(pid)) for pid in said.read_text().split()))


def test_a_child_that_will_not_stop_is_killed(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    """After the time given the child is ended by force."""
    ready = tmp_path / "ready"
    child = GuardedProcess(["sh", "-c", f"trap '' TERM; : > {ready}; while :; do sleep 60; done"])
    eventually(ready.exists)
    assert child.stop(within=0.05) == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_supervisors_death_ends_the_child(
    hold: Callable[..., subprocess.Popen[str]],
    eventually: Callable[[Callable[[], bool]], None],
    number: signal.Signals,
) -> None:
    """However the supervisor ends, its child does."""
    supervisor = hold("child", "sleep", "60", stderr=subprocess.DEVNULL)
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert _runs(pid)
    supervisor.send_signal(number)
    eventually(lambda: not _runs(pid))
