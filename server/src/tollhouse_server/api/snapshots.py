"""The snapshot: all that an app needs to answer a user's checks by itself until something changes."""

from typing import Any

from fastapi import APIRouter, Response

from ..state import CustomerSnapshot, customer_snapshot
from .authentication import InsufficientScope, MayCheck, Unauthenticated
from .context import Ctx
from .entitlements import NOT_MODIFIED, IfNoneMatch, already_known, read_cell
from .problems import StoreUnavailable, ValidationFailed, documented
from .types import UserIdInPath

router = APIRouter(tags=["Entitlements"], responses=documented(InsufficientScope))

EXAMPLE_STRETCH = {
    "value": True,
    "from": "2026-11-22T09:00:00Z",
    "until": "2026-12-25T09:00:00Z",
    "reason": "subscription-active",
    "source": "sub_1SXaBcDeFgHiJk",
}
EXAMPLE_SNAPSHOT: dict[str, Any] = {
    "project": "pdf-tool",
    "user_id": "ada",
    "version": 7,
    "catalog_version": 3,
    "issued_at": "2026-11-22T09:00:00Z",
    "features": {
        "premium_export": {"kind": "switch", "stretches": [EXAMPLE_STRETCH]},
        "pages_per_day": {"kind": "limit", "stretches": []},
    },
}
VERSION_HEADER = "Tollhouse-Version"
_SNAPSHOT: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {VERSION_HEADER: {"description": "The `version` of the answer.", "schema": {"type": "integer"}}},
        "content": {"application/json": {"example": EXAMPLE_SNAPSHOT}},
    }
}


@router.get(
    "/customers/{user_id}/snapshot",
    summary="What may this user do, from now on?",
    responses={
        **_SNAPSHOT,
        **NOT_MODIFIED,
        **documented(Unauthenticated, ValidationFailed, StoreUnavailable),
    },
)
async def read_snapshot(
    user_id: UserIdInPath, project: MayCheck, ctx: Ctx, response: Response, if_none_match: IfNoneMatch = None
) -> CustomerSnapshot:
    """For whoever keeps a copy and checks by it. A user of whom nothing is known has version 0 and no stretch."""
    catalog, cell = await read_cell(ctx, project, user_id)
    told = customer_snapshot(project.slug, user_id, cell.version, catalog, cell.entitlements, ctx.clock.now())
    response.headers[VERSION_HEADER] = str(told.version)
    said = told.model_dump(mode="json", exclude={"issued_at"})
    if already_known(response, if_none_match, [said]):
        return Response(status_code=304, headers=dict(response.headers))  # type: ignore[return-value]
    return told
