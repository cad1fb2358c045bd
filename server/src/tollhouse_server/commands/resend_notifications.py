"""Sends messages to an endpoint again, or a first one to try it out."""

from datetime import datetime

from .. import audit, deliveries, outbox
from ..catalogs import Project
from ..db.engine import Tx
from ..domain.errors import Problem
from ..domain.time import written
from .register_endpoint import find_endpoint


class EndpointDisabled(Problem):
    """The endpoint is disabled: nothing is sent to it.

    Enable it first.
    """

    status = 409
    code = "endpoint-disabled"


class MessageNotFound(Problem):
    """The project has no message of this id for this endpoint.

    Messages are kept for 30 days.
    """

    status = 404
    code = "message-not-found"


async def resend_message(
    tx: Tx, owner: Project, endpoint_id: str, message_id: str, why: audit.Cause, *, at: datetime
) -> None:
    """Sends one message again, with the id it had. Raises EndpointNotFound, EndpointDisabled, MessageNotFound."""
    await _usable(tx, owner, endpoint_id)
    if not await deliveries.resend(tx, endpoint_id, message_id):
        raise MessageNotFound("The project has no message of this id for this endpoint; messages are kept for 30 days.")
    said = {"id": endpoint_id, "message_id": message_id}
    await audit.record(tx, "notification.resent", why, at=at, project_id=owner.id, after=said)


async def resend_since(
    tx: Tx, owner: Project, endpoint_id: str, since: datetime, why: audit.Cause, *, at: datetime
) -> int:
    """Sends what the endpoint has not got since an instant; returns how many messages.

    Raises EndpointNotFound, EndpointDisabled.
    """
    await _usable(tx, owner, endpoint_id)
    queued = await deliveries.resend_since(tx, endpoint_id, since)
    said = {"id": endpoint_id, "since": written(since), "messages": queued}
    await audit.record(tx, "notification.resent", why, at=at, project_id=owner.id, after=said)
    return queued


async def send_test(tx: Tx, owner: Project, endpoint_id: str, *, at: datetime) -> str:
    """Queues a message that says nothing, and answers with its id. Raises EndpointNotFound, EndpointDisabled."""
    await _usable(tx, owner, endpoint_id)
    said = {"endpoint_id": endpoint_id}
    return await outbox.record_about_endpoint(tx, owner, outbox.ENDPOINT_TEST, said, [endpoint_id], at)


async def _usable(tx: Tx, owner: Project, endpoint_id: str) -> None:
    if (await find_endpoint(tx, owner, endpoint_id, lock=True)).disabled_at is not None:
        raise EndpointDisabled("The endpoint is disabled: enable it first.")
