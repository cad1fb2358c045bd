"""The intake: events that arrive together are one commit, and nobody is told of it before it, or for another."""

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from sqlalchemy import select, text

from tollhouse_server.db.engine import Database, conninfo
from tollhouse_server.db.tables import inbox as table
from tollhouse_server.inbox import Event
from tollhouse_server.intake import CONNECTIONS, MOST_AT_ONCE, Intake

pytestmark = pytest.mark.anyio

Events = Callable[..., Event]


@pytest.fixture
async def intake(database_url: str) -> AsyncIterator[Intake]:
    opened = Intake(database_url)
    yield opened
    await opened.close()


async def stored(database: Database) -> list[str]:
    async with database.transaction() as tx:
        return list(await tx.scalars(select(table.c.event_id).order_by(table.c.id)))


async def test_what_arrives_together_is_few_commits(database: Database, intake: Intake, event: Events) -> None:
    """Two hundred at once: every one is stored and told so, by a few transactions and not by two hundred."""
    events = [event(f"cus_{number % 7}") for number in range(200)]
    assert await asyncio.gather(*map(intake.store, events)) == [True] * 200
    assert sorted(await stored(database)) == sorted(one.id for one in events)
    async with database.transaction() as tx:
        commits = await tx.scalar(text("SELECT count(DISTINCT xmin::text) FROM inbox"))
    assert commits is not None and commits <= CONNECTIONS + 200 / MOST_AT_ONCE + 1


async def test_two_deliveries_in_one_batch_are_one_event(database: Database, intake: Intake, event: Events) -> None:
    """One of them was the first; so it is with those that come later."""
    same = event(id="evt_same")
    await intake.store(event(id="evt_before"))
    answers = await asyncio.gather(*(intake.store(same) for _ in range(9)), intake.store(event(id="evt_before")))
    assert (sorted(answers), answers[-1]) == ([False] * 9 + [True], False)
    assert sorted(await stored(database)) == ["evt_before", "evt_same"]


async def test_nobody_is_answered_before_the_commit(
    database: Database, intake: Intake, database_url: str, event: Events
) -> None:
    """While PostgreSQL has not committed, nobody is told anything; who gave up meanwhile is stored all the same."""
    async with await psycopg.AsyncConnection.connect(conninfo(database_url)) as other:
        await other.execute("LOCK TABLE inbox IN SHARE MODE")
        asked = [asyncio.create_task(intake.store(event(id=f"evt_{number}"))) for number in range(5)]
        done, _ = await asyncio.wait(asked, timeout=0.1)
        assert not done and await stored(database) == []
        asked[0].cancel()
        await other.rollback()
    assert await asyncio.gather(*asked[1:]) == [True] * 4
    assert len(await stored(database)) == 5


async def test_one_that_cannot_be_stored_takes_no_other_with_it(
    database: Database, intake: Intake, event: Events
) -> None:
    """PostgreSQL takes no text with a NUL: who sent that one is told, and the others of its batch are stored."""
    events = [event(), event(body="\x00"), event()]
    first, refused, last = await asyncio.gather(*map(intake.store, events), return_exceptions=True)
    assert (first, last) == (True, True) and isinstance(refused, psycopg.DataError)
    assert sorted(await stored(database)) == [events[0].id, events[2].id]


async def test_connections_that_were_cut_are_made_anew(database: Database, intake: Intake, event: Events) -> None:
    """PostgreSQL restarts between two events, or a proxy forgets the connection: the next event is none the wiser."""
    await asyncio.gather(*(intake.store(event()) for _ in range(MOST_AT_ONCE + 1)))
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert all(await asyncio.gather(*(intake.store(event()) for _ in range(MOST_AT_ONCE + 1))))


async def test_where_there_is_no_database_everybody_hears_it(event: Events) -> None:
    """And those who come later try again by themselves."""
    intake = Intake("postgresql://nobody@127.0.0.1:1/none")
    for _ in range(2):
        answers = await asyncio.gather(*(intake.store(event()) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, psycopg.OperationalError) for one in answers)
    await intake.close()
