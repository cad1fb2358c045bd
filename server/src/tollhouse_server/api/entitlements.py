"""The check: what a user may do."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import Field

from ..cache import Cell
from ..catalogs import Project, as_told, current_catalog, kept_catalog
from ..domain.catalog import Catalog, Feature
from ..domain.entitlements import answer
from ..domain.errors import Problem
from ..state import FeatureAnswer, features_at
from .authentication import InsufficientScope, MayCheck, Unauthenticated
from .context import Context, Ctx
from .problems import StoreUnavailable, ValidationFailed, documented
from .renderings import Rendering, render
from .types import Answer, FeatureCodeInPath, Instant, UserIdInPath
from .versions import AtLeast, NotYetConsistent, no_older, versioned

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
    response_model=Entitlements,
    summary="What may this user do?",
    responses={
        **versioned(example(EXAMPLE_ENTITLEMENTS) | NOT_MODIFIED, 200, 304),
        **documented(Unauthenticated, NotYetConsistent, ValidationFailed, StoreUnavailable),
    },
)
async def read_entitlements(
    user_id: UserIdInPath,
    project: MayCheck,
    ctx: Ctx,
    if_none_match: IfNoneMatch = None,
    at_least: AtLeast = None,
) -> Response:
    """Every feature of the catalog. Of whom nothing is known has what everybody has; that is no error."""
    catalog, cell = await read_cell(ctx, project, user_id, at_least)
    at = ctx.clock.now()
    return rendered_entitlements(user_id, catalog, cell, at).response(at, if_none_match)


@router.get(
    "/customers/{user_id}/entitlements/{feature}",
    response_model=Check,
    summary="May this user use this feature?",
    responses={
        **versioned(example(EXAMPLE_CHECK) | NOT_MODIFIED, 200, 304),
        **documented(Unauthenticated, FeatureNotFound, NotYetConsistent, ValidationFailed, StoreUnavailable),
    },
)
async def check(
    user_id: UserIdInPath,
    feature: FeatureCodeInPath,
    project: MayCheck,
    ctx: Ctx,
    if_none_match: IfNoneMatch = None,
    at_least: AtLeast = None,
) -> Response:
    """The answer at this instant, evaluated when asked. By time alone it changes at `valid_until`."""
    catalog, cell = await read_cell(ctx, project, user_id, at_least)
    at = ctx.clock.now()
    return rendered_check(find_feature(catalog, feature), catalog, cell, at).response(at, if_none_match)


def rendered_entitlements(user_id: str, catalog: Catalog, cell: Cell, at: datetime) -> Rendering:
    """Every feature of the catalog, as it stands for the user whose cell it is."""
    kept: Rendering | None = cell.rendered.get("entitlements")
    if kept is None or not kept.stands(catalog, at):
        stretches = as_told(catalog, cell.version, cell.entitlements)
        features = features_at(catalog, stretches, at)
        told = Entitlements(user_id=user_id, version=cell.version, checked_at=at, features=features)
        kept = render(told, "checked_at", version=cell.version, catalog=catalog, stretches=stretches, at=at)
        cell.rendered["entitlements"] = kept
    return kept


def rendered_check(feature: Feature, catalog: Catalog, cell: Cell, at: datetime) -> Rendering:
    """One feature of the catalog, as it stands for the user whose cell it is."""
    name = f"entitlements/{feature.code}"
    kept: Rendering | None = cell.rendered.get(name)
    if kept is None or not kept.stands(catalog, at):
        stretches = [one for one in as_told(catalog, cell.version, cell.entitlements) if one.feature == feature.code]
        verdict = answer(stretches, feature, at)
        told = Check(
            feature=feature.code,
            version=cell.version,
            checked_at=at,
            allowed=verdict.allowed,
            value=verdict.value,
            valid_until=verdict.valid_until,
            reason=verdict.reason,
            source=verdict.source,
        )
        kept = render(told, "checked_at", version=cell.version, catalog=catalog, stretches=stretches, at=at)
        cell.rendered[name] = kept
    return kept


def find_feature(catalog: Catalog, code: str) -> Feature:
    """Raises FeatureNotFound, naming the features there are."""
    feature = catalog.features.get(code)
    if feature is None:
        known = ", ".join(sorted(catalog.features)) or "none: publish a catalog"
        raise FeatureNotFound(f"The catalog has no feature {code!r}; it has {known}.")
    return feature


async def read_cell(ctx: Context, project: Project, user_id: str, at_least: int | None) -> tuple[Catalog, Cell]:
    """What the user may do, from wherever it is had fastest, and the catalog that it is told by.

    Raises NotYetConsistent where it is older than the version `at_least`.
    """
    catalog = kept_catalog(project)
    if catalog is None:
        async with ctx.database.statement(project=project.id) as tx:
            catalog = await current_catalog(tx, project)
    cell = await no_older(
        at_least, lambda: ctx.cache.read(project.id, user_id, at_least=at_least or 0), lambda cell: cell.version
    )
    return catalog, cell
