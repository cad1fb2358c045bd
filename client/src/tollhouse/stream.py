"""The stream of changes: what its events mean for the local copy, and when to connect again. No I/O."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .health import pause
from .local_copy import ForeignSnapshot, LocalCopy
from .snapshots import Snapshot
from .sse import Event, EventParser, Malformed
from .wire import Unreadable, decode

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
REFUSED_PAUSE = 300.0
"""Seconds: a key or an address that is refused is tried again this seldom, and for ever."""
HEALTHY_AFTER = 60.0
"""Seconds a connection must have lived for the pauses to begin anew."""


class StreamRefused(Exception):
    """The service answered, but not with a stream. Trying at once again would change nothing."""


@dataclass(slots=True)
class Reconnection:
    """How long to wait between connections."""

    chance: Callable[[], float]
    failures: int = 0
    retry: float | None = None
    """What the server asked to begin with, in seconds; then that is the first pause."""

    def pause(self, lived: float, *, refused: bool = False, retry_after: float = 0.0) -> float:
        """Seconds to wait after a connection that was open for `lived` seconds; `refused` if it never was."""
        if refused:
            return REFUSED_PAUSE * (0.8 + 0.4 * self.chance())
        if lived >= HEALTHY_AFTER:
            self.failures = 0
        first = FIRST_PAUSE if self.retry is None else min(self.retry, REFUSED_PAUSE)
        wait = pause(self.failures, first, max(LONGEST_PAUSE, first), self.chance())
        self.failures += 1
        return max(wait, min(retry_after, REFUSED_PAUSE))


class StreamReader:
    """One connection. What it is fed changes the copy; what it cannot read ends it."""

    def __init__(self, copy: LocalCopy) -> None:
        self._copy = copy
        self._parser = EventParser()
        self._begun = False
        self.heartbeat = 15.0
        self.heard = copy.clock()
        """When the last event came, by the copy's clock. Three heartbeats later the connection is dead."""

    @property
    def retry(self) -> float | None:
        return self._parser.retry

    @property
    def begun(self) -> bool:
        """Whether the service has said hello."""
        return self._begun

    def left(self) -> float:
        """Seconds in which an event must come."""
        return self.heard + 3 * self.heartbeat - self._copy.clock()

    def feed(self, chunk: bytes) -> None:
        """Raises Malformed, ForeignSnapshot."""
        for event in self._parser.feed(chunk):
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.type not in ("hello", "customer", "catalog", "heartbeat"):
            return
        try:
            data = json.loads(event.data)
            if not isinstance(data, dict):
                raise Unreadable("an event should be a JSON object")
            if event.type == "hello":
                self._hello(data, event.id)
            elif self._begun:
                self._change(event, data)
        except (ValueError, RecursionError) as error:
            if isinstance(error, ForeignSnapshot):
                raise
            raise Malformed(f"a {event.type} event cannot be read") from None
        self.heard = self._copy.clock()

    def _hello(self, data: Mapping[str, Any], position: str | None) -> None:
        hello = decode(_Hello, data)
        self.heartbeat = min(max(hello.heartbeat_seconds, 0.1), 300.0)
        self._copy.hello(hello.project, hello.catalog_version, hello.resumed, self.heartbeat, position)
        self._begun = True

    def _change(self, event: Event, data: Mapping[str, Any]) -> None:
        if event.type == "customer":
            self._copy.changed(decode(Snapshot, data), event.id)
        elif event.type == "catalog":
            self._copy.catalog_changed(decode(_Catalog, data).catalog_version, event.id)
        else:
            self._copy.beat(event.id)


@dataclass(frozen=True, slots=True)
class _Hello:
    project: str
    catalog_version: int
    resumed: bool
    heartbeat_seconds: float


@dataclass(frozen=True, slots=True)
class _Catalog:
    catalog_version: int
