"""Where Stripe posts its events: verified, stored, committed, and only then answered."""

import json
import re
from datetime import datetime
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import APIRouter, FastAPI, Header, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import inbox, logs
from ..db.engine import DatabaseBusy
from ..domain.errors import Problem
from ..domain.time import from_timestamp
from ..inbox import Event
from ..projection import concerning
from ..stripe_gateway.signature import BadSignature, verify
from ..telemetry import WEBHOOK_AGE_SECONDS, WEBHOOKS
from .bounds import WEBHOOK_PATH, TooLarge
from .context import Context, Ctx
from .problems import MalformedJson, Overloaded, StoreUnavailable, ValidationFailed, documented

router = APIRouter(tags=["Stripe"])
log = structlog.get_logger(__name__)

_SIGNATURE = b"stripe-signature"
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
"""What ids, types and versions of Stripe's are made of. Anything else could not be stored, so it is not taken."""


@router.post(
    "/stripe/webhook",
    summary="Stripe's events arrive here",
    responses={
        200: {"content": {"application/json": {"example": {"outcome": "stored"}}}},
        **documented(BadSignature, MalformedJson, TooLarge, ValidationFailed, StoreUnavailable),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": {"id": "evt_1", "type": "invoice.paid"}}
            },
        }
    },
)
async def receive_event(
    request: Request,
    ctx: Ctx,
    stripe_signature: Annotated[str | None, Header(alias="Stripe-Signature")] = None,
) -> dict[str, str]:
    """200 means stored: what comes twice, is of no type we handle or about somebody else's objects is stored too.

    So is what comes in the wrong mode or from another account; it is ignored, and its outcome says so.
    """
    return {"outcome": await _counted(ctx, await request.body(), stripe_signature)}


def events_first(app: FastAPI) -> ASGIApp:
    """`app`, where Stripe's events do not look for their route among all the others: in a burst that is half the work.

    They are answered as the route answers them.
    """

    async def lead(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != WEBHOOK_PATH or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        scope["endpoint"] = receive_event
        signed = next((value.decode("latin-1") for name, value in scope["headers"] if name == _SIGNATURE), None)
        body = (await receive())["body"]  # whole: the envelope has read it
        said = b'{"outcome":"%s"}' % (await _counted(app.state.context, body, signed)).encode()
        headers = [(b"content-length", b"%d" % len(said)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    return lead


async def _counted(ctx: Context, body: bytes, signature: str | None) -> str:
    try:
        outcome = await _receive(ctx, body, signature)
    except Problem as refused:
        WEBHOOKS.labels(refused.code).inc()
        raise
    WEBHOOKS.labels(outcome).inc()
    return outcome


async def _receive(ctx: Context, body: bytes, signature: str | None) -> str:
    verify(body, signature, ctx.webhook_secrets)
    text, raw = _read(body)
    event = _event(text, raw, ctx.clock.now(), ignored_as=_not_ours(raw, livemode=ctx.livemode))
    logs.bind(events=[event.id], subject=event.subject)
    if event.ignored_as is not None:
        log.warning("an event is stored and ignored", outcome=event.ignored_as)
    # Committed before the answer: what Stripe hears 200 for is never lost.
    if not await _store(ctx, event):
        return "duplicate"
    WEBHOOK_AGE_SECONDS.observe(max(0, (ctx.clock.now() - event.occurred_at).total_seconds()))
    return event.outcome or "stored"


async def _store(ctx: Context, event: Event) -> bool:
    try:
        return await ctx.intake.store(event)
    except psycopg.OperationalError as error:
        log.error("the database does not answer", error=type(error).__name__)
        raise StoreUnavailable("The database does not answer now: try again.") from error
    except DatabaseBusy as error:
        log.error("the database has too much to do")
        raise Overloaded("The database has as much to do as it can: try again.") from error


def _read(body: bytes) -> tuple[str, dict[str, Any]]:
    """The text, and what it says, with an id and a type that can be stored."""
    try:
        text = body.decode()
        raw: dict[str, Any] = json.loads(text)
        if _NAME.fullmatch(raw["id"]) and _NAME.fullmatch(raw["type"]):
            return text, raw
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise MalformedJson("The body is signed, but it is not an event of Stripe's.")


def _not_ours(raw: dict[str, Any], *, livemode: bool) -> str | None:
    """Why the event must lead to nothing. Answered 200 all the same: Stripe disables an endpoint that refuses.

    The version of the API that it is written in is no reason: nothing but ids is read from it.
    """
    if (raw.get("livemode") is True) is not livemode:
        return inbox.WRONG_MODE
    return inbox.WRONG_ACCOUNT if raw.get("account") is not None else None


def _event(text: str, raw: dict[str, Any], now: datetime, *, ignored_as: str | None) -> Event:
    """Only what routes it is read: the truth is read from Stripe again."""
    data = raw.get("data")
    obj = data.get("object") if isinstance(data, dict) else None
    return Event(
        id=raw["id"],
        type=raw["type"],
        api_version=_name(raw.get("api_version")),
        occurred_at=_occurred(raw.get("created"), now),
        body=text,
        subject=_name(concerning(raw["type"], obj)) if isinstance(obj, dict) else None,
        ignored_as=ignored_as,
    )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _occurred(created: object, now: datetime) -> datetime:
    """A thin event says it in another form; it is for people only, so now will do."""
    try:
        return from_timestamp(created) if isinstance(created, int) else now
    except (OverflowError, ValueError):
        return now
