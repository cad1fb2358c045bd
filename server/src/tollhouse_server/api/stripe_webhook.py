"""Where Stripe posts its events: verified, stored, committed, and only then answered."""

import json
import re
from datetime import datetime
from typing import Annotated, Any

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

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
"""What ids, types and versions of Stripe's are made of. Anything else could not be stored, so it is not taken."""


class WrongMode(Problem):
    """The event is of the other mode: a live one on a service with test keys, or the reverse.

    Give the endpoint of each mode its own Tollhouse.
    """

    code = "wrong-mode"


@router.post(
    "/stripe/webhook",
    summary="Stripe's events arrive here",
    responses={
        200: {"content": {"application/json": {"example": {"outcome": "stored"}}}},
        **documented(BadSignature, WrongMode, MalformedJson, TooLarge, ValidationFailed, StoreUnavailable),
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
    """200 means stored: what comes twice, is of no type we handle or about somebody else's objects is stored too."""
    try:
        outcome = await _receive(ctx, await request.body(), stripe_signature)
    except Problem as refused:
        WEBHOOKS.labels(refused.code).inc()
        raise
    WEBHOOKS.labels(outcome).inc()
    return {"outcome": outcome}


async def _receive(ctx: Context, body: bytes, signature: str | None) -> str:
    verify(body, signature, ctx.webhook_secrets)
    event, livemode = _parse(body, ctx.clock.now())
    if livemode != ctx.livemode:
        mine, theirs = ("live", "test") if ctx.livemode else ("test", "live")
        raise WrongMode(f"This is a {theirs} event and STRIPE_SECRET_KEY is a {mine} key: nothing was stored.")
    logs.bind(events=[event.id], subject=event.subject)
    # Committed before the answer: what Stripe hears 200 for is never lost.
    async with ctx.database.transaction(ahead=True) as tx:
        stored = await inbox.receive(tx, event)
    if not stored:
        return "duplicate"
    WEBHOOK_AGE_SECONDS.observe(max(0, (ctx.clock.now() - event.occurred_at).total_seconds()))
    return "stored" if event.subject is not None else inbox.NOT_HANDLED


def _parse(body: bytes, now: datetime) -> tuple[Event, bool]:
    """The event and its livemode. Only what routes it is read: the truth is read from Stripe again."""
    try:
        text = body.decode()
        raw: Any = json.loads(text)
        id_, type_ = raw["id"], raw["type"]
        if not (_NAME.fullmatch(id_) and _NAME.fullmatch(type_)):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedJson("The body is signed, but it is not an event of Stripe's.") from None
    data = raw.get("data")
    obj = data.get("object") if isinstance(data, dict) else None
    event = Event(
        id=id_,
        type=type_,
        api_version=_name(raw.get("api_version")),
        occurred_at=_occurred(raw.get("created"), now),
        body=text,
        subject=_name(concerning(type_, obj)) if isinstance(obj, dict) else None,
    )
    return event, raw.get("livemode") is True


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _occurred(created: object, now: datetime) -> datetime:
    """A thin event says it in another form; it is for people only, so now will do."""
    try:
        return from_timestamp(created) if isinstance(created, int) else now
    except (OverflowError, ValueError):
        return now
