"""Our customer with a Stripe customer: the row is there first, and the row's id makes the second one, once."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from .. import audit
from ..audit import Cause
from ..catalogs import Project
from ..customers import ensure_customer
from ..db.engine import Database
from ..db.tables import customer
from ..stripe_gateway import StripeClient
from ..stripe_gateway.sessions import create_customer
from .change_contact import Contact, contact_of, tell_stripe


@dataclass(frozen=True, slots=True)
class Buyer:
    customer_id: uuid.UUID
    stripe_customer_id: str


async def find_buyer(
    database: Database, stripe: StripeClient, owner: Project, user_id: str, given: Contact, *, at: datetime
) -> Buyer:
    """The buyer, who is told to Stripe by what is `given` of them, else by what we know.

    Raises StripeUnavailable, StripeRefused; asked again it goes on where it stopped.
    """
    async with database.transaction(project=owner.id) as tx:
        customer_id = await ensure_customer(tx, owner, user_id)
        row = (await tx.execute(select(customer).where(customer.c.id == customer_id))).one()
    if row.stripe_customer_id is not None:
        news = given.beyond(contact_of(row))
        if news.said:
            await tell_stripe(database, stripe, owner, customer_id, row.stripe_customer_id, news, at=at)
        return Buyer(customer_id, row.stripe_customer_id)
    told = given.or_else(contact_of(row))
    made = await create_customer(
        stripe,
        customer_id,
        row.read_number,
        project=owner.slug,
        user_id=user_id,
        email=told.email,
        name=told.name,
    )
    async with database.transaction(project=owner.id) as tx:
        linked = await tx.execute(
            update(customer)
            .where(customer.c.id == customer_id, customer.c.stripe_customer_id.is_(None))
            .values(stripe_customer_id=made)
        )
        if linked.rowcount:
            await audit.record(
                tx,
                "customer.linked",
                Cause("app", "a checkout"),
                at=at,
                project_id=owner.id,
                customer_id=customer_id,
                before={"stripe_customer": None},
                after={"stripe_customer": made},
            )
        row = (await tx.execute(select(customer).where(customer.c.id == customer_id))).one()
    # What was changed while Stripe made the customer was kept by us alone.
    late = given.or_else(contact_of(row)).beyond(told)
    if late.said or told.beyond(contact_of(row)).said:
        await tell_stripe(database, stripe, owner, customer_id, row.stripe_customer_id, late, at=at, known=told)
    return Buyer(customer_id, row.stripe_customer_id)
