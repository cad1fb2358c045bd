"""When each subscription counted and what it was worth a month, as stored: made by refresh, read by the metrics."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from .db.engine import Tx
from .db.tables import billing, seen_worth, stretch
from .domain.billing import Billing, Seen, State, to_be_noted
from .domain.catalog import Catalog
from .domain.evidence import Subscription
from .domain.time import Period
from .domain.worth import Stretch, stretches

Key = tuple[str, datetime]


async def write(tx: Tx, owner: Row[Any], subscriptions: Iterable[Subscription], catalog: Catalog, at: datetime) -> None:
    """Makes the stretches of the customer whose row, locked, is `owner`; enters in the ledger what only seeing tells.

    By the evidence and the catalog by which access was computed in the same transaction, so that the two agree.
    """
    known = {one.id: one for one in subscriptions}
    if not known:
        return
    billings: list[Billing] = [
        *await tx.scalars(select(billing.c.billing).where(billing.c.customer_id == owner.id).order_by(billing.c.id))
    ]
    seen = await _ledger(tx, owner.id)
    made: dict[Key, tuple[str, Stretch]] = {}
    for one in billings:
        noted = seen.get(one.subscription, [])
        further = to_be_noted(known[one.subscription], one, noted, at)
        if further is not None:
            await _note(tx, owner, one.subscription, further)
            noted = [*noted, further]
        for found in stretches(known[one.subscription], one, noted, catalog, at):
            made[one.subscription, found.period.start] = one.currency, found
    await _store(tx, owner, made)


async def _ledger(tx: Tx, customer_id: uuid.UUID) -> dict[str, list[Seen]]:
    entries: dict[str, list[Seen]] = {}
    rows = await tx.execute(
        select(seen_worth).where(seen_worth.c.customer_id == customer_id).order_by(seen_worth.c.at, seen_worth.c.id)
    )
    for row in rows:
        entries.setdefault(row.subscription_id, []).append(Seen(row.at, row.worth, row.paused))
    return entries


async def _note(tx: Tx, owner: Row[Any], subscription_id: str, entry: Seen) -> None:
    await tx.execute(
        insert(seen_worth).values(
            project_id=owner.project_id,
            customer_id=owner.id,
            subscription_id=subscription_id,
            at=entry.at,
            worth=entry.worth,
            paused=entry.paused,
        )
    )


async def _store(tx: Tx, owner: Row[Any], made: dict[Key, tuple[str, Stretch]]) -> None:
    """Writes what differs from what is there, which is mostly nothing."""
    rows = await tx.execute(select(stretch).where(stretch.c.customer_id == owner.id))
    there = {(row.subscription_id, row.starts_at): (row.currency, as_stretch(row)) for row in rows}
    gone: Sequence[Key] = [key for key in there if key not in made]
    if gone:
        await tx.execute(delete(stretch).where(tuple_(stretch.c.subscription_id, stretch.c.starts_at).in_(gone)))
    for (subscription_id, starts_at), (currency, one) in made.items():
        if there.get((subscription_id, starts_at)) != (currency, one):
            values = {
                "ends_at": one.period.end,
                "state": one.state.value,
                "currency": currency,
                "monthly": one.monthly,
            }
            whose = {"project_id": owner.project_id, "customer_id": owner.id}
            await tx.execute(
                insert(stretch)
                .values(subscription_id=subscription_id, starts_at=starts_at, **whose, **values)
                .on_conflict_do_update(index_elements=[stretch.c.subscription_id, stretch.c.starts_at], set_=values)
            )


def as_stretch(row: Row[Any]) -> Stretch:
    """From a row with the table's columns."""
    return Stretch(Period(row.starts_at, row.ends_at), State(row.state), row.monthly)
