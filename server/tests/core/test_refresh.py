"""The only way an entitlement changes: a version, an audit entry and the snapshot, all or nothing."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from tollhouse_server import projection
from tollhouse_server.audit import Cause
from tollhouse_server.db.engine import Change, Database, Tx
from tollhouse_server.db.tables import customer, grant
from tollhouse_server.refresh import Refresh
from tollhouse_server.snapshot import Snapshot

pytestmark = pytest.mark.anyio

WHY = Cause("stripe", "evt_1, evt_2")


@pytest.fixture
def refresh() -> Refresh:
    return Refresh()


async def grant_pages(tx: Tx, shop: Any, pages: int, at: datetime) -> None:
    await tx.execute(
        insert(grant).values(
            id=f"gr_{pages}",
            project_id=shop.project_id,
            customer_id=shop.customer_id,
            feature="pages_per_day",
            value=pages,
            starts_at=at,
            reason="a test",
            operator="grace",
        )
    )


async def synced(shop: Any, refresh: Refresh, read: int, at: datetime, **facts: Any) -> Snapshot:
    """What the pipeline does with one read."""
    async with shop.database.transaction() as tx:
        owner = await projection.write(tx, shop.facts(**facts), read)
        assert owner is not None
        return await refresh(tx, owner.customer_id, WHY, at=at)


async def version_of(shop: Any) -> int:
    async with shop.database.transaction() as tx:
        return int(await tx.scalar(select(customer.c.version).where(customer.c.id == shop.customer_id)) or 0)


async def test_a_change_has_a_version_and_one_audit_entry(shop: Any, refresh: Refresh, now: datetime) -> None:
    """Opened, renewed, closed: each is the next version, with who, why, before and after."""
    assert (await shop.stored()).version == 0
    await synced(shop, refresh, 1, now)
    await synced(shop, refresh, 2, now, ends=now + timedelta(days=60))
    await synced(shop, refresh, 3, now, status="canceled", ends=now + timedelta(days=60))
    stored, audited = await shop.stored(), await shop.audited()
    assert stored.version == await version_of(shop) == 3
    assert [(row.actor, row.cause, row.customer_id, row.project_id) for row in audited] == [
        ("stripe", "evt_1, evt_2", shop.customer_id, shop.project_id)
    ] * 3
    assert audited[0].before == [] and audited[2].after == []
    assert {one["feature"] for one in audited[0].after} == {"premium_export", "pages_per_day"}
    assert [row.before for row in audited[1:]] == [row.after for row in audited[:-1]]


async def test_what_changes_nothing_has_neither(shop: Any, refresh: Refresh, now: datetime) -> None:
    """The same facts read again, also later and by a newer read, leave version and audit as they are."""
    await synced(shop, refresh, 1, now)
    for read in range(2, 6):
        await synced(shop, refresh, read, now + timedelta(hours=read))
    assert (await shop.stored()).version == await version_of(shop) == 1
    assert len(await shop.audited()) == 1


class Told:
    """An announcer who keeps what it is told."""

    def __init__(self) -> None:
        self.before_: list[Change] = []
        self.after_: list[Change] = []

    async def before(self, changes: Sequence[Change]) -> None:
        self.before_ += changes

    async def after(self, changes: Sequence[Change]) -> None:
        self.after_ += changes


async def test_a_rollback_leaves_nothing(shop: Any, refresh: Refresh, now: datetime) -> None:
    """No version, no audit entry, no snapshot, and nothing was announced that would turn good answers away."""
    shop.database.announcer = told = Told()
    with pytest.raises(RuntimeError, match="too late"):
        async with shop.database.transaction() as tx:
            await projection.write(tx, shop.facts(), 1)
            assert (await refresh(tx, shop.customer_id, WHY, at=now)).version == 1
            raise RuntimeError("too late")
    assert (await shop.stored()).version == await version_of(shop) == 0
    assert await shop.audited() == []
    assert told.before_ == told.after_ == []


async def test_a_change_is_announced_before_its_commit_and_after_it(shop: Any, refresh: Refresh, now: datetime) -> None:
    """With the version it gives; what changes nothing is not."""
    shop.database.announcer = told = Told()
    await synced(shop, refresh, 1, now)
    await synced(shop, refresh, 2, now)
    assert told.before_ == told.after_ == [Change(shop.project_id, "ada", 1)]


async def test_versions_are_gapless_whoever_writes(shop: Any, refresh: Refresh, now: datetime) -> None:
    """Ten writers at once: as many versions as audit entries, each beginning with what the one before ended with."""

    async def give(pages: int) -> None:
        async with shop.database.transaction() as tx:
            await grant_pages(tx, shop, pages, now)
            await refresh(tx, shop.customer_id, Cause("grace", "a grant"), at=now)

    await asyncio.gather(*(give(pages) for pages in range(1, 11)))
    audited = await shop.audited()
    assert (await shop.stored()).version == await version_of(shop) == len(audited) >= 1
    told = [([one["value"] for one in row.before], [one["value"] for one in row.after]) for row in audited]
    assert told[0][0] == [] and told[-1][1] == [10]
    assert [before for before, _ in told[1:]] == [after for _, after in told[:-1]]


async def test_time_alone_is_a_change_too(shop: Any, refresh: Refresh, now: datetime) -> None:
    """What ended since it was last told has a version and an entry of its own when the customer is refreshed."""
    async with shop.database.transaction() as tx:
        await grant_pages(tx, shop, 5, now)
        await tx.execute(update(grant).values(ends_at=now + timedelta(hours=1)))
        await refresh(tx, shop.customer_id, WHY, at=now)
    for _ in range(2):
        async with shop.database.transaction() as tx:
            await refresh(tx, shop.customer_id, Cause("timetable", "time passed"), at=now + timedelta(hours=1))
    audited = await shop.audited()
    assert [row.cause for row in audited] == ["evt_1, evt_2", "time passed"]
    assert (await shop.stored()).entitlements == ()


async def test_refresh_and_a_read_of_stripe_wait_for_each_other(
    shop: Any, database: Database, refresh: Refresh, now: datetime
) -> None:
    """Both lock the customer's row: a refresh sees the evidence of a write that began before it, never half of it."""
    async with shop.database.transaction() as tx:
        await grant_pages(tx, shop, 900, now)
        await refresh(tx, shop.customer_id, WHY, at=now)
    async with database.transaction() as tx:
        await tx.execute(delete(grant))
        await projection.write(tx, shop.facts(), 1)

        async def other() -> Snapshot:
            async with database.transaction() as beside:
                return await refresh(beside, shop.customer_id, WHY, at=now)

        waiting = asyncio.create_task(other())
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        await refresh(tx, shop.customer_id, WHY, at=now)
    assert (await waiting).version == (await shop.stored()).version == 2
