"""Operators: the projects and their catalogs."""

import re
import sys
from collections.abc import Container
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Response
from pydantic import Field
from sqlalchemy import select

from ..catalogs import Project, document_of, project_by_slug
from ..commands.existing_customers import ExistingCustomersUndecided
from ..commands.plan_catalog import StripePriceTaken, VersionMismatch
from ..commands.publish_catalog import CatalogConflict, PlanOutdated, publish_catalog
from ..commands.register_project import ProjectExists, ProjectInvalid, register_project
from ..db.engine import Tx
from ..db.tables import project
from ..domain.errors import CatalogInvalid
from ..domain.kept_openings import Existing
from ..stripe_gateway import StripeRefused, StripeUnavailable
from . import types
from .authentication import ActingOperator, OperatorRequired, Unauthenticated, require_operator
from .context import Ctx
from .entitlements import example
from .problems import MalformedJson, NotFound, StoreUnavailable, UnsupportedMediaType, ValidationFailed, documented
from .types import Answer, Instant, Text, TextInPath

router = APIRouter(prefix="/admin/projects", tags=["Operators: projects"], dependencies=[Depends(require_operator)])

_ETAG = re.compile(r'(?:^|,)\s*"(\d{1,18})"(?=\s*(?:,|$))')

Slug = Annotated[Text, Field(max_length=63, examples=["pdf-tool"])]
SlugInPath = Annotated[TextInPath, Field(examples=["pdf-tool"])]


ExistingInQuery = Annotated[
    Existing | None,
    Query(
        description="What becomes of those who have what this changes: they `keep` what they have, or `move` to what "
        "this says. Asked for (409) where somebody would have less."
    ),
]


class RegisterProject(types.Body):
    slug: Slug
    name: Annotated[Text, Field(min_length=1, max_length=200, examples=["PDF Tool"])]
    redirect_origins: list[Text] = Field(default_factory=list, examples=[["https://pdf.example.com"]], max_length=100)


class ProjectState(Answer):
    slug: str
    name: str
    redirect_origins: list[str]
    catalog_version: int
    created_at: Instant


class Projects(Answer):
    data: list[ProjectState]


class PublishedCatalog(Answer):
    project: str
    version: int
    changes: list[str] = Field(description="What was done; empty where everything was so already.")


EXAMPLE_PROJECT = {
    "slug": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://pdf.example.com"],
    "catalog_version": 3,
    "created_at": "2026-11-22T09:00:00Z",
}
EXAMPLE_DOCUMENT: dict[str, Any] = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://pdf.example.com"],
    "features": {"premium_export": {"name": "Premium export"}},
    "products": {
        "pro": {
            "name": "PDF Tool Pro",
            "plan_group": "plan",
            "opens": {"premium_export": True},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
        }
    },
}
OPERATORS = (Unauthenticated, ValidationFailed, StoreUnavailable)
CatalogDocument = Annotated[
    dict[str, Any],
    Body(description="The catalog file as JSON.", openapi_examples={"plain": {"value": EXAMPLE_DOCUMENT}}),
]
CATALOG_REFUSALS = (CatalogInvalid, StripePriceTaken, StripeRefused, StripeUnavailable)
CHANGES = (*OPERATORS, OperatorRequired, MalformedJson, UnsupportedMediaType)


@router.post(
    "",
    status_code=201,
    name="register_project",
    summary="Register a project",
    responses={
        201: {"content": {"application/json": {"example": EXAMPLE_PROJECT}}},
        **documented(*CHANGES, ProjectExists, ProjectInvalid),
    },
)
async def register(body: RegisterProject, ctx: Ctx, why: ActingOperator) -> ProjectState:
    """Publishing a catalog registers its project too; this is for a project that sells nothing yet."""
    async with ctx.database.transaction() as tx:
        await register_project(tx, body.slug, body.name, body.redirect_origins, why, at=ctx.clock.now())
        return await _state(tx, body.slug)


@router.get(
    "", summary="List the projects", responses={**example({"data": [EXAMPLE_PROJECT]}), **documented(*OPERATORS)}
)
async def list_projects(ctx: Ctx) -> Projects:
    """By slug."""
    async with ctx.database.transaction() as tx:
        rows = await tx.execute(select(project).order_by(project.c.slug))
        return Projects(data=[ProjectState.model_validate(row) for row in rows])


@router.get(
    "/{slug}", summary="One project", responses={**example(EXAMPLE_PROJECT), **documented(*OPERATORS, NotFound)}
)
async def read_project(slug: SlugInPath, ctx: Ctx) -> ProjectState:
    """404 for a slug that nobody registered."""
    async with ctx.database.transaction() as tx:
        return await _state(tx, slug)


@router.put(
    "/{slug}/catalog",
    name="publish_catalog",
    summary="Publish a catalog",
    responses={
        **example({"project": "pdf-tool", "version": 3, "changes": ["created price pdf-tool.pro.monthly"]}),
        **documented(
            *CHANGES,
            *CATALOG_REFUSALS,
            CatalogConflict,
            ExistingCustomersUndecided,
            PlanOutdated,
            VersionMismatch,
        ),
    },
)
async def publish(
    slug: SlugInPath,
    document: CatalogDocument,
    ctx: Ctx,
    why: ActingOperator,
    response: Response,
    existing: ExistingInQuery = None,
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="The ETag of the catalog that this is a change of; 412 if it is no more."),
    ] = None,
    plan: Annotated[
        str | None, Query(max_length=100, description="The id of the plan to do; 409 if it is another by now.")
    ] = None,
) -> PublishedCatalog:
    """Makes features, products and prices in Stripe, then the next version here. The same again changes nothing."""
    expected = _versions(if_match)
    published = await publish_catalog(
        ctx.database,
        ctx.stripe,
        document,
        why,
        at=ctx.clock.now(),
        slug=slug,
        expected=expected,
        plan=plan,
        existing=existing,
    )
    response.headers["ETag"] = f'"{published.version}"'
    return PublishedCatalog(project=published.project, version=published.version, changes=list(published.changes))


@router.get(
    "/{slug}/catalog",
    name="read_published_catalog",
    summary="The published catalog",
    response_model=dict[str, Any],
    responses={**example(EXAMPLE_DOCUMENT), **documented(*OPERATORS, NotFound)},
)
async def read_document(slug: SlugInPath, ctx: Ctx, response: Response) -> dict[str, Any]:
    """As it was published, its version as the ETag; 404 before the first."""
    async with ctx.database.transaction() as tx:
        owner = await find_project(tx, slug)
        document = await document_of(tx, owner)
    if document is None:
        raise NotFound("No catalog was published to this project yet.")
    response.headers["ETag"] = f'"{owner.catalog_version}"'
    return document


def _versions(if_match: str | None) -> Container[int] | None:
    """The versions that If-Match allows; None for any. What is no ETag of a catalog's matches none."""
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return range(1, sys.maxsize)
    return {int(version) for version in _ETAG.findall(if_match)}


async def _named_project(slug: SlugInPath, ctx: Ctx) -> Project:
    async with ctx.database.transaction() as tx:
        return await find_project(tx, slug)


NamedProject = Annotated[Project, Depends(_named_project)]
"""The project in the path of an operator's call."""


async def find_project(tx: Tx, slug: str) -> Project:
    """Raises NotFound."""
    found = await project_by_slug(tx, slug)
    if found is None:
        raise NotFound("No project is registered under this slug.")
    return found


async def _state(tx: Tx, slug: str) -> ProjectState:
    await find_project(tx, slug)
    return ProjectState.model_validate((await tx.execute(select(project).where(project.c.slug == slug))).one())
