"""Writes down what became of an opening: the page that Stripe made, or that there is none."""

from typing import Any

from sqlalchemy import Row, select, update

from ..db.engine import Database
from ..db.tables import checkout
from ..stripe_gateway.sessions import OpenSession


async def note_page(database: Database, intent: Row[Any], session: OpenSession) -> bool:
    """Whether the intent stands; the page of one that was ended meanwhile must be shown to nobody."""
    async with database.transaction(project=intent.project_id) as tx:
        await tx.execute(
            update(checkout)
            .where(checkout.c.id == intent.id, checkout.c.state == "opening")
            .values(
                state="open",
                stripe_session_id=session.session_id,
                url=session.url,
                expires_at=session.expires_at,
            )
        )
        stored = select(checkout.c.state, checkout.c.stripe_session_id).where(checkout.c.id == intent.id)
        stands = (await tx.execute(stored)).one()
    return tuple(stands) == ("open", session.session_id)


async def forget(database: Database, intent: Row[Any]) -> None:
    """Ends an opening of which Stripe made nothing."""
    async with database.transaction(project=intent.project_id) as tx:
        await tx.execute(
            update(checkout).where(checkout.c.id == intent.id, checkout.c.state == "opening").values(state="expired")
        )
