"""The health of an endpoint as attempts go on: it is disabled after days of failure, and everybody is told."""

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row, func, select, update

from .. import audit, deliveries, outbox
from ..catalogs import project_by_id
from ..db.engine import Tx
from ..db.tables import notification_endpoint
from ..domain.endpoint_health import HEALTHY, Health, after_failure, is_given_up
from ..domain.time import written

log = structlog.get_logger(__name__)

GONE = "It answered 410 Gone."
FAILED_FOR_DAYS = "Every attempt failed for five days."
WHY = audit.Cause("notifications", "what the endpoint answered")


async def lock(tx: Tx, endpoint_id: str) -> Row[Any] | None:
    """The endpoint's row, locked, with `now`, the database's time; None for one that was deleted."""
    query = select(notification_endpoint, func.clock_timestamp().label("now"))
    return (
        await tx.execute(query.where(notification_endpoint.c.id == endpoint_id).with_for_update(key_share=True))
    ).one_or_none()


async def note_success(tx: Tx, endpoint_id: str) -> None:
    """Stops the clock, if it runs. To be called before the delivery is touched."""
    failing = notification_endpoint.c.id == endpoint_id, notification_endpoint.c.failures > 0
    # Looked at first, unlocked: nearly always there is nothing to write.
    if await tx.scalar(select(notification_endpoint.c.id).where(*failing)):
        await tx.execute(update(notification_endpoint).where(*failing).values(**_columns(HEALTHY)))


async def note_failure(tx: Tx, endpoint: Row[Any]) -> bool:
    """Counts a failed attempt of the locked endpoint; whether it has now failed for long enough to be disabled."""
    before = Health(endpoint.failures, endpoint.first_failed_at, endpoint.failing_since)
    health = after_failure(before, endpoint.now)
    await tx.execute(
        update(notification_endpoint).where(notification_endpoint.c.id == endpoint.id).values(**_columns(health))
    )
    return is_given_up(health, endpoint.now)


async def disable(tx: Tx, endpoint: Row[Any], because: str, *, at: datetime) -> None:
    """Disables the locked endpoint, gives up what is pending for it, and tells the project's other endpoints."""
    await tx.execute(
        update(notification_endpoint)
        .where(notification_endpoint.c.id == endpoint.id)
        .values(disabled_at=endpoint.now, disabled_because=because)
    )
    given_up = await deliveries.give_up_all(tx, endpoint.id, f"The endpoint was disabled: {because}")
    owner = await project_by_id(tx, endpoint.project_id)
    said = {"endpoint_id": endpoint.id, "reason": because, "disabled_at": written(endpoint.now)}
    await audit.record(tx, "notification_endpoint.disabled", WHY, at=at, project_id=owner.id, after=said)
    others = list(
        await tx.scalars(
            select(notification_endpoint.c.id).where(
                notification_endpoint.c.project_id == owner.id,
                notification_endpoint.c.disabled_at.is_(None),
            )
        )
    )
    if others:
        await outbox.record_about_endpoint(tx, owner, outbox.ENDPOINT_DISABLED, said, others, at)
    log.error(
        "a notification endpoint was disabled",
        endpoint_id=endpoint.id,
        project=owner.slug,
        reason=because,
        given_up=given_up,
    )


def _columns(health: Health) -> dict[str, Any]:
    return {
        "failures": health.failures,
        "first_failed_at": health.first_failed_at,
        "failing_since": health.failing_since,
    }
