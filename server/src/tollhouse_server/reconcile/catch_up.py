"""The catch-up: whatever Stripe lists as having happened and was never posted here is received now, like a webhook."""

import json
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select

from .. import drift, inbox
from ..db.engine import Tx
from ..db.tables import customer
from ..domain.time import from_timestamp
from ..inbox import Event
from ..projection import concerning
from ..stripe_gateway.lists import ListedEvent, list_events
from . import runs
from .work import Work, reread

OVERLAP = timedelta(minutes=15)
"""How far before the cursor the list is read again, as an event may be listed later than its `created` says."""
FIRST_WINDOW = timedelta(days=3)
"""How far back the very first run reads: as long as Stripe itself would have gone on posting."""
LATE = timedelta(minutes=1)
"""A younger event may be on its way: it is received too, and not called missing."""


async def catch_up(work: Work) -> None:
    """Reads Stripe's events since the cursor. What comes of them is the pipeline's work; a dry run only looks."""
    assert work.run.since is not None
    newest = work.run.reached
    if work.stage in ("", "events"):
        cursor: str | None = work.cursor
        while True:
            page = await list_events(work.stripe, since=work.run.since, after=cursor)
            cursor = page.last
            listed = [from_timestamp(one.created) for one in page.items]
            newest = max(listed if newest is None else [*listed, newest], default=None)
            async with work.step("events" if cursor else "repair", cursor, reached=newest) as tx:
                await _receive(work, tx, page.items)
            if cursor is None:
                break
    await reread(work, "repair", then="done")


async def _receive(work: Work, tx: Tx, events: Sequence[ListedEvent]) -> None:
    """Stores what is not here yet. Types that change nothing of ours are not: nobody posts all there are."""
    dry_run, missing, arrived = work.run.asked.dry_run, [], []
    concerned = [(one, subject) for one in events if (subject := _subject(one)) is not None]
    concerned = await _of_the_project(work, tx, concerned)
    known = await inbox.stored(tx, [one.id for one, _ in concerned])
    for one, subject in reversed(concerned):  # in the order in which they happened
        if one.id in known:
            continue
        late = work.now() - from_timestamp(one.created) >= LATE
        if late:
            missing.append((one.id, one.type, subject))
        if not dry_run:
            arrived.append(_event(one, subject, found_by=work.run.id if late else None))
    if arrived:
        await inbox.receive(tx, *arrived)
    await drift.record_missing(tx, work.run.id, missing, at=work.now())
    if dry_run:
        await runs.suspect(tx, work.run, sorted({subject for _, _, subject in missing if subject.startswith("cus_")}))
    work.counts.update(
        {
            "events.listed": len(events),
            "events.concerning": len(concerned),
            "events.known": len(known),
            "events.missing": len(missing),
        }
    )


async def _of_the_project(
    work: Work, tx: Tx, concerned: list[tuple[ListedEvent, str]]
) -> list[tuple[ListedEvent, str]]:
    """For a run that is of one project alone: the events of its customers."""
    wanted = work.run.asked.project_id
    if wanted is None:
        return concerned
    subjects = {subject for _, subject in concerned}
    ours = set(
        await tx.scalars(
            select(customer.c.stripe_customer_id).where(
                customer.c.project_id == wanted, customer.c.stripe_customer_id.in_(subjects)
            )
        )
    )
    return [(one, subject) for one, subject in concerned if subject in ours]


def _subject(event: ListedEvent) -> str | None:
    return concerning(event.type, event.body["data"]["object"])


def _event(listed: ListedEvent, subject: str, *, found_by: str | None) -> Event:
    """As the webhook would have brought it."""
    body, at = json.dumps(listed.body, separators=(",", ":")), from_timestamp(listed.created)
    return Event(listed.id, listed.type, listed.api_version, at, body, subject, found_by=found_by)
