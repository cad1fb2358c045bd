"""The check: what a user may do."""

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import Field

from .. import snapshot
from ..cache import Cell
from ..catalogs import Project, current_catalog, kept_catalog
from ..db.engine import Tx
from ..domain.catalog import Catalog, Feature
from ..domain.entitlements import answer
from ..domain.errors import Problem
from ..state import FeatureAnswer, feature_answer, features_at
from .authentication import InsufficientScope, MayCheck, Unauthenticated
from .context import Context, Ctx
from .problems import StoreUnavailable, ValidationFailed, documented
from .types import Answer, FeatureCodeInPath, Instant, UserIdInPath

router = APIRouter(tags=["Entitlements"], responses=documented(InsufficientScope))


class FeatureNotFound(Problem):
    """The project's catalog has no feature of this code.

    Publish a catalog that has it, or look for a typing mistake.
    """

    status = 404
    code = "feature-not-found"


class Check(FeatureAnswer):
    feature: str
    version: int = Field(description="Grows with every change of what this user may do.")
    checked_at: Instant


class Entitlements(Answer):
    """Every feature of the catalog, as it stands for one user."""

    user_id: str
    version: int
    checked_at: Instant
    features: dict[str, FeatureAnswer]


EXAMPLE_FEATURE = {
    "allowed": True,
    "value": True,
    "valid_until": "2026-12-25T09:00:00Z",
    "reason": "subscription-active",
    "source": "sub_1SXaBcDeFgHiJk",
}
EXAMPLE_CHECK = {"feature": "premium_export", **EXAMPLE_FEATURE, "version": 7, "checked_at": "2026-11-22T09:00:00Z"}
EXAMPLE_ENTITLEMENTS = {
    "user_id": "ada",
    "version": 7,
    "checked_at": "2026-11-22T09:00:00Z",
    "features": {
        "premium_export": EXAMPLE_FEATURE,
        "pages_per_day": {**EXAMPLE_FEATURE, "value": 500},
    },
}

IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="An ETag of an earlier answer; 304 if it still stands.")
]


def example(value: Any) -> dict[int | str, dict[str, Any]]:
    """The `responses=` entry that shows a successful answer in OpenAPI."""
    return {200: {"content": {"application/json": {"example": value}}}}


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The answer of that ETag still stands."}}


@router.get(
    "/customers/{user_id}/entitlements",
    summary="What may this user do?",
    responses={
        **example(EXAMPLE_ENTITLEMENTS),
        **NOT_MODIFIED,
        **documented(Unauthenticated, ValidationFailed, StoreUnavailable),
    },
)
async def read_entitlements(
    user_id: UserIdInPath, project: MayCheck, ctx: Ctx, response: Response, if_none_match: IfNoneMatch = None
) -> Entitlements:
    """Every feature of the catalog. A user of whom nothing is known is allowed nothing; that is no error."""
    at = ctx.clock.now()
    catalog, cell = await read_cell(ctx, project, user_id)
    features = features_at(catalog, cell.entitlements, at)
    said = {code: one.model_dump(mode="json") for code, one in features.items()}
    if already_known(response, if_none_match, [cell.version, said]):
        return Response(status_code=304, headers=dict(response.headers))  # type: ignore[return-value]
    return Entitlements(user_id=user_id, version=cell.version, checked_at=at, features=features)


@router.get(
    "/customers/{user_id}/entitlements/{feature}",
    summary="May this user use this feature?",
    responses={
        **example(EXAMPLE_CHECK),
        **NOT_MODIFIED,
        **documented(Unauthenticated, FeatureNotFound, ValidationFailed, StoreUnavailable),
    },
)
async def check(
    user_id: UserIdInPath,
    feature: FeatureCodeInPath,
    project: MayCheck,
    ctx: Ctx,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> Check:
    """The answer at this instant, evaluated when asked. By time alone it changes at `valid_until`."""
    at = ctx.clock.now()
    catalog, cell = await read_cell(ctx, project, user_id)
    known = find_feature(catalog, feature)
    verdict = answer(cell.entitlements, known, at)
    said = feature_answer(verdict)
    if already_known(response, if_none_match, [cell.version, said.model_dump(mode="json")]):
        return Response(status_code=304, headers=dict(response.headers))  # type: ignore[return-value]
    return Check(feature=feature, version=cell.version, checked_at=at, **said.model_dump())


def find_feature(catalog: Catalog, code: str) -> Feature:
    """Raises FeatureNotFound, naming the features there are."""
    feature = catalog.features.get(code)
    if feature is None:
        known = ", ".join(sorted(catalog.features)) or "none: publish a catalog"
        raise FeatureNotFound(f"The catalog has no feature {code!r}; it has {known}.")
    return feature


async def read_cell(ctx: Context, project: Project, user_id: str) -> tuple[Catalog, Cell]:
    """What the user may do, from wherever it is had fastest, and the catalog that it is told by."""
    cell, catalog = await ctx.cache.get(project.id, user_id), kept_catalog(project)
    if cell is not None and catalog is not None:
        return catalog, cell
    async with ctx.database.statement(project=project.id) as tx:
        catalog = await current_catalog(tx, project)
        cell = await _stored(tx, project, user_id)
    await ctx.cache.fill(project.id, user_id, cell)
    return catalog, cell


async def _stored(tx: Tx, project: Project, user_id: str) -> Cell:
    stored = await snapshot.read(tx, project.id, user_id)
    return Cell(stored.version, stored.entitlements)


def already_known(response: Response, if_none_match: str | None, said: list[Any]) -> bool:
    """Puts the answer's ETag on the response; whether the caller has that answer already."""
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]
    response.headers["ETag"] = f'"{digest}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return if_none_match is not None and f'"{digest}"' in if_none_match
