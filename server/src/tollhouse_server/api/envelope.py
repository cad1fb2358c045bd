"""What happens around every request: its id, its bounds, its metrics, and an answer whatever breaks."""

import asyncio
import random
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..domain.errors import Problem
from ..telemetry import REQUEST_SECONDS, REQUESTS
from .bounds import STREAM_PATH, WEBHOOK, Bounds, RequestTimeout, TookTooLong, bounds_of, check_head, read_body
from .once import Attempt
from .problems import UnsupportedMediaType, a_bug, answer
from .shedding import Lanes
from .strict_json import check_json

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_JSON = re.compile(r"\s*application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset=([^;\s]+)", re.IGNORECASE)
_ROUTINE = frozenset(
    {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/customers/{user_id}/entitlements",
        "/v1/customers/{user_id}/entitlements/{feature}",
        "/v1/customers/{user_id}/snapshot",
    }
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
]


class Envelope:
    """The outermost ASGI layer of the service."""

    def __init__(
        self,
        app: FastAPI,
        *,
        inner: ASGIApp | None = None,
        log_share: float = 1.0,
        lanes: Lanes | None = None,
        bounds: Callable[[Scope], Bounds] = bounds_of,
    ) -> None:
        """`log_share` is the share of the successful checks and probes that get a line in the log.

        `inner` is what answers; `app` itself, whose routes are told apart in metrics, where nothing is named.
        """
        self.app, self.inner = app, inner or app
        self.bounds, self.lanes = bounds, lanes or Lanes(200, 500)
        self._log_share, self._random = log_share, random.Random()  # noqa: S311 - for samples
        self.templates: Mapping[Any, str | None] = {
            one.endpoint: one.path for one in iter_route_contexts(app.routes) if one.endpoint
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        # Routed by what was sent, still percent-encoded: a user id may hold a slash. The parameters decode themselves.
        path = scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace")
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        # Of its own: the server looks into the one it made, and leaves the body of an answer to HEAD out.
        scope = {**scope, "path": path, "state": {**scope.get("state", {}), "request_id": request_id}}
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        exchange = _Exchange(self, scope, headers, send)
        await exchange.run(receive)
        if not (exchange.is_routine and self._random.random() >= self._log_share):
            log.info("request", **exchange.told)


class _Exchange:
    """One request and its answer."""

    def __init__(self, envelope: Envelope, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> None:
        self._envelope, self._scope, self._headers, self._raw_send = envelope, scope, headers, send
        self._bounds = envelope.bounds(scope)
        self._method: str = scope["method"]
        self._request_id: str = scope["state"]["request_id"]
        self._deadline = asyncio.timeout(None)
        self._arrived = False
        self._held: list[Message] = []
        self._status = 0
        self._seconds = 0.0

    @property
    def is_routine(self) -> bool:
        """Whether it is one of the many that say nothing when they go well."""
        return self._status < 400 and self._route() in _ROUTINE

    @property
    def told(self) -> dict[str, Any]:
        """The request in the log: the route's pattern, as a path may hold a user's id."""
        return {
            "method": self._method,
            "route": self._route(),
            "status": self._status,
            "milliseconds": round(self._seconds * 1000, 1),
        }

    async def run(self, receive: Receive) -> None:
        started = time.perf_counter()
        try:
            with self._envelope.lanes.of(self._scope):
                await self._in_time(receive)
        except Problem as refused:
            await self._refuse(refused, receive)
        except Exception:
            log.exception("a request failed", method=self._method, route=self._route())
            await self._refuse(a_bug(), receive)
        finally:
            route = self._route()
            REQUESTS.labels(self._method, route, self._status).inc()
            self._seconds = time.perf_counter() - started
            if self._scope["path"] != STREAM_PATH or self._status >= 400:  # how long one lasts says nothing of us
                REQUEST_SECONDS.labels(route).observe(self._seconds)

    async def _in_time(self, receive: Receive) -> None:
        try:
            async with asyncio.timeout(self._bounds.seconds) as self._deadline:
                check_head(self._scope, self._headers)
                body = await read_body(receive, self._headers, self._bounds.body)
                self._arrived = True
                if body and self._bounds is not WEBHOOK:  # which is signed as it is, and looked at after that
                    self._check_body(body)
                self._scope["state"]["head"] = self._method == "HEAD"
                if self._method == "HEAD":
                    self._scope["method"] = "GET"
                await self._envelope.inner(self._scope, _replay(body, receive), self._send)
        except TimeoutError:
            if not self._deadline.expired():
                raise
            if not self._arrived:
                raise RequestTimeout("The request did not arrive whole in time: send it again, faster.") from None
            log.error("a request was given up", method=self._method, route=self._route())
            raise TookTooLong("The request was not done within its time: try again.") from None

    def _check_body(self, body: bytes) -> None:
        """Raises MalformedJson, UnsupportedMediaType. Of what is not JSON the route says what it takes instead."""
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding.")
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        if _JSON.match(content_type):
            charset = _CHARSET.search(content_type)
            check_json(body, charset[1] if charset else None)

    async def _refuse(self, problem: Problem, receive: Receive) -> None:
        self._arrived = False  # nothing is waited for any more
        if self._status == 0:
            await answer(problem, self._request_id)(self._scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        attempt: Attempt | None = self._scope["state"].get("attempt")
        if attempt is None:
            await self._raw_send(message)
            return
        # The answer to an Idempotency-Key is kept before anybody hears it, or its sender could not hear it again.
        self._held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            start, *parts = self._held
            headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
            await attempt.conclude(self._status, headers, b"".join(one.get("body", b"") for one in parts))
            for one in self._held:
                await self._raw_send(one)

    def _begin(self, message: Message) -> None:
        if self._arrived and not self._deadline.expired():
            self._deadline.reschedule(None)  # an answer that has begun may be long
        self._status = message["status"]
        headers = list(message["headers"])
        present = {name for name, _ in headers}
        headers.append((b"x-request-id", self._request_id.encode()))
        headers.extend(self._scope["state"].get("headers", ()))
        headers.extend(pair for pair in HEADERS if pair[0] not in present)
        message["headers"] = headers

    def _route(self) -> str:
        """The route's pattern: a path with a user's id in it must not become a label."""
        return self._envelope.templates.get(self._scope.get("endpoint")) or "none"


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
