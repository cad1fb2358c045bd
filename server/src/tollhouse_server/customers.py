"""Our customers: one for each user of a project."""

import uuid

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from .catalogs import Project
from .db.engine import Tx
from .db.tables import customer


async def ensure_customer(tx: Tx, owner: Project, user_id: str) -> uuid.UUID:
    """Our customer for the app's user, made once however many ask at the same time."""
    await tx.execute(
        insert(customer).values(id=uuid.uuid4(), project_id=owner.id, user_id=user_id).on_conflict_do_nothing()
    )
    found: uuid.UUID = (
        await tx.execute(select(customer.c.id).where(customer.c.project_id == owner.id, customer.c.user_id == user_id))
    ).scalar_one()
    return found
