"""Ends a key at once."""

import uuid
from datetime import datetime

from sqlalchemy import update

from .. import audit
from ..catalogs import announce_project
from ..db.engine import Tx
from ..db.tables import api_key
from .issue_key import of_owner


async def revoke_key(tx: Tx, project_id: uuid.UUID | None, id_: str, why: audit.Cause, *, at: datetime) -> bool:
    """An expired one too, for whoever wants to be sure. False where the owner has no such key, or it is revoked."""
    name = await tx.scalar(
        update(api_key)
        .where(of_owner(project_id), api_key.c.id == id_, api_key.c.revoked_at.is_(None))
        .values(revoked_at=at)
        .returning(api_key.c.name)
    )
    if name is None:
        return False
    if project_id is not None:
        await announce_project(tx, project_id)
    before = {"id": id_, "name": name, "revoked_at": None}
    after = {**before, "revoked_at": at.isoformat()}
    await audit.record(tx, "key.revoked", why, at=at, project_id=project_id, before=before, after=after)
    return True
