"""Where our books differed from Stripe's: seen in the transaction that mends it, kept as a report, told as gauges."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, type_coerce, update

from . import snapshot
from .catalogs import current_catalog, project_by_id
from .db.columns import Json
from .db.drift_tables import drift, reconciliation
from .db.engine import Tx
from .db.tables import checkout, customer, inbox, project, purchase, subscription
from .domain.drift import EXISTS, Difference, Fields, Judgement, Verdict, differences, judge
from .domain.entitlements import Entitlement, compute
from .domain.evidence import Evidence
from .domain.facts import CustomerFacts
from .projection import Owner

RECENT = timedelta(hours=24)
"""How long the gauges go on telling of what was repaired."""

_EVER = datetime.min.replace(tzinfo=UTC)
_OVER = ("canceled", "incomplete_expired")


@dataclass(frozen=True, slots=True)
class Picture:
    """What we hold of one customer at one moment, and all that it ever opened."""

    objects: Mapping[str, Fields]
    evidence: Evidence
    history: tuple[Entitlement, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a read of Stripe showed to be wrong in our books of one customer. Nothing, where it is empty."""

    owner: Owner
    stripe_customer_id: str
    differences: tuple[Difference, ...]
    judgement: Judgement | None
    gone: tuple[Difference, ...] = ()
    """What we hold and Stripe no longer shows: it is left as it is, and somebody must decide."""
    judgement_of_gone: Judgement | None = None


async def look(tx: Tx, owner: Owner, stripe_customer_id: str) -> Picture:
    """What we hold of the customer now. With the row locked, until the transaction ends it stays so."""
    evidence = await snapshot.gather(tx, owner.customer_id, owner.project_id)
    return Picture(await _objects(tx, owner, stripe_customer_id), evidence, await _history(tx, owner, evidence))


async def compare(tx: Tx, owner: Owner, facts: CustomerFacts, before: Picture, after: Picture, at: datetime) -> Found:
    """What the write of `facts` between the two pictures mended, and what no write can."""
    gone = tuple(_gone(after.evidence, facts))
    left = {one.object_id for one in gone}
    without = Evidence(
        tuple(one for one in after.evidence.subscriptions if one.id not in left),
        tuple(one for one in after.evidence.purchases if one.id not in left),
        after.evidence.grants,
        after.evidence.bundled,
    )
    return Found(
        owner,
        facts.id,
        differences(before.objects, after.objects),
        judge(before.history, after.history, at),
        gone,
        judge(after.history, await _history(tx, owner, without), at) if gone else None,
    )


def _gone(evidence: Evidence, facts: CustomerFacts) -> list[Difference]:
    """An ended subscription opens nothing: nobody minds whether Stripe still lists it."""
    shown = {one.id for one in facts.subscriptions} | {one.id for one in facts.purchases}
    held = [one.id for one in evidence.subscriptions if one.status not in _OVER]
    held += [one.id for one in evidence.purchases]
    return [Difference(id_, EXISTS, True, None) for id_ in held if id_ not in shown]


async def _objects(tx: Tx, owner: Owner, stripe_customer_id: str) -> dict[str, Fields]:
    """By id, as stored and not as read: a field that an older release did not keep is not there."""
    mine = customer.c.id == owner.customer_id
    row = (await tx.execute(select(customer.c.stripe_customer_id, customer.c.given_back).where(mine))).one()
    given_back = {} if row.given_back is None else {"given_back": row.given_back}
    objects: dict[str, Fields] = {stripe_customer_id: {"customer": row.stripe_customer_id, **given_back}}
    for table in (subscription, purchase):
        stored = await tx.execute(
            select(table.c.id, type_coerce(table.c.evidence, Json).label("fields")).where(
                table.c.customer_id == owner.customer_id
            )
        )
        objects |= {one.id: one.fields for one in stored}
    sessions = await tx.execute(
        select(checkout.c.id, checkout.c.state, checkout.c.payment_status).where(
            checkout.c.customer_id == owner.customer_id
        )
    )
    objects |= {one.id: {"state": one.state, "payment_status": one.payment_status} for one in sessions}
    return objects


async def _history(tx: Tx, owner: Owner, evidence: Evidence) -> tuple[Entitlement, ...]:
    catalog = await current_catalog(tx, await project_by_id(tx, owner.project_id))
    return compute(catalog, evidence, catalog.policy, _EVER)


async def record(
    tx: Tx, run_id: str, found: Found, *, at: datetime, repaired: bool, event_id: str | None = None
) -> int:
    """Adds the report's rows of one customer, and closes what was open of them; returns how many rows.

    `repaired` False: it was only looked at (a dry run), and all that was open stays so.
    """
    if repaired:
        await close(tx, of_customer(found.owner.customer_id), at)
    mended = [
        _row(one, found.judgement, repaired=repaired, closed_at=at if repaired else None) for one in found.differences
    ]
    rows = mended + [_row(one, found.judgement_of_gone, repaired=False, closed_at=None) for one in found.gone]
    if rows:
        mine = {
            "run_id": run_id,
            "project_id": found.owner.project_id,
            "customer_id": found.owner.customer_id,
            "stripe_customer_id": found.stripe_customer_id,
            "event_id": event_id,
            "found_at": at,
        }
        await tx.execute(insert(drift), [{**mine, **row} for row in rows])
    return len(rows)


def _row(one: Difference, judged: Judgement | None, **more: Any) -> dict[str, Any]:
    return {
        "object_id": one.object_id,
        "field": one.field,
        "ours": one.ours,
        "stripes": one.stripes,
        "verdict": judged.verdict if judged else None,
        "since": judged.since if judged else None,
        **more,
    }


async def record_unreadable(tx: Tx, run_id: str, stripe_customer_id: str, error: str, *, at: datetime) -> None:
    """A customer who differs and cannot be read: our last known state stands, and somebody must look."""
    owner = (
        await tx.execute(
            select(customer.c.id, customer.c.project_id).where(customer.c.stripe_customer_id == stripe_customer_id)
        )
    ).one_or_none()
    await tx.execute(
        insert(drift).values(
            run_id=run_id,
            project_id=owner.project_id if owner else None,
            customer_id=owner.id if owner else None,
            stripe_customer_id=stripe_customer_id,
            object_id=stripe_customer_id,
            field="unreadable",
            found_at=at,
            error=error,
        )
    )


async def record_missing(tx: Tx, run_id: str, events: Sequence[tuple[str, str, str]], *, at: datetime) -> None:
    """Events (id, type, subject) that Stripe lists and whose webhooks never came; open until they are applied."""
    if events:
        rows = [
            {
                "run_id": run_id,
                "object_id": id_,
                "field": "event",
                "stripes": type_,
                "event_id": id_,
                "stripe_customer_id": subject if subject.startswith("cus_") else None,
                "found_at": at,
            }
            for id_, type_, subject in events
        ]
        await tx.execute(insert(drift), rows)


async def settle_missing(tx: Tx, event_ids: Sequence[str], found: Found | None, *, ours: bool, at: datetime) -> None:
    """Closes the rows of missing events that were applied, with what they led to; those of nobody of ours go."""
    if not event_ids:
        return
    mine = and_(drift.c.event_id.in_(event_ids), drift.c.field == "event", drift.c.closed_at.is_(None))
    if not ours:
        await tx.execute(delete(drift).where(mine))
        return
    if found is None:  # a price or a product: nobody's customer
        await tx.execute(update(drift).where(mine).values(repaired=_meant_it(), closed_at=at))
        return
    told = found.judgement
    rows = (
        await tx.execute(
            update(drift)
            .where(mine)
            .values(
                project_id=found.owner.project_id,
                customer_id=found.owner.customer_id,
                stripe_customer_id=found.stripe_customer_id,
                verdict=told.verdict if told else None,
                since=told.since if told else None,
                repaired=_meant_it(),
                closed_at=at,
            )
            .returning(drift.c.run_id, drift.c.event_id, drift.c.id, drift.c.repaired)
        )
    ).all()
    if rows:
        newest = max(rows, key=lambda row: (row.repaired, row.id))
        await record(tx, newest.run_id, found, at=at, repaired=True, event_id=newest.event_id)


def _meant_it() -> ColumnElement[Any]:
    """False for a row of a dry run: it repaired nothing, whoever did later."""
    run = select(~reconciliation.c.dry_run).where(reconciliation.c.id == drift.c.run_id)
    return run.correlate(drift).scalar_subquery()


async def close_older(tx: Tx, run_id: str, project_id: uuid.UUID | None, *, at: datetime) -> None:
    """After a whole sweep that began at `at`: what was open before is wrong no more, or was found again.

    A missing event that waits to be applied is not done with.
    """
    waits = select(inbox.c.id).where(inbox.c.event_id == drift.c.event_id, inbox.c.state != "settled").exists()
    older = and_(drift.c.run_id != run_id, drift.c.found_at <= at, or_(drift.c.field != "event", ~waits))
    await close(tx, older if project_id is None else and_(older, drift.c.project_id == project_id), at)


def of_customer(customer_id: uuid.UUID) -> ColumnElement[bool]:
    return drift.c.customer_id == customer_id


async def close(tx: Tx, which: ColumnElement[bool], at: datetime) -> None:
    """What was open of these is right again."""
    await tx.execute(update(drift).where(which, drift.c.closed_at.is_(None)).values(closed_at=at))


async def listing(
    tx: Tx, run_id: str, *, verdict: str | None = None, after: int | None = None, limit: int = 100
) -> Sequence[Row[Any]]:
    """The rows of one run's report in the order in which they were found, each with its project and user."""
    conditions = [drift.c.run_id == run_id]
    if verdict is not None:
        conditions.append(drift.c.verdict == verdict)
    if after is not None:
        conditions.append(drift.c.id > after)
    return (
        await tx.execute(
            select(drift, project.c.slug.label("project"), customer.c.user_id)
            .outerjoin(project, project.c.id == drift.c.project_id)
            .outerjoin(customer, customer.c.id == drift.c.customer_id)
            .where(*conditions)
            .order_by(drift.c.id)
            .limit(limit)
        )
    ).all()


async def summary(tx: Tx, run_id: str) -> dict[str, int]:
    """Of one run: differences, customers, those repaired, and the users by verdict."""
    who = func.coalesce(drift.c.stripe_customer_id, drift.c.object_id)
    columns = [
        func.count().label("differences"),
        func.count(who.distinct()).label("customers"),
        func.count().filter(drift.c.repaired).label("repaired"),
        func.count().filter(drift.c.closed_at.is_(None)).label("open"),
        func.count().filter(drift.c.field == "event").label("missing_events"),
        *(func.count(who.distinct()).filter(drift.c.verdict == verdict).label(verdict.value) for verdict in Verdict),
    ]
    row = (await tx.execute(select(*columns).where(drift.c.run_id == run_id))).one()
    return {name: int(number) for name, number in row._mapping.items()}


class Toll(NamedTuple):
    """How many users a verdict was true of, and for how many minutes together."""

    users: int
    minutes: float


async def tolls(tx: Tx, at: datetime) -> dict[tuple[Verdict, bool], Toll]:
    """By verdict, of those who are still told wrong (False) and of those repaired within a day (True)."""
    wrong_for = func.max(func.coalesce(drift.c.closed_at, at) - drift.c.since)
    users = (
        select(drift.c.verdict, drift.c.repaired, wrong_for.label("wrong_for"))
        .where(
            drift.c.verdict.is_not(None),
            (drift.c.closed_at.is_(None)) | (drift.c.repaired & (drift.c.closed_at > at - RECENT)),
        )
        .group_by(drift.c.verdict, drift.c.repaired, drift.c.customer_id)
        .subquery()
    )
    rows = await tx.execute(
        select(users.c.verdict, users.c.repaired, func.count(), func.sum(users.c.wrong_for)).group_by(
            users.c.verdict, users.c.repaired
        )
    )
    known = {
        (Verdict(verdict), repaired): Toll(number, wrong.total_seconds() / 60)
        for verdict, repaired, number, wrong in rows
    }
    return {
        (verdict, repaired): known.get((verdict, repaired), Toll(0, 0.0))
        for verdict in Verdict
        for repaired in (False, True)
    }


async def found_lately(tx: Tx, at: datetime) -> dict[tuple[str, str], int]:
    """How many differences the runs of the last day found, by the runs' kind and by `repaired` or `open`."""
    rows = await tx.execute(
        select(
            reconciliation.c.kind,
            func.count().filter(drift.c.closed_at.is_not(None)),
            func.count().filter(drift.c.closed_at.is_(None)),
        )
        .join(drift, drift.c.run_id == reconciliation.c.id)
        .where(drift.c.found_at > at - RECENT)
        .group_by(reconciliation.c.kind)
    )
    return {
        (kind, state): number for kind, closed, open_ in rows for state, number in (("closed", closed), ("open", open_))
    }


async def prune(tx: Tx, before: datetime) -> None:
    """Forgets the runs that ended before an instant with their reports, unless something of those is still open."""
    still_open = select(drift.c.run_id).where(drift.c.closed_at.is_(None))
    await tx.execute(
        delete(reconciliation).where(reconciliation.c.finished_at < before, reconciliation.c.id.not_in(still_open))
    )
