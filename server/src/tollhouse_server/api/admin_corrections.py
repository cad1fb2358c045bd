"""Operators: what the service did, does and could do at Stripe by itself."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Row

from .. import corrections
from ..domain.errors import Problem
from .admin_projects import CHANGES, OPERATORS, Slug, find_project
from .authentication import ActingOperator, require_operator
from .context import Ctx
from .entitlements import example
from .problems import NotFound, documented
from .types import Answer, Instant, Text, TextInPath

router = APIRouter(
    prefix="/admin/corrections", tags=["Operators: corrections"], dependencies=[Depends(require_operator)]
)

State = Literal["reported", "pending", "done", "given-up"]


class CorrectionSettled(Problem):
    """The correction is pending or done: there is nothing to try again."""

    status = 409
    code = "correction-settled"


class Correction(Answer):
    """Something at Stripe that should not be, and what becomes of it."""

    id: str
    project: str
    user_id: str
    kind: Literal["double", "trial-again"] = Field(
        description="`double`: a second live subscription of one plan. `trial-again`: a second trial of one."
    )
    action: Literal["cancel", "cancel-and-refund", "end-trial"] = Field(
        description="What is done; of a `reported` one, what a retry does."
    )
    subscription: str = Field(description="The one that it is done to.")
    subscription_status: str = Field(description="As Stripe had it when it was last read.")
    beside: str = Field(description="The subscription because of which: the older one, or the first trial.")
    reason: str
    state: State = Field(description="`reported`: a person decides, by the policy or because it is not clear enough.")
    attempts: int
    error: str | None = Field(description="Of the last attempt that failed.")
    outcome: dict[str, Any] | None = Field(description="What was done at Stripe; `nothing` where it was over before.")
    found_at: Instant
    next_attempt_at: Instant | None
    settled_at: Instant | None


class Corrections(Answer):
    data: list[Correction]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


EXAMPLE_CORRECTION: dict[str, Any] = {
    "id": "cor_5f2b8a",
    "project": "pdf-tool",
    "user_id": "ada",
    "kind": "double",
    "action": "cancel-and-refund",
    "subscription": "sub_1SXbNewer",
    "subscription_status": "canceled",
    "beside": "sub_1SXaOlder",
    "reason": "sub_1SXbNewer, begun on 22 Nov 2026, is a second subscription of group plan beside sub_1SXaOlder, begun "
    "on 1 Nov 2026.",
    "state": "done",
    "attempts": 1,
    "error": None,
    "outcome": {"done": "cancelled", "refunded": [{"amount": 900, "currency": "eur"}]},
    "found_at": "2026-11-22T09:00:01Z",
    "next_attempt_at": None,
    "settled_at": "2026-11-22T09:00:02Z",
}


@router.get(
    "",
    summary="List corrections",
    responses={
        **example({"data": [EXAMPLE_CORRECTION], "next_cursor": None}),
        **documented(*OPERATORS, NotFound),
    },
)
async def list_corrections(
    ctx: Ctx,
    state: Annotated[State | None, Query()] = None,
    project: Annotated[Slug | None, Query()] = None,
    cursor: Annotated[Text | None, Query(max_length=100, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Corrections:
    """Newest first. `state=given-up` is the list that somebody must look at, `state=reported` the one to decide on."""
    async with ctx.database.transaction() as tx:
        if project is not None:
            await find_project(tx, project)
        rows = await corrections.listing(tx, state=state, slug=project, before=cursor, limit=limit + 1)
    more = len(rows) > limit
    return Corrections(
        data=[_correction(row) for row in rows[:limit]], next_cursor=rows[limit - 1].id if more else None
    )


@router.post(
    "/{id}/retry",
    name="retry_correction",
    summary="Carry out a correction",
    responses={
        **example({**EXAMPLE_CORRECTION, "state": "pending", "outcome": None, "settled_at": None}),
        **documented(*CHANGES, NotFound, CorrectionSettled),
    },
)
async def retry(id: TextInPath, ctx: Ctx, why: ActingOperator) -> Correction:  # noqa: A002
    """One that was given up is tried again, one that was reported is carried out. What is done already is kept."""
    async with ctx.database.transaction() as tx:
        if not await corrections.listing(tx, correction_id=id):
            raise NotFound("There is no correction of this id.")
        if not await corrections.retry(tx, id, why, ctx.clock.now()):
            raise CorrectionSettled("It is pending or done: see its state.")
        [row] = await corrections.listing(tx, correction_id=id)
    return _correction(row)


def _correction(row: Row[Any]) -> Correction:
    told = {name: getattr(row, name) for name in Correction.model_fields if not name.startswith("subscription")}
    return Correction(**told, subscription=row.subscription_id, subscription_status=row.status)
