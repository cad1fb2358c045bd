"""Answers that are made once and given many times: the bytes, but for the instant at which each is given.

An answer of what a customer may do changes with the customer's snapshot, with the catalog, and at instants that the
snapshot names. Until then only the instant in it differs, so it is kept with the cell it was made of (`Cell.rendered`).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from ..domain.catalog import Catalog
from ..domain.entitlements import Entitlement, next_change
from ..domain.time import written

VERSION_HEADER = "Tollhouse-Version"
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rendering:
    """An answer, as it is from `since` on and before `until`, to whoever is told by `catalog`."""

    before: bytes
    """The body up to the instant at which it is given."""
    after: bytes
    etag: str
    version: int
    catalog: Catalog
    since: datetime
    until: datetime
    head: bytes = field(init=False)
    """Its own headers, as they go over the wire."""

    def __post_init__(self) -> None:
        lines = "".join([f"{name.lower()}: {value}\r\n" for name, value in self.headers.items()])
        object.__setattr__(self, "head", lines.encode())

    def stands(self, catalog: Catalog, at: datetime) -> bool:
        return self.catalog is catalog and self.since <= at < self.until

    def body(self, at: datetime) -> bytes:
        return b"%s%s%s" % (self.before, written(at).encode(), self.after)

    def is_known(self, if_none_match: str | None) -> bool:
        """Whether the caller has this answer already."""
        return if_none_match is not None and self.etag in if_none_match

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": self.etag, "Cache-Control": "private, no-cache", VERSION_HEADER: str(self.version)}

    def response(self, at: datetime, if_none_match: str | None) -> Response:
        """The answer, or 304 to who has it."""
        if self.is_known(if_none_match):
            return Response(status_code=304, headers=self.headers)
        return Response(self.body(at), headers=self.headers, media_type="application/json")


def render(
    told: BaseModel,
    instant: str,
    *,
    said: Any,
    version: int,
    catalog: Catalog,
    stretches: Iterable[Entitlement],
    at: datetime,
) -> Rendering:
    """`told` as it goes over the wire; `instant` is its field that says when.

    `said` is all that makes it another answer, as JSON values: of that the ETag is made. `stretches` are those whose
    beginnings and ends change it.
    """
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]
    field = f'"{instant}":"'.encode()  # within a text its quotes would be escaped, so it is found nowhere else
    before, found, rest = told.model_dump_json().encode().partition(field)
    assert found, f"{type(told).__name__} has no instant {instant}"
    until = next_change(stretches, at) or _NEVER
    return Rendering(before + found, rest[rest.index(b'"') :], f'"{digest}"', version, catalog, at, until)
