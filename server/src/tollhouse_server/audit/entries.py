"""The entries of the audit trail, each with its place in its chain: a page of them, one, or all as JSON lines."""

import json
import operator
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Select, and_, func, select

from ..db.engine import Database, Tx
from ..db.tables import audit, audit_seal, customer, project
from ..domain.time import written
from .anchors import Chain, name_of

PLACES_AT_A_TIME = 2_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries; what is None restricts nothing. `since` is included, `until` is not."""

    project_id: uuid.UUID | None = None
    user_id: str | None = None
    action: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        restrictions: tuple[tuple[object, Callable[..., ColumnElement[bool]], Column[Any]], ...] = (
            (self.project_id, operator.eq, audit.c.project_id),
            (self.user_id, operator.eq, customer.c.user_id),
            (self.action, operator.eq, audit.c.action),
            (self.actor, operator.eq, audit.c.actor),
            (self.since, operator.ge, audit.c.at),
            (self.until, operator.lt, audit.c.at),
        )
        return [compare(column, given) for given, compare, column in restrictions if given is not None]


@dataclass(frozen=True, slots=True)
class Entry:
    """Who changed what. `project` is the slug; One that was put in past the chain has no `position` and `hash`."""

    id: int
    at: datetime
    project: str | None
    user_id: str | None
    action: str
    actor: str
    cause: str
    reason: str | None
    before: Any
    after: Any
    chain: str
    position: int | None
    hash: str | None

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps({**asdict(self), "at": written(self.at)}, ensure_ascii=False) + "\n"


async def page(tx: Tx, wanted: Wanted, *, before: int | None = None, limit: int = 50) -> list[Entry]:
    """Newest first; `before` is the id at which the page before ended."""
    conditions = wanted.conditions() + ([audit.c.id < before] if before is not None else [])
    rows = await tx.execute(_query().where(and_(True, *conditions)).order_by(audit.c.id.desc()).limit(limit))
    return [_entry(row) for row in rows]


async def entry(tx: Tx, id_: int) -> Entry | None:
    """One entry by its id."""
    row = (await tx.execute(_query().where(audit.c.id == id_))).one_or_none()
    return None if row is None else _entry(row)


async def export(database: Database, wanted: Wanted) -> AsyncIterator[str]:
    """Every entry as a JSON line, chain after chain, each from its oldest on to where it ended when it was begun.

    In pieces of a bounded number of places, each a short transaction: a slow reader holds nothing up.
    """
    async with database.transaction() as tx:
        chains: list[Chain] = [None, *await tx.scalars(select(project.c.id).order_by(project.c.slug))]
    for chain in chains if wanted.project_id is None else [wanted.project_id]:
        async with database.transaction() as tx:
            last = await tx.scalar(select(func.max(audit_seal.c.position)).where(_of(chain))) or 0
        for first in range(1, last + 1, PLACES_AT_A_TIME):
            places = audit_seal.c.position.between(first, min(first + PLACES_AT_A_TIME - 1, last))
            piece = _query().where(_of(chain), places, *wanted.conditions()).order_by(audit_seal.c.position)
            async with database.transaction() as tx:
                entries = [_entry(row) for row in await tx.execute(piece)]
            if entries:
                yield "".join(one.line() for one in entries)


def _of(chain: Chain) -> ColumnElement[bool]:
    return audit_seal.c.project_id.is_(None) if chain is None else audit_seal.c.project_id == chain


def _query() -> Select[Any]:
    return (
        select(audit, project.c.slug, customer.c.user_id, audit_seal.c.position, audit_seal.c.hash)
        .join(project, project.c.id == audit.c.project_id, isouter=True)
        .join(customer, customer.c.id == audit.c.customer_id, isouter=True)
        .join(audit_seal, audit_seal.c.audit_id == audit.c.id, isouter=True)
    )


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        at=row.at,
        project=row.slug,
        user_id=row.user_id,
        action=row.action,
        actor=row.actor,
        cause=row.cause,
        reason=row.reason,
        before=row.before,
        after=row.after,
        chain=name_of(row.project_id),
        position=row.position,
        hash=None if row.hash is None else row.hash.hex(),
    )
