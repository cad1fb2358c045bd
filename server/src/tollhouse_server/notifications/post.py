"""Posts to hosts that apps have named, and that we therefore do not trust: public addresses only, nothing followed.

A name is resolved once, every address it has is checked, and the connection goes to an address that was checked; TLS
and the Host header keep the name. So no later answer of a name server (DNS rebinding) leads elsewhere. No proxy of the
environment is used, as it would resolve the name again.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpcore
import httpx

from ..domain.destinations import Destination, is_public, literal

TIMEOUT = timedelta(seconds=15)
"""For everything: resolving, connecting, sending and the answer."""
ANSWER_LIMIT = 8 * 1024
"""How much of an answer is read; only its status matters."""
KEEP_ALIVE_SECONDS = 4.0
"""Shorter than what servers usually allow, so that none hangs up as we begin to send."""

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[Address]]]


class NoAnswer(Exception):
    """The endpoint could not be reached or gave no HTTP answer in time. The message is for the endpoint's owner."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said."""

    status: int
    retry_after: timedelta | None = None


class Post:
    """Sends one request at a time to an endpoint, any number side by side. `resolve` is for tests."""

    def __init__(self, *, allow_private: bool, connections: int, resolve: Resolve | None = None) -> None:
        self.allow_private = allow_private
        self._connections = connections
        # Threads of its own: name servers that hang would else keep everybody's lookups waiting.
        self._lookups = ThreadPoolExecutor(connections, thread_name_prefix="lookup")
        self._resolve = resolve or self._look_up
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, to: Destination, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a POST of `body`, whatever its status. Raises NoAnswer."""
        try:
            async with asyncio.timeout(TIMEOUT.total_seconds()):
                return await self._exchange(to, headers, body)
        except TimeoutError:
            raise NoAnswer(f"No answer within {TIMEOUT.total_seconds():.0f} seconds.") from None
        except httpcore.ConnectError as error:
            raise NoAnswer(_why(error)) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise NoAnswer("The connection broke before an answer was complete.") from error

    async def reaches(self, to: Destination) -> bool:
        """Whether the destination's host has an address, and public ones only where that is asked."""
        if self.allow_private:
            return True
        try:
            async with asyncio.timeout(5):
                return bool(await self._addresses(to.host, to.port))
        except (TimeoutError, NotPublic):
            return False

    async def _exchange(self, to: Destination, headers: Mapping[str, str], body: bytes) -> Answer:
        url = httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.target)
        host = f"[{to.host}]" if ":" in to.host else to.host
        usual = to.port == (443 if to.scheme == "https" else 80)
        sent = {"Host": host if usual else f"{host}:{to.port}", "User-Agent": "Tollhouse", **headers}
        async with self._opened().stream("POST", url, headers=list(sent.items()), content=body) as response:
            size = 0
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size > ANSWER_LIMIT:
                    break  # leaving the block hangs up
            return Answer(response.status, _retry_after(response.headers))

    def _opened(self) -> httpcore.AsyncConnectionPool:
        """Opened by the first who posts: reading the certificate authorities takes a while."""
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=httpx.create_ssl_context(),
                max_connections=self._connections,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=_CheckedNetwork(self._addresses),
            )
        return self._pool

    async def _addresses(self, host: str, port: int) -> list[Address]:
        """The addresses to connect to. Raises NotPublic where the host has none, or one that is not allowed."""
        address = literal(host)
        found = [address] if address is not None else await self._resolve(host, port)
        if not found or not (self.allow_private or all(map(is_public, found))):
            raise NotPublic
        return found

    async def _look_up(self, host: str, port: int) -> list[Address]:
        def ask() -> list[Any]:
            try:
                return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                return []

        found = await asyncio.get_running_loop().run_in_executor(self._lookups, ask)
        # A zone (fe80::1%eth0) is of a link, and no public address has one.
        return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


class NotPublic(OSError):
    """The host has no public address, or not only such."""


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects by name to addresses that were checked. httpcore starts TLS for the name, not for the address."""

    def __init__(self, addresses: Resolve) -> None:
        self._addresses = addresses
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._addresses(host, port)
        except NotPublic as error:
            raise httpcore.ConnectError from error
        failure = httpcore.ConnectError()
        for address in addresses:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure


def _why(error: httpcore.ConnectError) -> str:
    """What the endpoint's owner can act on; whether a name resolved to something private is not told."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"No TLS connection: {getattr(cause, 'verify_message', '') or cause.reason or 'it was refused'}."
        if isinstance(cause, NotPublic):
            return "No connection: the host has no public address."
        cause = cause.__cause__ or cause.__context__
    return "No connection: it was refused, or cut."


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> timedelta | None:
    """What the Retry-After header asks for: seconds, or a date; None where it is absent or unreadable."""
    said = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if said.isascii() and said.isdigit():
        return timedelta(seconds=min(int(said[:9]), 10**8))
    try:
        return max(parsedate_to_datetime(said) - datetime.now(UTC), timedelta())
    except (ValueError, TypeError):
        return None
