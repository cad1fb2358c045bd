"""Which ports `tollhouse dev` takes."""

import socket
from collections.abc import Iterator

import pytest

from tollhouse_server.dev.errors import CannotRun
from tollhouse_server.dev.ports import HOST, choose_port


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def test_the_usual_port_is_taken_when_free(free_port: int) -> None:
    """Where nothing is in the way, addresses are the ones the documentation names."""
    assert choose_port("APP_HOST_PORT", free_port, {}, taken=set()) == free_port


def test_another_port_is_taken_when_the_usual_one_is_used(used_port: int) -> None:
    """A busy port is no reason not to start."""
    port = choose_port("APP_HOST_PORT", used_port, {}, taken=set())
    assert port not in {0, used_port}


def test_a_port_asked_for_is_taken_or_refused(used_port: int, free_port: int) -> None:
    """Who names a port gets that one or an error, never another."""
    assert choose_port("APP_HOST_PORT", used_port, {"APP_HOST_PORT": str(free_port)}, taken=set()) == free_port
    with pytest.raises(CannotRun, match=f"APP_HOST_PORT asks for port {used_port}"):
        choose_port("APP_HOST_PORT", free_port, {"APP_HOST_PORT": str(used_port)}, taken=set())


@pytest.mark.parametrize("asked", ["eighty", "-1", "65536"])
def test_what_is_not_a_port_is_refused(asked: str) -> None:
    """A typing error is told by the variable's name."""
    with pytest.raises(CannotRun, match=r"DEMO_HOST_PORT is .* not a port"):
        choose_port("DEMO_HOST_PORT", 8903, {"DEMO_HOST_PORT": asked}, taken=set())


def test_zero_asks_for_any_port() -> None:
    """0 means any free port, as everywhere."""
    assert choose_port("APP_HOST_PORT", 1, {"APP_HOST_PORT": "0"}, taken=set()) > 0


def test_two_parts_never_get_the_same_port(free_port: int) -> None:
    """A port given to one part counts as used before that part listens on it."""
    taken: set[int] = set()
    first = choose_port("APP_HOST_PORT", free_port, {}, taken=taken)
    assert choose_port("DEMO_HOST_PORT", free_port, {}, taken=taken) != first
    with pytest.raises(CannotRun):
        choose_port("SANDBOX_HOST_PORT", 0, {"SANDBOX_HOST_PORT": str(first)}, taken=taken)
