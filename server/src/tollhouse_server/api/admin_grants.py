"""Operators: access that nobody paid for."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy import Row, select

from ..commands.give_grant import give_grant
from ..commands.revoke_grant import GrantRevoked, revoke_grant
from ..db.engine import Tx
from ..db.tables import customer, grant, project
from ..domain.giving import KINDS, GrantInvalid, GrantRequest
from .admin_projects import CHANGES, OPERATORS, Slug, find_project
from .authentication import ActingOperator, require_operator
from .context import Ctx
from .entitlements import example
from .once import OnlyOnce
from .problems import NotFound, documented
from .types import Answer, Body, FeatureCode, FeatureValue, GivenValue, Instant, Text, TextInPath, UserId
from .versions import say_version, versioned

router = APIRouter(prefix="/admin/grants", tags=["Operators: grants"], dependencies=[Depends(require_operator)])

Reason = Annotated[
    Text, Field(min_length=1, max_length=1000, description="For the audit trail.", examples=["support case 4711"])
]


class GiveGrant(Body):
    """Exactly one of `feature` and `product`. Only an override may close (`false`, 0)."""

    project: Slug
    user_id: UserId
    feature: FeatureCode | None = None
    value: GivenValue | None = Field(None, description="For a limit and for an override; else a switch needs none.")
    product: Annotated[Text, Field(max_length=63, examples=["pro"])] | None = None
    starts_at: Instant | None = Field(None, description="Now if absent.")
    ends_at: Instant | None = Field(None, description="For good if absent.")
    override: bool = Field(
        False,
        description="In its time the feature has exactly this value, also a lower one, also `false` or 0, whatever "
        "else gives it. Needs `feature` and `value`. Of several the one given last decides.",
    )
    reason: Reason


class RevokeGrant(Body):
    reason: Reason


class Grant(Answer):
    id: str
    project: str
    user_id: str
    feature: str | None
    value: FeatureValue | None
    product: str | None
    starts_at: Instant
    ends_at: Instant | None
    override: bool
    reason: str
    operator: str
    created_at: Instant
    revoked_at: Instant | None
    revoked_by: str | None
    revoke_reason: str | None


class Grants(Answer):
    data: list[Grant]


EXAMPLE_GRANT: dict[str, Any] = {
    "id": "gr_5f2b8a",
    "project": "pdf-tool",
    "user_id": "ada",
    "feature": "premium_export",
    "value": True,
    "product": None,
    "starts_at": "2026-11-22T09:00:00Z",
    "ends_at": "2026-12-22T09:00:00Z",
    "override": False,
    "reason": "support case 4711",
    "operator": "grace",
    "created_at": "2026-11-22T09:00:00Z",
    "revoked_at": None,
    "revoked_by": None,
    "revoke_reason": None,
}


@router.post(
    "",
    status_code=201,
    name="give_grant",
    summary="Give access",
    responses={
        **versioned({201: {"content": {"application/json": {"example": EXAMPLE_GRANT}}}}, 201),
        **documented(*CHANGES, GrantInvalid, *KINDS.values(), NotFound),
    },
)
async def give(body: GiveGrant, ctx: Ctx, why: ActingOperator, once: OnlyOnce, response: Response) -> Grant:
    """Open as soon as this answers. A user who never bought anything may be given access too."""
    wanted = GrantRequest(**body.model_dump(exclude={"project"}))
    async with ctx.database.transaction() as tx:
        await once.seal(tx)
        owner = await find_project(tx, body.project)
        acting = replace(why, reason=body.reason)
        given = await give_grant(tx, ctx.refresh, owner, wanted, acting, at=ctx.clock.now())
        return await _state(tx, given, response)


@router.get(
    "",
    summary="List grants",
    responses={**example({"data": [EXAMPLE_GRANT]}), **documented(*OPERATORS)},
)
async def list_grants(
    ctx: Ctx,
    project_slug: Annotated[Slug | None, Query(alias="project")] = None,
    user_id: Annotated[UserId | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Grants:
    """Newest first, revoked ones too."""
    query = _query().order_by(grant.c.created_at.desc(), grant.c.id).limit(limit)
    if project_slug is not None:
        query = query.where(project.c.slug == project_slug)
    if user_id is not None:
        query = query.where(customer.c.user_id == user_id)
    async with ctx.database.transaction() as tx:
        return Grants(data=[Grant.model_validate(row) for row in await tx.execute(query)])


@router.post(
    "/{id}/revoke",
    name="revoke_grant",
    summary="Take access back",
    responses={**versioned(example(EXAMPLE_GRANT)), **documented(*CHANGES, GrantRevoked, NotFound)},
)
async def revoke(
    id: TextInPath,  # noqa: A002
    body: RevokeGrant,
    ctx: Ctx,
    why: ActingOperator,
    response: Response,
) -> Grant:
    """Closed as soon as this answers, unless something else opens it."""
    async with ctx.database.transaction() as tx:
        acting = replace(why, reason=body.reason)
        if not await revoke_grant(tx, ctx.refresh, id, acting, at=ctx.clock.now()):
            raise NotFound("There is no grant of this id.")
        return await _state(tx, id, response)


def _query() -> Any:
    return (
        select(grant, project.c.slug.label("project"), customer.c.user_id, customer.c.version)
        .join(project, project.c.id == grant.c.project_id)
        .join(customer, customer.c.id == grant.c.customer_id)
    )


async def _state(tx: Tx, grant_id: str, response: Response) -> Grant:
    """The grant as it is now; its customer's version goes with the answer."""
    row: Row[Any] = (await tx.execute(_query().where(grant.c.id == grant_id))).one()
    say_version(response, row.version)
    return Grant.model_validate(row)
