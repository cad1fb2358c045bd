"""`tollhouse dev` as a whole: real stores, sandbox, service, worker and demo, on any free ports."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tollhouse_server import dev

OURS = ("APP_", "DATABASE_", "DEMO_", "REDIS_", "SANDBOX_", "STRIPE_", "ADMIN_", "FOLLOW_")


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have settings of his own, in the environment or in a .env."""
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # as in many an office; nothing may go there
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not below `tmp_path`, where PostgreSQL's account could not go when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-test-"))
    directory.chmod(0o755)
    yield directory / "data"
    shutil.rmtree(directory)


@contextmanager
def meanwhile(do: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread while the block runs, and fail with it."""
    failures: list[BaseException] = []

    def caught() -> None:
        try:
            do()
        except BaseException as failure:
            failures.append(failure)
            os.kill(os.getpid(), signal.SIGINT)  # ends what the block waits for

    thread = threading.Thread(target=caught)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 80
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.05)


@pytest.mark.timeout(120)
def test_everything_answers_until_a_part_dies(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All parts answer and secrets are private; the death of one ends the rest, is told, and makes the exit code 1."""
    ready_file = tmp_path / "ready.json"
    place: dict[str, Any] = {}

    def look_and_kill_the_demo() -> None:
        wait_for(ready_file)
        place.update(json.loads(ready_file.read_text()))
        assert httpx.get(place["demo"]).is_success
        assert httpx.get(f"{place['service']}/docs").is_success
        key = place["project_keys"]["pdf-tool"]
        catalog = httpx.get(f"{place['service']}/v1/catalog", headers={"Authorization": f"Bearer {key}"}).json()
        assert catalog["project"] == "pdf-tool"
        for private in (ready_file, data_dir / "secrets.json", data_dir / "env"):
            assert private.stat().st_mode & 0o077 == 0
        assert data_dir.stat().st_mode & 0o044 == 0
        listening = f"--port {httpx.URL(place['demo']).port} "
        processes = subprocess.run(["ps", "axww", "-o", "pid=,args="], capture_output=True, text=True).stdout
        pid = next(line.split()[0] for line in processes.splitlines() if listening in line and "uvicorn" in line)
        os.kill(int(pid), signal.SIGKILL)

    with meanwhile(look_and_kill_the_demo):
        assert dev.run(data_dir, with_valkey=True, ready_file=ready_file) == 1
    said = capsys.readouterr().out
    assert place["demo"] in said
    assert place["admin_api_key"] in said
    assert "demo was ended by signal 9" in said
    assert not ready_file.exists()
    for address in (place["demo"], place["service"], place["sandbox"]):
        with pytest.raises(httpx.TransportError):
            httpx.get(address)


# An interrupt may strike while a connection or a file is being opened, which is then closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <(socket|_io):pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_while_it_starts_stops_it(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C need not wait for the start to be over; what has been started is stopped, and the exit code is 0."""

    def interrupt() -> None:
        wait_for(data_dir / "logs" / "sandbox.log")
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(interrupt):
        assert dev.run(data_dir) == 0
    assert "Stopped." in capsys.readouterr().out
    assert not (data_dir / "postgres" / "cluster" / "postmaster.pid").exists()


def test_live_keys_without_a_webhook_secret_are_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started with a Stripe key whose webhooks anybody could forge, and the reason is said."""
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_0123456789")
    assert dev.run(data_dir) == 2
    assert "STRIPE_WEBHOOK_SECRET is not" in capsys.readouterr().out
    assert not data_dir.exists()


def test_a_port_that_is_asked_for_and_taken_ends_the_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is named, and nothing is left running."""
    monkeypatch.setenv("APP_HOST_PORT", "8999")
    monkeypatch.setenv("DEMO_HOST_PORT", "8999")
    assert dev.run(data_dir) == 2
    assert "DEMO_HOST_PORT asks for port 8999" in capsys.readouterr().out


def test_a_database_that_is_not_there_is_told(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A DATABASE_URL that leads nowhere ends the start with the reason, without its password."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:secret-word@127.0.0.1:9/nowhere")
    assert dev.run(data_dir) == 2
    said = capsys.readouterr().out
    assert "The database at DATABASE_URL cannot be used" in said
    assert "secret-word" not in said


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that leads through a file is told as such."""
    (tmp_path / "file").write_text("")
    assert dev.run(tmp_path / "file" / "data") == 2
    assert "cannot be used: Not a directory" in capsys.readouterr().out


def test_one_at_a_time(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run on the same data is refused, and the first goes on."""
    data_dir.mkdir()
    with (data_dir / "dev.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert dev.run(data_dir) == 2
    assert "Another `tollhouse dev` runs" in capsys.readouterr().out
