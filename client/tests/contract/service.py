"""A Tollhouse on loopback that answers as the API says, until it is told to misbehave. It speaks raw HTTP/1.1."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

Play = Callable[["Exchange"], Awaitable[None]]
"""What becomes of one request."""


@dataclass
class Exchange:
    """One request, and the connection that it came on."""

    service: "Service"
    path: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, body: bytes = b"", status: int = 200, kind: str = "application/json", **headers: str
    ) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if status == 304:
            lines.remove(f"Content-Length: {len(body)}")
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def hang_up(self) -> None:
        self.writer.transport.abort()


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    at: float


@dataclass
class Service:
    """`allow` and `deny` are what the operators do; `next` and `always` are what goes wrong."""

    project: str = "pdf-tool"
    features: dict[str, str] = field(default_factory=lambda: {"premium_export": "switch", "pages_per_day": "limit"})
    heartbeat: float = 15.0
    hello: dict[str, object] = field(default_factory=dict)
    """What a hello says otherwise than it should."""
    streams: bool = True
    beats: bool = True
    retry: int | None = 20
    """Milliseconds after which a stream's end is followed by the next; tests have no minute to lose."""
    ahead: timedelta = timedelta(0)
    """How far the service's clock is ahead of this machine's."""
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    _users: dict[str, dict[str, Any]] = field(default_factory=dict)
    _plays: dict[str, list[Play]] = field(default_factory=dict)
    _always: dict[str, Play] = field(default_factory=dict)
    _streams: list[asyncio.Queue[bytes | None]] = field(default_factory=list)
    _log: list[tuple[str, int]] = field(default_factory=list)
    catalog_version: int = 1

    # --- what the operators do ---------------------------------------------------------------------------------------

    def allow(self, user_id: str, feature: str, value: object = True, *, until: datetime | None = None) -> None:
        user = self._user(user_id)
        since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        stretch = {"value": value, "from": since, "until": until and until.isoformat()}
        user["open"][feature] = [{**stretch, "reason": "subscription-active", "source": "sub_1"}]
        self._changed(user_id)

    def deny(self, user_id: str, feature: str) -> None:
        self._user(user_id)["open"].pop(feature, None)
        self._changed(user_id)

    def new_catalog(self) -> None:
        self.catalog_version += 1
        self.tell(self.event("catalog", {"catalog_version": self.catalog_version}, self.position))

    def snapshot(self, user_id: str, **otherwise: object) -> dict[str, Any]:
        user = self._users.get(user_id, {"version": 0, "open": {}})
        features = {
            code: {"kind": kind, "stretches": user["open"].get(code, [])} for code, kind in self.features.items()
        }
        issued = datetime.now(UTC) + self.ahead
        told = {"project": self.project, "user_id": user_id, "version": user["version"]}
        told |= {"catalog_version": self.catalog_version, "issued_at": issued.isoformat(), "features": features}
        return {**told, **otherwise}

    @property
    def position(self) -> str:
        return f"p{len(self._log)}"

    def version(self, user_id: str) -> int:
        return int(self._users.get(user_id, {"version": 0})["version"])

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def next(self, what: str, *plays: Play) -> None:
        """The next requests for `snapshot`, `stream` or `entitlements` go like this, one each."""
        self._plays.setdefault(what, []).extend(plays)

    def always(self, what: str, play: Play | None) -> None:
        """All of them do; None: as the API says."""
        if play:
            self._always[what] = play
        else:
            self._always.pop(what, None)

    def tell(self, event: bytes) -> None:
        """Send this to all who follow the stream."""
        for queue in list(self._streams):
            self._loop.call_soon_threadsafe(queue.put_nowait, event)

    def cut_streams(self) -> None:
        for queue in list(self._streams):
            self._loop.call_soon_threadsafe(queue.put_nowait, None)

    def away(self) -> None:
        """Nobody listens any more, and whoever was connected is cut off."""

        async def close() -> None:
            self._server.close()
            self.cut_streams()
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(5)

    def back(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    @staticmethod
    def event(kind: str, data: object, position: str | None = None) -> bytes:
        said = data if isinstance(data, str) else json.dumps(data)
        return (f"event: {kind}\n" + (f"id: {position}\n" if position else "") + f"data: {said}\n\n").encode()

    def asked(self, what: str) -> list[Seen]:
        return [one for one in list(self.seen) if _what(one.path) == what]

    @property
    def followers(self) -> int:
        return len(self._streams)

    # --- the server ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.back()
        self.url = f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
                await reader.readexactly(int(headers.get("content-length", "0")))
                path = head[0].split(" ")[1]
                self.seen.append(Seen(path, headers, time.monotonic()))
                await self._play(_what(path))(Exchange(self, path, headers, reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # they hung up, or the test is over
        finally:
            self._writers.discard(writer)
            writer.close()

    def _play(self, what: str) -> Play:
        queued = self._plays.get(what)
        if queued:
            return queued.pop(0)
        known = {"snapshot": tell_snapshot, "stream": tell_changes, "catalog": tell_catalog, "sync": tell_customer}
        return self._always.get(what) or known.get(what, not_found)

    def _user(self, user_id: str) -> dict[str, Any]:
        return self._users.setdefault(user_id, {"version": 0, "open": {}})

    def _changed(self, user_id: str) -> None:
        self._users[user_id]["version"] += 1
        self._log.append((user_id, self._users[user_id]["version"]))
        self.tell(self.event("customer", self.snapshot(user_id), self.position))


def _what(path: str) -> str:
    return path.partition("?")[0].rsplit("/", 1)[-1]


async def tell_snapshot(exchange: Exchange) -> None:
    user_id = unquote(exchange.path.split("/")[-2])
    told = exchange.service.snapshot(user_id)
    lasting = {**told, "issued_at": None}
    etag = f'"{hashlib.sha256(json.dumps(lasting).encode()).hexdigest()[:16]}"'
    if exchange.headers.get("if-none-match") == etag:
        await exchange.answer(status=304, ETag=etag)
    else:
        await exchange.answer(json.dumps(told).encode(), ETag=etag, Tollhouse_Version=str(told["version"]))


async def tell_customer(exchange: Exchange) -> None:
    user_id = unquote(exchange.path.split("/")[-2])
    told = exchange.service.snapshot(user_id)
    features = {}
    for code, feature in told["features"].items():
        stretch = next(iter(feature["stretches"]), None)
        closed: object = False if feature["kind"] == "switch" else 0
        features[code] = {
            "allowed": stretch is not None,
            "value": stretch["value"] if stretch else closed,
            "valid_until": stretch["until"] if stretch else None,
            "reason": "subscription-active" if stretch else "no-source",
            "source": None,
        }
    customer = {"user_id": user_id, "version": told["version"], "checked_at": told["issued_at"], "features": features}
    await exchange.answer(json.dumps(customer | {"subscriptions": [], "purchases": [], "grants": []}).encode())


async def tell_catalog(exchange: Exchange) -> None:
    service = exchange.service
    features = [{"code": code, "name": code, "kind": kind} for code, kind in service.features.items()]
    told = {"project": service.project, "version": service.catalog_version, "features": features, "products": []}
    await exchange.answer(json.dumps(told).encode())


async def tell_changes(exchange: Exchange) -> None:
    """The stream as the API says: hello, what was missed, then what changes, and a heartbeat."""
    service = exchange.service
    if not service.streams:
        await not_found(exchange)
        return
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    asked = exchange.headers.get("last-event-id", "")
    resumed = asked.startswith("p") and asked[1:].isdigit() and int(asked[1:]) <= len(service._log)
    hello = {"project": service.project, "catalog_version": service.catalog_version, "resumed": resumed}
    hello |= {"heartbeat_seconds": service.heartbeat, **service.hello}
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    retry = b"" if service.retry is None else b"retry: %d\n\n" % service.retry
    service._streams.append(queue)
    gone = asyncio.ensure_future(exchange.reader.read())
    try:
        await exchange.send(head + retry + service.event("hello", hello))
        if resumed:
            for user_id in {user_id for user_id, _ in service._log[int(asked[1:]) :]}:
                await exchange.send(service.event("customer", service.snapshot(user_id), service.position))
        while not gone.done():
            beat = service.event("heartbeat", {}, service.position)
            await exchange.send(beat if service.beats else b": nothing\n\n")
            while (event := await _next(queue, gone, service.heartbeat)) is not None:
                await exchange.send(event)
    finally:
        service._streams.remove(queue)
        gone.cancel()
    raise ConnectionAbortedError


async def _next(queue: "asyncio.Queue[bytes | None]", gone: "asyncio.Future[bytes]", seconds: float) -> bytes | None:
    """The next event; None when it is time for a heartbeat. Raises ConnectionAbortedError when nothing follows."""
    told = asyncio.ensure_future(queue.get())
    await asyncio.wait({told, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not told.done():
        told.cancel()
        return None
    event = told.result()
    if event is None:
        raise ConnectionAbortedError
    return event


async def not_found(exchange: Exchange) -> None:
    await refuse(404, "not-found")(exchange)


def refuse(status: int, code: str, **headers: str) -> Play:
    async def play(exchange: Exchange) -> None:
        body = json.dumps({"status": status, "code": code, "detail": "Because."}).encode()
        await exchange.answer(body, status, "application/problem+json", **headers)

    return play
