"""Whether every snapshot says what the evidence says: computed again, a batch of customers at a time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, and_, exists, func, or_, select, tuple_

from .. import snapshot as snapshots
from ..catalogs import current_catalog, project_by_id
from ..db.tables import audit, customer, inbox, snapshot
from ..domain.changes import diff
from ..domain.entitlements import compute, load, of_everybody
from .checks import EXAMPLES, Check, Found, Look, Severity

BATCH = 200
SAMPLE = 500
"""How many customers are looked at unless all are wanted: the ones refreshed last."""


async def _differing(look: Look) -> Found:
    found: list[str] = []
    after: Any = None
    looked_at = 0
    while rows := await _batch(look, after):
        found += [f"customer {row.customer_id}: {wrong}" for row in rows if (wrong := await _wrong(look, row))]
        after, looked_at = (rows[-1].computed_at, rows[-1].customer_id), looked_at + len(rows)
        if not look.full and looked_at >= SAMPLE:
            break
    return Found(len(found), tuple(found[:EXAMPLES]))


async def _batch(look: Look, after: tuple[Any, Any] | None) -> Sequence[Row[Any]]:
    """The next customers, refreshed last first, with what the newest audit entry says they had."""
    last = (
        select(audit.c.after)
        .where(audit.c.customer_id == snapshot.c.customer_id, audit.c.action == "entitlements.changed")
        .order_by(audit.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    # What an event under way will change is not wrong yet.
    pending = exists().where(
        inbox.c.next_attempt_at.is_not(None),
        or_(inbox.c.subject == customer.c.stripe_customer_id, ~func.starts_with(inbox.c.subject, "cus_")),
    )
    query = (
        select(snapshot, last.label("audited"), pending.label("pending"))
        .join(customer, customer.c.id == snapshot.c.customer_id)
        .order_by(snapshot.c.computed_at.desc(), snapshot.c.customer_id.desc())
        .limit(BATCH)
    )
    if after is not None:
        query = query.where(and_(tuple_(snapshot.c.computed_at, snapshot.c.customer_id) < tuple_(*after)))
    return (await look.tx.execute(query)).all()


async def _wrong(look: Look, row: Row[Any]) -> str | None:
    stored = load(row.entitlements)
    owner = await project_by_id(look.tx, row.project_id)
    # Where nothing changed since they were met, they have what everybody had by the catalog of then.
    of_then = await current_catalog(look.tx, replace(owner, catalog_version=row.catalog_version))
    if diff(load(row.audited) if row.audited is not None else of_everybody(of_then), stored, row.computed_at):
        return "the snapshot is not what the newest audit entry says"
    if row.pending or row.catalog_version != owner.catalog_version:
        return None
    catalog = await current_catalog(look.tx, owner)
    evidence = await snapshots.gather(look.tx, row.customer_id, row.project_id)
    changed = diff(stored, compute(catalog, evidence, catalog.policy, look.now), look.now)
    return f"the evidence says otherwise of {', '.join(one.feature for one in changed)}" if changed else None


EVIDENCE = (
    Check(
        "snapshot-differs",
        Severity.WRONG,
        "A stored snapshot is not what the evidence or the audit trail says.",
        "Somebody changed rows by hand, or a bug did: make a backup to learn why, then run `tollhouse reconcile`.",
        "drift",
        _differing,
    ),
)
