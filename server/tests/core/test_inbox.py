"""The inbox: nothing is stored twice, worked on twice at a time, forgotten or given up silently."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text, update

from tollhouse_server import inbox
from tollhouse_server.db.engine import Database, conninfo
from tollhouse_server.db.tables import inbox as table
from tollhouse_server.inbox import Claim, Event

pytestmark = pytest.mark.anyio

Events = Callable[..., Event]


async def receive(database: Database, *events: Event) -> set[str]:
    async with database.transaction() as tx:
        return await inbox.receive(tx, *events)


LEASE = timedelta(seconds=60)


async def claim(
    database: Database, *, lease: timedelta = LEASE, pause: timedelta = timedelta(0), most: int = 1
) -> list[Claim]:
    async with database.transaction() as tx:
        return await inbox.claim(tx, lease=lease, pause=pause, most=most)


async def claimed(database: Database, *, lease: timedelta = LEASE) -> Claim:
    [found] = await claim(database, lease=lease)
    return found


async def rows(database: Database) -> Sequence[Any]:
    async with database.transaction() as tx:
        return (await tx.execute(select(table).order_by(table.c.id))).all()


async def due_now(database: Database) -> None:
    """As if the back-off had passed."""
    async with database.transaction() as tx:
        await tx.execute(
            update(table).where(table.c.next_attempt_at.is_not(None)).values(next_attempt_at=text("now()"))
        )


async def test_what_comes_twice_is_stored_once(database: Database, event: Events) -> None:
    """Two deliveries of one event are one row, also when they come at the same instant."""
    same = [event(id="evt_same") for _ in range(6)]
    stored = await asyncio.gather(*(receive(database, one) for one in same))
    assert sorted(stored, key=len) == [set()] * 5 + [{"evt_same"}]
    assert await receive(database, event(id="evt_same")) == set()
    assert len(await rows(database)) == 1


async def test_a_type_that_changes_nothing_is_kept_and_done(database: Database, event: Events) -> None:
    """An event without a subject is stored, settled as `not-handled` at once and never claimed."""
    await receive(database, event(None, type="balance.available"))
    [row] = await rows(database)
    assert (row.state, row.outcome, row.next_attempt_at) == ("settled", "not-handled", None)
    assert await claim(database) == []


async def test_any_json_text_can_be_stored(database: Database, event: Events) -> None:
    r"""A body with the escape \u0000, which jsonb would refuse and Stripe would send for days, comes back unchanged."""
    body = '{"name": "nul \\u0000, lone \\ud800, ✓"}'
    await receive(database, event(body=body))
    async with database.transaction() as tx:
        row = await inbox.get(tx, "evt_1")
    assert row is not None and row.body == body


async def test_storing_wakes_the_workers_at_the_commit(database: Database, database_url: str, event: Events) -> None:
    """Who listens hears of each stored and each replayed event, not of one rolled back or not handled."""
    async with await psycopg.AsyncConnection.connect(conninfo(database_url), autocommit=True) as ear:
        await ear.execute(f"LISTEN {inbox.CHANNEL}")
        with pytest.raises(RuntimeError):
            async with database.transaction() as tx:
                await inbox.receive(tx, event())
                raise RuntimeError
        await receive(database, event(None))
        assert [one async for one in ear.notifies(timeout=0.05)] == []
        await receive(database, event(id="evt_again"))
        assert len([one async for one in ear.notifies(timeout=5, stop_after=1)]) == 1
        await receive(database, event(id="evt_again"))
        assert [one async for one in ear.notifies(timeout=0.05)] == []
        async with database.transaction() as tx:
            await inbox.replay(tx, "evt_again")
        assert len([one async for one in ear.notifies(timeout=5, stop_after=1)]) == 1


async def test_a_burst_is_one_claim(database: Database, event: Events) -> None:
    """A claim takes all pending events of its subject and none of another's."""
    await receive(database, *(event("cus_ada") for _ in range(5)), event("cus_bob"))
    found = await claimed(database)
    assert found.subject == "cus_ada" and len(found.event_ids) == 5
    other = await claimed(database)
    assert other.subject == "cus_bob" and other.read > found.read
    assert await claim(database) == []


async def test_an_event_that_comes_during_the_work_waits_for_its_own_turn(database: Database, event: Events) -> None:
    """A later event is neither settled by the claim before it nor worked on beside it."""
    await receive(database, event())
    first = await claimed(database)
    await receive(database, event())
    assert await claim(database) == []
    async with database.transaction() as tx:
        await inbox.settle(tx, first, inbox.APPLIED)
    assert (await claimed(database)).event_ids == ("evt_2",)


async def test_workers_never_share_a_customer_and_starve_none(database: Database, event: Events) -> None:
    """Eight workers over many rows of few customers: each customer is held by one at a time, every event done once."""
    subjects = [f"cus_{number}" for number in range(5)]
    events = [event(subject) for subject in subjects for _ in range(24)]
    random.Random(7).shuffle(events)
    await receive(database, *events[:80])
    in_hand: set[str] = set()
    done: list[str] = []

    async def work() -> None:
        while len(done) < len(events):
            claims = await claim(database)
            if not claims:
                await asyncio.sleep(0)
                continue
            [found] = claims
            assert found.subject not in in_hand
            in_hand.add(found.subject)
            await asyncio.sleep(0)
            in_hand.remove(found.subject)  # before the settling, which lets the next one have it
            async with database.transaction() as tx:
                await inbox.settle(tx, found, inbox.APPLIED)
            done.extend(found.event_ids)

    async def arrive() -> None:
        for one in events[80:]:
            await receive(database, one)

    await asyncio.wait_for(asyncio.gather(arrive(), *(work() for _ in range(8))), 30)
    assert sorted(done) == sorted(one.id for one in events)
    assert {row.state for row in await rows(database)} == {"settled"}


async def test_one_customer_under_work_holds_up_nobody(database: Database, event: Events) -> None:
    """A customer that came first with many events and is still being worked on does not keep the next one waiting."""
    await receive(database, *(event("cus_busy") for _ in range(30)), event("cus_next"))
    async with database.transaction() as held:
        [busy] = await inbox.claim(held, lease=LEASE, pause=timedelta(0))
        assert busy.subject == "cus_busy"  # not even committed
        assert (await claimed(database)).subject == "cus_next"


async def test_several_customers_are_claimed_at_once(database: Database, event: Events) -> None:
    """Those who have waited longest, each with all its events and a read of its own; the rest by the next claim."""
    subjects = [f"cus_{number}" for number in range(5)]
    for subject in subjects:  # each at an instant of its own
        await receive(database, event(subject), event(subject))
    first, rest = await claim(database, most=3), await claim(database, most=3)
    assert {one.subject for one in first} == set(subjects[:3]) and {one.subject for one in rest} == set(subjects[3:])
    assert all(len(one.event_ids) == 2 for one in (*first, *rest))
    assert len({one.read for one in (*first, *rest)}) == len({one.lease for one in (*first, *rest)}) == 5


MINUTE = timedelta(minutes=1)


async def a_minute_passes(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            text("UPDATE inbox SET claimed_at = claimed_at - :by, next_attempt_at = next_attempt_at - :by"),
            {"by": MINUTE},
        )


async def test_one_customer_is_not_read_twice_within_the_pause(database: Database, event: Events) -> None:
    """The first event goes at once. What comes after its claim waits for the end of the pause, is told to be due then,
    and is one further read, however much it is; what is replayed waits like any other."""
    await receive(database, event())
    [first] = await claim(database, pause=MINUTE)
    await receive(database, event())  # while it is being read
    assert await claim(database, pause=MINUTE) == []
    async with database.transaction() as tx:
        await inbox.settle(tx, first, inbox.APPLIED)
        await inbox.replay(tx, "evt_1")
    await receive(database, event(), event("cus_other"))
    [other] = await claim(database, pause=MINUTE, most=5)
    assert other.subject == "cus_other" and await claim(database, pause=MINUTE) == []
    async with database.transaction() as tx:
        await inbox.settle(tx, other, inbox.APPLIED)
        left = await inbox.until_next(tx)
        assert left is not None and MINUTE - timedelta(seconds=10) < left <= MINUTE
    assert {row.next_attempt_at - row.claimed_at for row in await rows(database) if row.event_id == "evt_1"} == {MINUTE}
    await a_minute_passes(database)
    [again] = await claim(database, pause=MINUTE)
    assert again.event_ids == ("evt_1", "evt_2", "evt_3")


async def test_who_backs_off_longer_than_the_pause_is_not_called_sooner(database: Database, event: Events) -> None:
    """The pause delays what is due; it brings nothing forward."""
    await receive(database, event())
    [found] = await claim(database, pause=MINUTE)
    async with database.transaction() as tx:
        await inbox.defer(tx, found, RuntimeError("away"))
        await tx.execute(text("UPDATE inbox SET next_attempt_at = now() + interval '1 hour'"))
    await receive(database, event())
    assert await claim(database, pause=MINUTE) == []
    [deferred, fresh] = await rows(database)
    assert deferred.next_attempt_at - fresh.next_attempt_at > MINUTE * 58


async def test_a_busy_customer_starves_nobody(database: Database, event: Events) -> None:
    """One customer has a new event after every claim of anybody's. All the others have their turn before its second
    one, and it has its own as often as the pause allows."""
    pause, others = timedelta(seconds=0.2), [f"cus_{number}" for number in range(12)]
    await receive(database, event("cus_busy"))
    await receive(database, *(event(subject) for subject in others))
    turns: list[str] = []
    while turns.count("cus_busy") < 3:
        for found in await claim(database, pause=pause, most=4):
            turns.append(found.subject)
            async with database.transaction() as tx:
                await inbox.settle(tx, found, inbox.APPLIED)
        await receive(database, event("cus_busy"))
    assert turns[0] == "cus_busy" and set(turns[:-2]) == {"cus_busy", *others}
    assert [turns.count(subject) for subject in others] == [1] * 12
    claims = sorted({row.claimed_at for row in await rows(database) if row.subject == "cus_busy" and row.claimed_at})
    assert all(later - earlier >= pause for earlier, later in pairwise(claims))


async def test_a_lease_that_ran_out_is_taken_over(database: Database, event: Events) -> None:
    """Who held a customer too long has lost it: whatever it then says about those events changes nothing."""
    await receive(database, event())
    late = await claimed(database, lease=timedelta(0))
    successor = await claimed(database)
    assert (successor.event_ids, successor.lease != late.lease, successor.read > late.read) == (("evt_1",), True, True)
    async with database.transaction() as tx:
        await inbox.settle(tx, late, inbox.APPLIED)
        await inbox.defer(tx, late, RuntimeError("late"))
        await inbox.bury(tx, late, RuntimeError("late"))
    [row] = await rows(database)
    assert (row.state, row.attempts, row.error, row.lease) == ("received", 0, None, successor.lease)


async def test_backing_off_grows_and_spreads(database: Database, event: Events) -> None:
    """Waits double up to four hours and differ between customers; the error stays in the row as it was last."""
    await receive(database, *(event(f"cus_{number}") for number in range(5)))
    waits = []
    for attempt in range(15):
        while claims := await claim(database):
            [found] = claims
            async with database.transaction() as tx:
                await inbox.defer(tx, found, ValueError(f"no \x00 answer, try {attempt}"))
        async with database.transaction() as tx:
            seconds = text("extract(epoch FROM next_attempt_at - now())::float")
            waits.append(list(await tx.scalars(select(seconds).select_from(table))))
        await due_now(database)
    for attempt, spread in enumerate(waits):
        longest = min(2 * 2**attempt, 4 * 3600)
        assert all(longest * 0.5 - 1 <= wait <= longest for wait in spread)
        if longest > 60:  # seconds between two transactions do not count
            assert max(spread) - min(spread) > longest * 0.05
    row = (await rows(database))[0]
    assert (row.state, row.attempts, row.error) == ("deferred", 15, "ValueError: no  answer, try 14")


async def test_a_deferred_event_goes_with_the_next_of_its_customer(database: Database, event: Events) -> None:
    """A new event of the same customer does not wait out the back-off of an old one: one read does for both."""
    await receive(database, event())
    found = await claimed(database)
    async with database.transaction() as tx:
        await inbox.defer(tx, found, RuntimeError("away"))
    assert await claim(database) == []
    await receive(database, event())
    assert sorted((await claimed(database)).event_ids) == ["evt_1", "evt_2"]


@pytest.mark.parametrize("end", ["settled", "buried", "deferred", "received"])
async def test_replay_from_every_state(database: Database, event: Events, end: str) -> None:
    """Whatever became of an event, a replay makes it pending, with all its tries before it."""
    await receive(database, event())
    if end != "received":
        found = await claimed(database)
        async with database.transaction() as tx:
            if end == "settled":
                await inbox.settle(tx, found, inbox.APPLIED)
            else:
                await (inbox.bury if end == "buried" else inbox.defer)(tx, found, RuntimeError("no"))
    assert (await rows(database))[0].state == end
    async with database.transaction() as tx:
        assert await inbox.replay(tx, "evt_1")
    again = await claimed(database)
    assert (again.event_ids, again.attempts) == (("evt_1",), 0)


async def test_replay_while_the_event_is_worked_on_reads_again(database: Database, event: Events) -> None:
    """The read under way began before the replay and may miss what it is for: its settling does not end the replay."""
    await receive(database, event())
    under_way = await claimed(database)
    async with database.transaction() as tx:
        assert await inbox.replay(tx, "evt_1")
    async with database.transaction() as tx:
        await inbox.settle(tx, under_way, inbox.APPLIED)
    again = await claimed(database)
    assert again.event_ids == ("evt_1",) and again.read > under_way.read


async def test_replay_of_what_is_not_there_or_changes_nothing(database: Database, event: Events) -> None:
    """It says so, and does nothing."""
    await receive(database, event(None))
    async with database.transaction() as tx:
        assert not await inbox.replay(tx, "evt_1")
        assert not await inbox.replay(tx, "evt_unknown")
    assert (await rows(database))[0].state == "settled"


async def test_listing_pages_newest_first(database: Database, event: Events) -> None:
    """Pages follow on without gap or overlap, however many events come meanwhile; filters combine; bodies stay out."""
    await receive(database, *(event("cus_ada", type="invoice.paid") for _ in range(5)), event(None))
    async with database.transaction() as tx:
        first = await inbox.listing(tx, state="received", type_="invoice.paid", limit=3)
        await inbox.receive(tx, event("cus_bob", type="invoice.paid"))
        rest = await inbox.listing(tx, state="received", type_="invoice.paid", limit=3, before=first[-1].id)
        assert await inbox.listing(tx, state="buried") == []
        assert len(await inbox.listing(tx, type_="balance.available")) == 1
    assert [row.event_id for row in (*first, *rest)] == ["evt_5", "evt_4", "evt_3", "evt_2", "evt_1"]
    assert "body" not in first[0]._fields


async def test_pruning_keeps_what_is_not_done(database: Database, event: Events) -> None:
    """Only what was settled long enough ago goes: pending and buried events stay however old they are."""
    await receive(database, *(event(f"cus_{number}") for number in range(4)))
    for end in ("settled", "buried", "deferred"):
        found = await claimed(database)
        async with database.transaction() as tx:
            if end == "settled":
                await inbox.settle(tx, found, inbox.APPLIED)
            else:
                await (inbox.bury if end == "buried" else inbox.defer)(tx, found, RuntimeError("no"))
    await receive(database, event(None))
    async with database.transaction() as tx:
        await tx.execute(update(table).values(received_at=text("now() - interval '1 year'")))
        await tx.execute(
            update(table).where(table.c.event_id == "evt_1").values(settled_at=text("now() - interval '91 days'"))
        )
        await inbox.prune(tx, timedelta(days=90))
    assert [row.state for row in await rows(database)] == ["buried", "deferred", "received", "settled"]
