"""Ends a key at once."""

import uuid
from datetime import datetime

from sqlalchemy import update

from .. import audit
from ..db.engine import Tx
from ..db.tables import api_key
from .issue_key import of_owner


async def revoke_key(tx: Tx, project_id: uuid.UUID | None, id_: str, why: audit.Cause, *, at: datetime) -> bool:
    """An expired one too, for whoever wants to be sure. False where the owner has no such key, or it is revoked."""
    revoked = await tx.execute(
        update(api_key)
        .where(of_owner(project_id), api_key.c.id == id_, api_key.c.revoked_at.is_(None))
        .values(revoked_at=at)
    )
    if revoked.rowcount:
        await audit.record(tx, "key.revoked", why, at=at, project_id=project_id, before={"id": id_})
    return revoked.rowcount > 0
