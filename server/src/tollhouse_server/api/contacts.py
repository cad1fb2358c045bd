"""How a user is addressed on bills: kept the same here and at Stripe."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, model_validator
from sqlalchemy import select

from ..commands.change_contact import Contact, change_contact, contact_of
from ..db.tables import customer
from ..stripe_gateway import StripeRefused, StripeUnavailable
from .authentication import InsufficientScope, MayCheckout, Unauthenticated
from .context import Ctx
from .entitlements import example
from .problems import MalformedJson, StoreUnavailable, UnsupportedMediaType, ValidationFailed, documented
from .types import Answer, Body, Email, PersonName, UserIdInPath

router = APIRouter(tags=["Customers"], responses=documented(InsufficientScope))


class ChangeContact(Body):
    """What is left out stays as it is."""

    email: Email | None = None
    name: PersonName | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "ChangeContact":
        if self.email is None and self.name is None:
            raise ValueError("say email, name, or both")
        return self


class ContactState(Answer):
    """Null: not known. What Stripe has, where the user ever opened a checkout."""

    user_id: str
    email: Annotated[str | None, Field(description="Where Stripe sends bills to.")]
    name: str | None


EXAMPLE_CONTACT = {"user_id": "ada", "email": "ada@example.com", "name": "Ada Lovelace"}


@router.put(
    "/customers/{user_id}",
    summary="Change how a user is addressed",
    responses={
        **example(EXAMPLE_CONTACT),
        **documented(
            MalformedJson,
            UnsupportedMediaType,
            Unauthenticated,
            ValidationFailed,
            StripeRefused,
            StripeUnavailable,
            StoreUnavailable,
        ),
    },
)
async def change_customer(user_id: UserIdInPath, body: ChangeContact, project: MayCheckout, ctx: Ctx) -> ContactState:
    """For the app's page on which users change their address. The last to write wins: this, or the user in the portal.

    Of a user who never opened a checkout it is kept until they do. Asking again changes nothing more.
    """
    given = Contact(body.email, body.name)
    changed = await change_contact(ctx.database, ctx.stripe, project, user_id, given, at=ctx.clock.now())
    return ContactState(user_id=user_id, email=changed.email, name=changed.name)


@router.get(
    "/customers/{user_id}/contact",
    summary="How is a user addressed?",
    responses={
        **example(EXAMPLE_CONTACT),
        **documented(Unauthenticated, ValidationFailed, StoreUnavailable),
    },
)
async def read_contact(user_id: UserIdInPath, project: MayCheckout, ctx: Ctx) -> ContactState:
    """As far as we know now: what was changed in the portal is here once Stripe has told of it.

    By itself, so that who only checks is told no address, and no notification carries one.
    """
    async with ctx.database.transaction(project=project.id) as tx:
        row = (
            await tx.execute(select(customer).where(customer.c.project_id == project.id, customer.c.user_id == user_id))
        ).one_or_none()
    known = contact_of(row) if row is not None else Contact()
    return ContactState(user_id=user_id, email=known.email, name=known.name)
