"""What a caller meets once we know who it is, before the call: the limit of its rate, and its Idempotency-Key."""

import ipaddress
import math
import uuid

from fastapi import Request

from ..domain.errors import Problem
from ..telemetry import RATE_LIMITED
from . import once
from .context import Context
from .rate_limits import RateLimit, RateLimited


async def admit(request: Request, ctx: Context, *, key: str, caller: str, project_id: uuid.UUID | None) -> None:
    """Lets a known caller in. `key` is what it called with, `caller` whose idempotency keys are the same.

    Raises RateLimited, and what `once.begin` raises.
    """
    limit = ctx.rate_limits.reads if request.method == "GET" else ctx.rate_limits.writes
    if limit is not None:
        _take(request, limit, key)
    if request.method == "POST":
        request.state.attempt = await once.begin(request, ctx.database, caller, project_id)


def turn_away(request: Request, ctx: Context, refusal: Problem) -> Problem:
    """What to tell somebody unknown: the refusal, or, to who is refused all the time, to wait."""
    limit = ctx.rate_limits.refusals
    try:
        if limit is not None:
            _take(request, limit, network_of(request))
    except RateLimited as limited:
        return limited
    return refusal


def _take(request: Request, limit: RateLimit, caller: str) -> None:
    standing = limit.take(caller)
    request.state.headers = limit.headers(standing)
    if standing.wait:
        RATE_LIMITED.labels(limit.name).inc()
        seconds = math.ceil(standing.wait)
        raise RateLimited(f"Too many requests: wait {seconds} s, and then send fewer.", retry_after=seconds)


def network_of(request: Request) -> str:
    """Where a request comes from: an IPv6 host has a whole /64 to call from."""
    address = request.client.host if request.client else ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
