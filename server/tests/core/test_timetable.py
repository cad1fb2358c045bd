"""What time does by itself."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from tollhouse_server import liveness, projection, snapshot
from tollhouse_server.audit import Cause
from tollhouse_server.clock import Clock
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import customer, worker
from tollhouse_server.refresh import Refresh
from tollhouse_server.testing import ManualClock
from tollhouse_server.timetable import Timetable

pytestmark = pytest.mark.anyio

WHY = Cause("stripe", "evt_1")


def timetable(database: Database, clock: Clock) -> Timetable:
    return Timetable(database, clock, Refresh())


async def subscribed(shop: Any, now: datetime, **facts: Any) -> None:
    async with shop.database.transaction() as tx:
        await projection.write(tx, shop.facts(**facts), 1)
        await Refresh()(tx, shop.customer_id, WHY, at=now)


async def test_an_expiry_has_a_version_and_an_audit_entry(shop: Any, now: datetime) -> None:
    """No event says so: at its instant, not before, and once however many workers look."""
    clock = ManualClock(now)
    jobs = timetable(shop.database, clock)
    await subscribed(shop, now, ends=now + timedelta(days=1))
    ends = (await shop.stored()).entitlements[0].period.end
    clock.set(ends - timedelta(microseconds=1))
    assert await jobs.refresh_outdated() == 0
    clock.set(ends)
    await asyncio.gather(*(timetable(shop.database, clock).refresh_outdated() for _ in range(4)))
    assert await jobs.refresh_outdated() == 0
    stored, audited = await shop.stored(), await shop.audited()
    assert (stored.version, stored.entitlements) == (2, ())
    assert [(row.actor, row.after) for row in audited[1:]] == [("timetable", [])]


async def test_a_new_catalog_reaches_every_customer(shop: Any, now: datetime, pdf_tool_catalog: dict[str, Any]) -> None:
    """Publishing changes what the products open: the customers get it, each with version and audit entry."""
    await subscribed(shop, now)
    jobs = timetable(shop.database, ManualClock(now))
    assert await jobs.refresh_outdated() == 0
    opens = {**pdf_tool_catalog["products"]["pro"], "opens": {"premium_export": True, "pages_per_day": 900}}
    await shop.publish(2, {**pdf_tool_catalog, "products": {**pdf_tool_catalog["products"], "pro": opens}})
    assert await jobs.refresh_outdated() == 1
    assert await jobs.refresh_outdated() == 0
    stored = await shop.stored()
    assert (stored.version, stored.catalog_version) == (2, 2)
    assert {one.feature: one.value for one in stored.entitlements} == {"premium_export": True, "pages_per_day": 900}


async def test_one_customer_who_cannot_be_computed_holds_up_nobody(shop: Any, now: datetime) -> None:
    """Its stored state stands, its error is logged, and the others are refreshed."""
    clock = ManualClock(now)
    await subscribed(shop, now, ends=now + timedelta(days=1))
    async with shop.database.transaction() as tx:
        for number in range(3):
            values = {"project_id": shop.project_id, "user_id": f"user {number}"}
            made = await tx.execute(insert(customer).values(id=text("gen_random_uuid()"), **values).returning(customer))
            owner = made.one()
            await snapshot.write(tx, owner, await snapshot.read(tx, shop.project_id, "ada"), now)
        await tx.execute(text('UPDATE subscription SET evidence = \'{"not": "evidence"}\''))
    clock.set(now + timedelta(days=30))
    assert await timetable(shop.database, clock).refresh_outdated() == 3
    assert (await shop.stored()).version == 1


async def test_a_worker_is_seen_while_it_lives(database: Database, now: datetime) -> None:
    """A sign of life counts for 30 seconds, and is forgotten an hour later."""
    jobs = timetable(database, ManualClock(now))
    async with database.transaction() as tx:
        assert not await liveness.seen_lately(tx)
    await jobs.heartbeat("worker-1")
    await jobs.heartbeat("worker-1")
    async with database.transaction() as tx:
        assert await liveness.seen_lately(tx)
        await tx.execute(update(worker).values(seen_at=text("now() - interval '31 seconds'")))
    async with database.transaction() as tx:
        assert not await liveness.seen_lately(tx)
        await tx.execute(update(worker).values(seen_at=text("now() - interval '61 minutes'")))
    await jobs.heartbeat("worker-2")
    async with database.transaction() as tx:
        assert list(await tx.scalars(worker.select().with_only_columns(worker.c.id))) == ["worker-2"]
    await jobs.prune()
