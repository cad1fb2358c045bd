"""What the clients do when the service is slow, broken or away: on real connections, within the promised time."""

import socket
import threading
import time
from typing import Any

import httpx
import pytest

from tollhouse import ServerError, Tollhouse, Unreachable

PAY = {"success_url": "https://app.test/thanks", "cancel_url": "https://app.test/pricing"}


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_failure_is_not_seen(service: Any, client: Any, examples: Any, status: int) -> None:
    """One bad answer of the kind that passes is followed by a second attempt, which the app does not notice."""
    service.problem(status, "store-unavailable")
    service.answer(examples["customer"])
    assert client.customer("ada").version == 7
    assert len(service.seen) == 2


def test_a_connection_cut_in_the_middle_is_tried_again(service: Any, client: Any, examples: Any) -> None:
    """A service that restarts under a request costs a retry, not an error."""
    service.cut()
    service.answer(examples["customer"])
    assert client.customer("ada").version == 7


def test_a_repeated_write_is_the_same_write(service: Any, client: Any, examples: Any) -> None:
    """All attempts of one call carry one Idempotency-Key and request id; another call carries others."""
    service.problem(503, "upstream-unavailable")
    service.answer(examples["checkout"], 201)
    client.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    client.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    first, second, other = (r.headers["Idempotency-Key"] for r in service.seen)
    assert first == second != other
    first, second, other = (r.headers["X-Request-Id"] for r in service.seen)
    assert first == second != other
    assert service.seen[0].body == service.seen[1].body


def test_reads_carry_no_idempotency_key(service: Any, client: Any, examples: Any) -> None:
    """A read has nothing to repeat safely."""
    service.answer(examples["customer"])
    client.customer("ada")
    assert "Idempotency-Key" not in service.seen[0].headers


def test_a_lasting_failure_is_told(service: Any, connect: Any) -> None:
    """After the last retry the app gets the service's own reason."""
    service.problem(503, "store-unavailable", "The store is away.")
    with pytest.raises(ServerError, match="The store is away") as raised:
        connect(retries=1).customer("ada")
    assert (raised.value.status, raised.value.code) == (503, "store-unavailable")
    assert len(service.seen) == 2


def test_a_refused_connection_is_unreachable(connect: Any, key: str) -> None:
    """Nobody listening ends in one clear error, which names the cause and not the key."""
    client = connect(url=f"http://127.0.0.1:{closed_port()}", retries=1)
    with pytest.raises(Unreachable, match="ConnectError") as raised:
        client.customer("ada")
    assert raised.value.request_id in str(raised.value)
    assert raised.value.__cause__ is not None
    assert key not in f"{raised.value!r}{raised.value.__cause__!r}"


def test_the_deadline_bounds_an_answer_that_never_ends(service: Any, connect: Any) -> None:
    """Bytes that keep arriving do not extend the time a call may take."""
    service.drip()
    started = time.monotonic()
    with pytest.raises(Unreachable):
        connect(timeout=0.15).customer("ada")
    assert time.monotonic() - started < 1


def test_waiting_for_a_free_connection_counts(service: Any, examples: Any, key: str) -> None:
    """Time spent in the pool's queue is part of the deadline, and the next call works again."""
    service.silence()
    transport = httpx.HTTPTransport(limits=httpx.Limits(max_connections=1))
    with Tollhouse(service.url, key, timeout=0.2, retries=0, stream=False, transport=transport) as client:
        first_arrived = threading.Event()
        hold = service.script[0]
        service.script[:] = [lambda handler: (first_arrived.set(), hold(handler))]

        def occupy() -> None:
            with pytest.raises(Unreachable):
                client.customer("ada")

        thread = threading.Thread(target=occupy)
        thread.start()
        assert first_arrived.wait(5)
        started = time.monotonic()
        with pytest.raises(Unreachable):
            client.start(0.3)
        assert time.monotonic() - started < 0.45
        thread.join()
        assert len(service.seen) == 2
        service.script.clear()
        service.answer(examples["customer"])
        assert client.customer("ada").version == 7


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"\xff\xfe", b"[]", b"{}", b'{"feature": 1}', b""])
def test_an_answer_that_cannot_be_read_is_never_an_entitlement(service: Any, client: Any, body: bytes) -> None:
    """200 from something that is not Tollhouse opens nothing and says what is wrong."""
    service.raw(body)
    with pytest.raises(ServerError) as raised:
        client.customer("ada")
    assert raised.value.code == "unreadable-answer"


def test_an_answer_with_broken_compression_is_unreachable(service: Any, connect: Any) -> None:
    """A transfer that arrives damaged counts as no answer."""
    service.raw(b"not gzip", Content_Encoding="gzip")
    with pytest.raises(Unreachable):
        connect(retries=0).customer("ada")


def test_threads_share_one_client(service: Any, examples: Any, key: str) -> None:
    """One Tollhouse serves many threads at once, each with its own answer."""
    service.answer(examples["snapshot"])
    answers: list[bool] = []
    with Tollhouse(service.url, key, stream=False, poll_interval=0) as client:
        threads = [
            threading.Thread(target=lambda: answers.append(bool(client.check("ada", "premium_export"))))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [True] * 16


def test_connections_are_kept(service: Any, client: Any, examples: Any) -> None:
    """Two calls travel over one connection: one pool per client."""
    service.answer(examples["customer"])
    peers: list[Any] = []
    play = service.script[0]
    service.script[:] = [lambda handler: (peers.append(handler.client_address), play(handler))]
    client.customer("ada")
    client.customer("ada")
    assert peers[0] == peers[1]
