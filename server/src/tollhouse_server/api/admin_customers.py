"""Operators: one customer's story."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from .. import history
from .admin_projects import OPERATORS, Slug, find_project
from .authentication import require_operator
from .context import Ctx
from .entitlements import example
from .problems import NotFound, documented
from .types import Answer, Instant, Text, UserIdInPath

router = APIRouter(prefix="/admin/customers", tags=["Operators: customers"], dependencies=[Depends(require_operator)])


class Happening(Answer):
    at: Instant
    kind: Literal["change", "checkout", "money", "event", "notification"]
    id: str = Field(description="Of the audit entry, the checkout, Stripe's object or event, or the message.")
    what: str = Field(description="As in `grant.given`, `checkout.opened`, `money.refunded`, or Stripe's event type.")
    said: dict[str, Any] = Field(description="Who and why, from what to what; amounts; what became of it.")


class Timeline(Answer):
    data: list[Happening]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


EXAMPLE_HAPPENING: dict[str, Any] = {
    "at": "2026-11-22T09:00:00Z",
    "kind": "change",
    "id": "4711",
    "what": "entitlements.changed",
    "said": {"actor": "stripe", "cause": "evt_1SXaBc", "reason": None, "before": [], "after": []},
}


@router.get(
    "/{slug}/{user_id}/timeline",
    summary="What happened to a customer",
    responses={**example({"data": [EXAMPLE_HAPPENING], "next_cursor": None}), **documented(*OPERATORS, NotFound)},
)
async def read_timeline(
    slug: Slug,
    user_id: UserIdInPath,
    ctx: Ctx,
    cursor: Annotated[Text | None, Query(pattern=history.CURSOR, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Timeline:
    """Newest first: checkouts, money, Stripe's events, grants, every change of what they may do, with its cause, and
    what their app was told. A user who never became a customer has no story; that is no error."""
    async with ctx.database.transaction() as tx:
        owner = await find_project(tx, slug)
        found = await history.story(tx, owner.id, user_id, cursor=cursor, limit=limit + 1)
    return Timeline(
        data=[Happening.model_validate(one) for one in found[:limit]],
        next_cursor=found[limit - 1].cursor if len(found) > limit else None,
    )
