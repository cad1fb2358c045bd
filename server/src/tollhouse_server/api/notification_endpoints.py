"""Where an app hears of changes: the same calls for a project with its key, and for operators by its slug."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Request
from pydantic import Field
from sqlalchemy import Row

from ..audit import Cause
from ..catalogs import Project
from ..commands.register_endpoint import (
    EndpointNotFound,
    TooManyEndpoints,
    change_endpoint,
    check_url,
    counts,
    enable_endpoint,
    endpoints_of,
    find_endpoint,
    register_endpoint,
    remove_endpoint,
    rotate_secret,
)
from ..db.engine import Tx
from ..domain.errors import Problem, UrlNotAllowed
from ..notifications.signing import SecretKeyMissing
from .context import Ctx
from .problems import MalformedJson, UnsupportedMediaType
from .types import Answer, Body, Instant, Text, TextInPath


@dataclass(frozen=True, slots=True)
class Acting:
    """Whose endpoints a call is about, and who makes it."""

    project: Project
    why: Cause


async def _acting(request: Request) -> Acting | None:
    # Left there by what api/notifications.py puts before each call; not where that was given something of a wrong form.
    # FastAPI resolves all that a call depends on before it refuses it, so this is asked then too.
    return getattr(request.state, "acting", None)


Who = Annotated[Acting, Depends(_acting)]
EndpointId = Annotated[TextInPath, Field(examples=["ne_5f2b9c0d1e3a4b6c7d8e9f01"])]
Url = Annotated[Text, Field(max_length=2_000, examples=["https://pdf.example.com/tollhouse"])]
Description = Annotated[Text, Field(max_length=200, description="For people.", examples=["production"])]

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is there twice: under the calling project, and under a project that an operator names."""

    method: str
    path: str
    handler: Callable[..., Any]
    summary: str
    shows: Any
    problems: tuple[type[Problem], ...]
    status: int


class Calls(list[Call]):
    """The calls of a module, in the order in which they are documented."""

    def add(
        self, method: str, path: str, *problems: type[Problem], summary: str, shows: Any = None, status: int = 200
    ) -> Callable[[Handler], Handler]:
        """Adds a call with an example of its answer, and the problems beyond those that every call may have."""

        def adding(handler: Handler) -> Handler:
            self.append(Call(method, path, handler, summary, shows, problems, status))
            return handler

        return adding


calls = Calls()
BODY = (MalformedJson, UnsupportedMediaType)


class RegisterEndpoint(Body):
    url: Url = Field(description="https, at a public host.")
    description: Description = ""


class ChangeEndpoint(Body):
    """What is left out stays as it is."""

    url: Url | None = None
    description: Description | None = None


class RotateSecret(Body):
    overlap_hours: int = Field(
        24, ge=0, le=168, description="How long messages are signed with the secret before, too; 0 where it has leaked."
    )


class Endpoint(Answer):
    id: str
    url: str
    description: str
    state: Literal["enabled", "disabled"]
    failing_since: Instant | None = Field(description="Since when every attempt has failed; five days disable it.")
    disabled_at: Instant | None
    disabled_because: str | None
    previous_secret_until: Instant | None = Field(description="Until when the secret before the present one counts.")
    pending: int = Field(description="Deliveries that are still to be made or tried again.")
    given_up: int = Field(description="Deliveries that failed for good: look at them and resend.")
    created_at: Instant


class EndpointWithSecret(Endpoint):
    secret: str = Field(description="What messages are verified with. Keep it; it is shown when made or rotated.")


class Endpoints(Answer):
    data: list[Endpoint]


EXAMPLE_ENDPOINT: dict[str, Any] = {
    "id": "ne_5f2b9c0d1e3a4b6c7d8e9f01",
    "url": "https://pdf.example.com/tollhouse",
    "description": "production",
    "state": "enabled",
    "failing_since": None,
    "disabled_at": None,
    "disabled_because": None,
    "previous_secret_until": None,
    "pending": 0,
    "given_up": 0,
    "created_at": "2026-11-22T09:00:00Z",
}
EXAMPLE_WITH_SECRET = {**EXAMPLE_ENDPOINT, "secret": "whsec_…"}


@calls.add(
    "GET",
    "",
    summary="List notification endpoints",
    shows={"data": [EXAMPLE_ENDPOINT]},
)
async def list_notification_endpoints(who: Who, ctx: Ctx) -> Endpoints:
    """The oldest first. A project has ten at most."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        counted = await counts(tx, who.project)
        rows = await endpoints_of(tx, who.project)
    return Endpoints(data=[Endpoint(**_fields(row, counted)) for row in rows])


@calls.add(
    "POST",
    "",
    *BODY,
    UrlNotAllowed,
    TooManyEndpoints,
    SecretKeyMissing,
    summary="Register a notification endpoint",
    shows=EXAMPLE_WITH_SECRET,
    status=201,
)
async def register_notification_endpoint(body: RegisterEndpoint, who: Who, ctx: Ctx) -> EndpointWithSecret:
    """Every change from now on is posted there, signed. Verify messages with the secret, which is shown here."""
    await check_url(ctx.post, body.url)
    async with ctx.database.transaction(project=who.project.id) as tx:
        made = await register_endpoint(
            tx, ctx.signer, who.project, body.url, body.description, who.why, at=ctx.clock.now()
        )
        return await _with_secret(tx, ctx, who.project, made)


@calls.add(
    "GET",
    "/{id}",
    EndpointNotFound,
    summary="One notification endpoint",
    shows=EXAMPLE_ENDPOINT,
)
async def read_notification_endpoint(id: EndpointId, who: Who, ctx: Ctx) -> Endpoint:  # noqa: A002
    """Whether it works: what is pending, what was given up, since when it fails."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        return await _state(tx, who.project, id)


@calls.add(
    "PATCH",
    "/{id}",
    EndpointNotFound,
    *BODY,
    UrlNotAllowed,
    summary="Change a notification endpoint",
    shows=EXAMPLE_ENDPOINT,
)
async def change_notification_endpoint(id: EndpointId, body: ChangeEndpoint, who: Who, ctx: Ctx) -> Endpoint:  # noqa: A002
    """What is pending goes to the new URL. The secret stays."""
    if body.url is not None:
        async with ctx.database.transaction(project=who.project.id) as tx:
            await find_endpoint(tx, who.project, id)  # before a name is resolved for nothing
        await check_url(ctx.post, body.url)
    async with ctx.database.transaction(project=who.project.id) as tx:
        values = body.model_dump(exclude_none=True)
        await change_endpoint(tx, who.project, id, values, who.why, at=ctx.clock.now())
        return await _state(tx, who.project, id)


@calls.add(
    "DELETE",
    "/{id}",
    EndpointNotFound,
    summary="Delete a notification endpoint",
    status=204,
)
async def delete_notification_endpoint(id: EndpointId, who: Who, ctx: Ctx) -> None:  # noqa: A002
    """With its deliveries: what is pending is not sent."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        await remove_endpoint(tx, who.project, id, who.why, at=ctx.clock.now())


@calls.add(
    "POST",
    "/{id}/rotate-secret",
    EndpointNotFound,
    *BODY,
    SecretKeyMissing,
    summary="Give an endpoint a new secret",
    shows=EXAMPLE_WITH_SECRET,
)
async def rotate_notification_secret(
    id: EndpointId,  # noqa: A002
    body: RotateSecret,
    who: Who,
    ctx: Ctx,
) -> EndpointWithSecret:
    """For the overlap each message carries two signatures, so that the app may change its secret at any time in it."""
    overlap = timedelta(hours=body.overlap_hours)
    async with ctx.database.transaction(project=who.project.id) as tx:
        await rotate_secret(tx, ctx.signer, who.project, id, overlap, who.why, at=ctx.clock.now())
        return await _with_secret(tx, ctx, who.project, id)


@calls.add(
    "POST",
    "/{id}/enable",
    EndpointNotFound,
    summary="Enable an endpoint again",
    shows=EXAMPLE_ENDPOINT,
)
async def enable_notification_endpoint(id: EndpointId, who: Who, ctx: Ctx) -> Endpoint:  # noqa: A002
    """From the next message on; ask for those it missed with `resend` since `disabled_at`."""
    async with ctx.database.transaction(project=who.project.id) as tx:
        await enable_endpoint(tx, who.project, id, who.why, at=ctx.clock.now())
        return await _state(tx, who.project, id)


async def _state(tx: Tx, project: Project, endpoint_id: str) -> Endpoint:
    return Endpoint(**_fields(await find_endpoint(tx, project, endpoint_id), await counts(tx, project)))


async def _with_secret(tx: Tx, ctx: Ctx, project: Project, endpoint_id: str) -> EndpointWithSecret:
    row = await find_endpoint(tx, project, endpoint_id)
    secret = ctx.signer.secret(row.id, row.generation)
    return EndpointWithSecret(**_fields(row, await counts(tx, project)), secret=secret)


def _fields(row: Row[Any], counted: dict[tuple[str, str], int]) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in ("id", "url", "description", "failing_since", "created_at")},
        **{name: getattr(row, name) for name in ("disabled_at", "disabled_because")},
        "state": "enabled" if row.disabled_at is None else "disabled",
        "previous_secret_until": row.previous_until,
        "pending": counted.get((row.id, "pending"), 0),
        "given_up": counted.get((row.id, "given_up"), 0),
    }
