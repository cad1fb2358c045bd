"""What the embedded Valkey promises."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tollhouse_server.embedded.errors import EmbeddedServerError
from tollhouse_server.embedded.valkey import running_valkey


def test_it_is_an_empty_cache_on_a_private_socket() -> None:
    """It answers on a unix socket, keeps nothing on disk, throws old keys away when full, and is gone afterwards."""
    with running_valkey() as url, redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0
        assert client.config_get("save")["save"] == ""
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
        directory = Path(url.removeprefix("unix://")).parent
    assert not directory.exists()


def test_the_owners_death_stops_it(
    hold: Callable[..., subprocess.Popen[str]], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    """Killed outright, the process that started it takes it along."""
    owner = hold("valkey")
    assert owner.stdout is not None
    with redis.Redis.from_url(owner.stdout.readline().strip()) as client:
        assert client.ping()
        pid = client.info("server")["process_id"]
        owner.send_signal(signal.SIGKILL)
        eventually(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout[:1] not in "Z"


def test_a_program_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says when it gives up is in the error."""
    monkeypatch.setenv("TOLLHOUSE_VALKEY_BIN", "/bin/ls")
    with pytest.raises(EmbeddedServerError, match=r"Valkey did not start:\n.*ls"), running_valkey():
        pass
