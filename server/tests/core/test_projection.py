"""What we hold of Stripe's objects never goes back, and is never somebody else's."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select

from tollhouse_server import inbox, projection
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import customer, price, project, subscription
from tollhouse_server.domain.facts import CustomerFacts, PriceFacts
from tollhouse_server.projection import concerning

anyio = pytest.mark.anyio

ADA = {"customer": "cus_ada"}


@pytest.mark.parametrize(
    ("type_", "obj", "subject"),
    [
        ("customer.updated", {"id": "cus_ada"}, "cus_ada"),
        ("customer.deleted", {"id": "cus_ada"}, "cus_ada"),
        ("customer.subscription.created", ADA, "cus_ada"),
        ("customer.subscription.trial_will_end", ADA, "cus_ada"),
        ("customer.subscription.deleted", {"customer": {"id": "cus_ada", "object": "customer"}}, "cus_ada"),
        ("subscription_schedule.updated", {"id": "sub_sched_1", "customer": "cus_ada"}, "cus_ada"),
        ("checkout.session.completed", ADA, "cus_ada"),
        ("checkout.session.async_payment_succeeded", ADA, "cus_ada"),
        ("checkout.session.async_payment_failed", ADA, "cus_ada"),
        ("checkout.session.expired", ADA, "cus_ada"),
        ("checkout.session.completed", {"customer": None}, None),
        ("invoice.paid", ADA, "cus_ada"),
        ("invoice.payment_failed", ADA, "cus_ada"),
        ("invoice.voided", ADA, "cus_ada"),
        ("invoice.marked_uncollectible", ADA, "cus_ada"),
        ("charge.refunded", {"id": "ch_1", **ADA}, "cus_ada"),
        ("charge.refunded", {"id": "ch_1", "customer": None}, "ch_1"),
        ("refund.created", {"id": "re_1", "charge": "ch_1"}, "ch_1"),
        ("refund.failed", {"id": "re_1", "charge": "ch_1"}, "ch_1"),
        ("charge.refund.updated", {"id": "re_1", "charge": "ch_1"}, "ch_1"),
        ("charge.dispute.created", {"id": "dp_1", "charge": "ch_1"}, "ch_1"),
        ("charge.dispute.closed", {"id": "dp_1", "charge": {"id": "ch_1"}}, "ch_1"),
        ("charge.dispute.funds_reinstated", {"id": "dp_1", "charge": "ch_1"}, "ch_1"),
        ("price.updated", {"id": "price_1", "product": "prod_1"}, "prod_1"),
        ("price.deleted", {"id": "price_1", "product": {"id": "prod_1"}}, "prod_1"),
        ("product.updated", {"id": "prod_1"}, "prod_1"),
        ("balance.available", {"object": "balance"}, None),
        ("a.type.of.next.year", {"id": "x", **ADA}, None),
        ("customer.updated", {}, None),
        ("customer.updated", {"id": 7}, None),
        ("customer.updated", {"id": ""}, None),
    ],
)
def test_what_an_event_says_is_dirty(type_: str, obj: Mapping[str, Any], subject: str | None) -> None:
    """A customer where the object names one, bare or expanded; else the charge that leads to it; a product's prices."""
    assert concerning(type_, obj) == subject


@pytest.mark.parametrize(
    ("type_", "old_shape"),
    [
        ("customer.subscription.updated", {"object": "subscription", **ADA, "current_period_end": 1, "items": {}}),
        ("invoice.paid", {"object": "invoice", **ADA, "subscription": "sub_1", "charge": "ch_1", "paid": True}),
    ],
)
def test_an_event_in_an_older_shape_is_routed_the_same(type_: str, old_shape: Mapping[str, Any]) -> None:
    """An endpoint of an older API version writes other fields; who is dirty never comes from one that moved."""
    assert concerning(type_, old_shape) == "cus_ada"


@anyio
async def test_an_older_read_never_overwrites_a_newer_one(shop: Any, database: Database, now: datetime) -> None:
    """A reads, B reads, B writes, A writes: what B read stands, whatever A had seen."""
    async with database.transaction() as tx:
        a = await inbox.next_read(tx)
    read_by_a = shop.facts("active", email="old@example.org")
    async with database.transaction() as tx:
        b = await inbox.next_read(tx)
    read_by_b = shop.facts("canceled", email="new@example.org")
    for facts, read in ((read_by_b, b), (read_by_a, a), (read_by_a, b)):
        async with database.transaction() as tx:
            assert await projection.write(tx, facts, read) is not None
    async with database.transaction() as tx:
        status, email = await tx.scalar(select(subscription.c.status)), await tx.scalar(select(customer.c.email))
    assert (status, email) == ("canceled", "new@example.org")


@anyio
async def test_reads_that_write_at_the_same_time_end_with_the_newest(
    shop: Any, database: Database, now: datetime
) -> None:
    """The order in which eight writes get the row's lock does not matter."""
    import asyncio

    async def write(read: int) -> None:
        facts = shop.facts("active" if read < 8 else "canceled", ends=now + timedelta(days=read))
        async with database.transaction() as tx:
            await projection.write(tx, facts, read)

    await asyncio.gather(*(write(read) for read in (3, 8, 1, 6, 2, 7, 5, 4)))
    async with database.transaction() as tx:
        stored = await tx.scalar(select(subscription.c.evidence))
        assert await tx.scalar(select(customer.c.read_number)) == 8
    assert stored is not None and stored.period_end == now + timedelta(days=8)


@anyio
async def test_a_strangers_customer_is_nobodys(shop: Any, database: Database) -> None:
    """Another customer of the same Stripe account, stamped by nobody or for a project we do not have, is left alone."""
    async with database.transaction() as tx:
        assert await projection.write(tx, CustomerFacts("cus_x"), 1) is None
        assert await projection.write(tx, CustomerFacts("cus_x", project="other", user_id="x"), 1) is None
        assert await projection.write(tx, CustomerFacts("cus_x", project="pdf-tool"), 1) is None
        assert await tx.scalar(select(func.count()).select_from(customer)) == 1


@anyio
async def test_a_customer_we_made_and_lost_is_adopted(shop: Any, database: Database) -> None:
    """After a restored backup the stamp in Stripe says whose customer it is: the purchase is not lost."""
    facts = shop.facts(project="pdf-tool", user_id="ada")
    async with database.transaction() as tx:
        await tx.execute(delete(customer))
        owner = await projection.write(tx, facts, 1)
        adopted = (await tx.execute(select(customer))).one()
    assert owner is not None and owner.project_id == shop.project_id
    assert (adopted.user_id, adopted.stripe_customer_id, adopted.read_number) == ("ada", "cus_ada", 1)


@anyio
async def test_a_row_made_before_stripe_answered_is_adopted(shop: Any, database: Database) -> None:
    """A crash between Stripe's answer and our commit leaves a row without a Stripe id: the stamp completes it."""
    async with database.transaction() as tx:
        await tx.execute(customer.update().values(stripe_customer_id=None))
        owner = await projection.write(tx, shop.facts(project="pdf-tool", user_id="ada"), 1)
        assert owner is not None and owner.customer_id == shop.customer_id
        assert await tx.scalar(select(customer.c.stripe_customer_id)) == "cus_ada"


@anyio
async def test_a_second_stripe_customer_of_a_user_does_not_take_over(shop: Any, database: Database) -> None:
    """One with the same stamp but another id is not taken for the first: it stays out, and the first keeps its own."""
    async with database.transaction() as tx:
        await projection.write(tx, shop.facts(), 1)
        second = CustomerFacts("cus_second", project="pdf-tool", user_id="ada")
        assert await projection.write(tx, second, 2) is None
        assert await tx.scalar(select(customer.c.stripe_customer_id)) == "cus_ada"


@anyio
async def test_a_price_is_on_sale_exactly_while_stripe_says_so(shop: Any, database: Database) -> None:
    """Of its product's prices those not active or gone are marked; another project's are not touched."""
    elsewhere = uuid.uuid4()
    async with database.transaction() as tx:
        await tx.execute(insert(project).values(id=elsewhere, slug="other", name="Other", redirect_origins=[]))
        row = {"current": False, "active": True, "product": "pro", "lookup_key": "x"}
        for price_id, project_id, product in (
            ("price_2", shop.project_id, "prod_pro"),
            ("price_3", elsewhere, "prod_3"),
        ):
            await tx.execute(
                insert(price).values(stripe_price_id=price_id, project_id=project_id, stripe_product_id=product, **row)
            )
    for facts, active in (
        ([PriceFacts("price_pro", False), PriceFacts("price_2", True)], {"price_2", "price_3"}),
        ([PriceFacts("price_pro", True), PriceFacts("price_2", True)], {"price_pro", "price_2", "price_3"}),
        ([], {"price_3"}),
    ):
        async with database.transaction() as tx:
            assert await projection.write_prices(tx, "prod_pro", facts)
            assert set(await tx.scalars(select(price.c.stripe_price_id).where(price.c.active))) == active
    async with database.transaction() as tx:
        assert not await projection.write_prices(tx, "prod_of_somebody_else", [PriceFacts("price_9", True)])
