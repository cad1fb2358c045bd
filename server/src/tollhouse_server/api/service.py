"""Whether the service is alive and ready, its metrics, its documentation."""

import math
from pathlib import Path
from typing import Literal

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from .. import inbox, liveness
from ..db.engine import Database
from ..db.readiness import has_schema
from ..telemetry import DEPENDENCY_UP, INBOX_EVENTS, INBOX_OLDEST_SECONDS, WORKERS_ALIVE, exposition
from . import correction_gauges, drift_gauges, notification_gauges
from .context import Context, Ctx
from .entitlements import example
from .types import Answer

router = APIRouter(tags=["Service"], generate_unique_id_function=lambda route: route.name)

DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tollhouse API</title>
<link rel="icon" href="/docs/static/favicon.png"><link rel="stylesheet" href="/docs/static/swagger-ui.css"></head>
<body><div id="docs"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>"""
START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true, tryItOutEnabled: true})\n'


_STATES = ("pending", "deferred", "buried")
READY = {"ready": True, "database": True, "migrations": True, "worker": True}
_KEYS = {
    "keys": [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "alg": "EdDSA",
            "use": "sig",
        }
    ]
}


class Health(Answer):
    status: Literal["alive"] = "alive"


class Readiness(Answer):
    """What the service needs to do its work."""

    ready: bool
    database: bool = Field(description="PostgreSQL answers.")
    migrations: bool = Field(description="The schema is the one this code needs; else run `tollhouse migrate`.")
    worker: bool = Field(description="A `tollhouse work` was seen in the last 30 seconds.")


@router.get("/healthz", summary="Is the process alive?", responses=example({"status": "alive"}))
async def healthz() -> Health:
    """Asks nothing else: a restart mends only the process itself."""
    return Health()


@router.get(
    "/readyz",
    summary="Can the service do its work?",
    responses={
        **example(READY),
        503: {
            "model": Readiness,
            "description": "Something it needs is missing.",
            "content": {"application/json": {"example": {**READY, "ready": False, "worker": False}}},
        },
    },
)
async def readyz(ctx: Ctx, response: Response) -> Readiness:
    """503 while something it needs is missing; the body says what."""
    found = await _readiness(ctx.database)
    response.status_code = 200 if found.ready else 503
    return found


class PublicKey(Answer):
    """A key that snapshots are verified with (RFC 7517, RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str = Field(description="The key's thumbprint (RFC 7638), which a signed snapshot names.")
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class PublicKeys(Answer):
    keys: list[PublicKey] = Field(description="The one that signs comes first; none: SECRET_KEY is not set.")


@router.get("/.well-known/jwks.json", summary="The keys that verify signed snapshots", responses=example(_KEYS))
async def jwks(ctx: Ctx, response: Response) -> PublicKeys:
    """Needs no key. Keep them; a snapshot that names another was signed after SECRET_KEY was replaced: ask again."""
    response.headers["Cache-Control"] = "public, max-age=3600"
    return PublicKeys.model_validate(ctx.snapshot_signer.jwks())


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics(ctx: Ctx) -> Response:
    """The text format of Prometheus. What is counted in the database is NaN while that is away: calm would be a lie."""
    up = True
    try:
        await _measure(ctx)
    except (SQLAlchemyError, OSError):
        up = False
        inbox_gauges = [INBOX_OLDEST_SECONDS, *(INBOX_EVENTS.labels(state) for state in _STATES)]
        others = (*drift_gauges.gauges(), *notification_gauges.gauges(), *correction_gauges.gauges())
        for gauge in (WORKERS_ALIVE, *inbox_gauges, *others):
            gauge.set(math.nan)
    DEPENDENCY_UP.labels("database").set(up)
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)


async def _measure(ctx: Context) -> None:
    """Sets the gauges of what every process sees alike, as it stands in the database."""
    async with ctx.database.transaction() as tx:
        counts, waited = await inbox.depth(tx)
        workers = await liveness.alive(tx)
        await drift_gauges.measure(tx, ctx.clock.now())
        await notification_gauges.measure(tx)
        await correction_gauges.measure(tx)
    for state in _STATES:
        INBOX_EVENTS.labels(state).set(counts[state])
    INBOX_OLDEST_SECONDS.set(waited.total_seconds())
    WORKERS_ALIVE.set(workers)


def serve_docs(app: FastAPI) -> None:
    """Swagger UI from an installed package's own files: no page of ours asks another host for anything."""
    static = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/docs/static", StaticFiles(directory=static), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(DOCS)

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(START, media_type="text/javascript")


async def _readiness(database: Database) -> Readiness:
    try:
        migrations = await has_schema(database)
    except SQLAlchemyError:
        return Readiness(ready=False, database=False, migrations=False, worker=False)
    if not migrations:
        return Readiness(ready=False, database=True, migrations=False, worker=False)
    async with database.transaction() as tx:
        worker = await liveness.seen_lately(tx)
    return Readiness(ready=worker, database=True, migrations=True, worker=worker)
