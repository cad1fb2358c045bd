"""What became of each message at an endpoint, and sending it again."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy import Row

from .. import deliveries
from ..commands.register_endpoint import EndpointNotFound, find_endpoint
from ..commands.resend_notifications import (
    EndpointDisabled,
    MessageNotFound,
    resend_message,
    resend_since,
    send_test,
)
from ..db.engine import Tx
from .context import Ctx
from .notification_endpoints import BODY, Calls, EndpointId, Who
from .types import Answer, Body, Instant, TextInPath

calls = Calls()

MessageId = Annotated[TextInPath, Field(examples=["msg_0a1b2c3d4e5f6a7b8c9d0e1f"])]


class Delivery(Answer):
    message_id: str = Field(description="The same at every attempt and every endpoint.")
    type: str
    version: int | None = Field(description="The customer's, of a `customer.changed`.")
    state: Literal["pending", "delivered", "given_up"]
    attempts: int
    status: int | None = Field(description="The HTTP status of the last answer.")
    error: str | None = Field(description="Why the last attempt failed.")
    queued_at: Instant
    next_attempt_at: Instant | None
    settled_at: Instant | None


class DeliveryWithBody(Delivery):
    body: str = Field(description="The text that is signed and sent.")


class Deliveries(Answer):
    data: list[Delivery]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class ResendSince(Body):
    since: Instant = Field(description="When the messages were written, at the earliest.")


class Resent(Answer):
    messages: int = Field(description="How many were queued.")


EXAMPLE_DELIVERY: dict[str, Any] = {
    "message_id": "msg_0a1b2c3d4e5f6a7b8c9d0e1f",
    "type": "customer.changed",
    "version": 7,
    "state": "delivered",
    "attempts": 1,
    "status": 204,
    "error": None,
    "queued_at": "2026-11-22T09:00:00Z",
    "next_attempt_at": None,
    "settled_at": "2026-11-22T09:00:01Z",
}
EXAMPLE_PENDING = {**EXAMPLE_DELIVERY, "state": "pending", "attempts": 0, "status": None, "settled_at": None}
EXAMPLE_PENDING |= {"next_attempt_at": "2026-11-22T09:00:00Z"}


@calls.add(
    "GET",
    "/{id}/deliveries",
    EndpointNotFound,
    summary="List an endpoint's deliveries",
    shows={"data": [EXAMPLE_DELIVERY], "next_cursor": None},
)
async def list_notification_deliveries(
    id: EndpointId,  # noqa: A002
    who: Who,
    ctx: Ctx,
    state: Annotated[Literal["pending", "delivered", "given_up"] | None, Query()] = None,
    cursor: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Deliveries:
    """The newest first, without what was sent. `state=given_up` is the list that somebody must look at."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        await find_endpoint(tx, who.project, id)
        rows = await deliveries.listing(tx, id, state=state, before=cursor, limit=limit + 1)
    following = str(rows[limit - 1].id) if len(rows) > limit else None
    return Deliveries(data=[Delivery.model_validate(row) for row in rows[:limit]], next_cursor=following)


@calls.add(
    "GET",
    "/{id}/deliveries/{message_id}",
    EndpointNotFound,
    MessageNotFound,
    summary="One delivery",
    shows={**EXAMPLE_DELIVERY, "body": '{"type": "customer.changed", …}'},
)
async def read_notification_delivery(id: EndpointId, message_id: MessageId, who: Who, ctx: Ctx) -> DeliveryWithBody:  # noqa: A002
    """With the text that is sent."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        await find_endpoint(tx, who.project, id)
        return DeliveryWithBody.model_validate(await _found(tx, id, message_id))


@calls.add(
    "POST",
    "/{id}/deliveries/{message_id}/resend",
    EndpointNotFound,
    EndpointDisabled,
    MessageNotFound,
    summary="Send a message again",
    shows=EXAMPLE_PENDING,
)
async def resend_notification(id: EndpointId, message_id: MessageId, who: Who, ctx: Ctx) -> Delivery:  # noqa: A002
    """Whatever became of it; with the id it had, so that an app that has it already can tell."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        await resend_message(tx, who.project, id, message_id, who.why, at=ctx.clock.now())
        return Delivery.model_validate(await _found(tx, id, message_id))


@calls.add(
    "POST",
    "/{id}/resend",
    EndpointNotFound,
    *BODY,
    EndpointDisabled,
    summary="Send what an endpoint has missed",
    shows={"messages": 12},
)
async def resend_missed_notifications(id: EndpointId, body: ResendSince, who: Who, ctx: Ctx) -> Resent:  # noqa: A002
    """All changes since an instant that were given up, or never queued as the endpoint was disabled or not there."""
    since: datetime = body.since
    async with ctx.database.transaction(project=who.project.id) as tx:
        return Resent(messages=await resend_since(tx, who.project, id, since, who.why, at=ctx.clock.now()))


@calls.add(
    "POST",
    "/{id}/test",
    EndpointNotFound,
    EndpointDisabled,
    summary="Send a test message",
    shows={**EXAMPLE_PENDING, "type": "endpoint.test", "version": None},
)
async def send_test_notification(id: EndpointId, who: Who, ctx: Ctx) -> Delivery:  # noqa: A002
    """A message of type `endpoint.test`, signed like any other; look at its delivery for what became of it."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        message_id = await send_test(tx, who.project, id, at=ctx.clock.now())
        return Delivery.model_validate(await _found(tx, id, message_id))


async def _found(tx: Tx, endpoint_id: str, message_id: str) -> Row[Any]:
    row = await deliveries.get(tx, endpoint_id, message_id)
    if row is None:
        raise MessageNotFound("The endpoint has no message of this id; messages are kept for 30 days.")
    return row
