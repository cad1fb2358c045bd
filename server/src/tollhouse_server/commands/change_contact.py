"""Keeps a customer's e-mail address and name the same here and at Stripe.

Where there is a Stripe customer, Stripe's is the truth: it is told first, and our row says what it has, as every
re-read does; whoever wrote last, app or portal, is believed. Where there is none, our row keeps them for the day on
which one is made.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update

from .. import audit
from ..audit import Cause
from ..catalogs import Project
from ..customers import ensure_customer
from ..db.engine import Database, Tx
from ..db.tables import customer
from ..stripe_gateway import StripeClient
from ..stripe_gateway.sessions import update_customer


@dataclass(frozen=True, slots=True)
class Contact:
    """How a customer is addressed. None: not known, or not to be changed."""

    email: str | None = None
    name: str | None = None

    def or_else(self, other: "Contact") -> "Contact":
        return Contact(self.email or other.email, self.name or other.name)

    def beyond(self, known: "Contact") -> "Contact":
        """What of it is not known already."""
        return Contact(
            self.email if self.email != known.email else None, self.name if self.name != known.name else None
        )

    @property
    def said(self) -> dict[str, str]:
        said = {"email": self.email, "name": self.name}
        return {field: value for field, value in said.items() if value is not None}


def contact_of(row: Row[Any]) -> Contact:
    return Contact(row.email, row.name)


async def change_contact(
    database: Database, stripe: StripeClient, owner: Project, user_id: str, given: Contact, *, at: datetime
) -> Contact:
    """The contact as it is then. Makes a customer of ours if need be, and none of Stripe's.

    Raises StripeUnavailable, StripeRefused, and then nothing is changed here.
    """
    async with database.transaction(project=owner.id) as tx:
        customer_id = await ensure_customer(tx, owner, user_id)
        row = (
            await tx.execute(select(customer).where(customer.c.id == customer_id).with_for_update(key_share=True))
        ).one()
        if row.stripe_customer_id is None:
            return await _write(tx, owner, customer_id, given, at)
    return await tell_stripe(database, stripe, owner, customer_id, row.stripe_customer_id, given, at=at)


async def tell_stripe(
    database: Database,
    stripe: StripeClient,
    owner: Project,
    customer_id: uuid.UUID,
    stripe_customer_id: str,
    given: Contact,
    *,
    at: datetime,
    known: Contact | None = None,
) -> Contact:
    """Has Stripe's customer say what is given, and then our row, with what Stripe is `known` to say already."""
    if given.said:
        await update_customer(stripe, stripe_customer_id, given.said)
    async with database.transaction(project=owner.id) as tx:
        return await _write(tx, owner, customer_id, given.or_else(known or Contact()), at)


async def _write(tx: Tx, owner: Project, customer_id: uuid.UUID, given: Contact, at: datetime) -> Contact:
    row = (await tx.execute(select(customer).where(customer.c.id == customer_id).with_for_update(key_share=True))).one()
    changed = given.beyond(contact_of(row)).said
    if changed:
        await tx.execute(update(customer).where(customer.c.id == customer_id).values(**changed))
        # Which of them, not what: the trail is never altered, so it is no place for a person's address.
        after = {"changed": sorted(changed)}
        ours = {"project_id": owner.id, "customer_id": customer_id}
        await audit.record(tx, "customer.contact_changed", Cause("app", "the contact"), at=at, after=after, **ours)
    return given.or_else(contact_of(row))
