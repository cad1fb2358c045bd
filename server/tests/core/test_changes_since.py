"""What changed since a position: nothing is missed, whatever the order in which transactions end, and nothing twice."""

import contextlib
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import project_by_id
from tollhouse_server.changes_since import Found, Position, look
from tollhouse_server.commands.begin_epoch import begin_epoch
from tollhouse_server.commands.give_grant import GrantRequest, give_grant
from tollhouse_server.db.engine import Database, Tx
from tollhouse_server.refresh import Refresh

from .conftest import Shop

pytestmark = pytest.mark.anyio
GRACE = Cause("grace", "test")


async def give(tx: Tx, shop: Shop, user_id: str, at: datetime) -> None:
    wanted = GrantRequest(user_id, "test", feature="premium_export", ends_at=at + timedelta(days=9))
    await give_grant(tx, Refresh(), await project_by_id(tx, shop.project_id), wanted, GRACE, at=at)


async def found(shop: Shop, since: Position | None, *, most: int = 100) -> Found:
    async with shop.database.statement(project=shop.project_id) as tx:
        return await look(tx, shop.project_id, since, most=most)


def users(found: Found) -> list[str]:
    return sorted(one.user_id for one in found.changed)


async def test_each_change_is_found_once(shop: Shop, now: datetime) -> None:
    """A first position finds nothing; from then on each change is found by the next look and by no later one."""
    start = await found(shop, None)
    assert users(start) == users(await found(shop, start.position)) == []
    for user in ("bea", "cal"):
        async with shop.database.transaction() as tx:
            await give(tx, shop, user, now)
    first = await found(shop, start.position)
    assert users(first) == ["bea", "cal"]
    [bea] = [one for one in first.changed if one.user_id == "bea"]
    assert (bea.version, [one.feature for one in bea.entitlements]) == (1, ["premium_export"])
    assert users(await found(shop, first.position)) == []
    assert users(await found(shop, start.position)) == ["bea", "cal"]


async def test_what_began_early_and_ends_late_is_not_missed(shop: Shop, now: datetime) -> None:
    """Bea's transaction has the smaller number and commits after Cal's was found: a look that went by numbers alone
    would have passed it. Neither is a change found twice while Bea's is under way."""
    start = await found(shop, None)
    async with shop.database.transaction() as early:
        await give(early, shop, "bea", now)
        async with shop.database.transaction() as late:
            await give(late, shop, "cal", now)
        between = await found(shop, start.position)
        assert users(between) == ["cal"]
        assert users(await found(shop, between.position)) == []
        written = Position.parse(str(between.position))
        assert written is not None
    assert users(await found(shop, between.position)) == ["bea"]
    assert users(await found(shop, written)) == ["bea", "cal"], "what a reader goes on from may tell a change again"


async def test_a_rollback_is_no_change(shop: Shop, now: datetime) -> None:
    start = await found(shop, None)
    with contextlib.suppress(ZeroDivisionError):
        async with shop.database.transaction() as tx:
            await give(tx, shop, "bea", now)
            raise ZeroDivisionError
    assert users(await found(shop, start.position)) == []


async def test_what_is_found_in_pages_ends_where_the_first_one_looked(shop: Shop, now: datetime) -> None:
    """Each customer is on one page, those of one transaction too; what changes meanwhile is left for the next look."""
    start = await found(shop, None)
    async with shop.database.transaction() as tx:
        for user in ("bea", "cal", "dan"):
            await give(tx, shop, user, now)
    first = await found(shop, start.position, most=2)
    async with shop.database.transaction() as tx:
        await give(tx, shop, "eve", now)
    async with shop.database.statement(project=shop.project_id) as tx:
        second = await look(tx, shop.project_id, start.position, upto=first.position, after=first.changed[-1], most=2)
    assert [len(first.changed), len(second.changed)] == [2, 1]
    assert sorted(users(first) + users(second)) == ["bea", "cal", "dan"]
    assert users(await found(shop, first.position)) == ["eve"]


async def test_a_position_is_of_one_epoch_and_project(shop: Shop, database: Database, now: datetime) -> None:
    """After a restore the numbers mean nothing any more; another project's say nothing of this one's changes. And what
    a restore raises is found as changed."""
    async with shop.database.transaction() as tx:
        await give(tx, shop, "bea", now)
    before = await found(shop, None)
    async with database.transaction() as tx:
        await begin_epoch(tx, GRACE, at=now)
    after = await found(shop, before.position)
    async with database.transaction() as tx:
        await tx.execute(text("ALTER TABLE customer ALTER COLUMN version SET DEFAULT 0"))  # for the tests to come
    assert after.position.origin != before.position.origin
    assert [(one.user_id, one.version > 1) for one in after.changed] == [("bea", True)]
    async with database.transaction() as tx:
        other = await tx.scalar(
            text("INSERT INTO project (id, slug, name, redirect_origins) VALUES (gen_random_uuid(), 'b', 'B', '{}')"
                 " RETURNING id")
        )  # fmt: skip
    async with database.statement(project=other) as tx:
        assert (await look(tx, other, None, most=0)).position.origin != after.position.origin


def test_a_position_is_read_back_or_not_at_all() -> None:
    """Whatever somebody sends as Last-Event-ID."""
    position = Position("0123456789abcdef", "750:761:752,755")
    assert (str(position), position.oldest, position.newest) == ("0123456789abcdef-750", 750, 761)
    again = Position.parse(str(position))
    assert again == Position("0123456789abcdef", "750:750:")
    for wrong in (
        "",
        "0",
        "0123456789abcdef-0",
        "0123456789abcdef--1",
        "0123456789ABCDEF-750",
        f"{'0' * 16}-{'9' * 19}",
    ):
        assert Position.parse(wrong) is None
