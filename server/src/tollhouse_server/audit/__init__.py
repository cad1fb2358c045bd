"""Who changed what, why and from what to what: written in the transaction of the change, never altered."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from ..db.engine import Tx
from ..db.tables import audit


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something changes. `actor` is who: an operator's name, "stripe", "timetable" or "app"; `cause` is what
    made them: event ids, a command. `reason` is in a person's words."""

    actor: str
    cause: str
    reason: str | None = None


async def record(
    tx: Tx,
    action: str,
    why: Cause,
    *,
    at: datetime,
    project_id: uuid.UUID | None = None,
    customer_id: uuid.UUID | None = None,
    before: Any = None,
    after: Any = None,
) -> None:
    """Adds one entry; `action` is a past participle with its noun, as in `grant.given`."""
    await tx.execute(
        insert(audit).values(
            project_id=project_id,
            customer_id=customer_id,
            at=at,
            action=action,
            actor=why.actor,
            cause=why.cause,
            reason=why.reason,
            before=before,
            after=after,
        )
    )
