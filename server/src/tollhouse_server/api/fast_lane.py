"""Checks on a short way: answered where their bytes arrive, or as soon as PostgreSQL has.

The routes in entitlements.py are what is documented and what decides; this answers the same bytes for the plain case,
which is almost every check. A cell that this process holds is answered by the protocol, with no task and nothing
awaited; one that has to be read, by a task that does that alone. Whatever is not plain is left to the routes: they know
every refusal.
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from ..cache import Cell, KnownKey
from ..catalogs import kept_catalog
from ..domain.catalog import Catalog, Feature
from ..domain.errors import Problem
from ..domain.scopes import Scope as KeyScope
from ..domain.time import earliest
from ..telemetry import CACHE_READS, REQUEST_SECONDS, REQUESTS
from . import entitlements, problems
from .authentication import LAST_USED_EVERY, project_of
from .bounds import HEADERS_LIMIT, URI_LIMIT
from .context import Context
from .renderings import Rendering
from .shedding import Lane

log = structlog.get_logger(__name__)

Headers = Sequence[tuple[bytes, bytes]]


class Asked(NamedTuple):
    """What a path asks about one customer, for a key that may ask it."""

    route: "HotRoute"
    known: KnownKey
    catalog: Catalog
    user_id: str
    feature: Feature | None
    """The one that is asked about, where the route is about one."""
    until: datetime
    """When the key ends, or its use is to be noted again: then the routes must see it."""


@dataclass(frozen=True, slots=True)
class HotRoute:
    """A GET that is answered from a customer's cell and the catalog alone."""

    path: str
    """The route's pattern: metrics and logs tell it by that."""
    endpoint: Callable[..., Any]
    """The route itself, which the answer must not differ from."""
    render: Callable[[Asked, Cell, datetime], Rendering]
    """The answer at an instant. It keeps what it makes in `Cell.rendered`, under the path's end."""
    counters: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """By status: found once, as finding them costs more than counting."""

    def count(self, status: int, seconds: float) -> None:
        counters = self.counters.get(status)
        if counters is None:
            counters = REQUESTS.labels("GET", self.path, status), REQUEST_SECONDS.labels(self.path)
            self.counters[status] = counters
        counters[0].inc()
        counters[1].observe(seconds)


def _entitlements(asked: Asked, cell: Cell, at: datetime) -> Rendering:
    return entitlements.rendered_entitlements(asked.user_id, asked.catalog, cell, at)


def _check(asked: Asked, cell: Cell, at: datetime) -> Rendering:
    assert asked.feature is not None
    return entitlements.rendered_check(asked.feature, asked.catalog, cell, at)


_CUSTOMER = "/v1/customers/{user_id}"
HOT: Mapping[bytes, HotRoute] = {
    b"entitlements": HotRoute(f"{_CUSTOMER}/entitlements", entitlements.read_entitlements, _entitlements),
    b"entitlements/": HotRoute(f"{_CUSTOMER}/entitlements/{{feature}}", entitlements.check, _check),
}
"""What follows the user id in the path, up to a feature's code → the route. To make another read hot, add it here."""

_HITS = CACHE_READS.labels("process", "hit")
_NO_STORE = (b"cache-control", b"no-store")
_PREFIX = b"/v1/customers/"
_BEARER = b"Bearer "
_ACCEPTED = frozenset({b"*/*", b"application/json"})
_KEPT_ALIVE = frozenset({b"keep-alive", b"Keep-Alive"})
_NOT_PLAIN = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"tollhouse-at-least"})
"""Headers that say that there is more to do than to answer."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
_MOST_AT_HAND = 1_000
"""Paths that a key remembers for its second."""


class Said(NamedTuple):
    """What the headers of a plain request say."""

    digest: bytes
    """Of the key: the key itself is not kept."""
    request_id: bytes | None
    if_none_match: str | None


def plainly_said(headers: Headers) -> Said | None:
    """None where a header asks for anything out of the ordinary, or where there is no key."""
    said = dict(headers)
    if (
        len(said) != len(headers)
        or not _NOT_PLAIN.isdisjoint(said)
        or said.get(b"accept", b"*/*") not in _ACCEPTED
        or said.get(b"connection", b"keep-alive") not in _KEPT_ALIVE
        or sum([len(name) + len(value) + 4 for name, value in headers]) > HEADERS_LIMIT
    ):
        return None
    bearer, request_id, etags = (said.get(name) for name in (b"authorization", b"x-request-id", b"if-none-match"))
    if bearer is None or not bearer.startswith(_BEARER):
        return None
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        return None
    digest = hashlib.sha256(bearer[len(_BEARER) :]).digest()
    return Said(digest, request_id, None if etags is None else etags.decode("latin-1"))


class FastLane:
    """One process' short way."""

    def __init__(self, *, log_share: float, security: Headers, reads: Lane) -> None:
        """`log_share` is the share of good answers that get a line in the log; `security` the headers of every answer.

        `reads` is the lane in which the routes read, too.
        """
        self.context: Context | None = None
        """Set while the service is open."""
        self._log_share, self._reads = log_share, reads
        self._random = random.Random()  # noqa: S311 - for names and samples, no secrets
        self._security = [one for one in security if one != _NO_STORE]
        self._security_lines = _lines(self._security)
        self._of_server: Headers = ()
        self._server_lines = b""

    def answer(self, path: bytes, said: Said, of_server: Headers) -> "bytes | ASGIApp | None":
        """All of the answer to a GET, as it goes over the wire; or who answers this one; None: the routes must.

        `of_server` are the server's own headers, such as Date: it makes a new list when they change.
        """
        started = time.perf_counter()
        ctx = self.context
        if ctx is None or ctx.cache.local is None:
            return None
        at = ctx.clock.now()
        asked = plainly_asked(ctx, path, said, at)
        if asked is None:
            return None
        cell = ctx.cache.local.get(asked.known.project_id, asked.user_id)
        limit, standing = ctx.rate_limits.reads, None
        if limit is not None:
            # Last of all that may leave it to the routes, who count it themselves.
            standing = limit.take(asked.known.id)
            if standing.wait:
                return None
        request_id = said.request_id or b"req_%024x" % self._random.getrandbits(96)
        if cell is None:
            limited = [] if limit is None or standing is None else limit.headers(standing)
            return partial(self._read, ctx, asked, said, request_id, limited)
        rendering = asked.route.render(asked, cell, at)
        if of_server is not self._of_server:
            self._of_server, self._server_lines = of_server, _lines(of_server)
        limits = b"" if limit is None or standing is None else limit.lines(standing)
        more = (self._server_lines, rendering.lines, request_id, limits, self._security_lines)
        if rendering.is_known(said.if_none_match):
            status, answer = 304, b"HTTP/1.1 304 Not Modified\r\n%s%sx-request-id: %s\r\n%s%s\r\n" % more
        else:
            body = rendering.body(at)
            status, answer = 200, _OK % (*more, len(body), body)
        _HITS.inc()
        self._count(asked, request_id, status, started)
        return answer

    async def _read(
        self,
        ctx: Context,
        asked: Asked,
        said: Said,
        request_id: bytes,
        limited: Headers,
        scope: Scope,  # noqa: ARG002 - as ASGI has it
        receive: Receive,  # noqa: ARG002 - there is no body
        send: Send,
    ) -> None:
        """Answers it from PostgreSQL, or from Redis. Around it is what the envelope puts around a route."""
        started, id_ = time.perf_counter(), request_id.decode()
        structlog.contextvars.bind_contextvars(request_id=id_, project=asked.known.slug)
        try:
            with self._reads, problems.while_reading():
                cell = await ctx.cache.read(asked.known.project_id, asked.user_id)
            at = ctx.clock.now()
            status, headers, body = asked.route.render(asked, cell, at).whole(at, said.if_none_match)
        except Problem as problem:
            status, headers, body = _refused(problem, id_)
        except Exception:
            log.exception("a request failed", method="GET", route=asked.route.path)
            status, headers, body = _refused(problems.a_bug(), id_)
        security = self._security if status < 400 else (*self._security, _NO_STORE)
        headers = [*headers, (b"x-request-id", request_id), *limited, *security]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._count(asked, request_id, status, started)

    def _count(self, asked: Asked, request_id: bytes, status: int, started: float) -> None:
        """In metrics, and of the log the line that the envelope writes of other requests."""
        seconds = time.perf_counter() - started
        asked.route.count(status, seconds)
        if status >= 400 or self._random.random() < self._log_share:
            ids = {"request_id": request_id.decode(), "project": asked.known.slug}
            milliseconds = round(seconds * 1000, 1)
            log.info("request", **ids, method="GET", route=asked.route.path, status=status, milliseconds=milliseconds)


_OK = b"HTTP/1.1 200 OK\r\n%s%sx-request-id: %s\r\n%s%scontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s"


def _refused(problem: Problem, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    response = problems.answer(problem, request_id)
    return response.status_code, response.raw_headers, bytes(response.body)


def plainly_asked(ctx: Context, path: bytes, said: Said, now: datetime) -> Asked | None:
    """The read that a GET asks for, by a key that this process knows; None for whatever is not plain. Asks nobody."""
    known = None if ctx.cache.local is None else ctx.cache.local.key(said.digest)
    if known is None:
        return None
    asked: Asked | None = known.at_hand.get(path)
    if asked is None:
        asked = _routed(known, path)
        if asked is None:
            return None
        if len(known.at_hand) < _MOST_AT_HAND:
            known.at_hand[path] = asked
    return asked if now < asked.until else None


def _routed(known: KnownKey, path: bytes) -> Asked | None:
    segments = path[len(_PREFIX) :].split(b"/")
    catalog = kept_catalog(project_of(known))
    if not path.startswith(_PREFIX) or len(path) > URI_LIMIT or not 2 <= len(segments) <= 3 or catalog is None:
        return None
    route, feature = HOT.get(segments[1] if len(segments) == 2 else segments[1] + b"/"), None
    if len(segments) == 3:
        feature = catalog.features.get(_text(segments[2]))
        if feature is None:
            return None
    user_id = _text(segments[0])
    if route is None or not user_id or KeyScope.CHECK not in known.scopes or known.last_used_at is None:
        return None
    until = earliest(known.last_used_at + LAST_USED_EVERY, known.key_expires_at)
    return Asked(route, known, catalog, user_id, feature, until)


def _text(segment: bytes) -> str:
    """As the routes decode it; nothing for what they may refuse."""
    if not segment.isascii() or b"?" in segment or b"#" in segment:
        return ""
    text = segment.decode("ascii")
    if "%" in text:
        try:
            text = unquote(text, errors="strict")
        except UnicodeDecodeError:
            return ""
    return text if len(text) <= 255 and "\x00" not in text else ""


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])
