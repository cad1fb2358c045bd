"""Load on 127.0.0.1: as many requests as a server answers, over connections that are kept, each answer checked."""

import asyncio
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import uvloop

from .processes import LOAD_CORE, Served, pinned

_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Refused(AssertionError):
    """An answer that was not as expected, or a connection that the server closed; says what came."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered in the measured seconds."""

    requests: int
    seconds: float
    p50: float
    """Seconds from a request to its whole answer, at the median; `p95` and `p99` likewise."""
    p95: float
    p99: float
    cpu_seconds: float
    """What the server's process and its children used meanwhile."""

    @property
    def rate(self) -> float:
        """Answers a second, over all connections."""
        return self.requests / self.seconds

    @property
    def also(self) -> dict[str, float]:
        """The figures that stand beside the rate, by name and unit."""
        return {
            "p50 ms": self.p50 * 1e3,
            "p99 ms": self.p99 * 1e3,
            "CPU µs": self.cpu_seconds / self.requests * 1e6,
        }


def load(
    server: Served,
    requests: Iterator[bytes],
    *,
    seconds: float,
    warm_up: float = 0.5,
    connections: int = 32,
    status: int = 200,
) -> Load:
    """Asks the server for `warm_up` and then for `seconds`, which count. Raises Refused.

    `requests` gives whole requests, one after the other, to whichever connection is free. `itertools.cycle` turns a few
    into as many as it takes; where they end, so does the load, once all are answered.
    """
    with pinned(LOAD_CORE):
        return uvloop.run(_measured(server, requests, seconds, warm_up, connections, status))


class _Ends:
    """What the connections of one load share."""

    def __init__(self, requests: Iterator[bytes], status: int, connections: int) -> None:
        self.requests, self.busy = requests, connections
        self.expected = b"HTTP/1.1 %d" % status
        self.took = array("d")
        self.over = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Before its time: with Refused, or without, as there is nothing left to ask."""

    def fail(self, why: str) -> None:
        if not self.over and not self.ended.done():
            self.ended.set_exception(Refused(why))

    def nothing_left(self) -> None:
        self.busy -= 1
        if self.busy == 0 and not self.ended.done():
            self.ended.set_result(None)


class _Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, and asks again."""

    def __init__(self, ends: _Ends) -> None:
        self._ends = ends
        self._before = b""
        """What has come of an answer that is not whole yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask(time.perf_counter())

    def data_received(self, data: bytes) -> None:
        if self._before:
            data = self._before + data
        head = data.find(_HEAD_ENDS)
        if head < 0 or len(data) < head + 4 + self._length(data, head):
            self._before = data
            return
        self._before = b""
        ends = self._ends
        if not data.startswith(ends.expected):
            ends.fail(data.decode(errors="replace"))
            return
        now = time.perf_counter()
        ends.took.append(now - self._asked)
        self._ask(now)

    def _ask(self, now: float) -> None:
        request = next(self._ends.requests, None)
        if request is None:
            self._ends.nothing_left()
            return
        self._asked = now
        self.transport.write(request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends.fail(f"the server closed the connection: {exc or self._before!r}")

    def _length(self, data: bytes, head: int) -> int:
        at = data.find(_LENGTH, 0, head)
        if at < 0:
            at = data[:head].lower().find(_LENGTH)
        if at < 0:
            raise Refused(f"an answer without Content-Length: {data.decode(errors='replace')}")
        return int(data[at + len(_LENGTH) : data.find(b"\r", at)])


async def _measured(
    server: Served, requests: Iterator[bytes], seconds: float, warm_up: float, connections: int, status: int
) -> Load:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: ends.fail(repr(told.get("exception") or told["message"])))
    ends = _Ends(requests, status, connections)
    used, begun, before = server.cpu_seconds(), time.perf_counter(), 0
    opened = [
        (await loop.create_connection(lambda: _Connection(ends), "127.0.0.1", server.port))[0]
        for _ in range(connections)
    ]
    try:
        if warm_up:
            await asyncio.wait([ends.ended], timeout=warm_up)
            used, begun, before = server.cpu_seconds(), time.perf_counter(), len(ends.took)
        await asyncio.wait([ends.ended], timeout=seconds)
        if ends.ended.done():
            ends.ended.result()
        ended, counted, used = time.perf_counter(), len(ends.took), server.cpu_seconds() - used
    finally:
        ends.over = True
        for transport in opened:
            transport.abort()
    took = sorted(ends.took[before:counted])
    if not took:
        raise Refused(f"no answer within {seconds} s")
    p50, p95, p99 = (took[int(len(took) * share)] for share in (0.5, 0.95, 0.99))
    return Load(len(took), ended - begun, p50, p95, p99, used)
