"""Where Stripe posts its events: verified, stored, committed, and only then answered."""

import json
import re
from datetime import datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Request

from .. import inbox, logs
from ..domain.errors import Problem
from ..domain.time import from_timestamp
from ..inbox import Event
from ..projection import concerning
from ..stripe_gateway.signature import BadSignature, verify
from ..telemetry import WEBHOOK_AGE_SECONDS, WEBHOOKS
from .bounds import TooLarge
from .context import Context, Ctx
from .problems import MalformedJson, StoreUnavailable, ValidationFailed, documented

router = APIRouter(tags=["Stripe"])
log = structlog.get_logger(__name__)

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
    try:
        outcome = await _receive(ctx, await request.body(), stripe_signature)
    except Problem as refused:
        WEBHOOKS.labels(refused.code).inc()
        raise
    WEBHOOKS.labels(outcome).inc()
    return {"outcome": outcome}


async def _receive(ctx: Context, body: bytes, signature: str | None) -> str:
    verify(body, signature, ctx.webhook_secrets)
    text, raw = _read(body)
    event = _event(text, raw, ctx.clock.now())
    ignored_as = _not_ours(raw, livemode=ctx.livemode)
    logs.bind(events=[event.id], subject=event.subject)
    if ignored_as is not None:
        log.warning("an event is stored and ignored", outcome=ignored_as)
    # Committed before the answer: what Stripe hears 200 for is never lost.
    async with ctx.database.transaction(ahead=True) as tx:
        stored = await inbox.receive(tx, event, ignored_as=ignored_as)
    if not stored:
        return "duplicate"
    WEBHOOK_AGE_SECONDS.observe(max(0, (ctx.clock.now() - event.occurred_at).total_seconds()))
    return ignored_as or ("stored" if event.subject is not None else inbox.NOT_HANDLED)


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


def _event(text: str, raw: dict[str, Any], now: datetime) -> Event:
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
    )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _occurred(created: object, now: datetime) -> datetime:
    """A thin event says it in another form; it is for people only, so now will do."""
    try:
        return from_timestamp(created) if isinstance(created, int) else now
    except (OverflowError, ValueError):
        return now
