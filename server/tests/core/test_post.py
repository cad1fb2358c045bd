"""The connection goes to the address that was checked, under the name that was asked for, and nowhere else."""

import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from tollhouse_server.domain.destinations import Destination
from tollhouse_server.notifications.post import Address, NoAnswer, Post
from tollhouse_server.testing import Receiver

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1"


class Names:
    """A name server that the test is: each entry is one answer, the last repeats."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(one) for one in answer]


@contextlib.asynccontextmanager
async def posting(names: Names, *, allow_private: bool = False) -> AsyncIterator[Post]:
    post = Post(allow_private=allow_private, connections=4, resolve=names)
    yield post
    await post.close()


def at(receiver: Receiver, host: str = "app.example.com") -> Destination:
    return Destination("http", host, int(receiver.url.rsplit(":")[-1]), "/hook?a=b")


@pytest.mark.parametrize(
    "answer",
    [
        [LOOPBACK],
        ["93.184.215.14", LOOPBACK],
        [LOOPBACK, "93.184.215.14"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["fd00:ec2::254"],
        [],
    ],
    ids=str,
)
async def test_a_name_that_leads_inside_is_not_followed(receiver: Receiver, answer: list[str]) -> None:
    """Not even by one of its addresses; and what it resolves to is not told."""
    async with posting(Names(answer)) as post:
        with pytest.raises(NoAnswer, match=r"^No connection: the host has no public address\.$"):
            await post(at(receiver), {}, b"{}")
        assert not await post.reaches(at(receiver))
    assert receiver.received == []


async def test_an_address_is_checked_like_a_name(receiver: Receiver) -> None:
    """Whatever let it into the table: it is checked again with each connection."""
    async with posting(Names([LOOPBACK])) as post:
        with pytest.raises(NoAnswer, match="public"):
            await post(at(receiver, LOOPBACK), {}, b"{}")
    assert receiver.received == []


async def test_the_name_is_resolved_once_for_a_connection(receiver: Receiver) -> None:
    """What it resolves to a moment later (DNS rebinding) is nobody's concern; the Host header keeps the name."""
    names = Names([LOOPBACK], ["192.0.2.1"])
    async with posting(names, allow_private=True) as post:
        assert (await post(at(receiver), {"webhook-id": "msg_1"}, b'{"a": 1}')).status == 204
        assert names.asked == 1
    [heard] = receiver.received
    assert (heard.path, heard.body, heard.headers["webhook-id"]) == ("/hook?a=b", b'{"a": 1}', "msg_1")
    assert heard.headers["host"] == f"app.example.com:{receiver.url.rsplit(':')[-1]}"


async def test_a_second_address_is_tried_where_the_first_refuses(receiver: Receiver) -> None:
    """As for any client of a name with several."""
    with socket.create_server(("127.0.0.2", 0)) as closed:
        _ = closed
    async with posting(Names(["127.0.0.2", LOOPBACK]), allow_private=True) as post:
        assert (await post(at(receiver), {}, b"{}")).status == 204


async def test_tls_is_for_the_name(receiver: Receiver) -> None:
    """The certificate must be the name's, though the connection went to an address; an unknown one is refused."""
    asked: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.sni_callback = lambda _, name, __: asked.append(name)
    listener = socket.create_server((LOOPBACK, 0))

    def greet() -> None:
        with listener.accept()[0] as connection, contextlib.suppress(OSError):
            server.wrap_socket(connection, server_side=True)

    thread = threading.Thread(target=greet)
    thread.start()
    async with posting(Names([LOOPBACK]), allow_private=True) as post:
        with pytest.raises(NoAnswer, match=r"^No TLS connection: .+\.$"):
            await post(Destination("https", "app.example.com", listener.getsockname()[1], "/"), {}, b"{}")
    thread.join()
    listener.close()
    assert asked == ["app.example.com"]


async def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name again, and from inside our network."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with posting(Names([LOOPBACK]), allow_private=True) as post:
        assert (await post(at(receiver), {}, b"{}")).status == 204


async def test_the_system_is_asked_where_nothing_else_is_given(receiver: Receiver) -> None:
    """Names of this machine resolve; one that cannot be is no address and no error of ours."""
    post = Post(allow_private=True, connections=4)
    assert (await post(at(receiver, "localhost"), {}, b"{}")).status == 204
    await post.close()
    post = Post(allow_private=False, connections=4)
    assert not await post.reaches(Destination("https", "no-such-name.invalid", 443, "/"))
    assert not await post.reaches(Destination("https", "localhost", 443, "/"))
    assert await post.reaches(Destination("https", "1.1.1.1", 443, "/"))
    with pytest.raises(NoAnswer, match="public"):
        await post(Destination("https", "no-such-name.invalid", 443, "/"), {}, b"{}")
    await post.close()
