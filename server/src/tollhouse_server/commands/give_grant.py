"""Gives a customer access that nobody paid for."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from .. import audit
from ..catalogs import Project, current_catalog
from ..customers import ensure_customer
from ..db.engine import Tx
from ..db.tables import grant
from ..domain.giving import GrantRequest, checked_value
from ..refresh import Refresh


async def give_grant(
    tx: Tx, refresh: Refresh, owner: Project, wanted: GrantRequest, why: audit.Cause, *, at: datetime
) -> str:
    """Stores the grant and refreshes the customer, made if need be; returns its id (`gr_…`). Raises GrantInvalid."""
    value = checked_value(await current_catalog(tx, owner), wanted, at)
    customer_id = await ensure_customer(tx, owner, wanted.user_id)
    stored = {
        "id": f"gr_{secrets.token_hex(12)}",
        "feature": wanted.feature,
        "value": value,
        "product": wanted.product,
        "starts_at": wanted.starts_at or at,
        "ends_at": wanted.ends_at,
        "reason": wanted.reason,
        "operator": why.actor,
        "override": wanted.override,
    }
    await tx.execute(insert(grant).values(project_id=owner.id, customer_id=customer_id, created_at=at, **stored))
    after = told(stored)
    await audit.record(tx, "grant.given", why, at=at, project_id=owner.id, customer_id=customer_id, after=after)
    await refresh(tx, customer_id, why, at=at)
    return str(stored["id"])


TOLD = ("id", "feature", "value", "product", "starts_at", "ends_at", "reason", "operator", "override")


def told(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit trail is told of a grant."""
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in given.items()}
