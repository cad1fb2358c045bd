"""Who calls, and whether they may: a project by its key; an operator by name and password, or by a key."""

import base64
import hmac
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer, SecurityScopes
from sqlalchemy import ColumnElement, Row, Select, select, update

from .. import logs
from ..audit import Cause
from ..cache import KnownKey
from ..catalogs import Project
from ..commands.add_operator import NAME
from ..commands.issue_key import in_use
from ..db.engine import Database
from ..db.tables import api_key, operator
from ..domain.errors import Problem
from ..domain.scopes import Scope
from ..key_format import Kind, ParsedKey, parse_key
from ..passwords import Login, TooManyFailures
from ..telemetry import LOGINS
from .admission import admit, network_of, turn_away
from .context import Context, Ctx
from .rate_limits import RateLimited

LAST_USED_EVERY = timedelta(minutes=1)
"""How exact `last_used_at` is: a write on every read would cost more than the read."""


class Unauthenticated(Problem):
    """The call carries no key that is in use, and no operator's name and password.

    Send Authorization: Bearer with a project's key; under /v1/admin an operator's name and password as Basic, or a key.
    """

    status = 401
    code = "unauthenticated"


class InsufficientScope(Problem):
    """The key is good, but it was not issued for this call.

    Use another key of the project, or issue one that has the scope which `detail` names.
    """

    status = 403
    code = "insufficient-scope"


class OperatorRequired(Problem):
    """A change with ADMIN_API_KEY must say who makes it.

    Send your name in the Tollhouse-Operator header, or call with a name and password of your own.
    """

    code = "operator-required"


_project_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="ProjectKey",
    description="A project's key, `tollhouse_…`, as `tollhouse keys issue` shows it. Each call names the scope that the"
    " key needs: `check`, `checkout` or `manage`.",
)
_operator_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="OperatorKey",
    description="The value of ADMIN_API_KEY, or a machine's own key, `tollhouse_operator_…`.",
)


class _Password(HTTPBasic):
    """As RFC 7617 has it with UTF-8; what cannot be read is nobody's."""

    async def __call__(self, request: Request) -> HTTPBasicCredentials | None:  # type: ignore[override]
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, colon, password = base64.b64decode(sent.strip(), validate=True).decode().partition(":")
        except ValueError:
            return None
        return HTTPBasicCredentials(username=name, password=password) if colon else None


_password_scheme = _Password(
    auto_error=False,
    scheme_name="OperatorPassword",
    description="An operator's name and password, as `tollhouse operators add` takes them.",
)

_ProjectKey = Annotated[HTTPAuthorizationCredentials | None, Depends(_project_scheme)]
_OperatorKey = Annotated[HTTPAuthorizationCredentials | None, Depends(_operator_scheme)]
_OperatorPassword = Annotated[HTTPBasicCredentials | None, Depends(_password_scheme)]


async def _calling_project(request: Request, ctx: Ctx, needed: SecurityScopes, bearer: _ProjectKey) -> Project:
    known = await _known(ctx, bearer.credentials if bearer else "", anew=Scope.CHECK not in needed.scopes)
    if known is None:
        # One sentence for every cause: which of them it was helps only who guesses.
        refusal = Unauthenticated("Send a key of your project that is in use, as Authorization: Bearer tollhouse_….")
        raise turn_away(request, ctx, refusal)
    logs.bind(project=known.slug)
    for scope in needed.scopes:
        if scope not in known.scopes:
            raise InsufficientScope(
                f"This call needs the scope {scope}, and this key has {', '.join(known.scopes)}: use a key with it, "
                f"as `tollhouse keys issue {known.slug} --scope {scope}` makes one."
            )
    await admit(request, ctx, key=known.id, caller=f"project {known.project_id}", project_id=known.project_id)
    return project_of(known)


def project_of(known: KnownKey) -> Project:
    """The project whose key it is."""
    return Project(known.project_id, known.slug, known.redirect_origins, known.catalog_version)


def _in_use_at(known: KnownKey, now: datetime) -> bool:
    """Whether the key has not ended: it is asked at each use, however lately it was read."""
    return known.key_expires_at is None or now < known.key_expires_at


def _is_recent(last: datetime | None, now: datetime) -> bool:
    """Whether it is exact enough already when somebody was last here."""
    return last is not None and last >= now - LAST_USED_EVERY


async def _known(ctx: Context, given: str, *, anew: bool) -> KnownKey | None:
    """What the project's key may do, where it is in use now; leaves the minute of its use.

    What checks is taken from what was read within a second; what changes something is read `anew`.
    """
    # The checksum turns a typo or a scanner away before the database is asked.
    parsed = parse_key(given)
    if parsed is None or parsed.kind is not Kind.PROJECT:
        return None
    known = await ctx.cache.key(parsed.id, parsed.hash, anew=anew)
    now = ctx.clock.now()
    if known is None or not _in_use_at(known, now):
        return None
    if not _is_recent(known.last_used_at, now):
        if ctx.cache.local is not None:  # before it is done, so that it is done once
            ctx.cache.local.keep_key(parsed.hash, replace(known, last_used_at=now, at_hand={}))
        await _leave_minute(ctx, known.id, now)
    return known


async def _leave_minute(ctx: Context, key_id: str, now: datetime) -> None:
    async with ctx.database.statement() as tx:
        await tx.execute(update(api_key).where(api_key.c.id == key_id).values(last_used_at=now))


_OF_KEY: tuple[ColumnElement[Any], ...] = (api_key.c.hash, api_key.c.scopes, api_key.c.last_used_at)


async def _find(ctx: Context, query: Select[Any], parsed: ParsedKey | None) -> Row[Any] | None:
    """The row that `query` has for the operator key, where that is in use now; leaves the minute of its use."""
    if parsed is None or parsed.kind is not Kind.OPERATOR:
        return None
    now = ctx.clock.now()
    async with ctx.database.statement() as tx:
        row: Row[Any] | None = (await tx.execute(query.where(api_key.c.id == parsed.id, in_use(now)))).one_or_none()
    if row is None or not hmac.compare_digest(row.hash, parsed.hash):
        return None
    if not _is_recent(row.last_used_at, now):
        await _leave_minute(ctx, parsed.id, now)
    return row


async def still_good(database: Database, scope: Scope, key_ids: Collection[str], at: datetime) -> set[str]:
    """Those of the keys that are in use at `at` and have the scope: for calls that go on long after they began."""
    query = select(api_key.c.id).where(api_key.c.id.in_(key_ids), in_use(at), api_key.c.scopes.contains([str(scope)]))
    async with database.statement() as tx:
        return set(await tx.scalars(query))


@dataclass(frozen=True, slots=True)
class Operator:
    """Who calls under /v1/admin."""

    name: str | None
    """None: somebody with ADMIN_API_KEY, who has to say it."""
    means: str
    """By what they are known, for the audit trail."""
    caller: str
    """Whose idempotency keys and rate are one."""


async def require_operator(request: Request, ctx: Ctx, bearer: _OperatorKey, basic: _OperatorPassword) -> Operator:
    """The dependency of every operator route."""
    if basic is not None:
        known = await _by_password(request, ctx, basic.username.lower(), unicodedata.normalize("NFC", basic.password))
    else:
        known = await _by_key(ctx, bearer.credentials if bearer else "")
    if known is None:
        # One sentence for every cause here, too.
        refusal = Unauthenticated(
            "Send an operator's name and password (Authorization: Basic), or an operator key that is in use or the "
            "service's ADMIN_API_KEY (Authorization: Bearer)."
        )
        raise turn_away(request, ctx, refusal)
    await admit(request, ctx, key=known.caller, caller=known.caller, project_id=None)
    return known


async def _by_key(ctx: Context, given: str) -> Operator | None:
    if ctx.admin_api_key is not None and hmac.compare_digest(given.encode(), ctx.admin_api_key.encode()):
        return Operator(None, _SHARED, _SHARED)
    parsed = parse_key(given)
    row = await _find(ctx, select(api_key.c.name, *_OF_KEY).where(api_key.c.project_id.is_(None)), parsed)
    if row is None or parsed is None:
        return None
    return Operator(row.name, f"operator key {parsed.id}", f"operator {parsed.id}")


async def _by_password(request: Request, ctx: Context, name: str, password: str) -> Operator | None:
    row = None
    if NAME.fullmatch(name):
        query = select(operator.c.password_hash, operator.c.last_seen_at)
        async with ctx.database.statement() as tx:
            found = await tx.execute(query.where(operator.c.name == name, operator.c.disabled_at.is_(None)))
            row = found.one_or_none()
    login = Login(name, network_of(request))
    try:
        right = await ctx.passwords.is_right(login, row.password_hash if row else None, password)
    except TooManyFailures as failures:
        LOGINS.labels("refused").inc()
        raise RateLimited(
            f"This name was wrong too often from your address: wait {failures.wait} s.", retry_after=failures.wait
        ) from None
    LOGINS.labels("right" if right else "wrong").inc()
    if row is None or not right:
        return None
    now = ctx.clock.now()
    values: dict[str, Any] = {}
    if not _is_recent(row.last_seen_at, now):
        values["last_seen_at"] = now
    if ctx.passwords.is_outdated(row.password_hash):
        values["password_hash"] = await ctx.passwords.rehash(password)
    if values:
        async with ctx.database.statement() as tx:
            # Whose password was set meanwhile keeps the new one.
            still = operator.c.password_hash == row.password_hash
            await tx.execute(update(operator).where(operator.c.name == name, still).values(**values))
    return Operator(name, "password", f"operator named {name}")


_SHARED = "ADMIN_API_KEY"


async def _acting_operator(
    request: Request,
    known: Annotated[Operator, Depends(require_operator)],
    said: Annotated[
        str | None,
        Header(
            alias="Tollhouse-Operator",
            max_length=80,
            description="Your name, for the audit trail: needed with ADMIN_API_KEY, ignored from who has one.",
        ),
    ] = None,
) -> Cause:
    name = known.name
    if name is None:
        claimed = _as_utf8(said or "").strip()
        if not claimed:
            raise OperatorRequired("Send your name in the Tollhouse-Operator header: the audit trail keeps who did it.")
        # Whoever knows the shared key can say any name: it must not look like one that was proved.
        name = f"{claimed} ({_SHARED})"
    return Cause(actor=name, cause=f"{request.method} {request.url.path} by {known.means}")


def _as_utf8(header: str) -> str:
    """A header's text: what curl and browsers send as UTF-8 arrives here decoded as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


MayCheck = Annotated[Project, Security(_calling_project, scopes=[Scope.CHECK])]
MayCheckout = Annotated[Project, Security(_calling_project, scopes=[Scope.CHECKOUT])]
MayManage = Annotated[Project, Security(_calling_project, scopes=[Scope.MANAGE])]
"""The calling project, whose key has the scope that the call needs."""
ActingOperator = Annotated[Cause, Depends(_acting_operator)]
