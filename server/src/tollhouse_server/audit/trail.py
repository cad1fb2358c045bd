"""Reads the audit trail: its chains, to verify them, and its entries, to show them."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed

from ..db.engine import conninfo
from .anchors import Anchor, Chain
from .chain import BEGINNING, Fault, Head, Link, Wrong, first_fault

BATCH = 5_000

_LINKS = """
SELECT s.position, s.audit_id, s.hash, a.id::text, a.project_id::text, a.customer_id::text,
  (extract(epoch FROM a.at) * 1000000)::bigint::text, a.action, a.actor, a.cause, a.reason,
  a."before"::text, a."after"::text
FROM audit_seal s LEFT JOIN audit a ON a.id = s.audit_id
WHERE s.project_id {its} AND s.position > {after} ORDER BY s.position
"""
# Ordered by both columns, or the index would not serve where project_id is NULL.
_END = """
SELECT position, hash FROM audit_seal
WHERE project_id {its} ORDER BY project_id DESC, position DESC LIMIT 1 OFFSET {offset}
"""
_UNSEALED = """
SELECT min(a.id) FROM audit a
WHERE a.project_id {its} AND NOT EXISTS (SELECT FROM audit_seal s WHERE s.audit_id = a.id)
"""


@dataclass(frozen=True, slots=True)
class Verified:
    """One chain, walked to its end or to the first fault."""

    chain: Chain
    project: str | None
    entries: int
    seconds: float
    fault: Fault | None


def verify(
    url: str, *, slug: str | None = None, anchors: Mapping[Chain, Mapping[int, bytes]], newest: int | None = None
) -> Iterator[Verified]:
    """Walks the chains of the database at `url`, or only that of the project `slug`; `newest` bounds how far back.

    One snapshot of the database for all, read in batches: memory does not grow with the trail. With `newest` the walk
    begins at a hash that is believed.
    """
    with psycopg.connect(conninfo(url), options="-c timezone=UTC") as connection:
        connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        for chain, name in _chains(connection, slug, anchors):
            yield _verify(connection, chain, name, anchors.get(chain, {}), newest)


def _chains(
    connection: psycopg.Connection[Any], slug: str | None, anchors: Mapping[Chain, object]
) -> list[tuple[Chain, str | None]]:
    """The fleet's chain and every project's, and those that only an anchor still knows."""
    known: dict[Chain, str | None] = dict(connection.execute("SELECT id, slug FROM project ORDER BY slug").fetchall())
    if slug is not None:
        return [(id_, name) for id_, name in known.items() if name == slug]
    return list({None: None, **dict.fromkeys(anchors), **known}.items())


def _verify(
    connection: psycopg.Connection[Any],
    chain: Chain,
    name: str | None,
    anchors: Mapping[int, bytes],
    newest: int | None,
) -> Verified:
    began = time.perf_counter()
    start = BEGINNING if newest is None else _newest(connection, chain, newest)
    counted = _Counted(_links(connection, chain, start.position))
    later = {position: hash_ for position, hash_ in anchors.items() if position > start.position}
    fault = first_fault(counted, later, start=start)
    if fault is None and newest is None:
        fault = _unsealed(connection, chain)
    return Verified(chain, name, counted.entries, time.perf_counter() - began, fault)


class _Counted:
    """Links on their way to who walks them."""

    def __init__(self, links: Iterator[Link]) -> None:
        self._links, self.entries = links, 0

    def __iter__(self) -> Iterator[Link]:
        for link in self._links:
            self.entries += 1
            yield link


def _query(query: str, chain: Chain, **values: object) -> Composed:
    """`query` with `{its}` after a column that has the chain's project; IS NOT DISTINCT FROM would use no index."""
    its = SQL("IS NULL") if chain is None else SQL("= {}").format(chain)
    return SQL(query).format(its=its, **values)


def _newest(connection: psycopg.Connection[Any], chain: Chain, offset: int) -> Head:
    """The place `offset` before the chain's end; the beginning where the chain is no longer than that."""
    row = connection.execute(_query(_END, chain, offset=offset)).fetchone()
    return BEGINNING if row is None else Head(*row)


def _links(connection: psycopg.Connection[Any], chain: Chain, after: int) -> Iterator[Link]:
    with connection.cursor(name="audit_links", binary=True) as cursor:  # on the server, and in binary: a third faster
        cursor.itersize = BATCH
        for row in cursor.execute(_query(_LINKS, chain, after=after)):
            yield Link(row[0], row[1], row[2], None if row[3] is None else row[3:])


def _unsealed(connection: psycopg.Connection[Any], chain: Chain) -> Fault | None:
    """An entry of the chain that no seal knows: it was put in past the trigger."""
    row = connection.execute(_query(_UNSEALED, chain)).fetchone()
    return None if row is None or row[0] is None else Fault(None, row[0], Wrong.INSERTED)


def heads(url: str) -> list[Anchor]:
    """Where each chain of the database at `url` ends now, the fleet's first; a chain without an entry has no end."""
    with psycopg.connect(conninfo(url)) as connection:
        connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        ends = [(chain, slug, _newest(connection, chain, 0)) for chain, slug in _chains(connection, None, {})]
    return [Anchor(chain, slug, end) for chain, slug, end in ends if end != BEGINNING]
