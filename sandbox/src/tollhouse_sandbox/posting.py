"""Posts bodies over kept HTTP/1.1 connections: as much of HTTP as webhooks need, at a tenth of a client's cost."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PostError(Exception):
    """Nothing was answered; says why."""


class Poster:
    """Keeps the connections of each address that are free. Redirects are not followed, and no body is read."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._free: defaultdict[tuple[str, str], list[_Connection]] = defaultdict(list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, pause: float = 0) -> int:
        """The status that was answered within the timeout. The second half of the body comes `pause` seconds later.

        Raises `PostError`.
        """
        try:
            target = urlsplit(url)
            head = _head(target, headers, len(body))
            async with asyncio.timeout(self._timeout):
                return await self._exchange(target, head, body, pause)
        except TimeoutError:
            raise PostError(f"timed out after {self._timeout:g} seconds") from None
        except asyncio.IncompleteReadError:
            raise PostError("the connection was closed without an answer") from None
        except (OSError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise PostError(f"{type(error).__name__}: {error}") from None

    async def _exchange(self, target: SplitResult, head: bytes, body: bytes, pause: float) -> int:
        reader, writer = await self._connection(target)
        kept = False
        try:
            if pause:
                half = len(body) // 2
                writer.write(head + body[:half])
                await asyncio.sleep(pause)
                writer.write(body[half:])
            else:
                writer.write(head + body)
            status, kept = await _answer(reader)
        finally:
            if kept:
                self._free[target.scheme, target.netloc].append((reader, writer))
            else:
                writer.transport.abort()
        return status

    async def _connection(self, target: SplitResult) -> _Connection:
        free = self._free[target.scheme, target.netloc]
        while free:
            reader, writer = free.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.transport.abort()
        if target.hostname is None or target.scheme not in ("http", "https"):
            raise ValueError("not an address to post to")
        tls = target.scheme == "https"
        return await asyncio.open_connection(target.hostname, target.port or (443 if tls else 80), ssl=tls or None)

    def close(self) -> None:
        for _, writer in (each for free in self._free.values() for each in free):
            writer.transport.abort()
        self._free.clear()


def _head(target: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    fields = {"Host": target.netloc.rpartition("@")[2], "Content-Length": str(length), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status, and whether the connection can be used again."""
    status, first, fields = 100, "", {}
    while status < 200:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if not first.startswith("HTTP/1."):
            raise ValueError(f"no HTTP answer: {first[:40]!r}")
        status = int(first.split(" ")[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    kept = first.startswith("HTTP/1.1") and fields.get("connection", "").lower() != "close"
    if not kept or "content-length" not in fields:
        return status, False
    await reader.readexactly(int(fields["content-length"]))
    return status, True
