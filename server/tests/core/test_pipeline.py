"""From an event to the entitlements, against Stripe's sandbox, a real database and real HTTP."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, delete, select, text, update

from tollhouse import Tollhouse, TollhouseError
from tollhouse_server import inbox, projection
from tollhouse_server.audit import Cause
from tollhouse_server.db.tables import audit, audit_seal, checkout, customer, purchase, snapshot, subscription
from tollhouse_server.db.tables import inbox as table
from tollhouse_server.inbox import Event
from tollhouse_server.pipeline import Pipeline
from tollhouse_server.resources import Resources
from tollhouse_server.stripe_gateway.client import close_client, open_client
from tollhouse_server.stripe_gateway.fetch import fetch_customer
from tollhouse_server.testing import World

MONTHLY = "pdf-tool.pro.monthly"
ONCE = "pdf-tool.lifetime.once"
EXPORT = "premium_export"


@pytest.fixture
def app(world: World, pdf_tool_catalog: dict[str, Any]) -> Tollhouse:
    published = world.publish(pdf_tool_catalog)
    world.arrive()
    return published


def received(world: World, subject: str, *ids: str, type_: str = "invoice.paid") -> None:
    """As if the webhook had brought these events."""

    async def store(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            for id_ in ids:
                await inbox.receive(tx, Event(id_, type_, None, resources.clock.now(), "{}", subject))

    world.service.run(store)


def event(world: World, id_: str) -> Row[Any]:
    async def find(resources: Resources) -> Row[Any]:
        async with resources.database.transaction() as tx:
            return (await tx.execute(select(table).where(table.c.event_id == id_))).one()

    return world.service.run(find)


def worked(world: World, api_base: str, *, max_attempts: int = 12) -> bool:
    """One turn of a worker whose Stripe is at `api_base`."""

    async def once(resources: Resources) -> bool:
        stripe = open_client(resources.settings.stripe_secret_key.get_secret_value(), api_base)
        try:
            return await Pipeline(
                resources.database,
                stripe,
                resources.clock,
                resources.refresh,
                max_attempts=max_attempts,
                lease=resources.pipeline.lease,
                pause=resources.pipeline.pause,
            ).process_next()
        finally:
            await close_client(stripe)

    return world.service.run(once)


def due_now(world: World) -> None:
    """As if the back-off had passed."""

    async def hurry(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            await tx.execute(
                update(table).where(table.c.next_attempt_at.is_not(None)).values(next_attempt_at=table.c.received_at)
            )

    world.service.run(hurry)


def test_however_many_events_one_read(world: World, app: Tollhouse, proxy: Any) -> None:
    """Forty events of one customer make Stripe be asked once for each list, and all are settled by that one read."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    received(world, ada.stripe_id, *(f"evt_{number}" for number in range(40)))
    assert worked(world, proxy.url)
    assert not worked(world, proxy.url)
    assert sorted(proxy.asked) == [
        "/v1/charges",
        "/v1/checkout/sessions",
        f"/v1/customers/{ada.stripe_id}",
        "/v1/invoices",
        "/v1/subscriptions",
    ]
    assert {event(world, f"evt_{number}").outcome for number in range(40)} == {"applied"}


def test_a_read_held_up_loses_to_one_that_began_later(world: World, app: Tollhouse) -> None:
    """A reads while Ada has access, B reads after she cancelled and commits; then A commits: what B read stands."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    stripe_id = ada.stripe_id

    async def overtaken(resources: Resources) -> None:
        database = resources.database
        async with database.transaction() as tx:
            a = await inbox.next_read(tx)
        read_by_a = await fetch_customer(resources.stripe, stripe_id)
        assert read_by_a is not None
        await resources.stripe.v1.subscriptions.cancel_async(read_by_a.subscriptions[0].id)
        await resources.pipeline.sync(stripe_id, Cause("stripe", "evt_b"))
        async with database.transaction() as tx:
            owner = await projection.write(tx, read_by_a, a)
            assert owner is not None
            await resources.refresh(tx, owner.customer_id, Cause("stripe", "evt_a"), at=resources.clock.now())

    world.service.run(overtaken)
    assert not ada.may(EXPORT)
    assert ada.state().subscriptions[0].status == "canceled"


def test_stripe_away_then_back(world: World, app: Tollhouse) -> None:
    """What cannot be read now is kept with the reason, tried later, and then applied: nothing is lost."""
    ada = world.customer("ada", app)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    received(world, ada.stripe_id, "evt_1")
    assert worked(world, "http://127.0.0.1:9")
    deferred = event(world, "evt_1")
    assert (deferred.state, deferred.attempts) == ("deferred", 1)
    assert deferred.error.startswith("StripeUnavailable: ")
    assert not ada.may(EXPORT)
    due_now(world)
    world.service.work()
    assert (event(world, "evt_1").state, event(world, "evt_1").error) == ("settled", None)
    assert ada.may(EXPORT)


def test_a_fault_of_stripes_in_the_middle_of_a_read_leaves_nothing_half(world: World, app: Tollhouse) -> None:
    """The customer was read and the invoices were not: nothing of it is written, and later all of it is."""
    ada = world.customer("ada", app)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    received(world, ada.stripe_id, "evt_1")
    world.sandbox.fail_next(429, method="GET", path="/v1/invoices")
    world.service.work()
    assert event(world, "evt_1").state == "deferred"
    assert not ada.state().subscriptions
    due_now(world)
    world.service.work()
    assert event(world, "evt_1").state == "settled" and ada.may(EXPORT)


def test_after_the_last_try_an_event_is_buried_and_can_be_replayed(world: World, app: Tollhouse) -> None:
    """It is given up visibly, with its error; a replay applies it once Stripe is back."""
    ada = world.customer("ada", app)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    received(world, ada.stripe_id, "evt_1")
    world.sandbox.fail_next(429, times=3, method="GET", path="/v1/customers")
    for state in ("deferred", "deferred", "buried"):
        assert worked(world, world.sandbox.url, max_attempts=3)
        assert event(world, "evt_1").state == state
        due_now(world)
    assert not worked(world, world.sandbox.url, max_attempts=3)
    assert event(world, "evt_1").error.startswith("StripeUnavailable: ")
    assert world.operator.post("/v1/admin/events/evt_1/replay").is_success
    world.service.work()
    assert event(world, "evt_1").state == "settled" and ada.may(EXPORT)


def test_a_new_event_is_not_given_up_with_an_old_one(world: World, app: Tollhouse) -> None:
    """It has had no tries of its own yet: the customer is tried on, and one read then settles both."""
    ada = world.customer("ada", app)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    world.sandbox.fail_next(429, times=2, method="GET", path="/v1/customers")
    received(world, ada.stripe_id, "evt_old")
    assert worked(world, world.sandbox.url, max_attempts=2)
    received(world, ada.stripe_id, "evt_new")
    assert worked(world, world.sandbox.url, max_attempts=2)
    assert [event(world, id_).state for id_ in ("evt_old", "evt_new")] == ["deferred", "deferred"]
    due_now(world)
    world.service.work()
    assert [event(world, id_).state for id_ in ("evt_old", "evt_new")] == ["settled", "settled"]


def test_what_we_do_not_understand_is_parked_and_changes_nothing(world: World, app: Tollhouse, proxy: Any) -> None:
    """A status or a shape of next year is buried at once, with what is wrong; access stays as it was last known."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    before = ada.state().version

    def parked(id_: str, old: str, new: str) -> Row[Any]:
        received(world, ada.stripe_id, id_)
        proxy.rewrites["/v1/subscriptions"] = lambda said: said.replace(old, new)
        assert worked(world, proxy.url)
        return event(world, id_)

    for number, (old, new, error) in enumerate(
        (
            ('"status":"active"', '"status":"on_holiday"', "UnknownStatus"),
            ('"cancel_at":null', '"cancel_at":"soon"', "UnexpectedShape"),
            ('"current_period_end"', '"billing_period_end"', "UnexpectedShape"),
            ('"items"', '"lines_of_it"', "UnexpectedShape"),
        )
    ):
        found = parked(f"evt_{number}", old, new)
        assert (found.state, found.attempts, found.error.partition(":")[0]) == ("buried", 1, error)
        assert ada.may(EXPORT) and ada.state().version == before


def test_somebody_elses_customer_is_foreign(world: World, app: Tollhouse) -> None:
    """Other things may be sold on the same Stripe account: their events are settled as `foreign` and stay unapplied."""
    stranger = world.stripe.v1.customers.create({"email": "x@example.org"})
    received(world, stranger.id, "evt_1")
    received(world, "ch_of_nobody", "evt_2", type_="charge.dispute.created")
    received(world, "prod_of_nobody", "evt_3", type_="product.updated")
    world.service.work()
    assert {event(world, id_).outcome for id_ in ("evt_1", "evt_2", "evt_3")} == {"foreign"}
    assert event(world, "evt_1").project_id is None


def test_a_customer_stripe_does_not_know_is_not_taken_for_nobodys(world: World, app: Tollhouse) -> None:
    """One that our books hold and Stripe does not is a mix-up of accounts: parked, and access stays as it was."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)

    async def moved(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            await tx.execute(update(customer).values(stripe_customer_id="cus_elsewhere"))

    world.service.run(moved)
    received(world, "cus_elsewhere", "evt_1")
    world.service.work()
    assert event(world, "evt_1").state == "buried" and "STRIPE_SECRET_KEY" in event(world, "evt_1").error
    assert ada.may(EXPORT)


def test_a_customer_lost_from_our_books_is_found_again(world: World, app: Tollhouse) -> None:
    """After a restored backup the next event of a customer whom Tollhouse made brings all of it back."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    stripe_id = ada.stripe_id

    async def lose(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            await tx.execute(text("SET LOCAL session_replication_role = replica"))  # past the audit trail's triggers
            for each in (audit, audit_seal, snapshot, subscription, purchase, checkout, customer):
                await tx.execute(delete(each))

    world.service.run(lose)
    assert not ada.may(EXPORT)
    received(world, stripe_id, "evt_1")
    world.service.work()
    assert event(world, "evt_1").outcome == "applied"
    assert ada.may(EXPORT) and ada.stripe_id == stripe_id


def test_a_dispute_finds_its_customer_by_the_charge(world: World, app: Tollhouse) -> None:
    """A dispute names a charge and no customer: its access is suspended all the same, and comes back when it is won."""
    ada = world.customer("ada", app)
    ada.buys(ONCE)
    charge = world.stripe.v1.charges.list({"customer": ada.stripe_id}).data[0]
    dispute = world.sandbox.dispute(charge.id)
    world.arrive()
    assert not ada.may(EXPORT)
    world.sandbox.decide_dispute(dispute["id"], "won")
    world.arrive()
    assert ada.may(EXPORT)


def test_a_deleted_customer_loses_what_stripe_ends(world: World, app: Tollhouse) -> None:
    """Deleting a customer in Stripe cancels what runs: the event is applied, not parked."""
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    world.stripe.v1.customers.delete(ada.stripe_id)
    world.arrive()
    assert not ada.may(EXPORT)


@pytest.mark.parametrize("what", ["price", "product"])
def test_what_is_archived_in_stripe_is_not_sold(world: World, app: Tollhouse, what: str) -> None:
    """Archived in the dashboard, by price or by product, a checkout refuses it; put back, it is sold again."""
    ada = world.customer("ada", app)
    found = world.stripe.v1.prices.list({"lookup_keys": [MONTHLY]}).data[0]

    def put(active: bool) -> None:
        if what == "price":
            world.stripe.v1.prices.update(found.id, {"active": active})
        else:
            world.stripe.v1.products.update(str(found.product), {"active": active})
        world.arrive()

    put(False)
    with pytest.raises(TollhouseError, match="archived"):
        ada.buys(MONTHLY)
    ada.buys(ONCE)
    put(True)
    ada.buys(MONTHLY)


def test_two_workers_on_one_customer_apply_its_events_once(world: World, app: Tollhouse) -> None:
    """A lease that runs out while Stripe is slow lets a second worker in: one change, one version, all settled."""
    ada = world.customer("ada", app)
    world.hold_webhooks()
    ada.buys(MONTHLY)
    received(world, ada.stripe_id, "evt_1", "evt_2")

    async def both(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            [slow] = await inbox.claim(tx, lease=timedelta(0), pause=timedelta(0))
        facts = await fetch_customer(resources.stripe, slow.subject)
        assert facts is not None
        assert await resources.pipeline.process_next()
        async with resources.database.transaction() as tx:
            owner = await projection.write(tx, facts, slow.read)
            assert owner is not None
            await resources.refresh(tx, owner.customer_id, Cause("stripe", "late"), at=resources.clock.now())
            await inbox.settle(tx, slow, "late")

    world.service.run(both)
    assert ada.may(EXPORT) and ada.state().version == 1
    assert {event(world, id_).outcome for id_ in ("evt_1", "evt_2")} == {"applied"}
