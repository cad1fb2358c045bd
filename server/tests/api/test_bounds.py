"""How much of a request is read, and for how long. Whatever is cut off is told why."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from tollhouse_server.api import problems
from tollhouse_server.api.bounds import Bounds
from tollhouse_server.api.envelope import Envelope
from tollhouse_server.api.protocol import SERVED, BoundedProtocol
from tollhouse_server.testing import World

JSON = {"Content-Type": "application/json"}
Refused = Callable[..., dict[str, Any]]
KIB = 1024


def pieces(size: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    yield from (b" " * min(64 * KIB, size - at) for at in range(0, size, 64 * KIB))


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/v1/checkouts", 64 * KIB),
        ("POST", "/v1/admin/grants", 64 * KIB),
        ("POST", "/v1/admin/projects/pdf-tool/catalog", 64 * KIB),
        ("PUT", "/v1/admin/projects/pdf-tool/catalog", 256 * KIB),
        ("POST", "/v1/stripe/webhook", 256 * KIB),
    ],
)
def test_a_body_over_the_limit_is_refused(
    stranger: httpx.Client, refused: Refused, method: str, path: str, limit: int
) -> None:
    """413 whether the length was announced or not, and the connection ends; at the limit the body is read."""
    for body in (b" " * (limit + 1), pieces(limit + 1), b" " * 900 * KIB):
        answer = stranger.request(method, path, content=body, headers=JSON)
        assert f"{limit // KIB} KiB" in refused(answer, 413, "too-large")["detail"]
        assert answer.headers["Connection"] == "close"
    assert stranger.request(method, path, content=b" " * limit, headers=JSON).status_code in (400, 401, 405)


def test_who_asks_before_sending_is_told_before_sending(world: World) -> None:
    """With Expect: 100-continue a body that is too large never travels."""
    head = b"POST /v1/checkouts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n"
    assert sent(world, head).startswith(b"HTTP/1.1 413 ")


def test_a_uri_that_is_too_long_is_refused(http: httpx.Client, refused: Refused) -> None:
    """414; the longest user id there can be, with each byte percent-encoded, is none."""
    longest = "%F0%9F%A6%8A" * 255
    assert http.get(f"/v1/customers/{longest}/entitlements/premium_export").status_code == 200
    answer = http.get(f"/v1/catalog?{'x' * 4 * KIB}")
    refused(answer, 414, "uri-too-long")
    assert answer.headers["Connection"] == "close"


def test_a_header_section_that_is_too_large_is_refused(http: httpx.Client, refused: Refused) -> None:
    """431, with one long header as with many short ones."""
    for headers in ({"X-Long": "x" * 8 * KIB}, {f"X-{number}": "x" for number in range(900)}):
        answer = http.get("/v1/catalog", headers=headers)
        refused(answer, 431, "headers-too-large")
        assert answer.headers["Connection"] == "close"
    assert http.get("/v1/catalog", headers={"X-Long": "x" * 7 * KIB}).status_code == 200


def sent(world: World, *parts: bytes) -> bytes:
    """What the service answers to bytes that an HTTP client would not send."""
    with socket.create_connection(("127.0.0.1", httpx.URL(world.service.url).port or 0), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):  # cut while still sending: what was answered has come before
            for part in parts:
                connection.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
        return answer


def problem(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower() and b"connection: close" in head.lower()
    read: dict[str, Any] = json.loads(body)
    assert f"x-request-id: {read['instance']}".encode() in head.lower()
    return read


def test_a_header_section_without_an_end_is_cut(world: World) -> None:
    """What never becomes a request is kept no longer than it may be: 431 as soon as it is too much."""
    piece = b"X-Endless: " + b"x" * 60 * KIB
    answer = sent(world, b"GET / HTTP/1.1\r\nHost: x\r\n", piece, *[b"x" * 60 * KIB] * 10)
    assert answer.startswith(b"HTTP/1.1 431 ") and problem(answer)["code"] == "headers-too-large"


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"HELO me\r\n\r\n"],
    ids=["TLS", "no path", "no such version", "SMTP"],
)
def test_what_is_not_http_is_told_so(world: World, garbage: bytes) -> None:
    """400 as a problem with a request id, and the end of the connection."""
    answer = sent(world, garbage)
    assert answer.startswith(b"HTTP/1.1 400 ") and problem(answer)["code"] == "malformed-request"


def served(protocol: type[BoundedProtocol], ask: Callable[[int], Awaitable[list[bytes]]]) -> list[bytes]:
    """What `ask` returns, given the port of an app that takes for ever, where a request may last 50 ms."""
    app = FastAPI()
    problems.install(app)

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    async def run() -> list[bytes]:
        envelope = Envelope(app, bounds=lambda _: Bounds(100, 0.05))
        server = uvicorn.Server(uvicorn.Config(envelope, **SERVED | {"http": protocol, "lifespan": "off"}))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                return await ask(listener.getsockname()[1])
            finally:
                server.should_exit = True
                await serving

    return asyncio.run(run())


def test_whatever_takes_too_long_is_given_up() -> None:
    """A head that stops, a body that stops, a connection on which nothing comes, and a handler that does not end."""

    class Hasty(BoundedProtocol):
        seconds = 0.05

    async def ask(port: int) -> list[bytes]:
        async def say(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

        head = b" HTTP/1.1\r\nHost: x\r\n"
        requests = (
            b"GET /slow" + head,
            b"POST /slow" + head + b"Content-Length: 9\r\n\r\n{",
            b"",
            b"GET /slow" + head + b"Connection: close\r\n\r\n",
        )
        return await asyncio.gather(*map(say, requests))

    half_a_head, half_a_body, nothing, slow = served(Hasty, ask)
    assert problem(half_a_head)["code"] == problem(half_a_body)["code"] == "request-timeout"
    assert nothing == b""
    assert slow.startswith(b"HTTP/1.1 503 ") and problem(slow)["code"] == "took-too-long"
    assert b"retry-after: 1" in slow
