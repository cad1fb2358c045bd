"""What `tollhouse dev` promises about its parts."""

import threading
from pathlib import Path

import pytest

from tollhouse_server.dev.supervisor import PartDied, Supervisor

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def shown() -> list[tuple[str, str]]:
    """The warnings that were shown: part and line."""
    return []


@pytest.fixture
def supervisor(tmp_path: Path, shown: list[tuple[str, str]]) -> Supervisor:
    return Supervisor(tmp_path, lambda part, line: shown.append((part, line)))


def test_the_death_of_a_part_is_told_with_its_last_words(supervisor: Supervisor) -> None:
    """A part that ends makes the watch end, and the error names it, its exit code and the end of its log."""
    supervisor.start("steady", ["sleep", "60"], ENVIRONMENT)
    supervisor.start("frail", ["sh", "-c", "echo it was nice; exit 3"], ENVIRONMENT)
    with pytest.raises(PartDied, match=r"frail ended with exit code 3\. The end of .*frail\.log:\nit was nice"):
        supervisor.watch()
    supervisor.stop()


def test_a_part_that_was_killed_is_told_by_signal(supervisor: Supervisor) -> None:
    """A signal from outside is named as such."""
    supervisor.start("victim", ["sh", "-c", "kill -KILL $$"], ENVIRONMENT)
    with pytest.raises(PartDied, match="victim was ended by signal 9"):
        supervisor.watch()
    supervisor.stop()


def test_a_part_that_is_never_ready_is_given_up(supervisor: Supervisor) -> None:
    """Waiting has an end, and the error names the part that was waited for."""
    supervisor.start("steady", ["sleep", "60"], ENVIRONMENT)
    supervisor.start("slow", ["sleep", "60"], ENVIRONMENT)
    with pytest.raises(PartDied, match="slow was not ready after 0 seconds"):
        supervisor.wait_until(lambda: False, within=0.1)
    supervisor.stop()


def test_a_part_that_dies_is_not_waited_for(supervisor: Supervisor) -> None:
    """A part that ends while it is waited for is told at once."""
    supervisor.start("frail", ["false"], ENVIRONMENT)
    with pytest.raises(PartDied, match="frail ended with exit code 1"):
        supervisor.wait_until(lambda: False, within=30)
    supervisor.stop()


LOG = r"""
echo 'INFO:     started'
echo '{"event": "all is well", "level": "info"}'
echo '{"event": "Stripe is slow", "level": "warning"}'
echo '2026-11-22 [error    ] it broke'
echo 'WARNING:  port reused'
printf '{"level": "warning", half a line'
"""


def test_warnings_and_errors_are_shown_once(
    supervisor: Supervisor, shown: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Warnings in any of the logs' formats are shown, other lines stay in the file, and a line counts when it ends."""
    supervisor.start("talker", ["sh", "-c", f"{LOG}\nexec sleep 60"], ENVIRONMENT)
    supervisor.wait_until(lambda: "half" in (tmp_path / "talker.log").read_text(), within=10)
    supervisor.check()
    supervisor.check()
    assert [line for _, line in shown] == [
        '{"event": "Stripe is slow", "level": "warning"}',
        "2026-11-22 [error    ] it broke",
        "WARNING:  port reused",
    ]
    assert {part for part, _ in shown} == {"talker"}
    supervisor.stop()


def test_the_last_runs_log_is_kept(supervisor: Supervisor, tmp_path: Path) -> None:
    """A new start does not lose the log that tells why the last run ended."""
    log = tmp_path / "part.log"
    for word in ("yesterday", "today"):
        supervisor.start("part", ["sh", "-c", f"echo {word}; exec sleep 60"], ENVIRONMENT)
        supervisor.wait_until(lambda word=word: word in log.read_text(), within=10)  # type: ignore[misc]
        supervisor.stop()
    assert log.read_text() == "today\n"
    assert (tmp_path / "part.log.1").read_text() == "yesterday\n"


def test_an_interrupt_that_got_lost_stops_all_the_same(tmp_path: Path) -> None:
    """KeyboardInterrupt raised where Python swallows it, in a destructor say, is raised again by the next look."""
    interrupted = threading.Event()
    supervisor = Supervisor(tmp_path, lambda *_: None, interrupted)
    supervisor.check()
    interrupted.set()
    with pytest.raises(KeyboardInterrupt):
        supervisor.watch()
