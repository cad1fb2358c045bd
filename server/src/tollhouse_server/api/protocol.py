"""HTTP as uvicorn speaks it, within bounds that it lacks: how long a header section may grow, and take to come."""

import asyncio
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..domain.errors import Problem
from . import problems
from .bounds import HEADERS_LIMIT, REQUEST_SECONDS, HeadersTooLarge, RequestTimeout
from .fast_lane import FastLane, Said, plainly_said

FAST_LANE = "fast_lane"
"""Under this name the lifespan's state has the FastLane."""
END_STREAMS = "end_streams"
"""Under this name the lifespan's state has what ends all streams."""
LINGER_SECONDS = 1.0
"""How long a sender who was refused may take to notice."""


class MalformedRequest(Problem):
    """What was sent is not HTTP.

    Look at what sends it, or what stands between. The connection is closed.
    """

    code = "malformed-request"


class BoundedProtocol(HttpToolsProtocol):
    """Refuses what never becomes a request, as a problem like any other; answers at once what the fast lane can.

    A header section that has arrived whole is measured exactly by the envelope; here one is cut that does not end.
    """

    seconds = REQUEST_SECONDS
    _answered = False
    """Whether the request that is being taken in has had its answer, and needs no cycle of uvicorn's."""
    _headers: list[tuple[bytes, bytes]] | None = None
    _said: Said | None = None
    """What these headers say, the last ones that were looked at."""
    _pending = 0
    """Bytes of a header section that have come since the read in which it began."""
    _within = False
    _refused = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # With a limit of connections uvicorn itself must see every request.
        self._lane: FastLane | None = self.app_state.get(FAST_LANE) if self.limit_concurrency is None else None
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        within = self._within
        super().data_received(data)
        if not self._within or self._refused or self.transport.is_closing():
            return
        self._pending = self._pending + len(data) if within else 0
        if self._pending > HEADERS_LIMIT:
            self._cut(HeadersTooLarge(f"The headers are larger than {HEADERS_LIMIT} bytes: send fewer or shorter."))
        elif self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        self._within = True
        super().on_message_begin()

    def shutdown(self) -> None:
        """The server stops: streams, which would go on for ever, end now; what else is being answered is finished."""
        end_streams = self.app_state.get(END_STREAMS)
        if end_streams is not None:
            end_streams()
        super().shutdown()

    def on_headers_complete(self) -> None:
        self._within = False
        self._stop_waiting()
        if self._lane is not None and self._is_next():
            if self.headers != self._headers:  # most callers say the same in every request
                self._headers, self._said = self.headers, plainly_said(self.headers)
            answer = self._said and self._lane.answer(self.url, self._said, self.server_state.default_headers)
            if isinstance(answer, bytes):
                self._answered = True
                self.transport.write(answer)
                return
            if answer is not None:
                # In a cycle of uvicorn's like any other, so that who comes behind waits and who hangs up is noticed.
                app, self.app = self.app, answer
                super().on_headers_complete()
                self.app = app
                return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._answered:
            self._answered = False
            self.on_response_complete()  # as uvicorn's cycle ends: counted, and the connection kept for the next
        else:
            super().on_message_complete()

    def _is_next(self) -> bool:
        """Whether a GET may be answered now: after what was asked before it, to somebody who reads and stays."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's, which tells nobody what to do
        self._cut(MalformedRequest("This is not HTTP: look at what sends it."))

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._within:
            self._cut(RequestTimeout("The request did not arrive whole in time: send it again, faster."))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _cut(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        request_id = f"req_{secrets.token_hex(12)}"
        response = problems.answer(problem, request_id, {"X-Request-Id": request_id, "Connection": "close"})
        head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
        reason = b"HTTP/1.1 %d \r\n" % problem.status
        self.transport.write(reason + head + b"\r\n" + bytes(response.body))
        # Closed at once, with something of the sender's unread, the refusal would be torn from the sender's hands.
        self._refused = True
        if self.transport.can_write_eof():  # over TLS it cannot
            self.transport.write_eof()
        self._stop_waiting()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)


SERVED: dict[str, Any] = {
    "http": BoundedProtocol,
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "server_header": False,
}
"""How uvicorn serves the service, in production as in tests."""
