"""Stretches and facts in the database: written with each refresh, and measured in a bounded number of queries."""

import csv
import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from tollhouse_server import inbox, metrics, projection
from tollhouse_server.audit import Cause
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import billing, money_fact, project, seen_worth, stretch
from tollhouse_server.domain.billing import Bill, Billing, Rate
from tollhouse_server.domain.facts import CustomerFacts
from tollhouse_server.domain.metrics import Fact, FactKind, Figures
from tollhouse_server.metrics import Report, as_csv, report
from tollhouse_server.refresh import Refresh

anyio = pytest.mark.anyio
pytestmark = anyio

DAY = timedelta(days=1)


class Desk:
    """Ada's money as Stripe tells it, read and refreshed; then what the project's books say."""

    def __init__(self, shop: Any, database: Database, now: datetime) -> None:
        self.shop, self.database, self.now = shop, database, now
        self.refresh = Refresh()

    def facts(self, worth: int = 900, *cash: Fact, **more: Any) -> CustomerFacts:
        """Ten days into the month that was billed with 9.00; `worth` is what the item costs now."""
        facts: CustomerFacts = self.shop.facts(ends=self.now + 20 * DAY, **more)
        started = self.now - 10 * DAY
        rate = Rate("si_1", started, self.now + 20 * DAY, Fraction(900))
        bill = Bill("in_1", started, True, True, 900, charged_at=started, paid_at=started, rates=(rate,))
        return replace(facts, billings=(Billing("sub_1", "eur", Fraction(worth), (bill,)),), cash=cash)

    async def reads(self, facts: CustomerFacts, at: datetime | None = None) -> None:
        async with self.database.transaction() as tx:
            await projection.write(tx, facts, await inbox.next_read(tx))
            await self.refresh(tx, self.shop.customer_id, Cause("stripe", "evt_1"), at=at or self.now)

    async def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as tx:
            return sorted(tuple(row) for row in await tx.execute(select(*columns)))

    async def tells(self, days: int = 30, every: Any = "total", *, fleet: bool = False) -> Report:
        start, mine = self.now - days * DAY, None if fleet else self.shop.project_id
        async with self.database.transaction() as tx:
            return await report(tx, mine, start, self.now + DAY, every, at=self.now)


@pytest.fixture
def desk(shop: Any, database: Database, now: datetime) -> Desk:
    return Desk(shop, database, now)


def figures(told: Report) -> Figures:
    (line,) = told.whole
    return line.figures


async def test_a_read_brings_stretches_and_facts(desk: Desk) -> None:
    """What counts, until when, and what was paid: written once, and not again while it is the same."""
    paid = Fact(FactKind.SUBSCRIPTION_PAYMENT, desk.now - 10 * DAY, "eur", 900, id="ch_1")
    await desk.reads(desk.facts(900, paid))
    written = [stretch.c.starts_at, stretch.c.ends_at, stretch.c.state, stretch.c.monthly, text("stretch.xmin::text")]
    before = await desk.rows(*written)
    assert [row[:4] for row in before] == [(desk.now - 10 * DAY, desk.now + 23 * DAY, "active", Fraction(900))]
    facts = await desk.rows(money_fact.c.kind, money_fact.c.id, text("money_fact.xmin::text"))
    assert [row[:2] for row in facts] == [("subscription_payment", "ch_1")]
    await desk.reads(desk.facts(900, paid))
    assert await desk.rows(*written) == before
    assert await desk.rows(money_fact.c.kind, money_fact.c.id, text("money_fact.xmin::text")) == facts
    one = figures(await desk.tells())
    assert (one.new_mrr, one.mrr_end, one.subscription_revenue, one.active) == (900, 900, 900, 1)
    assert await desk.rows(seen_worth.c.id) == []


async def test_what_lies_ahead_is_not_counted(desk: Desk) -> None:
    """A trial that ends in an hour ends within today's interval, and has not ended yet."""
    begun = Fact(FactKind.TRIAL_STARTED, desk.now, "eur", id="sub_1")
    ends = Fact(FactKind.TRIAL_ENDED, desk.now + timedelta(hours=1), "eur", id="sub_1")
    await desk.reads(desk.facts(900, begun, ends))
    one = figures(await desk.tells())
    assert (one.trials_started, one.trials_ended) == (1, 0)


async def test_what_a_later_read_says_replaces_it(desk: Desk) -> None:
    """A stretch that begins otherwise, an amount that changed, a fact that is gone: a refund that failed after all."""
    refund = Fact(FactKind.REFUND, desk.now - DAY, "eur", 100, id="re_1")
    other = Fact(FactKind.REFUND, desk.now - DAY, "eur", 50, id="re_2")
    await desk.reads(desk.facts(900, refund, other))
    late = desk.facts(900, replace(refund, amount=70))
    bill = replace(late.billings[0].bills[0], charged_at=desk.now - 5 * DAY, paid_at=desk.now - 5 * DAY)
    await desk.reads(replace(late, billings=(replace(late.billings[0], bills=(bill,)),)))
    assert await desk.rows(money_fact.c.id, money_fact.c.amount) == [("re_1", 70)]
    assert await desk.rows(stretch.c.starts_at) == [(desk.now - 5 * DAY,)]


async def test_a_customer_deleted_at_stripe_keeps_its_past(desk: Desk) -> None:
    """Neither their deletion nor the read of the user's next Stripe customer takes anything away."""
    refund = Fact(FactKind.REFUND, desk.now - DAY, "eur", 100, id="re_1")
    await desk.reads(desk.facts(900, refund))
    await desk.reads(CustomerFacts("cus_ada", deleted=True))
    payment = Fact(FactKind.PURCHASE_PAYMENT, desk.now - DAY, "eur", 500, id="ch_2")
    await desk.reads(CustomerFacts("cus_second", project="pdf-tool", user_id="ada", cash=(payment,)))
    assert await desk.rows(money_fact.c.id) == [("ch_2",), ("re_1",)]
    assert await desk.rows(stretch.c.subscription_id) == [("sub_1",)]


async def test_what_only_seeing_tells_is_entered_once(desk: Desk) -> None:
    """A change that no bill explains, at the moment it was seen; later reads add nothing and alter nothing."""
    await desk.reads(desk.facts(900))
    await desk.reads(desk.facts(1900), at=desk.now - DAY)
    entries = await desk.rows(seen_worth)
    assert [row[-3:] for row in entries] == [(desk.now - DAY, Fraction(1900), False)]
    assert figures(await desk.tells()).expansion_mrr == 1000, "at once, not with the next read"
    await desk.reads(desk.facts(1900), at=desk.now)
    assert await desk.rows(seen_worth) == entries
    assert figures(await desk.tells()).expansion_mrr == 1000


async def test_rows_of_before_have_no_billing(desk: Desk) -> None:
    """A subscription that was last read by an older version has access as ever, and no money until its next read."""
    await desk.reads(replace(desk.facts(900), billings=()))
    assert (await desk.tells()).whole == ()
    assert await desk.rows(billing.c.id) == []


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield said
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


CROWD = """
WITH made AS (
    INSERT INTO customer (id, project_id, user_id)
    SELECT gen_random_uuid(), :project, 'user-' || n FROM generate_series(1, :count) n RETURNING id, user_id
), paid AS (
    INSERT INTO money_fact (kind, id, project_id, customer_id, stripe_customer_id, at, currency, amount)
    SELECT 'subscription_payment', 'ch-' || :project || user_id, :project, id, 'cus', :at, 'eur', 900 FROM made
)
INSERT INTO stretch (subscription_id, starts_at, ends_at, project_id, customer_id, state, currency, monthly)
SELECT 'sub-' || :project || user_id, :at, NULL, :project, id, 'active', 'eur', '2500/3' FROM made
"""


async def crowd(desk: Desk, project_id: uuid.UUID, count: int) -> None:
    async with desk.database.transaction() as tx:
        await tx.execute(text(CROWD), {"project": project_id, "count": count, "at": desk.now - 2 * DAY})


async def test_the_number_of_queries_does_not_grow(desk: Desk) -> None:
    """Three for one subscription and for three thousand, by the day or as a whole; and the sum is exact."""
    for count, every in ((1, "total"), (2999, "day")):
        await crowd(desk, desk.shop.project_id, 0)
        async with desk.database.transaction() as tx:
            await tx.execute(text("DELETE FROM stretch"))
            await tx.execute(text("DELETE FROM money_fact"))
            await tx.execute(text("DELETE FROM customer WHERE user_id LIKE 'user-%'"))
        await crowd(desk, desk.shop.project_id, count)
        with counted(desk.database) as said:
            told = await desk.tells(days=3, every=every)
        assert len([one for one in said if one.lstrip().upper().startswith(("SELECT", "WITH"))]) == 3
        last = told.whole[-1].figures
        assert (last.mrr_end, last.customers_end) == (count * Fraction(2500, 3), count)
        assert sum(line.figures.subscription_revenue for line in told.whole) == 900 * count


async def test_the_fleet_is_the_sum_of_its_projects(desk: Desk) -> None:
    """Each project's figures, and their sums; a project sees its own alone, and nothing of a currency it has not."""
    other = uuid.uuid4()
    async with desk.database.transaction() as tx:
        await tx.execute(insert(project).values(id=other, slug="other", name="Other", redirect_origins=[]))
    await crowd(desk, desk.shop.project_id, 2)
    await crowd(desk, other, 3)
    async with desk.database.transaction() as tx:
        await tx.execute(text("UPDATE stretch SET currency = 'usd' WHERE project_id = :id"), {"id": other})
    told = await desk.tells(fleet=True)
    named = [(line.project, line.currency, line.figures.customers_end) for line in told.projects]
    assert named == [("other", "eur", 0), ("other", "usd", 3), ("pdf-tool", "eur", 2)]
    sums = {line.currency: line.figures for line in told.whole}
    assert (sums["eur"].subscription_revenue, sums["usd"].mrr_end) == (4500, 2500)
    own = await desk.tells()
    assert {(line.project, line.currency) for line in own.whole} == {("pdf-tool", "eur")}


async def test_who_comes_back_is_not_new(desk: Desk) -> None:
    """Though what they had ended long before the time that is asked for; a trial of old does not count."""
    await crowd(desk, desk.shop.project_id, 3)
    async with desk.database.transaction() as tx:
        for user, state, monthly in (
            ("user-1", "active", "900"),
            ("user-2", "trialing", "900"),
            ("user-3", "active", "0"),
        ):
            await tx.execute(
                text(
                    "INSERT INTO stretch"
                    " (subscription_id, starts_at, ends_at, project_id, customer_id, state, currency, monthly)"
                    " SELECT 'old-' || user_id, :begin, :end, project_id, id, :state, 'eur', :monthly"
                    " FROM customer WHERE user_id = :user"
                ),
                {
                    "begin": desk.now - 90 * DAY,
                    "end": desk.now - 60 * DAY,
                    "state": state,
                    "monthly": monthly,
                    "user": user,
                },
            )
    one = figures(await desk.tells())
    assert (one.customers_reactivated, one.customers_new) == (1, 2)


async def test_intervals_that_have_not_begun_are_not_told(desk: Desk) -> None:
    """One that is under way counts up to now and says so; a time that lies ahead has one interval of nothing."""
    await crowd(desk, desk.shop.project_id, 1)
    async with desk.database.transaction() as tx:
        ahead = await report(tx, None, desk.now - DAY, desk.now + 9 * DAY, "day", at=desk.now)
        later = await report(tx, None, desk.now + DAY, desk.now + 9 * DAY, "day", at=desk.now)
        usual = await report(tx, None, None, None, "total", at=desk.now)
    assert [line.complete for line in ahead.whole][-2:] == [True, False]
    assert ahead.whole[-1].starts_at <= desk.now < ahead.whole[-1].ends_at
    assert [line.figures.new_mrr for line in later.whole] == [0]
    assert usual.ends_at - usual.starts_at == metrics.DAYS * DAY and usual.ends_at.hour == 0
    assert usual.starts_at < desk.now < usual.ends_at


async def test_a_csv_cannot_become_a_formula(desk: Desk) -> None:
    """A header, one row a line, CRLF; text that begins like a formula is quoted by an apostrophe."""
    await crowd(desk, desk.shop.project_id, 1)
    told = await desk.tells(days=3, every="day")
    rows = list(csv.DictReader(io.StringIO(as_csv(told.projects), newline="")))
    assert [(row["project"], row["currency"]) for row in rows] == [("pdf-tool", "eur")] * len(told.projects)
    assert (rows[-1]["mrr_end"], rows[-1]["customers_end"], rows[0]["arpu"]) == ("833", "1", "")
    assert as_csv(told.projects).count("\r\n") == len(rows) + 1
    for cell in ("=1+1", "+1", "-1", "@x", "\tx", "\rx"):
        evil = as_csv([replace(told.projects[0], project=cell)])
        assert next(csv.DictReader(io.StringIO(evil, newline="")))["project"] == f"'{cell}"
