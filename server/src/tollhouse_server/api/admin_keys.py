"""Operators: the keys of the projects, and those of their own machines."""

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy import Row, select

from ..commands.issue_key import KeyInvalid, TooManyKeys, issue_key, of_owner, state_of
from ..commands.revoke_key import revoke_key
from ..commands.rotate_key import LONGEST_OVERLAP_HOURS, OVERLAP, rotate_key
from ..db.engine import Tx
from ..db.tables import api_key
from ..domain.scopes import Scope
from . import types
from .admin_projects import CHANGES, OPERATORS, SlugInPath, find_project
from .authentication import ActingOperator, OperatorRequired, require_operator
from .context import Ctx
from .entitlements import example
from .once import OnlyOnce
from .problems import NotFound, documented
from .types import Answer, Instant, Text, TextInPath

router = APIRouter(prefix="/admin", tags=["Operators: keys"], dependencies=[Depends(require_operator)])

Name = Annotated[Text, Field(min_length=1, max_length=100, description="Where it is used.", examples=["web"])]
Expires = Annotated[
    Instant | None, Field(description="When it ends by itself; for good if absent.", examples=["2027-11-22T09:00:00Z"])
]


ScopeOfProject = Literal[Scope.CHECK, Scope.CHECKOUT, Scope.MANAGE]


def _usual() -> list[ScopeOfProject]:
    return [Scope.CHECK, Scope.CHECKOUT]


class IssueKey(types.Body):
    name: Name
    scopes: list[ScopeOfProject] = Field(
        default_factory=_usual,
        min_length=1,
        max_length=3,
        description="What it may do: `check` asks, `checkout` sells, `manage` sees to the project's own affairs. "
        "Absent: `check` and `checkout`.",
    )
    expires_at: Expires = None


class IssueOperatorKey(types.Body):
    name: Annotated[
        Text,
        Field(
            min_length=1,
            max_length=100,
            description="The machine: it is the actor in the audit trail.",
            examples=["ci"],
        ),
    ]
    expires_at: Expires = None


class RotateKey(types.Body):
    overlap_hours: int = Field(
        OVERLAP // timedelta(hours=1),
        ge=0,
        le=LONGEST_OVERLAP_HOURS,
        strict=True,
        description="How long the old key goes on working beside its successor; 0 ends it at once.",
    )
    expires_at: Annotated[
        Instant | None,
        Field(description="When the successor ends by itself; for good if absent, whatever the old had."),
    ] = None


class Key(Answer):
    id: str
    name: str
    scopes: list[Scope]
    state: Literal["in_use", "expires", "expired", "revoked"] = Field(
        description="`in_use` has no end, `expires` has one that is to come."
    )
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None = Field(description="To the minute.")
    revoked_at: Instant | None


class NewKey(Answer):
    id: str
    name: str
    scopes: list[Scope]
    key: str = Field(description="Shown once: only its hash is stored.")
    created_at: Instant
    expires_at: Instant | None


class Keys(Answer):
    data: list[Key]


_NEW: dict[str, Any] = {
    "id": "aB3dE5fG7hJ9",
    "name": "web",
    "scopes": ["check", "checkout"],
    "created_at": "2026-11-22T09:00:00Z",
    "expires_at": None,
}
_OF_MACHINE = {**_NEW, "name": "ci", "scopes": ["operator"]}
_LISTED = {**_NEW, "state": "in_use", "last_used_at": None, "revoked_at": None}
NO_KEY = "There is no key of this id in use here: the list shows those there are."


def _made(shown: dict[str, Any], prefix: str) -> dict[int | str, dict[str, Any]]:
    return {201: {"content": {"application/json": {"example": {**shown, "key": f"{prefix}_aB3dE5fG7hJ9_…"}}}}}


@router.post(
    "/projects/{slug}/keys",
    status_code=201,
    name="issue_key",
    summary="Issue a key",
    responses={**_made(_NEW, "tollhouse"), **documented(*CHANGES, NotFound, KeyInvalid, TooManyKeys)},
)
async def issue(slug: SlugInPath, body: IssueKey, ctx: Ctx, why: ActingOperator, once: OnlyOnce) -> NewKey:
    """The keys that the project has go on working."""
    async with ctx.database.transaction() as tx:
        await once.seal(tx)
        owner = await find_project(tx, slug)
        return NewKey.model_validate(
            await issue_key(
                tx, owner, body.name, why, at=ctx.clock.now(), scopes=body.scopes, expires_at=body.expires_at
            )
        )


@router.get(
    "/projects/{slug}/keys",
    summary="List a project's keys",
    responses={**example({"data": [_LISTED]}), **documented(*OPERATORS, NotFound)},
)
async def list_keys(slug: SlugInPath, ctx: Ctx) -> Keys:
    """Newest first, those that have ended too. Without the keys themselves, which nobody can show again."""
    async with ctx.database.transaction() as tx:
        return await _listing(tx, (await find_project(tx, slug)).id, ctx.clock.now())


@router.post(
    "/projects/{slug}/keys/{id}/rotate",
    status_code=201,
    name="rotate_key",
    summary="Replace a key",
    responses={**_made(_NEW, "tollhouse"), **documented(*CHANGES, NotFound, KeyInvalid, TooManyKeys)},
)
async def rotate(
    slug: SlugInPath,
    id: TextInPath,  # noqa: A002
    body: RotateKey,
    ctx: Ctx,
    why: ActingOperator,
    once: OnlyOnce,
) -> NewKey:
    """A successor with the same name and scopes; the old key ends after the overlap."""
    async with ctx.database.transaction() as tx:
        await once.seal(tx)
        return await _rotated(tx, (await find_project(tx, slug)).id, id, body, ctx, why)


@router.delete(
    "/projects/{slug}/keys/{id}",
    status_code=204,
    name="revoke_key",
    summary="Revoke a key",
    responses=documented(*OPERATORS, OperatorRequired, NotFound),
)
async def revoke(slug: SlugInPath, id: TextInPath, ctx: Ctx, why: ActingOperator) -> None:  # noqa: A002
    """At once."""
    async with ctx.database.transaction() as tx:
        if not await revoke_key(tx, (await find_project(tx, slug)).id, id, why, at=ctx.clock.now()):
            raise NotFound(NO_KEY)


@router.post(
    "/operator-keys",
    status_code=201,
    name="issue_operator_key",
    summary="Issue an operator key",
    responses={**_made(_OF_MACHINE, "tollhouse_operator"), **documented(*CHANGES, KeyInvalid, TooManyKeys)},
)
async def issue_of_operators(body: IssueOperatorKey, ctx: Ctx, why: ActingOperator, once: OnlyOnce) -> NewKey:
    """For a machine that calls /v1/admin: it may do whatever an operator may, in every project."""
    async with ctx.database.transaction() as tx:
        await once.seal(tx)
        return NewKey.model_validate(
            await issue_key(tx, None, body.name, why, at=ctx.clock.now(), expires_at=body.expires_at)
        )


@router.get(
    "/operator-keys",
    summary="List the operator keys",
    responses={**example({"data": [{**_LISTED, **_OF_MACHINE}]}), **documented(*OPERATORS)},
)
async def list_operator_keys(ctx: Ctx) -> Keys:
    """Newest first, those that have ended too."""
    async with ctx.database.transaction() as tx:
        return await _listing(tx, None, ctx.clock.now())


@router.post(
    "/operator-keys/{id}/rotate",
    status_code=201,
    name="rotate_operator_key",
    summary="Replace an operator key",
    responses={**_made(_OF_MACHINE, "tollhouse_operator"), **documented(*CHANGES, NotFound, KeyInvalid, TooManyKeys)},
)
async def rotate_of_operators(id: TextInPath, body: RotateKey, ctx: Ctx, why: ActingOperator, once: OnlyOnce) -> NewKey:  # noqa: A002
    """A successor with the same name; the old key ends after the overlap."""
    async with ctx.database.transaction() as tx:
        await once.seal(tx)
        return await _rotated(tx, None, id, body, ctx, why)


@router.delete(
    "/operator-keys/{id}",
    status_code=204,
    name="revoke_operator_key",
    summary="Revoke an operator key",
    responses=documented(*OPERATORS, OperatorRequired, NotFound),
)
async def revoke_of_operators(id: TextInPath, ctx: Ctx, why: ActingOperator) -> None:  # noqa: A002
    """At once."""
    async with ctx.database.transaction() as tx:
        if not await revoke_key(tx, None, id, why, at=ctx.clock.now()):
            raise NotFound(NO_KEY)


async def _listing(tx: Tx, project_id: uuid.UUID | None, at: datetime) -> Keys:
    rows = await tx.execute(
        select(api_key).where(of_owner(project_id)).order_by(api_key.c.created_at.desc(), api_key.c.id)
    )
    return Keys(data=[_key(row, at) for row in rows])


def _key(row: Row[Any], at: datetime) -> Key:
    fields = {name: getattr(row, name) for name in Key.model_fields if name != "state"}
    return Key(**fields, state=state_of(row, at))


async def _rotated(
    tx: Tx, project_id: uuid.UUID | None, id_: str, body: RotateKey, ctx: Ctx, why: ActingOperator
) -> NewKey:
    overlap = timedelta(hours=body.overlap_hours)
    made = await rotate_key(tx, project_id, id_, why, at=ctx.clock.now(), overlap=overlap, expires_at=body.expires_at)
    if made is None:
        raise NotFound(NO_KEY)
    return NewKey.model_validate(made)
