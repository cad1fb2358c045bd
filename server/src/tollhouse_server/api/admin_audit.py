"""Operators: who changed what."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from ..audit import entries
from ..audit.entries import Wanted
from ..db.engine import Tx
from .admin_projects import OPERATORS, Slug, find_project
from .authentication import require_operator
from .context import Ctx
from .entitlements import example
from .problems import NotFound, documented
from .types import Answer, Instant, Text, UserId

router = APIRouter(prefix="/admin/audit", tags=["Operators: audit"], dependencies=[Depends(require_operator)])

JSON_LINES = "application/x-ndjson"


class AuditEntry(Answer):
    id: int
    at: Instant
    project: str | None = Field(description="The project's slug; null for what concerns none.")
    user_id: str | None
    action: str = Field(description="As in `grant.given`.")
    actor: str = Field(description='Who: an operator, or "stripe", "timetable" or "app".')
    cause: str = Field(description="What made them: Stripe's event ids, an operator's call or command, a job.")
    reason: str | None = Field(description="In a person's words, where one was given.")
    before: Any
    after: Any
    chain: str = Field(description='Which hash chain it is in: its project\'s id, or "fleet".')
    position: int | None = Field(description="Its place there; null only for one that was put in past the chain.")
    hash: str | None


class AuditEntries(Answer):
    data: list[AuditEntry]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


EXAMPLE_ENTRY: dict[str, Any] = {
    "id": 4711,
    "at": "2026-11-22T09:00:00Z",
    "project": "pdf-tool",
    "user_id": "ada",
    "action": "grant.given",
    "actor": "grace",
    "cause": "POST /v1/admin/grants",
    "reason": "support case 4711",
    "before": None,
    "after": {"id": "gr_5f2b8a", "feature": "premium_export", "value": True},
    "chain": "5a3c1f0e-8d2b-4c6a-9b1e-7f0a2d4c6e8b",
    "position": 12,
    "hash": "c0ffee5f1d0b7c0a9e8d7c6b5a49382716f5e4d3c2b1a09f8e7d6c5b4a392817",
}

UserOption = Annotated[UserId | None, Query()]
ActionOption = Annotated[Text | None, Query(max_length=100, examples=["grant.given"])]
ActorOption = Annotated[Text | None, Query(max_length=200, examples=["grace"])]
FromOption = Annotated[Instant | None, Query(alias="from", description="At this instant or later.")]
ToOption = Annotated[Instant | None, Query(description="Before this instant.")]


class _Filter:
    """What both calls may be restricted by."""

    def __init__(
        self,
        project: Annotated[Slug | None, Query()] = None,
        user_id: UserOption = None,
        action: ActionOption = None,
        actor: ActorOption = None,
        since: FromOption = None,
        to: ToOption = None,
    ) -> None:
        self._project = project
        self._wanted = {"user_id": user_id, "action": action, "actor": actor, "since": since, "until": to}

    async def wanted(self, tx: Tx) -> Wanted:
        """Raises NotFound for a project that is not registered."""
        project_id: uuid.UUID | None = None
        if self._project is not None:
            project_id = (await find_project(tx, self._project)).id
        return Wanted(project_id=project_id, **self._wanted)  # type: ignore[arg-type]


Filter = Annotated[_Filter, Depends()]


@router.get(
    "",
    summary="List audit entries",
    responses={**example({"data": [EXAMPLE_ENTRY], "next_cursor": None}), **documented(*OPERATORS, NotFound)},
)
async def list_audit_entries(
    ctx: Ctx,
    restricted: Filter,
    cursor: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditEntries:
    """Newest first: who changed what, why, from what and to what."""
    async with ctx.database.transaction() as tx:
        found = await entries.page(tx, await restricted.wanted(tx), before=cursor, limit=limit + 1)
    more = len(found) > limit
    return AuditEntries(
        data=[AuditEntry.model_validate(one) for one in found[:limit]],
        next_cursor=str(found[limit - 1].id) if more else None,
    )


@router.get(
    "/export",
    name="export_audit",
    summary="Export the audit trail",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One entry a line.",
            "content": {JSON_LINES: {"schema": {"$ref": "#/components/schemas/AuditEntry"}}},
        },
        **documented(*OPERATORS, NotFound),
    },
)
async def export(ctx: Ctx, restricted: Filter) -> StreamingResponse:
    """All of it as JSON lines, chain after chain, each oldest first. A transfer that breaks off is not whole: look at
    how the connection ended."""
    async with ctx.database.transaction() as tx:
        wanted = await restricted.wanted(tx)
    return StreamingResponse(entries.export(ctx.database, wanted), media_type=JSON_LINES)


@router.get(
    "/{id}",
    summary="One audit entry",
    responses={**example(EXAMPLE_ENTRY), **documented(*OPERATORS, NotFound)},
)
async def read_audit_entry(
    id: Annotated[int, Path(ge=1, le=2**63 - 1)],  # noqa: A002
    ctx: Ctx,
) -> AuditEntry:
    """With its place in its hash chain; `tollhouse audit verify` says whether the chain is whole."""
    async with ctx.database.transaction() as tx:
        found = await entries.entry(tx, id)
    if found is None:
        raise NotFound("There is no audit entry of this id.")
    return AuditEntry.model_validate(found)
