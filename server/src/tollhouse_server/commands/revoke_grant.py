"""Takes a grant back."""

from datetime import datetime

from sqlalchemy import select, update

from .. import audit
from ..db.engine import Tx
from ..db.tables import grant
from ..domain.errors import Problem
from ..refresh import Refresh
from .give_grant import TOLD, told


class GrantRevoked(Problem):
    """The grant was revoked before.

    Nothing is left to do.
    """

    status = 409
    code = "grant-revoked"


async def revoke_grant(tx: Tx, refresh: Refresh, grant_id: str, why: audit.Cause, *, at: datetime) -> bool:
    """Ends the grant now and refreshes the customer; False where there is no such grant. Raises GrantRevoked."""
    row = (await tx.execute(select(grant).where(grant.c.id == grant_id).with_for_update(key_share=True))).one_or_none()
    if row is None:
        return False
    if row.revoked_at is not None:
        raise GrantRevoked(f"{row.revoked_by} revoked it at {row.revoked_at.isoformat()}: {row.revoke_reason}")
    await tx.execute(
        update(grant)
        .where(grant.c.id == grant_id)
        .values(revoked_at=at, revoked_by=why.actor, revoke_reason=why.reason)
    )
    before = told({name: row._mapping[name] for name in TOLD})
    await audit.record(
        tx,
        "grant.revoked",
        why,
        at=at,
        project_id=row.project_id,
        customer_id=row.customer_id,
        before=before,
        after={**before, "revoked_at": at.isoformat()},
    )
    await refresh(tx, row.customer_id, why, at=at)
    return True
