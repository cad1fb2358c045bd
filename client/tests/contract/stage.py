"""What a case is played on: a client of either kind, and a world that is told what to be like."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from tollhouse import AsyncTollhouse, Tollhouse
from tollhouse.local_copy import elapsed

from .service import Service

KEY = "tollhouse_abcdefghijkl_0123456789abcdef0123456789abcdefcrc123"


class World(Protocol):
    """All that a case of `check` needs: give one to `CASES` of checks.py and they run against it.

    `open` makes a client that blocks, whichever kind is below, with the constructor's `outage`.
    """

    def open(self, **options: Any) -> Any: ...

    def allow(self, user_id: str, feature: str, value: Any = True, *, until: datetime | None = None) -> None: ...

    def deny(self, user_id: str, feature: str) -> None: ...

    def away(self) -> None:
        """From now on nobody answers."""

    def back(self) -> None: ...

    def pass_time(self, seconds: float) -> None:
        """The service's clock and the client's go on."""

    def now(self) -> datetime:
        """By the service's clock."""

    def eventually(self, holds: Callable[[], object]) -> None:
        """Wait until it does; fail after a few seconds."""


class Blocking:
    """An AsyncTollhouse that is called like a Tollhouse; its loop runs all the time, in a thread of its own."""

    def __init__(self, client: AsyncTollhouse, loop: asyncio.AbstractEventLoop) -> None:
        self.client, self._loop = client, loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, "aclose" if name == "close" else name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: self.run(found(*args, **kwargs))

    def run(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(20)


class RunningLoop:
    """A loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Stage:
    """The World of the real clients, before the misbehaving service."""

    def __init__(self, kind: str, service: Service, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self.kind, self.service, self.directory = kind, service, directory
        self._loop = loop
        self._opened: list[Any] = []
        self._passed = 0.0

    def open(self, **options: Any) -> Any:
        """A client with retries and patience that suit a busy machine, unless `options` say otherwise."""
        options = {"url": self.service.url, "api_key": KEY, "retries": 0, "check_wait": 2.0, **options}
        made = Tollhouse(**options) if self.kind == "blocking" else AsyncTollhouse(**options)
        made._copy.clock = lambda: elapsed() + self._passed
        self._opened.append(made if isinstance(made, Tollhouse) else Blocking(made, self._loop))
        return self._opened[-1]

    def following(self, **options: Any) -> Any:
        """A client whose stream is connected, and was for longer than the service may be behind."""
        client = self.open(**options)
        client.start(5)
        self.eventually(lambda: self.copy(client).stream.connected)
        self.pass_time(2)
        return client

    def copy(self, client: Any) -> Any:
        return (client.client if isinstance(client, Blocking) else client)._copy

    def file(self) -> Path:
        return self.directory / "snapshots"

    def allow(self, user_id: str, feature: str, value: Any = True, *, until: datetime | None = None) -> None:
        self.service.allow(user_id, feature, value, until=until)

    def deny(self, user_id: str, feature: str) -> None:
        self.service.deny(user_id, feature)

    def away(self) -> None:
        self.service.away()

    def back(self) -> None:
        self.service.back()

    def pass_time(self, seconds: float) -> None:
        self._passed += seconds
        self.service.ahead += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.service.ahead

    def eventually(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 8
        while not holds():
            assert time.monotonic() < deadline, "it never came to be"
            time.sleep(0.005)

    def close(self) -> None:
        for client in self._opened:
            client.close()
