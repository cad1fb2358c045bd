"""Whether the service is alive and ready, its metrics, its documentation."""

from pathlib import Path
from typing import Literal

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from .. import liveness
from ..db.engine import Database
from ..db.migrate import is_at_head
from ..db.tables import inbox
from ..telemetry import INBOX_EVENTS, INBOX_OLDEST_SECONDS
from .context import Ctx
from .entitlements import example
from .problems import StoreUnavailable, documented
from .types import Answer

router = APIRouter(tags=["Service"], generate_unique_id_function=lambda route: route.name)

DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tollhouse API</title>
<link rel="icon" href="/docs/static/favicon.png"><link rel="stylesheet" href="/docs/static/swagger-ui.css"></head>
<body><div id="docs"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>"""
START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true, tryItOutEnabled: true})\n'


READY = {"ready": True, "database": True, "migrations": True, "worker": True}


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


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses=documented(StoreUnavailable),
)
async def metrics(ctx: Ctx) -> Response:
    """The text format of Prometheus."""
    async with ctx.database.transaction() as tx:
        oldest = func.coalesce(func.extract("epoch", func.now() - func.min(inbox.c.received_at)), 0)
        pending, waited = (
            await tx.execute(select(func.count(), oldest).where(inbox.c.next_attempt_at.is_not(None)))
        ).one()
        buried = await tx.scalar(select(func.count()).where(inbox.c.state == "buried"))
    INBOX_EVENTS.labels("pending").set(pending)
    INBOX_EVENTS.labels("buried").set(buried or 0)
    INBOX_OLDEST_SECONDS.set(float(waited))
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


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
        migrations = await is_at_head(database)
    except SQLAlchemyError:
        return Readiness(ready=False, database=False, migrations=False, worker=False)
    if not migrations:
        return Readiness(ready=False, database=True, migrations=False, worker=False)
    async with database.transaction() as tx:
        worker = await liveness.seen_lately(tx)
    return Readiness(ready=worker, database=True, migrations=True, worker=worker)
