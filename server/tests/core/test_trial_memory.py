"""Trials are remembered for ever, by hashes that only SECRET_KEY can make."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import trial_use
from tollhouse_server.domain.trials import TrialUse, UsedBy, known_by, trial_again
from tollhouse_server.trial_memory import NO_MEMORY, TrialMemory

anyio = pytest.mark.anyio
OLD, NEW = "an old secret key of thirty-two letters", "a new secret key of thirty-two letters"
PLAN = "group plan"


@anyio
async def test_of_two_at_once_one_is_the_first(shop: Any, database: Database, now: datetime) -> None:
    """Two workers project two users with one card in the same moment: exactly one of the trials is a second one."""
    memory = TrialMemory([NEW])

    async def begin(number: int) -> UsedBy | None:
        known, own = known_by(f"user-{number}", f"{number}@example.com", "Fc42"), f"sub_{number}"
        async with database.transaction() as tx:
            uses = await memory.remember(tx, shop.project_id, PLAN, known, own, now)
            return trial_again(own, now, uses)

    told = await asyncio.gather(*(begin(number) for number in range(8)))
    assert sorted(told, key=str) == sorted([None, *[UsedBy.CARD] * 7], key=str)
    again = await asyncio.gather(*(begin(number) for number in range(8)))
    assert again == told


@anyio
async def test_the_first_stays_the_first(shop: Any, database: Database, now: datetime) -> None:
    """However often it or a later one is remembered; of another plan nothing is known."""
    memory, known = TrialMemory([NEW]), known_by("ada", None)
    first = TrialUse(UsedBy.USER, "sub_1", now)
    async with database.transaction() as tx:
        for own, began in (("sub_1", now), ("sub_2", now + timedelta(days=9)), ("sub_1", now + timedelta(days=1))):
            assert await memory.remember(tx, shop.project_id, PLAN, known, own, began) == [first]
        assert await memory.uses(tx, shop.project_id, "group other", known) == []
        assert await memory.uses(tx, shop.project_id, PLAN, {}) == []


@anyio
async def test_a_replaced_key_forgets_nothing_meanwhile(shop: Any, database: Database, now: datetime) -> None:
    """While the key before is set its trials are known, and what is met again is known under the new one alone."""
    ada, eve = known_by("ada", "ada@example.com"), known_by("eve", None)
    async with database.transaction() as tx:
        for known in (ada, eve):
            await TrialMemory([OLD]).remember(tx, shop.project_id, PLAN, known, "sub_1", now)
        both = TrialMemory([NEW, OLD])
        assert {use.by for use in await both.uses(tx, shop.project_id, PLAN, ada)} == {UsedBy.USER, UsedBy.EMAIL}
        told = await both.remember(tx, shop.project_id, PLAN, ada, "sub_2", now + timedelta(days=1))
        assert {use.subscription for use in told} == {"sub_1"}
        alone = await TrialMemory([NEW]).uses(tx, shop.project_id, PLAN, ada)
        assert sorted(alone, key=lambda use: use.by) == [
            TrialUse(UsedBy.EMAIL, "sub_1", now),
            TrialUse(UsedBy.USER, "sub_1", now),
        ]
        assert await TrialMemory([NEW]).uses(tx, shop.project_id, PLAN, eve) == []


@anyio
async def test_without_a_key_nothing_is_remembered(shop: Any, database: Database, now: datetime) -> None:
    """No hash could be made that only we can make; every trial is then a first one."""
    async with database.transaction() as tx:
        assert await NO_MEMORY.remember(tx, shop.project_id, PLAN, known_by("ada", None), "sub_1", now) == []
        assert await NO_MEMORY.uses(tx, shop.project_id, PLAN, known_by("ada", None)) == []
        assert (await tx.execute(select(trial_use))).all() == []
