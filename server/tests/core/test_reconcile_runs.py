"""Runs of reconciliation: one of a kind at a time over all replicas, and each goes on where it was killed."""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from tollhouse import Tollhouse
from tollhouse_server.db.drift_tables import drift, reconciliation
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import audit, customer
from tollhouse_server.reconcile import Asked, Kind, Reconciler, ReconciliationRunning, Schedule, Trigger, runs
from tollhouse_server.reconcile.runs import LeaseLost, Run
from tollhouse_server.resources import Resources
from tollhouse_server.stripe_gateway.pace import LONGEST_PAUSE, Pace
from tollhouse_server.testing import FAST, World

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
SWEEP = Asked(Kind.SWEEP, Trigger.OPERATOR, "grace")
CATCH_UP = Asked(Kind.CATCH_UP, Trigger.SCHEDULE, "timetable")


async def taken(database: Database, kind: Kind = Kind.SWEEP, *, at_once: bool = False) -> Run | None:
    async with database.transaction() as tx:
        return await runs.take(tx, kind, LEASE, at_once=at_once)


async def begun(database: Database, asked: Asked = SWEEP) -> str:
    async with database.transaction() as tx:
        return await runs.begin(tx, asked, at=NOON)


async def left_alone(database: Database) -> None:
    """As if its holder had given no sign of life for a while."""
    async with database.transaction() as tx:
        await tx.execute(update(reconciliation).values(lease_until=func.now() - timedelta(seconds=1)))


@pytest.mark.anyio
async def test_one_of_a_kind_at_a_time(database: Database) -> None:
    """Of eight replicas that begin and take a run at the same moment one has it; another kind is another matter."""
    begins = await asyncio.gather(*(begun(database) for _ in range(8)), return_exceptions=True)
    [run_id] = [one for one in begins if isinstance(one, str)]
    assert [type(one) for one in begins if one != run_id] == [ReconciliationRunning] * 7
    takes = await asyncio.gather(*(taken(database) for _ in range(8)))
    [run] = [one for one in takes if one is not None]
    assert run.id == run_id and await taken(database) is None
    assert await begun(database, CATCH_UP)
    async with database.transaction() as tx:
        await runs.finish(tx, run, at=NOON)
    assert await begun(database) != run_id


@pytest.mark.anyio
async def test_who_lost_the_lease_writes_nothing_more(database: Database) -> None:
    """An abandoned run is taken over as it stands; its first holder, alive after all, undoes what it has in hand."""
    await begun(database)
    first = await taken(database)
    assert first is not None
    async with database.transaction() as tx:
        await runs.save(tx, first, LEASE, stage="charges", cursor="ch_1", counts={"charges.listed": 100}, requests=7)
    await left_alone(database)
    second = await taken(database)
    assert second is not None and (second.stage, second.cursor, second.requests) == ("charges", "ch_1", 7)
    assert second.counts == {"charges.listed": 100} and second.lease != first.lease
    for attempt in (
        lambda tx: runs.save(tx, first, LEASE, stage="back", cursor=None),
        lambda tx: runs.beat(tx, first, LEASE),
        lambda tx: runs.finish(tx, first, at=NOON),
        lambda tx: runs.stumble(tx, first, RuntimeError("late"), at=NOON, final=True),
    ):
        with pytest.raises(LeaseLost):
            async with database.transaction() as tx:
                await tx.execute(insert(drift).values(run_id=first.id, object_id="x", field="x", found_at=NOON))
                await attempt(tx)
    async with database.transaction() as tx:
        assert await tx.scalar(select(func.count()).select_from(drift)) == 0
        row = await runs.get(tx, first.id)
    assert row is not None and (row.state, row.stage) == ("running", "charges")


@pytest.mark.anyio
async def test_an_interrupted_run_pauses_and_at_last_gives_up(database: Database) -> None:
    """Each error is kept; a step forward forgets them; after ten in a row without one, it has failed."""
    await begun(database)
    for failures in range(1, runs.MOST_FAILURES + 1):
        run = await taken(database, at_once=True)
        assert run is not None
        if failures == 1:
            async with database.transaction() as tx:
                await runs.save(tx, run, LEASE, stage="refunds", cursor=None)
        async with database.transaction() as tx:
            failed = await runs.stumble(tx, run, OSError(f"away {failures}"), at=NOON, final=False)
            row = await runs.get(tx, run.id)
        assert row is not None and (row.failures, row.error) == (failures, f"OSError: away {failures}")
        assert failed == (failures == runs.MOST_FAILURES)
        if not failed:
            assert await taken(database) is None, "it pauses"
    assert row is not None and (row.state, row.finished_at) == ("failed", NOON)
    assert await taken(database, at_once=True) is None


HOUR = timedelta(hours=1)
USUAL = Schedule(timedelta(minutes=5), 6 * HOUR, time_of_day(2))


@pytest.mark.parametrize(
    ("kind", "last", "now", "due"),
    [
        (Kind.CATCH_UP, None, NOON, True),
        (Kind.CATCH_UP, NOON, NOON + timedelta(minutes=4, seconds=59), False),
        (Kind.CATCH_UP, NOON, NOON + timedelta(minutes=5), True),
        (Kind.SWEEP, None, NOON, True),
        (Kind.SWEEP, NOON, NOON + 6 * HOUR - timedelta(seconds=1), False),
        (Kind.SWEEP, NOON, NOON + 6 * HOUR, True),
        (Kind.SWEEP, NOON + 11 * HOUR, NOON + 14 * HOUR - timedelta(seconds=1), False),
        (Kind.SWEEP, NOON + 11 * HOUR, NOON + 14 * HOUR, True),
        (Kind.SWEEP, NOON + 14 * HOUR, NOON + 15 * HOUR, False),
        (Kind.SWEEP, NOON + 14 * HOUR, NOON + 20 * HOUR, True),
    ],
)
def test_when_a_run_is_due(kind: Kind, last: datetime | None, now: datetime, due: bool) -> None:
    """Every five minutes the catch-up; the sweep every six hours and at two in the night, each by itself enough."""
    assert USUAL.is_due(kind, last, now) is due
    assert Schedule(None, None, None).is_due(kind, last, now) is False
    nightly = Schedule(None, None, time_of_day(2)).is_due(Kind.SWEEP, NOON, NOON + timedelta(hours=13))
    assert nightly is False


@pytest.mark.anyio
async def test_a_pace_is_kept_and_slows_down_when_told(now: datetime) -> None:
    """Evenly spaced, whoever asks; after a 429 a pause, then half as fast, and step by step back to the usual rate."""
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    pace = Pace(5, now=lambda: clock[0], sleep=sleep)

    async def asked() -> float:
        async with pace.slot():
            pass
        return round(clock[0], 3)

    assert [await asked() for _ in range(4)] == [0, 0.2, 0.4, 0.6]
    pace.limited("7")
    assert await asked() == 7.6
    assert await asked() == 8.0
    pace.limited(None)
    pace.limited("soon")
    assert round(await asked() - 8.0, 3) == 4.0
    for _ in range(30):
        pace.limited(None)
    before = clock[0]
    assert await asked() - before <= LONGEST_PAUSE + 1
    for _ in range(60):
        pace.answered()
    before = await asked()
    assert round(await asked() - before, 3) == 0.2
    assert pace.requests == 10 and pace.stripe_seconds == 0 and pace.paced_seconds == pytest.approx(clock[0])


# Real replicas, and Stripe held up in the middle of a run


@pytest.fixture
def app(world: World, pdf_tool_catalog: dict[str, Any]) -> Tollhouse:
    published = world.publish(pdf_tool_catalog)
    world.arrive()
    return published


def through(resources: Resources, proxy: Any, **more: Any) -> Reconciler:
    """A reconciler whose Stripe is behind the proxy."""
    settings = resources.settings.model_copy(update={"stripe_api_base": proxy.url})
    return replace(replace(resources, settings=settings).reconciler, requests_per_second=FAST, **more)


def unheard_sale(world: World, app: Tollhouse, *names: str) -> None:
    world.sandbox.lose_events()
    for name in names:
        world.customer(name, app).buys("pdf-tool.pro.monthly")


def test_four_replicas_find_a_run_due_and_one_does_it(world: World, app: Tollhouse) -> None:
    """However they meet: each kind is run once, and again only when it is due again."""

    async def turns(resources: Resources) -> list[Any]:
        reconciler = replace(resources.reconciler, requests_per_second=FAST)
        await asyncio.gather(*(reconciler.turn(kind) for kind in Kind for _ in range(2)))
        async with resources.database.transaction() as tx:
            return list((await tx.execute(select(reconciliation.c.kind).order_by(reconciliation.c.kind))).scalars())

    # Far from the daily sweep, whatever time it is where the tests run.
    world.passes_until((world.now + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0))
    unheard_sale(world, app, "ada")
    assert world.service.run(turns) == ["catch-up", "sweep"]
    assert app.check("ada", "premium_export")
    assert world.service.run(turns) == ["catch-up", "sweep"]
    world.passes(minutes=5)
    assert world.service.run(turns) == ["catch-up", "catch-up", "sweep"]


def test_a_worker_told_to_stop_leaves_the_run_to_the_next(world: World, app: Tollhouse, proxy: Any) -> None:
    """Cancelled while it waits for Stripe it gives its lease back at once, and the next goes on at that list."""
    unheard_sale(world, app, "ada")

    async def stopped(resources: Resources) -> str:
        async with resources.database.transaction() as tx:
            run_id = await resources.reconciler.begin(tx, SWEEP)
        proxy.closes_at = "/v1/checkout/sessions"
        turn = asyncio.create_task(through(resources, proxy).go_on(Kind.SWEEP))
        while "/v1/checkout/sessions" not in proxy.asked:  # noqa: ASYNC110 - asked in another thread
            await asyncio.sleep(0.001)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        return run_id

    async def goes_on(resources: Resources) -> Any:
        assert await through(resources, proxy).go_on(Kind.SWEEP)
        async with resources.database.transaction() as tx:
            return (await tx.execute(select(reconciliation))).one()

    run_id = world.service.run(stopped)
    proxy.open.set()
    proxy.asked.clear()
    row = world.service.run(goes_on)
    assert (row.id, row.state) == (run_id, "finished")
    assert proxy.asked[0] == "/v1/checkout/sessions" and "/v1/customers" not in proxy.asked
    assert row.counts["customers.listed"] == row.counts["subscriptions.listed"] == 1
    assert app.check("ada", "premium_export")


def test_killed_in_the_middle_of_its_repairs_a_run_repairs_the_rest(
    world: World, app: Tollhouse, proxy: Any, tmp_path: Path
) -> None:
    """`tollhouse reconcile` dies by SIGKILL between two customers: each of the six is repaired once, none is missed."""
    names = [f"user {number}" for number in range(6)]
    unheard_sale(world, app, *names)
    settings = world.service.settings
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_API_BASE": proxy.url,
        "RECONCILE_REQUESTS_PER_SECOND": "20",
        "LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "tollhouse_server.cli", "reconcile"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while sum(path == "/v1/invoices" for path in proxy.asked) < 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.005)
        process.kill()
    done = sum(bool(app.check(name, "premium_export")) for name in names)
    assert 1 <= done < 6

    async def abandoned(resources: Resources) -> Any:
        assert not await through(resources, proxy).go_on(Kind.SWEEP), "its lease still stands"
        await left_alone(resources.database)
        assert await through(resources, proxy).go_on(Kind.SWEEP)
        async with resources.database.transaction() as tx:
            row = (await tx.execute(select(reconciliation))).one()
            exists = drift.c.run_id == row.id, drift.c.field == "exists"
            users = await tx.scalars(select(customer.c.user_id).join(drift).where(*exists).order_by(customer.c.user_id))
            entries = await tx.scalar(select(func.count()).select_from(audit).where(audit.c.cause == row.id))
            return row, list(users), entries

    row, users, entries = world.service.run(abandoned)
    assert (row.state, row.trigger) == ("finished", "cli")
    assert users == names and entries == 6
    assert all(app.check(name, "premium_export") for name in names)
    assert row.counts["customers.listed"] == 6


def test_stripe_away_and_back(world: World, app: Tollhouse, proxy: Any) -> None:
    """An outage interrupts a run, which keeps the reason and goes on later; the schedule begins no second one."""
    unheard_sale(world, app, "ada")
    world.sandbox.fail_next(500, times=3, path="/v1/invoices")  # in the middle of the re-read

    async def interrupted(resources: Resources) -> list[Any]:
        reconciler = through(resources, proxy)
        assert await reconciler.turn(Kind.SWEEP)
        async with resources.database.transaction() as tx:
            before = (await tx.execute(select(reconciliation))).one()
        assert not await reconciler.turn(Kind.SWEEP)
        assert await reconciler.go_on(Kind.SWEEP, at_once=True)
        async with resources.database.transaction() as tx:
            return [before, (await tx.execute(select(reconciliation))).one()]

    before, after = world.service.run(interrupted)
    assert (before.state, before.stage, before.failures) == ("running", "repair", 1)
    assert "Stripe does not answer" in before.error
    assert (after.state, after.error, after.failures) == ("finished", None, 0)
    assert app.check("ada", "premium_export")
