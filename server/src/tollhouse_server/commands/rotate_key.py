"""Replaces a key by a successor, while the old one goes on working for a while."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import select, update

from .. import audit
from ..catalogs import announce_project
from ..db.engine import Tx
from ..db.tables import api_key
from ..domain.scopes import Scope
from .issue_key import IssuedKey, KeyInvalid, in_use, of_owner, store_new_key, told

OVERLAP = timedelta(hours=24)
"""How long both keys work where nothing is said."""
LONGEST_OVERLAP_HOURS = 30 * 24


async def rotate_key(
    tx: Tx,
    project_id: uuid.UUID | None,
    id_: str,
    why: audit.Cause,
    *,
    at: datetime,
    overlap: timedelta = OVERLAP,
    expires_at: datetime | None = None,
) -> IssuedKey | None:
    """A key with the name and scopes of `id_`, which ends after `overlap`, or at its own end where that is sooner.

    `expires_at` is the successor's; None is for good. None where the owner has no such key in use. Raises TooManyKeys,
    KeyInvalid.
    """
    if expires_at is not None and expires_at <= at + overlap:
        soon = {"pointer": "/expires_at", "detail": "It must lie after the overlap, or the old key would outlive it."}
        raise KeyInvalid("The successor would end no later than the key it replaces.", errors=[soon])
    found = select(api_key).where(of_owner(project_id), api_key.c.id == id_, in_use(at)).with_for_update()
    old = (await tx.execute(found)).one_or_none()
    if old is None:
        return None
    ends = min(old.expires_at or at + overlap, at + overlap)
    # First, so that with no overlap it makes room for its successor.
    await tx.execute(update(api_key).where(api_key.c.id == id_).values(expires_at=ends))
    if project_id is not None:
        await announce_project(tx, project_id)
    scopes = tuple(Scope(one) for one in old.scopes)
    issued = await store_new_key(tx, project_id, old.name, scopes, at=at, expires_at=expires_at)
    before = {"id": id_, "expires_at": old.expires_at.isoformat() if old.expires_at else None}
    after = {"expires_at": ends.isoformat(), "successor": told(issued)}
    await audit.record(tx, "key.rotated", why, at=at, project_id=project_id, before=before, after=after)
    return issued
