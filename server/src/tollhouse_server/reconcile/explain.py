"""Which event would have told us of what a sweep found: one of the inbox that waits, or one that never came."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select, update

from .. import inbox
from ..db.drift_tables import drift
from ..db.engine import Tx
from ..db.tables import customer
from ..db.tables import inbox as inbox_table
from ..projection import concerning
from ..stripe_gateway.lists import ListedEvent, list_events
from .work import Work

BACK = timedelta(days=30)
"""As long as Stripe lists events."""
MOST_PAGES = 50
"""How much of the list is read for this at most: 5,000 events. The repair does not need it, people do."""


async def explain(work: Work) -> None:
    """Names the event of each difference that has one; of what changed without any event, none."""
    async with work.step("explain") as tx:
        await _from_the_inbox(work, tx)
    async with work.pipeline.database.transaction() as tx:
        unexplained = await _unexplained(work, tx)
        charges = await _charges(tx, unexplained)
    cursor: str | None = None
    for _ in range(MOST_PAGES if unexplained else 0):
        page = await list_events(work.stripe, since=work.run.started_at - BACK, after=cursor)
        async with work.step("explain") as tx:
            missing = await _missing(tx, page.items)
            for row in list(unexplained):
                if (event := _about(row, missing, charges)) is not None:
                    await tx.execute(update(drift).where(drift.c.id == row.id).values(event_id=event.id))
                    unexplained.remove(row)
        cursor = page.last
        if cursor is None or not unexplained:
            break
    async with work.step("done"):
        pass


async def _from_the_inbox(work: Work, tx: Tx) -> None:
    """An event that came and could not be applied, or not yet."""
    pending = (
        select(inbox_table.c.event_id)
        .where(
            inbox_table.c.subject == drift.c.stripe_customer_id,
            or_(inbox_table.c.next_attempt_at.is_not(None), inbox_table.c.state == "buried"),
        )
        .order_by(inbox_table.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    await tx.execute(
        update(drift).where(drift.c.run_id == work.run.id, drift.c.event_id.is_(None)).values(event_id=pending)
    )


async def _unexplained(work: Work, tx: Tx) -> list[Any]:
    rows = await tx.execute(
        select(drift.c.id, drift.c.object_id, drift.c.stripe_customer_id)
        .where(drift.c.run_id == work.run.id, drift.c.event_id.is_(None), drift.c.stripe_customer_id.is_not(None))
        .order_by(drift.c.id)
    )
    return list(rows.all())


async def _charges(tx: Tx, rows: Iterable[Any]) -> Mapping[str, str]:
    """The customer of each charge that was given back: the event of a dispute names the charge only."""
    ids = {row.stripe_customer_id for row in rows}
    found = await tx.execute(
        select(customer.c.stripe_customer_id, customer.c.given_back).where(
            customer.c.stripe_customer_id.in_(ids), customer.c.given_back.is_not(None)
        )
    )
    return {charge: row.stripe_customer_id for row in found for charge in row.given_back}


async def _missing(tx: Tx, events: Sequence[ListedEvent]) -> list[tuple[ListedEvent, str]]:
    """Those that concern somebody and were never received, each with its subject."""
    told = [(one, concerning(one.type, one.body["data"]["object"])) for one in events]
    known = await inbox.stored(tx, [one.id for one, subject in told if subject is not None])
    return [(one, subject) for one, subject in told if subject is not None and one.id not in known]


def _about(row: Any, missing: Sequence[tuple[ListedEvent, str]], charges: Mapping[str, str]) -> ListedEvent | None:
    """The newest about the object itself, else about its customer."""
    of_customer = [one for one, subject in missing if charges.get(subject, subject) == row.stripe_customer_id]
    itself = [one for one in of_customer if one.body["data"]["object"].get("id") == row.object_id]
    return next(iter(itself or of_customer), None)
