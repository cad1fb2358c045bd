"""How much is done at once: beyond it a request is refused at once, so that what was let in is answered in time.

Checks, changes, streams, Stripe's events and the rest each have a lane of their own: none can take the others' places.
A stuck change holds up no check, and a rush of checks no event. /healthz is always answered: a busy process is not a
dead one.
"""

from types import TracebackType

from starlette.types import Scope

from ..telemetry import SHED
from .bounds import STREAM_PATH, WEBHOOK_PATH
from .problems import Overloaded

_OTHERS = 8
"""Places for /readyz, /metrics and the documentation."""


class Lane:
    """So many requests at once; entering a full one raises Overloaded."""

    def __init__(self, name: str, places: int) -> None:
        self._name, self._places, self._taken = name, places, 0

    def __enter__(self) -> None:
        if self._taken >= self._places:
            SHED.labels(self._name).inc()
            raise Overloaded("The service has as much to do as it can: try again in a second.")
        self._taken += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taken -= 1


class Lanes:
    """The lanes of one process: `most` reads, half as many changes, a quarter as many of Stripe's events; `streams`."""

    def __init__(self, most: int, streams: int) -> None:
        self.reads = Lane("reads", most)
        self._changes = Lane("changes", max(1, most // 2))
        self._events = Lane("events", max(1, most // 4))
        self._streams = Lane("streams", streams)
        self._others = Lane("others", _OTHERS)
        self._free = Lane("health", 1_000_000)

    def of(self, scope: Scope) -> Lane:
        path = scope["path"]
        if path.startswith("/v1/"):
            if path == WEBHOOK_PATH:
                return self._events
            if path == STREAM_PATH:
                return self._streams
            return self.reads if scope["method"] in ("GET", "HEAD") else self._changes
        return self._free if path == "/healthz" else self._others
