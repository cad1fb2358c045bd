"""Who calls: a project by its key, an operator by the operators' key."""

import hmac
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import func, select, update

from .. import logs
from ..audit import Cause
from ..catalogs import Project, as_project
from ..commands.issue_key import hash_key, key_id
from ..db.engine import Database
from ..db.tables import api_key, project
from ..domain.errors import Problem
from .context import Ctx

LAST_USED_EVERY = timedelta(minutes=1)
"""How exact `last_used_at` is: a write on every read would cost more than the read."""


class Unauthenticated(Problem):
    """The call carries no key that is in use.

    Send Authorization: Bearer with a project's key (or, under /v1/admin, with the operators').
    """

    status = 401
    code = "unauthenticated"


class OperatorRequired(Problem):
    """A change by an operator must say who makes it.

    Send your name in the Tollhouse-Operator header.
    """

    code = "operator-required"


_project_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="ProjectKey",
    description="A project's key, `tollhouse_…`, as `tollhouse keys issue` shows it.",
)
_operator_scheme = HTTPBearer(auto_error=False, scheme_name="OperatorKey", description="The value of ADMIN_API_KEY.")


_ProjectKey = Annotated[HTTPAuthorizationCredentials | None, Depends(_project_scheme)]
_OperatorKey = Annotated[HTTPAuthorizationCredentials | None, Depends(_operator_scheme)]


async def _calling_project(ctx: Ctx, bearer: _ProjectKey) -> Project:
    key = bearer.credentials if bearer else ""
    # The checksum turns a typo or a scanner away before the database is asked.
    id_ = key_id(key)
    found = None if id_ is None else await _find(ctx.database, id_, hash_key(key))
    if found is None:
        # One sentence for every cause: which of them it was helps only who guesses.
        raise Unauthenticated("Send a key of your project that is in use, as Authorization: Bearer tollhouse_….")
    logs.bind(project=found.slug)
    return found


async def _find(database: Database, id_: str, hashed: bytes) -> Project | None:
    stale = api_key.c.last_used_at.is_(None) | (api_key.c.last_used_at < func.now() - LAST_USED_EVERY)
    async with database.statement() as tx:
        row = (
            await tx.execute(
                select(project, api_key.c.hash, stale.label("stale"))
                .join(api_key, api_key.c.project_id == project.c.id)
                .where(api_key.c.id == id_, api_key.c.revoked_at.is_(None))
            )
        ).one_or_none()
        if row is None or not hmac.compare_digest(row.hash, hashed):
            return None
        if row.stale:
            await tx.execute(update(api_key).where(api_key.c.id == id_).values(last_used_at=func.now()))
    return as_project(row)


async def require_operator(ctx: Ctx, bearer: _OperatorKey) -> None:
    """The dependency of every operator route."""
    given, expected = bearer.credentials if bearer else "", ctx.admin_api_key
    if expected is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise Unauthenticated("Send the operators' key as Authorization: Bearer …; it is the service's ADMIN_API_KEY.")


async def _acting_operator(
    request: Request,
    operator: Annotated[
        str | None, Header(alias="Tollhouse-Operator", max_length=80, description="Your name, for the audit trail.")
    ] = None,
) -> Cause:
    name = _as_utf8(operator or "").strip()
    if not name:
        raise OperatorRequired("Send your name in the Tollhouse-Operator header: the audit trail keeps who did it.")
    return Cause(actor=name, cause=f"{request.method} {request.url.path}")


def _as_utf8(header: str) -> str:
    """A header's text: what curl and browsers send as UTF-8 arrives here decoded as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


CallingProject = Annotated[Project, Depends(_calling_project)]
ActingOperator = Annotated[Cause, Depends(_acting_operator)]
