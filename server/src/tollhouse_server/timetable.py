"""What runs when. Each job may run in several replicas at once: the rows they lock keep them from harm."""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from . import deliveries, drift, idempotency, inbox, liveness, logs, outbox, snapshot
from .audit import Cause
from .clock import Clock
from .db.engine import Database
from .refresh import Refresh

log = structlog.get_logger(__name__)

REFRESH_EVERY = timedelta(seconds=1)
HEARTBEAT_EVERY = timedelta(seconds=5)
PRUNE_EVERY = timedelta(hours=6)
RECONCILE_EVERY = timedelta(seconds=5)
"""How often it is asked whether a reconciliation is due, was asked for, or was abandoned."""

KEEP_SETTLED = timedelta(days=90)
"""How long a settled event is kept, and a reconciliation with its report: three times what Stripe lists."""
KEEP_MESSAGES = timedelta(days=30)
"""How long what apps were told is kept, for them to ask for it again."""
KEEP_GIVEN_UP = timedelta(days=90)

BATCH = 100


@dataclass(frozen=True, slots=True)
class Timetable:
    database: Database
    clock: Clock
    refresh: Refresh

    async def refresh_outdated(self) -> int:
        """Refreshes the customers whose time has come or whose catalog has changed; returns how many.

        Answers are right without it, as reading evaluates the instant: it gives the change its version and audit entry.
        """
        at = self.clock.now()
        async with self.database.transaction() as tx:
            customers = await snapshot.outdated(tx, at, limit=BATCH)
        done = 0
        for customer_id, overtaken_by in customers:
            with logs.concerning(customer_id=str(customer_id)):
                try:
                    async with self.database.transaction() as tx:
                        await self.refresh(tx, customer_id, Cause("timetable", overtaken_by), at=at)
                    done += 1
                except Exception:  # one customer's must not keep all who come after from theirs
                    log.exception("a customer cannot be refreshed")
        return done

    async def heartbeat(self, worker_id: str) -> None:
        """Tells /readyz that this worker is alive."""
        async with self.database.transaction() as tx:
            await liveness.beat(tx, worker_id)

    async def prune(self) -> None:
        """Forgets what nobody asks for any more."""
        async with self.database.transaction() as tx:
            await inbox.prune(tx, KEEP_SETTLED)
            await idempotency.prune(tx)
            await drift.prune(tx, self.clock.now() - KEEP_SETTLED)
        async with self.database.transaction() as tx:
            await deliveries.prune(tx, keep_delivered=KEEP_MESSAGES, keep_given_up=KEEP_GIVEN_UP)
            await outbox.prune(tx, KEEP_MESSAGES)
