"""Builds the ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi import FastAPI

from .api import openapi, problems, service, v1
from .api.authentication import still_good
from .api.context import Context
from .api.envelope import HEADERS, Envelope
from .api.fan_out import FanOut
from .api.fast_lane import FastLane
from .api.protocol import END_STREAMS, FAST_LANE
from .api.rate_limits import rate_limits
from .api.shedding import Lanes
from .api.stripe_webhook import events_first
from .clock import Clock
from .domain.scopes import Scope
from .passwords import Passwords
from .resources import Resources, open_resources
from .settings import Settings
from .snapshot_signing import SnapshotSigner

DESCRIPTION = """One place for money and access of a fleet of apps.

An app makes four calls with its project's key: open a checkout, open the portal, ask what a user may do, read what it
sells. Every error is `application/problem+json` with a stable `code` and a sentence that says what to do.
"""


def build_app(settings: Settings, *, clock: Clock | None = None) -> Envelope:
    """The service. Raises SettingsInvalid at once where it could not be served safely. `clock` is for tests."""
    secrets = settings.webhook_secrets
    lanes = Lanes(settings.max_requests_in_flight, settings.max_streams)
    lane = FastLane(log_share=settings.log_checks_share, security=HEADERS, reads=lanes.reads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with (
            open_resources(settings, clock=clock) as resources,
            resources.announcements.listening(),
            resources.changes.running(),
        ):
            fan_out = FanOut(
                resources.database,
                resources.changes,
                resources.clock,
                partial(still_good, resources.database, Scope.CHECK),
                heartbeat_seconds=settings.stream_heartbeat_seconds,
            )
            async with fan_out.running():
                lane.context = app.state.context = _context(resources, fan_out, secrets)
                yield {END_STREAMS: fan_out.end, FAST_LANE: lane}
                lane.context = None

    app = FastAPI(
        title="Tollhouse",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    openapi.install(app)
    app.include_router(v1.routes)
    app.include_router(service.router)
    service.serve_docs(app)
    return Envelope(
        app,
        inner=events_first(app),
        log_share=settings.log_checks_share,
        lanes=lanes,
    )


def _context(resources: Resources, fan_out: FanOut, secrets: tuple[str, ...]) -> Context:
    settings = resources.settings
    admin = settings.admin_api_key
    return Context(
        database=resources.database,
        cache=resources.cache,
        changes=resources.changes,
        intake=resources.intake,
        fan_out=fan_out,
        stripe=resources.stripe,
        pipeline=resources.pipeline,
        clock=resources.clock,
        refresh=resources.refresh,
        signer=resources.courier.signer,
        snapshot_signer=SnapshotSigner(settings.secret_keys, timedelta(seconds=settings.snapshot_valid_seconds)),
        post=resources.courier.post,
        reconciler=resources.reconciler,
        webhook_secrets=secrets,
        livemode=settings.livemode,
        admin_api_key=admin.get_secret_value() if admin else None,
        rate_limits=rate_limits(
            reads=settings.rate_limit_reads,
            writes=settings.rate_limit_writes,
            refusals=settings.rate_limit_refusals,
        ),
        passwords=Passwords(),
    )
