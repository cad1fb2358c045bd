"""The snapshot: all that an app needs to answer a user's checks by itself until something changes."""

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from ..catalogs import as_told
from ..domain.errors import SecretKeyMissing
from ..state import CustomerSnapshot, customer_snapshot
from .authentication import InsufficientScope, MayCheck, Unauthenticated
from .context import Ctx
from .entitlements import NOT_MODIFIED, IfNoneMatch, read_cell
from .problems import StoreUnavailable, ValidationFailed, documented
from .types import UserIdInPath
from .versions import VERSION_HEADER, AtLeast, NotYetConsistent, versioned

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
SIGNED = "application/jwt"
_SIGNED_EXAMPLE = {"schema": {"type": "string"}, "example": "eyJhbGciOiJFZERTQSIsImtpZCI6Ii4uLiJ9.eyJ2Ijo3fQ.c2ln"}
_SNAPSHOT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": EXAMPLE_SNAPSHOT}, SIGNED: _SIGNED_EXAMPLE}}
}


@router.get(
    "/customers/{user_id}/snapshot",
    summary="What may this user do, from now on?",
    responses={
        **versioned(_SNAPSHOT | NOT_MODIFIED, 200, 304),
        **documented(Unauthenticated, SecretKeyMissing, NotYetConsistent, ValidationFailed, StoreUnavailable),
    },
)
async def read_snapshot(
    user_id: UserIdInPath,
    project: MayCheck,
    ctx: Ctx,
    response: Response,
    if_none_match: IfNoneMatch = None,
    accept: Annotated[
        str | None,
        Header(description="`application/jwt`: signed, for who cannot ask; /.well-known/jwks.json has the keys."),
    ] = None,
    at_least: AtLeast = None,
) -> CustomerSnapshot:
    """For whoever keeps a copy and checks by it. A user of whom nothing is known has version 0.

    Such a user has the stretches of the default product, or none.
    """
    catalog, cell = await read_cell(ctx, project, user_id, at_least)
    entitlements = as_told(catalog, cell.version, cell.entitlements)
    told = customer_snapshot(project.slug, user_id, cell.version, catalog, entitlements, ctx.clock.now())
    headers = {VERSION_HEADER: str(told.version), "Vary": "Accept"}
    if accept is not None and SIGNED in accept.lower():
        said = told.model_dump(mode="json", by_alias=True, include={"version", "catalog_version", "features"})
        signed = ctx.snapshot_signer.sign(project.slug, user_id, said, told.issued_at)
        return Response(signed, media_type=SIGNED, headers=headers)  # type: ignore[return-value]
    response.headers.update(headers)
    if _already_known(response, if_none_match, [told.model_dump(mode="json", exclude={"issued_at"})]):
        return Response(status_code=304, headers=dict(response.headers))  # type: ignore[return-value]
    return told


def _already_known(response: Response, if_none_match: str | None, said: list[Any]) -> bool:
    """Puts the answer's ETag on the response; whether the caller has that answer already."""
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]
    response.headers["ETag"] = f'"{digest}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return if_none_match is not None and f'"{digest}"' in if_none_match
