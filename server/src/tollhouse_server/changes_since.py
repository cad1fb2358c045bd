"""What has changed of a project's customers since a position: each change once, whoever made it and in whatever order.

A change has the number of its transaction. Transactions end in another order than they are numbered, so a number alone
tells no place: a position is what PostgreSQL calls a snapshot, which says of every transaction whether it had ended.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import text

from .catalogs import Project, as_project
from .db.engine import Tx
from .domain.entitlements import Entitlement, load

_WRITTEN = re.compile(r"([0-9a-f]{16})-([1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Position:
    """All changes up to here have been read: those of the transactions that had ended."""

    origin: str
    """Of which database, epoch and project it is a position: elsewhere it means nothing."""
    ended: str
    """The transactions that had ended, as text of PostgreSQL's type `pg_snapshot`."""

    @property
    def oldest(self) -> int:
        """Every transaction with a smaller number had ended."""
        return int(self.ended.partition(":")[0])

    @property
    def newest(self) -> int:
        """No transaction with this number or a greater one had begun."""
        return int(self.ended.split(":")[1])

    def __str__(self) -> str:
        """Short, whatever was under way: who goes on from what this says may read a change again, and misses none."""
        return f"{self.origin}-{self.oldest}"

    @classmethod
    def parse(cls, written: str) -> Self | None:
        """What `str` made; None for what it cannot have made."""
        found = _WRITTEN.fullmatch(written)
        return cls(found[1], f"{found[2]}:{found[2]}:") if found else None


@dataclass(frozen=True, slots=True)
class Changed:
    """A customer as the last change left them."""

    user_id: str
    version: int
    entitlements: tuple[Entitlement, ...]
    computed_at: datetime
    changed_in: int


@dataclass(frozen=True, slots=True)
class Found:
    """What one look found."""

    position: Position
    """The position of the look."""
    project: Project
    changed: list[Changed]


# The default of a customer's version names the epoch (commands/begin_epoch.py).
_LOOK = text(
    """
    SELECT p.id, p.slug, p.redirect_origins, p.catalog_version, pg_current_snapshot()::text AS ended, s.*,
      left(encode(sha256(convert_to(concat_ws('/', p.id,
        (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a
          ON (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
          WHERE d.adrelid = 'customer'::regclass AND a.attname = 'version')
      ), 'UTF8')), 'hex'), 16) AS origin
    FROM project p
    LEFT JOIN LATERAL (
      SELECT user_id, version, entitlements, computed_at, changed_in
      FROM snapshot
      WHERE project_id = p.id AND changed_in >= :oldest AND (changed_in, user_id) > (:after_in, :after_user)
        AND NOT pg_visible_in_snapshot(changed_in::text::xid8, CAST(:since AS pg_snapshot))
        AND pg_visible_in_snapshot(changed_in::text::xid8, coalesce(CAST(:upto AS pg_snapshot), pg_current_snapshot()))
      ORDER BY changed_in, user_id
      LIMIT :most
    ) s ON true
    WHERE p.id = :project
    """
)


async def look(
    tx: Tx,
    project_id: uuid.UUID,
    since: Position | None,
    *,
    upto: Position | None = None,
    after: Changed | None = None,
    most: int,
) -> Found:
    """Up to `most` customers changed between the two positions, those after `after`, in the order of its numbers.

    `since` None is for a first position: no change is looked for. `upto` None is now, which is `position` then.
    """
    oldest = since.oldest if since else 0
    rows = (
        await tx.execute(
            _LOOK,
            {
                "project": project_id,
                "oldest": oldest,
                "after_in": after.changed_in if after else oldest - 1,
                "after_user": after.user_id if after else "",
                "since": since.ended if since else "1:1:",
                "upto": upto.ended if upto else None,
                "most": most if since else 0,
            },
        )
    ).all()
    first = rows[0]
    return Found(
        Position(first.origin, first.ended),
        as_project(first),
        [
            Changed(row.user_id, row.version, load(row.entitlements), row.computed_at, row.changed_in)
            for row in rows
            if row.user_id is not None
        ],
    )
