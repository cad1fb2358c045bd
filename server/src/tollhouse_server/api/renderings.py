"""Answers that are made once and given many times: the bytes, but for the instant at which each is given.

An answer of what a customer may do changes with the customer's snapshot, with the catalog, and at instants that the
snapshot names. Until then only the instant in it differs, so it is kept with the cell it was made of (`Cell.rendered`).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastapi import Response
from pydantic import BaseModel

from ..domain.catalog import Catalog
from ..domain.entitlements import Entitlement, next_change
from ..domain.time import written
from .versions import VERSION_HEADER

_NEVER = datetime.max.replace(tzinfo=UTC)
_CACHED = (b"cache-control", b"private, no-cache")
_JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Rendering:
    """An answer, as it is from `since` on and before `until`, to whoever is told by `catalog`."""

    before: bytes
    """The body up to the instant at which it is given."""
    after: bytes
    version: int
    catalog: Catalog
    since: datetime
    until: datetime
    etag: str = field(init=False)
    headers: list[tuple[bytes, bytes]] = field(init=False)
    """Its own, of a 304 too."""
    lines: bytes = field(init=False)
    """The same as they go over the wire."""

    def __post_init__(self) -> None:
        etag = f'"{hashlib.sha256(self.before + self.after).hexdigest()[:24]}"'
        version = VERSION_HEADER.lower().encode(), b"%d" % self.version
        headers = [(b"etag", etag.encode()), _CACHED, version]
        object.__setattr__(self, "etag", etag)
        object.__setattr__(self, "headers", headers)
        object.__setattr__(self, "lines", b"".join([b"%s: %s\r\n" % one for one in headers]))

    def stands(self, catalog: Catalog, at: datetime) -> bool:
        return self.catalog is catalog and self.since <= at < self.until

    def body(self, at: datetime) -> bytes:
        return b"%s%s%s" % (self.before, written(at).encode(), self.after)

    def is_known(self, if_none_match: str | None) -> bool:
        """Whether the caller has this answer already."""
        return if_none_match is not None and self.etag in if_none_match

    def whole(self, at: datetime, if_none_match: str | None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body; 304 and no body to who has it."""
        if self.is_known(if_none_match):
            return 304, list(self.headers), b""
        body = self.body(at)
        return 200, [*self.headers, (b"content-length", b"%d" % len(body)), _JSON], body

    def response(self, at: datetime, if_none_match: str | None) -> Response:
        """The same, for a route."""
        status, headers, body = self.whole(at, if_none_match)
        response = Response(body, status)
        response.raw_headers = headers
        return response


def render(
    told: BaseModel, instant: str, *, version: int, catalog: Catalog, stretches: Iterable[Entitlement], at: datetime
) -> Rendering:
    """`told` as it goes over the wire; `instant` is its field that says when. All the rest makes its ETag.

    `stretches` are those whose beginnings and ends change it.
    """
    field = f'"{instant}":"'.encode()  # within a text its quotes would be escaped, so it is found nowhere else
    before, found, rest = told.model_dump_json().encode().partition(field)
    assert found, f"{type(told).__name__} has no instant {instant}"
    until = next_change(stretches, at) or _NEVER
    return Rendering(before + found, rest[rest.index(b'"') :], version, catalog, at, until)
