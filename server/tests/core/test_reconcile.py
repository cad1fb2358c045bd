"""Reconciliation against Stripe's sandbox: what was missed is found, named, and mended on the ordinary path."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from tollhouse import Tollhouse
from tollhouse_server.db.drift_tables import drift, reconciliation, reconciliation_seen, reconciliation_suspect
from tollhouse_server.db.tables import audit, customer, inbox, metadata, price
from tollhouse_server.reconcile import Kind
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World

MONTHLY = "pdf-tool.pro.monthly"
ONCE = "pdf-tool.lifetime.once"
EXPORT = "premium_export"
LOCKED_OUT, LET_IN = "paid_but_locked_out", "unpaid_but_allowed"


@pytest.fixture
def app(world: World, pdf_tool_catalog: dict[str, Any]) -> Tollhouse:
    published = world.publish(pdf_tool_catalog)
    world.arrive()
    return published


def rows(world: World, query: Any) -> list[Any]:
    async def ask(resources: Resources) -> list[Any]:
        async with resources.database.transaction() as tx:
            answer = await tx.execute(query)
            return list(answer.all()) if answer.returns_rows else []

    return world.service.run(ask)


def report(world: World, run_id: str) -> list[Any]:
    return rows(world, select(drift).where(drift.c.run_id == run_id).order_by(drift.c.id))


def run_of(world: World, run_id: str) -> Any:
    return rows(world, select(reconciliation).where(reconciliation.c.id == run_id))[0]


def verdicts(world: World, run_id: str) -> dict[str, str | None]:
    """By user."""
    query = select(customer.c.user_id, drift.c.verdict).join(customer, customer.c.id == drift.c.customer_id)
    return {row.user_id: row.verdict for row in rows(world, query.where(drift.c.run_id == run_id))}


# The catch-up


def test_a_sale_whose_webhooks_never_came_is_caught_up(world: World, app: Tollhouse) -> None:
    """Each missing event is named, the ordinary pipeline opens what was paid, and the report says since when."""
    world.hold_webhooks()
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    paid_at = world.service.clock.now()
    world.passes(minutes=5)
    assert not ada.may(EXPORT)
    run_id = world.service.reconcile(Kind.CATCH_UP)
    missing = report(world, run_id)
    assert missing and {row.field for row in missing} == {"event"}
    assert all(row.closed_at is None and row.event_id == row.object_id for row in missing)
    world.service.work()
    assert ada.may(EXPORT)
    told = report(world, run_id)
    events, fields = [row for row in told if row.field == "event"], [row for row in told if row.field != "event"]
    assert all(row.repaired for row in told)
    assert {row.verdict for row in events} == {LOCKED_OUT}
    assert {row.since for row in told} == {paid_at}
    assert {(row.object_id[:4], row.field) for row in fields} >= {("sub_", "exists")}
    assert {row.event_id for row in fields} <= {row.event_id for row in events}
    run = run_of(world, run_id)
    assert (run.state, run.counts["events.missing"]) == ("finished", len(events))
    assert run.requests >= 1 and run.stripe_seconds > 0


def test_what_came_is_not_missing_and_what_was_caught_up_is_known(world: World, app: Tollhouse) -> None:
    """The list is read again from before the cursor: an event that it shows twice is stored once, and missing once."""
    world.customer("ada", app).buys(MONTHLY)
    world.passes(minutes=5)
    first = world.service.reconcile(Kind.CATCH_UP)
    assert report(world, first) == [] and run_of(world, first).counts["events.missing"] == 0
    world.hold_webhooks()
    grace = world.customer("grace", app)
    grace.buys(MONTHLY)
    world.passes(minutes=5)
    second, third = world.service.reconcile(Kind.CATCH_UP), world.service.reconcile(Kind.CATCH_UP)
    found = run_of(world, second).counts
    assert found["events.missing"] == len(report(world, second)) > 0 and found["events.known"] > 0
    assert run_of(world, third).counts["events.missing"] == 0
    assert run_of(world, third).counts["events.known"] == found["events.known"] + found["events.missing"]
    assert run_of(world, first).since < run_of(world, second).since < run_of(world, third).since
    world.service.work()
    assert grace.may(EXPORT)


def test_an_event_on_its_way_is_received_and_not_called_missing(world: World, app: Tollhouse) -> None:
    """Stripe may list it before its webhook is here: within a minute that is no difference worth a report."""
    world.hold_webhooks()
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    run_id = world.service.reconcile(Kind.CATCH_UP)
    world.service.work()
    assert ada.may(EXPORT) and report(world, run_id) == []


def test_missing_events_of_others_are_received_and_reported_of_nobody(world: World, app: Tollhouse) -> None:
    """A stranger's customer is foreign; a price of ours is put right; neither leaves anything open."""
    world.hold_webhooks()
    stranger = world.stripe.v1.customers.create({"email": "someone@else.test"})
    world.stripe.v1.customers.update(stranger.id, {"name": "Someone Else"})
    [sold] = rows(world, select(price.c.stripe_price_id).where(price.c.lookup_key == MONTHLY))
    world.stripe.v1.prices.update(sold.stripe_price_id, {"active": False})
    world.passes(minutes=5)
    run_id = world.service.reconcile(Kind.CATCH_UP)
    assert len(report(world, run_id)) >= 2
    world.service.work()
    assert rows(world, select(price.c.active).where(price.c.lookup_key == MONTHLY)) == [(False,)]
    left = report(world, run_id)
    assert left and all(row.repaired and row.customer_id is None and row.verdict is None for row in left)
    assert not [row for row in left if row.stripe_customer_id == stranger.id]


# The sweep


def test_a_sweep_finds_what_no_event_told(world: World, app: Tollhouse) -> None:
    """Bought, canceled, refunded, disputed, deleted and changed without any event: all is put right in one sweep.

    Each repair is in the audit trail under the run, and the next sweep finds nothing and reads nobody again.
    """
    people = {name: world.customer(name, app) for name in ["ada", "grace", "joan", "mary", "anita", "barbara", "edith"]}
    for name in ("grace", "anita", "barbara"):
        people[name].buys(MONTHLY)
    for name in ("joan", "mary", "edith"):
        people[name].buys(ONCE)
    world.sandbox.lose_events()
    v1 = world.stripe.v1
    people["ada"].buys(MONTHLY)
    v1.subscriptions.cancel(v1.subscriptions.list({"customer": people["grace"].stripe_id}).data[0].id)
    charge = {
        name: v1.charges.list({"customer": people[name].stripe_id}).data[0].id for name in ("joan", "mary", "edith")
    }
    v1.refunds.create({"charge": charge["joan"]})
    v1.refunds.create({"charge": charge["edith"], "amount": 100})
    world.sandbox.dispute(charge["mary"])
    v1.customers.delete(people["anita"].stripe_id)
    of_barbara = v1.subscriptions.list({"customer": people["barbara"].stripe_id}).data[0]
    v1.subscriptions.update(of_barbara.id, {"cancel_at_period_end": True})
    world.passes(hours=1)
    run_id = world.service.reconcile(Kind.SWEEP)
    assert {name: bool(one.may(EXPORT)) for name, one in people.items()} == {
        "ada": True, "grace": False, "joan": False, "mary": False, "anita": False, "barbara": True, "edith": True,
    }  # fmt: skip
    assert verdicts(world, run_id) == {
        "ada": LOCKED_OUT, "grace": LET_IN, "joan": LET_IN, "mary": LET_IN, "anita": LET_IN,
        "barbara": None, "edith": None,
    }  # fmt: skip
    told, run = report(world, run_id), run_of(world, run_id)
    assert run.error is None and all(row.repaired and row.event_id is None for row in told)
    assert {row.since for row in told if row.verdict} == {world.service.clock.now() - timedelta(hours=1)}
    assert {row.field for row in told if row.object_id == of_barbara.id} >= {"cancel_at"}
    changed = select(audit.c.actor).where(audit.c.cause == run_id, audit.c.action == "entitlements.changed")
    entries = rows(world, changed)
    assert len(entries) == 6 and {row.actor for row in entries} == {"reconcile"}  # edith keeps what she has
    again = run_of(world, world.service.reconcile(Kind.SWEEP))
    assert (again.requests, again.counts["customers.to_read"]) == (6, 0)
    assert report(world, again.id) == []
    assert not rows(world, select(reconciliation_seen)) and not rows(world, select(reconciliation_suspect))


def test_what_only_one_list_shows(world: World, app: Tollhouse) -> None:
    """A charge of long ago is refunded, another disputed, a buyer without a subscription deleted: each is found."""
    ada, grace, joan = (world.customer(name, app) for name in ("ada", "grace", "joan"))
    for one in (ada, grace, joan):
        one.buys(ONCE)
    deleted = joan.stripe_id
    world.passes(days=36)
    world.sandbox.lose_events()
    v1 = world.stripe.v1
    v1.refunds.create({"charge": v1.charges.list({"customer": ada.stripe_id}).data[0].id})
    world.sandbox.dispute(v1.charges.list({"customer": grace.stripe_id}).data[0].id)
    v1.customers.delete(deleted)
    run = run_of(world, world.service.reconcile(Kind.SWEEP))
    assert run.counts["charges.listed"] == 0
    assert [run.counts[f"{of}.differ"] for of in ("refunds", "disputes")] == [1, 1]
    assert run.counts["back.not_shown"] == 1
    assert [bool(one.may(EXPORT)) for one in (ada, grace, joan)] == [False, False, True]
    [forgotten] = [row for row in report(world, run.id) if row.object_id == deleted]
    assert (forgotten.field, forgotten.ours, forgotten.stripes, forgotten.repaired) == ("customer", deleted, None, True)


def test_a_sweep_names_the_event_that_was_missing(world: World, app: Tollhouse) -> None:
    """Of what Stripe did tell and nobody heard, the event about the object itself where there is one."""
    world.customer("grace", app).buys(MONTHLY)
    world.hold_webhooks()
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    run_id = world.service.reconcile(Kind.SWEEP)
    [row] = [row for row in report(world, run_id) if row.field == "exists"]
    event = world.stripe.v1.events.retrieve(row.event_id)
    assert event.type.startswith("customer.subscription.") and event.data.object["id"] == row.object_id
    assert {row.event_id for row in report(world, run_id)} & {None} == set()


def test_an_event_that_waits_in_the_inbox_explains_the_difference(world: World, app: Tollhouse) -> None:
    """It came and could not be applied: the sweep mends what it should have, and says which event that was."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    subscribed = world.stripe.v1.subscriptions.list({"customer": ada.stripe_id}).data[0]
    world.stripe.v1.subscriptions.cancel(subscribed.id)
    world.sandbox.drain()
    buried = {"state": "buried", "next_attempt_at": None}
    rows(world, update(inbox).where(inbox.c.next_attempt_at.is_not(None)).values(**buried))
    [last] = rows(world, select(inbox.c.event_id).where(inbox.c.state == "buried").order_by(inbox.c.id.desc()).limit(1))
    told = report(world, world.service.reconcile(Kind.SWEEP))
    assert {row.event_id for row in told} == {last.event_id}
    assert not ada.may(EXPORT)


@pytest.mark.breaks("snapshot-version")
def test_a_customer_whom_a_restored_backup_does_not_know(world: World, app: Tollhouse) -> None:
    """Stripe shows them with our stamp: made again, with all they paid for. Strangers are counted and not touched."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    stripe_id = ada.stripe_id
    world.stripe.v1.customers.create({"email": "someone@else.test"})
    world.stripe.v1.customers.create({"metadata": {"tollhouse_project": "another", "tollhouse_user_id": "ada"}})
    for forgotten in ("snapshot", "subscription", "checkout"):
        rows(world, text(f"DELETE FROM {forgotten}"))
    rows(world, update(customer).values(user_id="somebody else", stripe_customer_id=None))
    assert not ada.may(EXPORT)
    run_id = world.service.reconcile(Kind.SWEEP)
    assert ada.may(EXPORT) and ada.stripe_id == stripe_id
    assert verdicts(world, run_id) == {"ada": LOCKED_OUT}
    counts = run_of(world, run_id).counts
    assert (counts["customers.listed"], counts["customers.differ"], counts["customers.to_read"]) == (3, 1, 1)


def test_lists_over_several_pages_and_items_beyond_ten(world: World, app: Tollhouse, proxy: Any) -> None:
    """101 customers before ours in the list, and a subscription of twelve items of which Stripe embeds ten."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    v1 = world.stripe.v1
    subscribed = v1.subscriptions.list({"customer": ada.stripe_id}).data[0]
    product = v1.products.create({"name": "Extras"})
    for amount in range(100, 1200, 100):
        extra = {"product": product.id, "currency": "eur", "unit_amount": amount, "recurring": {"interval": "month"}}
        v1.subscriptions.update(subscribed.id, {"items": [{"price": v1.prices.create(extra).id}]})
    for number in range(101):
        v1.customers.create({"name": str(number)})
    world.arrive()

    def first_ten(said: str) -> str:
        page = json.loads(said)
        for one in page["data"]:
            one["items"] = {**one["items"], "data": one["items"]["data"][:10], "has_more": True}
        return json.dumps(page)

    proxy.rewrites["/v1/subscriptions"] = first_ten
    run_id = world.service.reconcile(Kind.SWEEP, stripe=proxy.url)
    assert [path for path in proxy.asked if path == "/v1/customers"] == ["/v1/customers"] * 2
    assert report(world, run_id) == []
    counts = run_of(world, run_id).counts
    assert (counts["customers.listed"], counts["customers.ours"], counts["subscriptions.differ"]) == (102, 1, 0)


def test_one_customer_who_cannot_be_read_stops_nobody(world: World, app: Tollhouse, proxy: Any) -> None:
    """The others are repaired; the one is in the report with the reason, keeps what they have, and is not repaired."""
    ada, grace, joan = (world.customer(name, app) for name in ("ada", "grace", "joan"))
    for one in (ada, grace, joan):
        one.buys(MONTHLY)
    world.sandbox.lose_events()
    v1 = world.stripe.v1
    for one in (ada, grace, joan):
        v1.subscriptions.cancel(v1.subscriptions.list({"customer": one.stripe_id}).data[0].id)
    lost = grace.stripe_id
    elsewhere = "cus_of_another_account"
    rows(world, update(customer).where(customer.c.user_id == "joan").values(stripe_customer_id=elsewhere))

    def half_open(said: str) -> str:
        page = json.loads(said)
        page["data"] = [one | ({"status": "half-open"} if one["customer"] == lost else {}) for one in page["data"]]
        return json.dumps(page)

    proxy.rewrites["/v1/subscriptions"] = half_open
    run_id = world.service.reconcile(Kind.SWEEP, stripe=proxy.url)
    assert [bool(one.may(EXPORT)) for one in (ada, grace, joan)] == [False, True, True]
    failed = {row.stripe_customer_id: row for row in report(world, run_id) if not row.repaired}
    assert {id_: (row.field, row.closed_at) for id_, row in failed.items()} == {
        lost: ("unreadable", None),
        elsewhere: ("unreadable", None),
    }
    assert "half-open" in failed[lost].error and "STRIPE_SECRET_KEY" in failed[elsewhere].error
    run = run_of(world, run_id)
    assert (run.state, run.counts["customers.unreadable"]) == ("finished", 2)
    del proxy.rewrites["/v1/subscriptions"]
    world.service.reconcile(Kind.SWEEP, stripe=proxy.url)
    assert not grace.may(EXPORT)
    assert all(row.closed_at and not row.repaired for row in report(world, run_id) if row.stripe_customer_id == lost)


@pytest.mark.breaks("two-subscriptions")
def test_what_stripe_no_longer_shows_is_told_and_left(world: World, app: Tollhouse) -> None:
    """A subscription of ours that is nowhere at Stripe: nothing is closed by an absence, and somebody is told."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    renamed = text("""UPDATE subscription SET id = 'sub_old', evidence = jsonb_set(evidence, '{id}', '"sub_old"')""")
    rows(world, renamed)
    told = report(world, world.service.reconcile(Kind.SWEEP))
    [gone] = [row for row in told if row.object_id == "sub_old"]
    assert (gone.field, gone.ours, gone.stripes, gone.repaired) == ("exists", True, None, False)
    assert gone.closed_at is None
    assert ada.may(EXPORT)


def test_another_accounts_key_changes_nothing(world: World, app: Tollhouse) -> None:
    """Where Stripe shows hardly any of our customers, no one of them is asked for, and the run says what to check."""
    world.customer("ada", app).buys(MONTHLY)
    strangers = text("""
        INSERT INTO customer (id, project_id, user_id, stripe_customer_id)
        SELECT gen_random_uuid(), project.id, n::text, 'cus_' || n FROM project, generate_series(1, 25) n""")
    rows(world, strangers)
    run = run_of(world, world.service.reconcile(Kind.SWEEP))
    assert run.state == "failed" and "STRIPE_SECRET_KEY" in run.error and "1 of our 26" in run.error
    assert run.requests == 6 and report(world, run.id) == []


def test_of_one_project_alone(world: World, app: Tollhouse, pdf_tool_catalog: dict[str, Any]) -> None:
    """Only its customers are read again; another project's wait for their own run. Both kinds of run."""
    images = world.publish({**pdf_tool_catalog, "project": "images", "name": "Images"})
    world.arrive()
    ada, grace = world.customer("ada", app), world.customer("grace", images)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    grace.buys("images.pro.monthly")
    world.passes(minutes=5)
    world.service.reconcile(Kind.SWEEP, project="images")
    assert not ada.may(EXPORT) and grace.may(EXPORT)
    run_id = world.service.reconcile(Kind.CATCH_UP, project="pdf-tool")
    assert {row.stripe_customer_id for row in report(world, run_id)} == {ada.stripe_id}


REPORTS = {"reconciliation", "reconciliation_seen", "reconciliation_suspect", "drift", "worker"}


@pytest.mark.parametrize("kind", list(Kind))
def test_a_dry_run_changes_nothing(world: World, app: Tollhouse, kind: Kind) -> None:
    """Every table but those of the report is as before, and the report foretells what a real run then does."""
    ada, grace = world.customer("ada", app), world.customer("grace", app)
    grace.buys(MONTHLY)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    world.stripe.v1.subscriptions.cancel(world.stripe.v1.subscriptions.list({"customer": grace.stripe_id}).data[0].id)
    world.passes(minutes=5)
    tables = [table for table in metadata.sorted_tables if table.name not in REPORTS]
    before = [sorted(map(repr, rows(world, select(table)))) for table in tables]
    dry = world.service.reconcile(kind, dry_run=True)
    assert [sorted(map(repr, rows(world, select(table)))) for table in tables] == before
    assert verdicts(world, dry) == {"ada": LOCKED_OUT, "grace": LET_IN}
    assert not any(row.repaired or row.closed_at for row in report(world, dry))
    real = world.service.reconcile(kind)
    world.service.work()
    assert ada.may(EXPORT) and not grace.may(EXPORT)

    def fields(run_id: str) -> set[tuple[str, str]]:
        return {(row.object_id, row.field) for row in report(world, run_id)}

    assert fields(dry) == fields(real)
    assert all(row.closed_at and not row.repaired for row in report(world, dry))
    assert all(row.repaired for row in report(world, real))


def test_gauges_tell_who_is_told_wrong(world: World, app: Tollhouse) -> None:
    """Users and minutes: of those found and not repaired, and for a day of those who were."""
    ada = world.customer("ada", app)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    world.passes(minutes=30)

    def gauges() -> dict[str, float]:
        lines = world.operator.get("/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if "{" in line)}

    def locked_out(repaired: str) -> tuple[float, float]:
        told = gauges()
        users, minutes = (f"tollhouse_paid_but_locked_out_{what}" for what in ("users", "minutes"))
        return told[f'{users}{{repaired="{repaired}"}}'], told[f'{minutes}{{repaired="{repaired}"}}']

    assert gauges()['tollhouse_reconciliation_age_seconds{kind="sweep"}'] == float("inf")
    world.service.reconcile(Kind.SWEEP, dry_run=True)
    assert (locked_out("no"), locked_out("yes")) == ((1, 30), (0, 0))
    world.passes(minutes=10)
    assert locked_out("no") == (1, 40)
    world.service.reconcile(Kind.SWEEP)
    world.passes(hours=1)
    assert (locked_out("no"), locked_out("yes")) == ((0, 0), (1, 40))
    told = gauges()
    assert told['tollhouse_reconciliation_age_seconds{kind="sweep"}'] == 3600
    assert told['tollhouse_drift_found{kind="sweep",state="open"}'] == 0
    assert told['tollhouse_drift_found{kind="sweep",state="closed"}'] > 0
    assert told['tollhouse_unpaid_but_allowed_users{repaired="no"}'] == 0
    world.passes(hours=24)
    assert locked_out("yes") == (0, 0)


def test_stripe_limits_the_rate(world: World, app: Tollhouse) -> None:
    """A 429 is waited out and the page asked for again: the run goes on where it is, and nothing is missed."""
    world.hold_webhooks()
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    world.sandbox.fail_next(429, path="/v1/customers")
    run = run_of(world, world.service.reconcile(Kind.SWEEP))
    assert (run.state, run.failures) == ("finished", 0)
    assert run.paced_seconds >= 0.9
    assert ada.may(EXPORT)
