"""Server-sent events, as they arrive: bytes in whatever pieces, events out. No I/O.

The rules are those of the HTML standard, section 9.2.6; sizes are bounded, which that leaves to us.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 1024 * 1024
"""Characters of one event: more is not ours, and must not fill the app's memory."""


class Malformed(ValueError):
    """What arrives is not a stream of events; the connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Event:
    type: str
    data: str
    id: str | None
    """What the stream said last; None before it said any."""


class EventParser:
    """Feed it one connection's bytes; it yields each event when its blank line has come."""

    retry: float | None = None
    """Seconds after which the server wants us back, when it said so."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._rest = ""
        self._size = 0
        self._type = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that these bytes complete. Raises Malformed."""
        try:
            text = self._rest + self._decoder.decode(chunk)
        except UnicodeDecodeError:
            raise Malformed("the stream is not UTF-8") from None
        # A carriage return at the end may be half of a line's end: it waits for what follows.
        held = "\r" if text.endswith("\r") else ""
        lines = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + held
        if len(self._rest) + self._size > LONGEST:
            raise Malformed("an event is too long")
        for line in lines:
            event = self._line(line)
            if event:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._size += len(value)
                if self._size > LONGEST:
                    raise Malformed("an event is too long")
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value[:9]) / 1000
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._type or "message", "\n".join(self._data), self._id) if self._data else None
        self._type, self._data, self._size = "", [], 0
        return event
