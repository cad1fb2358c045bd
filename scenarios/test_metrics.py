"""What a project earns, told of stories whose figures were computed by hand. Amounts are cents."""

import json
import random
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
import stripe
from sqlalchemy import text

from tollhouse import Tollhouse
from tollhouse_server.reconcile import Kind
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World

Row = dict[str, Any]

MONTH = {"currency": "eur", "interval": "month"}
PLANS: dict[str, Any] = {
    "project": "plans",
    "name": "Plans",
    "redirect_origins": ["https://app.test"],
    "policy": {"on_trial_again": "allow"},  # all who come here pay with the same card
    "features": {"export": {"name": "Export"}},
    "products": {
        "basic": {
            "plan_group": "plan",
            "opens": {"export": True},
            "prices": {
                "monthly": {"amount": 900, **MONTH},
                "yearly": {"amount": 9000, "currency": "eur", "interval": "year"},
                "dollars": {"amount": 1000, "currency": "usd", "interval": "month"},
                "trial": {"amount": 900, **MONTH, "trial_days": 14},
            },
        },
        "pro": {"plan_group": "plan", "opens": {"export": True}, "prices": {"monthly": {"amount": 1900, **MONTH}}},
        "seats": {"opens": {"export": True}, "prices": {"monthly": {"amount": 500, **MONTH}}},
        "lifetime": {"opens": {"export": True}, "prices": {"once": {"amount": 19900, "currency": "eur"}}},
    },
}


@pytest.fixture
def plans(world: World) -> Tollhouse:
    return world.publish(PLANS)


class Books:
    """The project's figures since the story began."""

    def __init__(self, world: World) -> None:
        self.world, self.begin = world, world.service.clock.now()

    def rows(self, start: datetime | None = None, interval: str = "total") -> list[Row]:
        asked = {"project": "plans", "interval": interval, "from": (start or self.begin).isoformat()}
        answer = self.world.operator.get("/v1/admin/metrics", params=asked)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def total(self, currency: str = "eur", start: datetime | None = None) -> Row:
        return next(row for row in self.rows(start) if row["currency"] == currency)


@pytest.fixture
def books(world: World) -> Books:
    return Books(world)


def shows(row: Row, **expected: object) -> None:
    """Every figure named is as expected, every other one that moves or counts is nothing."""
    about = {"project", "from", "to", "complete", "currency"}
    derived = {"arpu", "gross_revenue", "net_revenue", *(name for name in row if name.endswith("_rate"))}
    others = {name: row[name] for name in row if name not in {*expected, *about, *derived} and row[name]}
    assert ({name: row[name] for name in expected}, others) == (expected, {})


def test_every_kind_of_price_and_two_currencies(world: World, plans: Tollhouse, books: Books) -> None:
    """9.00 a month, 90.00 a year (7.50), three seats at 5.00: 31.50. Ten dollars apart. A purchase is no MRR."""
    world.customer("ada").buys("plans.basic.monthly")
    world.customer("bo").buys("plans.basic.yearly")
    world.customer("cy").buys("plans.seats.monthly", quantity=3)
    world.customer("dee").buys("plans.basic.dollars")
    world.customer("eve").buys("plans.lifetime.once")
    euros = books.total()
    shows(
        euros,
        new_mrr=3150,
        mrr_end=3150,
        customers_new=3,
        customers_end=3,
        active=3,
        subscription_revenue=900 + 9000 + 1500,
        purchase_revenue=19_900,
    )
    assert (euros["arpu"], euros["gross_revenue"], euros["net_revenue"]) == (1050, 31_300, 31_300)
    shows(
        books.total("usd"),
        new_mrr=1000,
        mrr_end=1000,
        customers_new=1,
        customers_end=1,
        active=1,
        subscription_revenue=1000,
    )


def test_a_trial_that_converts_and_one_that_does_not(world: World, plans: Tollhouse, books: Books) -> None:
    """Two trials without MRR; one is left on its last day, the other is paid for: half of the cohort converted."""
    for name in ("ada", "bo"):
        world.customer(name).buys("plans.basic.trial")
    shows(books.total(), trialing=2, trials_started=2)
    bo = world.customer("bo").state().subscriptions[0]
    world.stripe.v1.subscriptions.update(bo.id, {"cancel_at_period_end": True})
    world.passes(days=15)
    row = books.total()
    shows(
        row,
        new_mrr=900,
        mrr_end=900,
        customers_new=1,
        customers_end=1,
        active=1,
        trials_started=2,
        trials_ended=2,
        trials_converted=1,
        subscription_revenue=900,
    )
    assert row["trial_conversion_rate"] == 0.5


def test_discounts(world: World, plans: Tollhouse, books: Books) -> None:
    """Half for ever is 4.50; 2.00 off for ever 7.00; half once is 9.00 of MRR, though 4.50 are paid; together 20.50.

    Half for two months is 4.50, and with the third month's bill 9.00: 4.50 of expansion.
    """
    v1 = world.stripe.v1
    half, off = {"percent_off": 50}, {"amount_off": 200, "currency": "eur"}
    for name, terms in {
        "ada": {**half, "duration": "forever"},
        "bo": {**off, "duration": "forever"},
        "cy": {**half, "duration": "once"},
        "dee": {**half, "duration": "repeating", "duration_in_months": 2},
    }.items():
        coupon = v1.coupons.create(terms)  # type: ignore[arg-type]
        world.customer(name).gets_subscription("plans.basic.monthly", discounts=[{"coupon": coupon.id}])
    first = books.total()
    assert (first["new_mrr"], first["mrr_end"]) == (450 + 700 + 900 + 450, 2500)
    assert first["subscription_revenue"] == 450 + 700 + 450 + 450
    world.passes(days=32)
    second = books.total()
    assert (second["mrr_end"], second["expansion_mrr"]) == (2500, 0), "the discount once was never part of it"
    assert second["subscription_revenue"] == 2050 + 450 + 700 + 900 + 450
    world.passes(days=31)
    assert (books.total()["mrr_end"], books.total()["expansion_mrr"]) == (2950, 450)


def test_refunds(world: World, plans: Tollhouse, books: Books) -> None:
    """3.00 of a month given back: it goes on. The whole of a purchase, and of a month, which ends it: 9.00 churned."""
    v1 = world.stripe.v1
    for name, price in (("ada", "basic.monthly"), ("bo", "lifetime.once"), ("cy", "basic.monthly")):
        world.customer(name).buys(f"plans.{price}")
    world.passes(days=1)
    part: dict[str, Any] = {"amount": 300}
    for name, more in (("ada", part), ("bo", {}), ("cy", {})):
        charge = v1.charges.list({"customer": world.customer(name).stripe_id}).data[0]
        v1.refunds.create({"charge": charge.id, **more})
    world.arrive()
    row = books.total()
    shows(
        row,
        new_mrr=1800,
        churned_mrr=900,
        mrr_end=900,
        customers_new=2,
        customers_churned=1,
        customers_end=1,
        active=1,
        subscription_revenue=1800,
        purchase_revenue=19_900,
        refunds=3,
        refunded=300 + 19_900 + 900,
    )
    assert row["net_revenue"] == 600


def test_the_past_of_an_older_version_is_read(world: World, plans: Tollhouse, books: Books) -> None:
    """Rows that an older version wrote have no bills: one sweep reads them, from Stripe, back to the first."""
    world.customer("ada").buys("plans.basic.monthly")
    world.customer("bo").buys("plans.lifetime.once")
    before = books.total()

    async def forget(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            for table in ("billing", "stretch", "money_fact"):
                await tx.execute(text(f"DELETE FROM {table}"))

    world.service.run(forget)
    assert books.rows() == []
    world.service.reconcile(Kind.SWEEP)
    assert books.total() == before


def to_a_month_of_thirty_days(world: World) -> None:
    """Until the 24th of one that a month of 31 follows, whatever day it is where the tests run."""
    start = world.now
    while start.month not in (4, 6, 9, 11) or start.day != 24:
        start += timedelta(days=1)
    world.passes_until(start)


def the_story(world: World, app: Tollhouse) -> dict[str, str]:
    """Four customers of 9.00 a month, 66 days, from the 24th of a month of 30 days on: renewals on days 30 and 61.

    ada: up to 19.00 on day 10, down again on day 20, set to end with the period that began on day 61, but ended at
    once on day 65, back on day 66. bo: the renewal of day 30 fails, is paid on day 33, in grace. cy: fails, is never
    paid; the grace is over on the seventh day. dee: fails, is paid on the twelfth day, after the grace.
    Answers with the events.
    """
    to_a_month_of_thirty_days(world)
    ada, *others = [world.customer(name, app) for name in ("ada", "bo", "cy", "dee")]
    for one in (ada, *others):
        one.gets_subscription("plans.basic.monthly")
    world.passes(days=10)
    ada.changes_plan("plans.pro.monthly", proration_behavior="always_invoice")
    world.passes(days=10)
    ada.changes_plan("plans.basic.monthly")
    for one in others:
        one.card_declines()
    world.passes(days=13)
    bo, _, dee = others
    bo.pays_with("pm_card_visa")
    bo.pays_invoice()
    events = listed(world)
    world.passes(days=9)
    dee.pays_with("pm_card_visa")
    dee.pays_invoice()
    world.passes(days=23)
    v1 = world.stripe.v1
    one = v1.subscriptions.list({"customer": ada.stripe_id}).data[0]
    v1.subscriptions.update(one.id, {"cancel_at_period_end": True})
    v1.subscriptions.cancel(one.id)
    world.arrive()
    world.passes(days=1)
    ada.gets_subscription("plans.basic.monthly")
    return events | listed(world)


def listed(world: World) -> dict[str, str]:
    """The events of the last 30 days, which is as far back as Stripe lists them, by id."""
    events = world.stripe.v1.events.list({"limit": 100}).auto_paging_iter()
    return {event.id: json.dumps(event.to_dict(for_json=True)) for event in events}


def deliver_shuffled(world: World, events: dict[str, str]) -> None:
    """Each event, signed, in an order of chance."""
    order = list(events.values())
    random.Random(7).shuffle(order)
    secret = world.service.settings.webhook_secrets[0]
    for body in order:
        header = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()))
        answer = world.operator.post("/v1/stripe/webhook", content=body, headers={"Stripe-Signature": header})
        assert answer.status_code == 200, answer.text
    world.service.work()


@pytest.mark.parametrize("webhooks", ["as they happen", "at the end, shuffled", "never, one sync each"])
def test_the_same_story_however_it_was_heard(world: World, plans: Tollhouse, books: Books, webhooks: str) -> None:
    """By hand. New: 4 × 9.00. Expansion and contraction: ada's 10.00 up and down. Churned: cy, dee and ada, 9.00 each.

    Reactivated: dee when the bill is paid, ada on day 66. At the end ada, bo and dee: 27.00.
    Paid: the first month of four, 36.00; ada's upgrade, two thirds of 19.00 less 6.00, 6.67; her second bill less what
    the downgrade left, 9.00 - 6.34 + 3.00 = 5.66; her third, and the first of the new subscription, 18.00; bo's and
    dee's second and third, 36.00. Three bills of 9.00 failed, two were recovered.
    """
    if webhooks != "as they happen":
        world.hold_webhooks()
    events = the_story(world, plans)
    if webhooks == "at the end, shuffled":
        deliver_shuffled(world, events)
    if webhooks == "never, one sync each":
        for name in ("ada", "bo", "cy", "dee"):
            plans.sync_customer(name)
    row = books.total()
    shows(
        row,
        new_mrr=3600,
        expansion_mrr=1000,
        contraction_mrr=1000,
        churned_mrr=2700,
        reactivation_mrr=1800,
        mrr_end=2700,
        customers_new=4,
        customers_churned=3,
        customers_reactivated=2,
        customers_end=3,
        active=3,
        subscription_revenue=3600 + 667 + 566 + 1800 + 3600,
        payments_failed=3,
        failed=2700,
        payments_recovered=2,
        recovered=1800,
    )
    by_day = books.rows(interval="day")
    for name in ("new_mrr", "expansion_mrr", "churned_mrr", "subscription_revenue", "failed", "recovered"):
        assert sum(one[name] for one in by_day) == row[name], name
