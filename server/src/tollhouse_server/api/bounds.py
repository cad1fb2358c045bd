"""How much of a request is read, and for how long: what lies beyond is refused before it costs anything."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope

from ..domain.errors import Problem

HEADERS_LIMIT = 8 * 1024
URI_LIMIT = 4 * 1024
"""A user id of 255 characters, each percent-encoded, and a feature's code fit in."""
BODY_LIMIT = 64 * 1024
DOCUMENT_LIMIT = 256 * 1024
"""Of Stripe's events and of catalogs."""
REQUEST_SECONDS = 30.0
PUBLISHING_SECONDS = 120.0
"""A catalog's prices are made in Stripe one by one."""
LINGER_BYTES = 1024 * 1024
"""How much of a refused body is still taken off the wire, so that its sender gets to read the refusal."""


class TooLarge(Problem):
    """The body is larger than this call takes: 64 KiB; 256 KiB for a catalog and for Stripe's events.

    Send less. The connection is closed.
    """

    status = 413
    code = "too-large"


class HeadersTooLarge(Problem):
    """The header section is larger than 8 KiB.

    Send fewer or shorter headers. The connection is closed.
    """

    status = 431
    code = "headers-too-large"


class UriTooLong(Problem):
    """The path and query are longer than 4 KiB.

    Send a shorter one. The connection is closed.
    """

    status = 414
    code = "uri-too-long"


class RequestTimeout(Problem):
    """The request did not arrive whole in time.

    Send it again, faster. The connection is closed.
    """

    status = 408
    code = "request-timeout"


class TookTooLong(Problem):
    """The request was not done within its time, and was given up.

    Try again; what changes something is safe to repeat with the same Idempotency-Key.
    """

    status = 503
    code = "took-too-long"


class NotAcceptable(Problem):
    """The Accept header names nothing that this service answers with.

    Accept application/json.
    """

    status = 406
    code = "not-acceptable"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may take: bytes of its body, and seconds until its answer begins."""

    body: int
    seconds: float


USUAL = Bounds(BODY_LIMIT, REQUEST_SECONDS)
WEBHOOK = Bounds(DOCUMENT_LIMIT, REQUEST_SECONDS)
CATALOG = Bounds(DOCUMENT_LIMIT, PUBLISHING_SECONDS)

_CATALOG_PATH = re.compile(r"/v1/admin/projects/[^/]+/catalog")
WEBHOOK_PATH = "/v1/stripe/webhook"
STREAM_PATH = "/v1/stream"


def bounds_of(scope: Scope) -> Bounds:
    if scope["method"] == "POST" and scope["path"] == WEBHOOK_PATH:
        return WEBHOOK
    if scope["method"] == "PUT" and _CATALOG_PATH.fullmatch(scope["path"]):
        return CATALOG
    return USUAL


_ACCEPTED = frozenset(
    {
        *("", "application/*", "text/*"),
        *("text/csv", "application/x-ndjson", "application/jwt", "text/event-stream"),
    }
)
"""Beside JSON; each call says which of them it can answer with."""


def check_head(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Raises UriTooLong, HeadersTooLarge, NotAcceptable."""
    if len(scope["path"]) + len(scope["query_string"]) > URI_LIMIT:
        raise UriTooLong(f"The path and query are longer than {URI_LIMIT} bytes: send a shorter one.")
    if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > HEADERS_LIMIT:
        raise HeadersTooLarge(f"The headers are larger than {HEADERS_LIMIT} bytes: send fewer or shorter ones.")
    accepted = headers.get(b"accept", b"*/*")
    if b"json" not in accepted and b"*/*" not in accepted and scope["path"].startswith("/v1/"):
        _check_accept(accepted.decode("latin-1").lower())


def _check_accept(accepted: str) -> None:
    ranges = {one.partition(";")[0].strip() for one in accepted.split(",")}
    # A table may be had as CSV; who else asks for that is answered in JSON, which is better than a refusal.
    if not ranges & _ACCEPTED:
        raise NotAcceptable("The Accept header names nothing this service answers with: accept application/json.")


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole body. Raises TooLarge, having kept no more than `limit` of it."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit:
        if b"expect" not in headers:  # who asks first has sent nothing yet
            await _discard(receive, LINGER_BYTES)
        raise _too_large(limit)
    chunks, size, more = [], 0, True
    while more:
        message = await receive()  # of a connection that broke off there is neither body nor more
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            await _discard(receive, LINGER_BYTES if more else 0)
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit // 1024} KiB: send less.")


async def _discard(receive: Receive, most: int) -> None:
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return
