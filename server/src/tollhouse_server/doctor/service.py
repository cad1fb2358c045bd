"""Whether the service around the rows is as it should be: schema, walls, worker, clock, audit chain, Stripe."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from .. import liveness
from ..audit import trail
from ..db import isolation, readiness
from ..db.tables import metadata, project
from ..projection import types_concerning
from ..reconcile import runs
from ..stripe_gateway import StripeRefused, StripeUnavailable
from ..stripe_gateway.webhook_endpoint import faults_of_endpoints, known_event_types
from .checks import NOTHING, Check, Found, Look, Severity

NEWEST = 1_000
"""How many of each chain's audit entries are verified unless all are wanted."""
MOST_CLOCK_DIFFERENCE = timedelta(seconds=2)


async def _schema(look: Look) -> Found:
    connection = await look.tx.run_sync(readiness.current)
    return NOTHING if connection == readiness.head() else Found(1, (f"at {connection}, needed {readiness.head()}",))


async def _walls(look: Look) -> Found:
    missing = await look.tx.run_sync(isolation.missing, metadata)
    return Found(len(missing), tuple(missing[:5]))


async def _worker(look: Look) -> Found:
    return NOTHING if await liveness.seen_lately(look.tx) else Found(1)


async def _clock(look: Look) -> Found:
    before = datetime.now(UTC)
    theirs: datetime = (await look.tx.execute(select(func.clock_timestamp()))).scalar_one()
    after = datetime.now(UTC)
    apart = max(before - theirs, theirs - after)
    return NOTHING if apart <= MOST_CLOCK_DIFFERENCE else Found(1, (f"{apart.total_seconds():.1f} s",))


async def _chain(look: Look) -> Found:
    newest = None if look.full else NEWEST

    def walk() -> list[str]:
        walked = trail.verify(look.url, anchors={}, newest=newest)
        return [
            f"{one.project or 'fleet'}: position {one.fault.position}, entry {one.fault.audit_id}: {one.fault.wrong}"
            for one in walked
            if one.fault
        ]

    found = await asyncio.to_thread(walk)
    return Found(len(found), tuple(found[:5]))


async def _reconciled(look: Look) -> Found:
    """By the end of the last run of each kind; on a new installation, by its first project."""
    begun: datetime | None = await look.tx.scalar(select(func.min(project.c.created_at)))
    if begun is None:
        return NOTHING
    finished = await runs.last_finished(look.tx)
    late = []
    for kind, longest in look.reconciled_within.items():
        last: datetime = finished.get(kind, begun)
        if look.now - last > longest:
            late.append(f"{kind}, last at {last.isoformat()}" if kind in finished else f"{kind}, never yet")
    return Found(len(late), tuple(late))


async def _stripe(look: Look) -> Found:
    if look.stripe is None:
        return NOTHING
    try:
        faults = await faults_of_endpoints(look.stripe, types_concerning(known_event_types()))
    except (StripeUnavailable, StripeRefused) as error:
        return Found(1, (str(error),))
    return Found(len(faults), tuple(faults[:5]))


SCHEMA = Check(
    "schema",
    Severity.WRONG,
    "The database has not the schema that this version needs.",
    "Run `tollhouse migrate`. Nothing else was looked at.",
    None,
    _schema,
)
SERVICE = (
    Check(
        "walls",
        Severity.WRONG,
        "What keeps the projects apart inside the database is not whole.",
        "Run `tollhouse migrate`: it puts the role and its policies in place.",
        "restore",
        _walls,
    ),
    Check(
        "worker",
        Severity.WRONG,
        "No worker was seen in the last 30 seconds.",
        "Start `tollhouse work`, or see in its log why it stopped.",
        "service-down",
        _worker,
    ),
    Check(
        "clock",
        Severity.WARNING,
        "This machine's clock and PostgreSQL's are more than two seconds apart.",
        "Set both by NTP: access ends by this machine's clock, and signatures of Stripe's are refused at five minutes.",
        None,
        _clock,
    ),
    Check(
        "audit-chain",
        Severity.WRONG,
        "The audit trail is not what was recorded.",
        "`tollhouse audit verify --anchors FILE` says since when. Somebody had the database owner's rights.",
        "restore",
        _chain,
    ),
    Check(
        "reconciliation-late",
        Severity.WRONG,
        "The last whole reconciliation with Stripe is too long ago: an event that was lost would not be noticed.",
        "Start a worker, and see GET /v1/admin/reconciliations for the error of the last run.",
        "drift",
        _reconciled,
    ),
)
STRIPE = Check(
    "stripe",
    Severity.WRONG,
    "Stripe does not answer, or does not send us every event.",
    "Mend the endpoint in Stripe's dashboard (`tollhouse webhook events` says how), then `tollhouse reconcile`.",
    "webhooks",
    _stripe,
)
"""Only where Stripe is to be asked."""
