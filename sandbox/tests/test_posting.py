"""Posting webhooks: what of HTTP it takes from the many servers there are."""

import asyncio
import contextlib

import pytest

from tollhouse_sandbox.posting import Poster, PostError

NEVER = b"never"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def exchanged(*answers, patience=5.0):
    """What a server with these answers is asked, over how many connections, and what comes of each post."""
    asked, connections, left = [], 0, list(answers)

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        answer = OK
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            while b"Length" in answer:
                head = await reader.readuntil(b"\r\n\r\n")
                asked.append(head + await reader.readexactly(4))
                answer = left.pop(0)
                if answer is NEVER:
                    await reader.read()
                writer.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    poster, outcomes = Poster(patience), []
    for _ in answers:
        try:
            outcomes.append(await poster.post(f"http://127.0.0.1:{port}/hook?of=all", {"Content-Type": "x/y"}, b"body"))
        except PostError as error:
            outcomes.append(str(error))
    poster.close()
    server.close()
    await server.wait_closed()
    return asked, connections, outcomes


@pytest.mark.parametrize(
    ("answers", "connections", "outcomes"),
    [
        ([OK, OK, OK], 1, [200, 200, 200]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK], 1, [200, 200]),
        ([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK], 2, [200, 200]),
        ([b"HTTP/1.1 204 No Content\r\n\r\n", OK], 2, [204, 200]),
        ([b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", OK], 2, [500, 200]),
        ([OK.replace(b"1.1", b"1.0"), OK], 2, [200, 200]),
        ([b"", OK], 2, ["the connection was closed without an answer", 200]),
        ([b"nonsense\r\n\r\n", OK], 2, ["ValueError: no HTTP answer: 'nonsense'", 200]),
    ],
)
def test_answers(answers, connections, outcomes):
    """A connection is used again where that is safe; what is no answer is an error and leaves nothing behind."""
    asked, seen, came = asyncio.run(exchanged(*answers))
    assert (seen, came) == (connections, outcomes)
    assert asked[0].startswith(b"POST /hook?of=all HTTP/1.1\r\nHost: 127.0.0.1:")
    assert asked[0].endswith(b"\r\nContent-Length: 4\r\nContent-Type: x/y\r\n\r\nbody")


def test_no_answer_in_time():
    """Whoever takes too long is given up."""
    assert asyncio.run(exchanged(NEVER, patience=0.05))[2] == ["timed out after 0.05 seconds"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "no address", "http://[", "http://127.0.0.1:99999/"])
def test_nobody_there(url):
    """Every way of not reaching anybody is the same kind of error."""
    with pytest.raises(PostError):
        asyncio.run(Poster(1).post(url, {}, b""))
