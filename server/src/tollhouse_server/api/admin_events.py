"""Operators: Stripe's events, what became of each, and trying again."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Row

from .. import inbox
from ..commands.replay_event import replay_event
from .admin_projects import CHANGES, OPERATORS
from .authentication import ActingOperator, require_operator
from .context import Ctx
from .entitlements import example
from .problems import NotFound, documented
from .types import Answer, Instant, Text, TextInPath

router = APIRouter(prefix="/admin/events", tags=["Operators: events"], dependencies=[Depends(require_operator)])


class Event(Answer):
    id: str
    type: str
    api_version: str | None
    subject: str | None = Field(description="The Stripe object to read again; null: nothing of ours.")
    state: Literal["received", "settled", "deferred", "buried"]
    outcome: str | None = Field(
        description="Of a settled one: applied, foreign, not-handled, wrong-mode, wrong-account."
    )
    attempts: int
    error: str | None = Field(description="Of the last attempt that failed.")
    occurred_at: Instant
    received_at: Instant
    next_attempt_at: Instant | None
    settled_at: Instant | None


class EventWithBody(Event):
    body: dict[str, Any] = Field(description="As Stripe sent it.")


class Events(Answer):
    data: list[Event]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


EXAMPLE_EVENT: dict[str, Any] = {
    "id": "evt_1SXaBcDeFgHiJk",
    "type": "customer.subscription.updated",
    "api_version": "2026-10-28.endive",
    "subject": "cus_QaBcDeFg",
    "state": "settled",
    "outcome": "applied",
    "attempts": 1,
    "error": None,
    "occurred_at": "2026-11-22T09:00:00Z",
    "received_at": "2026-11-22T09:00:01Z",
    "next_attempt_at": None,
    "settled_at": "2026-11-22T09:00:01Z",
}


@router.get(
    "",
    summary="List events",
    responses={**example({"data": [EXAMPLE_EVENT], "next_cursor": None}), **documented(*OPERATORS)},
)
async def list_events(
    ctx: Ctx,
    state: Annotated[Literal["received", "settled", "deferred", "buried"] | None, Query()] = None,
    type: Annotated[Text | None, Query(max_length=100, examples=["invoice.paid"])] = None,  # noqa: A002
    cursor: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Events:
    """Newest first, without their bodies. `state=buried` is the list that somebody must look at."""
    async with ctx.database.transaction() as tx:
        rows = await inbox.listing(tx, state=state, type_=type, before=cursor, limit=limit + 1)
    more = len(rows) > limit
    return Events(
        data=[Event(**_fields(row)) for row in rows[:limit]], next_cursor=str(rows[limit - 1].id) if more else None
    )


@router.get(
    "/{id}",
    summary="One event",
    responses={**example({**EXAMPLE_EVENT, "body": {"id": "evt_1SXaBcDeFgHiJk"}}), **documented(*OPERATORS, NotFound)},
)
async def read_event(id: TextInPath, ctx: Ctx) -> EventWithBody:  # noqa: A002
    """With its body as Stripe sent it."""
    async with ctx.database.transaction() as tx:
        row = await inbox.get(tx, id)
    if row is None:
        raise NotFound("No event of this id was received.")
    return EventWithBody(**_fields(row), body=json.loads(row.body))


@router.post(
    "/{id}/replay",
    name="replay_event",
    summary="Try an event again",
    responses={**example({**EXAMPLE_EVENT, "state": "received", "outcome": None}), **documented(*CHANGES, NotFound)},
)
async def replay(id: TextInPath, ctx: Ctx, why: ActingOperator) -> Event:  # noqa: A002
    """Safe at any time and however often: the event only says which customer to read from Stripe again."""
    async with ctx.database.transaction() as tx:
        if not await replay_event(tx, id, why, at=ctx.clock.now()):
            raise NotFound("No event of this id was received, or it is of a type that changes nothing.")
        row = await inbox.get(tx, id)
    assert row is not None
    return Event(**_fields(row))


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Event.model_fields if name != "id"} | {"id": row.event_id}
