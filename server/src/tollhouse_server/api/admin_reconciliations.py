"""Operators: reconciliations with Stripe, asked for and looked at, and every difference that one found."""

from collections import defaultdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Row

from .. import audit, drift
from ..domain.drift import Verdict
from ..reconcile import Asked, Kind, ReconciliationRunning, Trigger, runs
from .admin_projects import CHANGES, OPERATORS, find_project
from .authentication import ActingOperator, require_operator
from .context import Ctx
from .entitlements import example
from .problems import NotFound, documented
from .types import Answer, Body, Instant, Text, TextInPath

router = APIRouter(
    prefix="/admin/reconciliations",
    tags=["Operators: reconciliations"],
    dependencies=[Depends(require_operator)],
)


class Reconciliation(Answer):
    id: str
    kind: Kind
    trigger: Trigger
    actor: str = Field(description="Who asked for it; `timetable` where it was due.")
    project: str | None = Field(description="Of this project alone; null: of all.")
    dry_run: bool
    state: str = Field(description="`waiting` for a worker, `running`, `finished`, or `failed`.")
    stage: str = Field(description="Where it is, or was when it failed.")
    started_at: Instant
    finished_at: Instant | None
    counts: dict[str, dict[str, int]] = Field(
        description="By list: `listed` by Stripe, `ours` among those, `differ`; of customers `to_read`, `read`, "
        "`differed`, `unreadable`; of events `known`, `missing`."
    )
    requests: int = Field(description="Made to Stripe so far.")
    stripe_seconds: float = Field(description="For how long it waited for Stripe's answers.")
    paced_seconds: float = Field(description="For how long its requests waited for their turn.")
    error: str | None = Field(description="The last one, if it was interrupted or has failed.")


class Found(Answer):
    """How much a run has found."""

    differences: int
    customers: int
    repaired: int = Field(description="Differences.")
    open: int = Field(description="Differences that are still there, as far as is known.")
    missing_events: int
    paid_but_locked_out: int = Field(description="Users.")
    unpaid_but_allowed: int = Field(description="Users.")


class ReconciliationWithFound(Reconciliation):
    found: Found


class Reconciliations(Answer):
    data: list[Reconciliation]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class Difference(Answer):
    project: str | None
    user_id: str | None
    stripe_customer_id: str | None
    object_id: str = Field(description="What differed: a subscription, checkout, customer or event.")
    field: str = Field(description="`exists`, `event`, `unreadable`, or the field, as in `payment.refunded`.")
    ours: Any
    stripes: Any
    event_id: str | None = Field(description="The event that would have told and was missing; null: Stripe has none.")
    verdict: Verdict | None = Field(description="What it meant for the user; null: nothing.")
    since: Instant | None = Field(description="Since when the user had been told wrong.")
    found_at: Instant
    repaired: bool
    closed_at: Instant | None = Field(description="Since when it is right again; null: it is open.")
    error: str | None


class Drift(Answer):
    data: list[Difference]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class ReconciliationRequest(Body):
    kind: Kind = Field(
        Kind.SWEEP, description="`sweep`: Stripe's lists beside all we hold; `catch-up`: its list of events only."
    )
    project: Annotated[Text, Field(max_length=63)] | None = Field(None, description="Of this project alone.")
    dry_run: bool = Field(False, description="Find, tell, and change nothing.")


EXAMPLE: dict[str, Any] = {
    "id": "rec_5f0c1e2d3a4b5c6d7e8f9a0b",
    "kind": "sweep",
    "trigger": "operator",
    "actor": "grace",
    "project": None,
    "dry_run": False,
    "state": "finished",
    "stage": "done",
    "started_at": "2026-11-22T09:00:00Z",
    "finished_at": "2026-11-22T09:04:10Z",
    "counts": {"customers": {"listed": 1204, "ours": 1180, "differ": 0, "to_read": 1, "read": 1, "differed": 1}},
    "requests": 86,
    "stripe_seconds": 21.4,
    "paced_seconds": 3.1,
    "error": None,
}
EXAMPLE_FOUND = {
    "differences": 1,
    "customers": 1,
    "repaired": 1,
    "open": 0,
    "missing_events": 0,
    "paid_but_locked_out": 1,
    "unpaid_but_allowed": 0,
}
EXAMPLE_WAITING = {**EXAMPLE, "state": "waiting", "stage": "", "finished_at": None, "counts": {}, "requests": 0}
EXAMPLE_DIFFERENCE = {
    "project": "pdf-tool",
    "user_id": "ada",
    "stripe_customer_id": "cus_QaBcDeFg",
    "object_id": "sub_1SXaBcDeFgHiJk",
    "field": "exists",
    "ours": None,
    "stripes": True,
    "event_id": "evt_1SXaBcDeFgHiJk",
    "verdict": "paid_but_locked_out",
    "since": "2026-11-22T08:58:00Z",
    "found_at": "2026-11-22T09:04:10Z",
    "repaired": True,
    "closed_at": "2026-11-22T09:04:10Z",
    "error": None,
}


@router.post(
    "",
    status_code=202,
    name="start_reconciliation",
    summary="Start a reconciliation",
    responses={
        202: {"content": {"application/json": {"example": EXAMPLE_WAITING}}},
        **documented(*CHANGES, NotFound, ReconciliationRunning),
    },
)
async def start(body: ReconciliationRequest, ctx: Ctx, why: ActingOperator) -> Reconciliation:
    """A worker takes it within seconds; look at it by its id. One of a kind at a time."""
    async with ctx.database.transaction() as tx:
        owner = None if body.project is None else await find_project(tx, body.project)
        asked = Asked(body.kind, Trigger.OPERATOR, why.actor, body.dry_run, owner.id if owner else None)
        run_id = await ctx.reconciler.begin(tx, asked)
        said = {"id": run_id, "kind": body.kind, "dry_run": body.dry_run}
        project_id = owner.id if owner else None
        await audit.record(tx, "reconciliation.asked", why, at=ctx.clock.now(), project_id=project_id, after=said)
        row = await runs.get(tx, run_id)
    assert row is not None
    return Reconciliation(**_fields(row))


@router.get(
    "",
    name="list_reconciliations",
    summary="List reconciliations",
    responses={**example({"data": [EXAMPLE], "next_cursor": None}), **documented(*OPERATORS)},
)
async def list_runs(
    ctx: Ctx,
    kind: Annotated[Kind | None, Query()] = None,
    cursor: Annotated[Text | None, Query(max_length=100, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Reconciliations:
    """Newest first; the scheduled ones, an operator's and the command's."""
    async with ctx.database.transaction() as tx:
        rows = await runs.listing(tx, kind=kind, before=cursor, limit=limit + 1)
    more = len(rows) > limit
    return Reconciliations(
        data=[Reconciliation(**_fields(row)) for row in rows[:limit]], next_cursor=rows[limit - 1].id if more else None
    )


@router.get(
    "/{id}",
    name="read_reconciliation",
    summary="One reconciliation",
    responses={**example({**EXAMPLE, "found": EXAMPLE_FOUND}), **documented(*OPERATORS, NotFound)},
)
async def read(id: TextInPath, ctx: Ctx) -> ReconciliationWithFound:  # noqa: A002
    """How far it is, what it has cost, and how much it has found."""
    async with ctx.database.transaction() as tx:
        row = await runs.get(tx, id)
        if row is None:
            raise NotFound("There was no reconciliation of this id, or it is forgotten: they are kept for 90 days.")
        found = await drift.summary(tx, id)
    return ReconciliationWithFound(**_fields(row), found=Found(**found))


@router.get(
    "/{id}/drift",
    name="list_drift",
    summary="What a reconciliation found",
    responses={**example({"data": [EXAMPLE_DIFFERENCE], "next_cursor": None}), **documented(*OPERATORS, NotFound)},
)
async def list_drift(
    id: TextInPath,  # noqa: A002
    ctx: Ctx,
    verdict: Annotated[Verdict | None, Query()] = None,
    cursor: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Drift:
    """Each difference, in the order in which they were found."""
    async with ctx.database.transaction() as tx:
        if await runs.get(tx, id) is None:
            raise NotFound("There was no reconciliation of this id, or it is forgotten: they are kept for 90 days.")
        rows = await drift.listing(tx, id, verdict=verdict, after=cursor, limit=limit + 1)
    more = len(rows) > limit
    return Drift(
        data=[Difference.model_validate(row) for row in rows[:limit]],
        next_cursor=str(rows[limit - 1].id) if more else None,
    )


def _fields(row: Row[Any]) -> dict[str, Any]:
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, number in sorted(row.counts.items()):
        of, _, what = name.partition(".")
        counts[of][what] = number
    fields = {name: getattr(row, name) for name in Reconciliation.model_fields if name != "counts"}
    return {**fields, "counts": dict(counts)}
