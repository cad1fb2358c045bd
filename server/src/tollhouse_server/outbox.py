"""What apps are to hear: one message for each new version of a customer, written in the transaction of the change.

A message is its text. It is rendered once, from the snapshot of its version, and sent as it is to every endpoint and
at every attempt, so that it never tells of a later state than its version's.
"""

import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, exists, func, insert, select, text

from .catalogs import Project
from .db.engine import Tx
from .db.tables import delivery, notification_endpoint, outbox
from .domain.changes import Change
from .domain.time import written
from .state import CustomerState

CHANNEL = "tollhouse_outbox"
"""The NOTIFY channel on which a message wakes the workers."""

CUSTOMER_CHANGED = "customer.changed"
ENDPOINT_DISABLED = "endpoint.disabled"
ENDPOINT_TEST = "endpoint.test"


async def record(
    tx: Tx, owner: Row[Any], project: Project, changes: Sequence[Change], state: CustomerState, at: datetime
) -> str:
    """Adds the message of the customer's new version, the customer whose row, locked, is `owner`; returns its id.

    It is queued for each endpoint of the project that is enabled, and kept, where there is none, for one to come.
    """
    data = {
        "user_id": state.user_id,
        "project": project.slug,
        "version": state.version,
        "changes": [_told(change) for change in changes],
        "customer": state.model_dump(mode="json"),
    }
    message_id = _new_id()
    values = {"project_id": project.id, "customer_id": owner.id, "version": state.version}
    body = _body(CUSTOMER_CHANGED, at, data)
    await tx.execute(insert(outbox).values(id=message_id, type=CUSTOMER_CHANGED, body=body, **values))
    queued = await tx.execute(
        insert(delivery).from_select(
            ["project_id", "endpoint_id", "message_id", "customer_id", "version"],
            select(outbox.c.project_id, notification_endpoint.c.id, outbox.c.id, outbox.c.customer_id, outbox.c.version)
            .join(notification_endpoint, notification_endpoint.c.project_id == outbox.c.project_id)
            .where(outbox.c.id == message_id, notification_endpoint.c.disabled_at.is_(None)),
        ),
        execution_options={"preserve_rowcount": True},
    )
    if queued.rowcount:
        await wake(tx)
    return message_id


async def record_about_endpoint(
    tx: Tx, project: Project, type_: str, data: dict[str, Any], to: Sequence[str], at: datetime
) -> str:
    """Adds a message about an endpoint, a test or a bad end, for the endpoints `to` alone; returns its id."""
    message_id = _new_id()
    body = _body(type_, at, {"project": project.slug, **data})
    await tx.execute(insert(outbox).values(id=message_id, project_id=project.id, type=type_, body=body))
    rows = [{"project_id": project.id, "endpoint_id": one, "message_id": message_id} for one in to]
    await tx.execute(insert(delivery), rows)
    await wake(tx)
    return message_id


async def prune(tx: Tx, keep: timedelta) -> None:
    """Forgets messages older than `keep` that no delivery asks for any more."""
    wanted = exists().where(delivery.c.message_id == outbox.c.id)
    await tx.execute(delete(outbox).where(outbox.c.created_at < func.now() - keep, ~wanted))


async def wake(tx: Tx) -> None:
    """Wakes the workers when the transaction commits."""
    await tx.execute(text(f"NOTIFY {CHANNEL}"))


def _new_id() -> str:
    return f"msg_{secrets.token_hex(12)}"


def _body(type_: str, at: datetime, data: dict[str, Any]) -> str:
    return json.dumps({"type": type_, "timestamp": written(at), "data": data}, ensure_ascii=False)


def _told(change: Change) -> dict[str, Any]:
    return {
        "feature": change.feature,
        "kind": change.kind,
        "before": change.before,
        "after": change.after,
        "valid_until": None if change.valid_until is None else written(change.valid_until),
    }
