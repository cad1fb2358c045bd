"""Two more worlds for the cases of checks.py: the fakes of tollhouse.testing, and the clients before the service."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any
from urllib.parse import urlsplit

from tollhouse import AsyncTollhouse, Catalog, Feature, Tollhouse
from tollhouse.local_copy import elapsed
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse
from tollhouse_server.testing import World as ServiceWorld

from .stage import Blocking

CATALOG = Catalog(
    "pdf-tool",
    1,
    (Feature("premium_export", "Export", "switch"), Feature("pages_per_day", "Pages", "limit", "max")),
    (),
)


class FakeWorld:
    """A fake is service and client in one, so what is told before a client is opened is told to it then."""

    def __init__(self, kind: str, loop: asyncio.AbstractEventLoop) -> None:
        self._make = FakeTollhouse if kind == "blocking" else AsyncFakeTollhouse
        self._loop = loop
        self._now = datetime(2026, 11, 24, 9, tzinfo=UTC)
        self._told: list[Callable[[Any], object]] = []
        self._fake: Any = None

    def open(self, **options: Any) -> Any:
        self._fake = self._make(catalog=CATALOG, now=self.now, **options)
        for tell in self._told:
            tell(self._fake)
        return self._fake if isinstance(self._fake, FakeTollhouse) else Blocking(self._fake, self._loop)

    def _tell(self, tell: Callable[[Any], object]) -> None:
        if self._fake is None:
            self._told.append(tell)
        else:
            tell(self._fake)

    def allow(self, user_id: str, feature: str, value: Any = True, *, until: datetime | None = None) -> None:
        value = inf if value == "unlimited" else value
        self._tell(lambda fake: fake.allow(user_id, feature, value, until=until))

    def deny(self, user_id: str, feature: str) -> None:
        self._tell(lambda fake: fake.deny(user_id, feature))

    def away(self) -> None:
        self._tell(lambda fake: setattr(fake, "reachable", False))

    def back(self) -> None:
        self._tell(lambda fake: setattr(fake, "reachable", True))

    def pass_time(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self._now

    def eventually(self, holds: Callable[[], object]) -> None:
        """At once: a test must not have to wait for what it said itself."""
        assert holds()


class Cable:
    """Between an app and the service: can be cut, and mended."""

    def __init__(self, target: str, loop: asyncio.AbstractEventLoop) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._loop = loop
        self._whole = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = self._run(self._start())
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._connect, "127.0.0.1", 0)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        self._writers -= {writer, there_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def set_whole(self, whole: bool) -> None:
        """Cut it, with all that is on its way, or mend it."""

        async def change() -> None:
            self._whole = whole
            for writer in () if whole else tuple(self._writers):
                writer.transport.abort()

        self._run(change())

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()

        self._run(end())


class RealWorld:
    """The clients as apps use them, before the service on a real PostgreSQL, with grants for purchases."""

    def __init__(self, kind: str, world: ServiceWorld, project: str, loop: asyncio.AbstractEventLoop) -> None:
        self._kind, self._world, self._project, self._loop = kind, world, project, loop
        self._grants: dict[tuple[str, str], list[str]] = {}
        self._opened: list[Any] = []
        self._elapsed = 0.0
        document = {"project": project, "name": "PDF Tool", "redirect_origins": ["https://app.test"]}
        features = {"premium_export": {"kind": "switch"}, "pages_per_day": {"kind": "limit"}}
        world.publish({**document, "features": features, "products": {}})
        self._key = world.new_key(project)
        self._cable = Cable(world.service.url, loop)

    def open(self, **options: Any) -> Any:
        options = {"retries": 0, "check_wait": 2.0, **options}
        kind = Tollhouse if self._kind == "blocking" else AsyncTollhouse
        made: Any = kind(self._cable.url, self._key, **options)
        made._copy.clock = lambda: elapsed() + self._elapsed
        self._opened.append(made if isinstance(made, Tollhouse) else Blocking(made, self._loop))
        return self._opened[-1]

    def allow(self, user_id: str, feature: str, value: Any = True, *, until: datetime | None = None) -> None:
        grant = {"project": self._project, "user_id": user_id, "feature": feature, "reason": "told by the test"}
        if value is not True:
            grant["value"] = value
        if until is not None:
            grant["ends_at"] = until.isoformat()
        answer = self._world.operator.post("/v1/admin/grants", json=grant)
        assert answer.status_code == 201, answer.text
        self._grants.setdefault((user_id, feature), []).append(answer.json()["id"])

    def deny(self, user_id: str, feature: str) -> None:
        for grant in self._grants.pop((user_id, feature), []):
            answer = self._world.operator.post(f"/v1/admin/grants/{grant}/revoke", json={"reason": "told by the test"})
            assert answer.is_success, answer.text

    def away(self) -> None:
        self._cable.set_whole(False)

    def back(self) -> None:
        self._cable.set_whole(True)

    def pass_time(self, seconds: float) -> None:
        self._elapsed += seconds
        self._world.service.clock.set(self.now() + timedelta(seconds=seconds))

    def now(self) -> datetime:
        return self._world.service.clock.now()

    def eventually(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 8
        while not holds():
            assert time.monotonic() < deadline, "it never came to be"
            time.sleep(0.005)

    def close(self) -> None:
        for client in self._opened:
            client.close()
        self._cable.close()
