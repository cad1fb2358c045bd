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


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not below `tmp_path`, where PostgreSQL's account could not go when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-test-"))
    directory.chmod(0o755)
    yield directory / "data"
    shutil.rmtree(directory)


Once = Callable[[dict[str, Any], threading.Event], object]


def run_dev(data_dir: Path, tmp_path: Path, once: Once, *, with_valkey: bool = False) -> int:
    """Run it in this thread; once it is ready, another does `once` with the ready file's content and interrupts it."""
    ready_file = tmp_path / "ready.json"
    failures: list[BaseException] = []
    ended = threading.Event()

    def accompany() -> None:
        try:
            deadline = time.monotonic() + 80
            while not ready_file.exists():
                assert time.monotonic() < deadline, "it was never ready"
                if ended.wait(0.05):
                    return
            assert ready_file.stat().st_mode & 0o077 == 0
            once(json.loads(ready_file.read_text()), ended)
        except BaseException as failure:
            failures.append(failure)
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    companion = threading.Thread(target=accompany)
    companion.start()
    try:
        code = dev.run(data_dir, with_valkey=with_valkey, ready_file=ready_file)
    finally:
        ended.set()
        companion.join()
    assert not ready_file.exists()
    if failures:
        raise failures[0]
    return code


@pytest.mark.timeout(200)
def test_it_starts_stops_and_finds_its_data_again(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything answers; an interrupt ends it in order with 0; the next run has the same keys and endpoint.

    The death of a part ends it too, with 1, and is told. (In one test, because a start takes seconds.)
    """
    seen: list[dict[str, Any]] = []

    def look(place: dict[str, Any], _ended: threading.Event) -> None:
        seen.append(place)
        assert httpx.get(place["demo"]).is_success
        assert httpx.get(f"{place['service']}/docs").is_success
        key = place["project_keys"]["pdf-tool"]
        catalog = httpx.get(f"{place['service']}/v1/catalog", headers={"Authorization": f"Bearer {key}"}).json()
        assert catalog["project"] == "pdf-tool"

    assert run_dev(data_dir, tmp_path, look, with_valkey=True) == 0
    said = capsys.readouterr().out
    assert seen[0]["demo"] in said
    assert seen[0]["admin_api_key"] in said
    secrets = json.loads((data_dir / "secrets.json").read_text())
    assert (data_dir / "secrets.json").stat().st_mode & 0o077 == 0

    def look_and_kill_the_demo(place: dict[str, Any], ended: threading.Event) -> None:
        look(place, ended)
        listening = f"--port {httpx.URL(place['demo']).port} "
        processes = subprocess.run(["ps", "axww", "-o", "pid=,args="], capture_output=True, text=True).stdout
        pid = next(line.split()[0] for line in processes.splitlines() if listening in line and "uvicorn" in line)
        os.kill(int(pid), signal.SIGKILL)
        assert ended.wait(20), "it does not notice"

    assert run_dev(data_dir, tmp_path, look_and_kill_the_demo) == 1
    assert "demo was ended by signal 9" in capsys.readouterr().out
    assert seen[1]["project_keys"] == seen[0]["project_keys"]
    assert json.loads((data_dir / "secrets.json").read_text()) == secrets
    with pytest.raises(httpx.TransportError):
        httpx.get(seen[1]["demo"])


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


def test_one_at_a_time(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run on the same data is refused, and the first goes on."""
    data_dir.mkdir()
    with (data_dir / "dev.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert dev.run(data_dir) == 2
    assert "Another `tollhouse dev` runs" in capsys.readouterr().out
