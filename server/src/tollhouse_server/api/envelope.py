"""What happens around every request: its id, the limit on its body, its metrics, and an answer whatever breaks."""

import random
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Message, Receive, Scope, Send

from ..telemetry import REQUEST_SECONDS, REQUESTS
from .problems import TooLarge, a_bug, answer

log = structlog.get_logger(__name__)

BODY_LIMIT = 256 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ROUTINE = frozenset(
    {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/customers/{user_id}/entitlements",
        "/v1/customers/{user_id}/entitlements/{feature}",
    }
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
]


class Envelope:
    """The outermost ASGI layer of the service."""

    def __init__(self, app: FastAPI, *, log_share: float = 1.0) -> None:
        """`log_share` is the share of the successful checks and probes that get a line in the log."""
        self.app = app
        self._log_share = log_share
        self._templates = {one.endpoint: one.path for one in iter_route_contexts(app.routes) if one.endpoint}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Routed by what was sent, still percent-encoded: a user id may hold a slash. The parameters decode themselves.
        scope["path"] = scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace")
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        exchange = _Exchange(self.app, scope, send, request_id, self._templates)
        await exchange.run(receive)
        if not (exchange.is_routine and random.random() >= self._log_share):  # noqa: S311 - a sample
            log.info("request", **exchange.told)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, app: FastAPI, scope: Scope, send: Send, request_id: str, templates: Mapping[Any, str | None]
    ) -> None:
        self._app, self._scope, self._raw_send, self._request_id = app, scope, send, request_id
        self._templates = templates
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
            "method": self._scope["method"],
            "route": self._route(),
            "status": self._status,
            "milliseconds": round(self._seconds * 1000, 1),
        }

    async def run(self, receive: Receive) -> None:
        started = time.perf_counter()
        try:
            body = await _read(receive)
            if body is None:
                too_large = TooLarge("The body is larger than 256 KiB: send less.")
                await answer(too_large, self._request_id)(self._scope, receive, self._send)
            else:
                await self._app(self._scope, _replay(body, receive), self._send)
        except Exception:
            log.exception("a request failed", method=self._scope["method"], route=self._route())
            if self._status == 0:
                await answer(a_bug(), self._request_id)(self._scope, receive, self._send)
        finally:
            route = self._route()
            REQUESTS.labels(self._scope["method"], route, self._status).inc()
            self._seconds = time.perf_counter() - started
            REQUEST_SECONDS.labels(route).observe(self._seconds)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = list(message["headers"])
            present = {name for name, _ in headers}
            headers.append((b"x-request-id", self._request_id.encode()))
            headers.extend(pair for pair in _HEADERS if pair[0] not in present)
            message = {**message, "headers": headers}
        await self._raw_send(message)

    def _route(self) -> str:
        """The route's pattern: a path with a user's id in it must not become a label."""
        return self._templates.get(self._scope.get("endpoint")) or "none"


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None for one over the limit, of which no more than that is read."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_LIMIT:
            return None
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
