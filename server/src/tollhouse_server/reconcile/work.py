"""A run under way in this process: what it asks Stripe with, what it has counted, and each step in one transaction."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from .. import drift
from ..audit import Cause
from ..db.engine import Tx
from ..drift import Found
from ..pipeline import PARKED, Pipeline
from ..stripe_gateway import StripeClient, StripeRefused, StripeUnavailable
from ..stripe_gateway.pace import Pace
from ..telemetry import REREADS
from . import runs
from .runs import Run

log = structlog.get_logger(__name__)


@dataclass
class Work:
    """`tell` is called after every step, for who watches."""

    run: Run
    pipeline: Pipeline
    pace: Pace
    lease: timedelta
    tell: Callable[["Work"], None] = lambda _: None
    stage: str = ""
    cursor: str | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.stage, self.cursor = self.run.stage, self.run.cursor
        self.counts.update(self.run.counts)

    @property
    def stripe(self) -> StripeClient:
        return self.pipeline.stripe

    def now(self) -> datetime:
        return self.pipeline.clock.now()

    @property
    def spent(self) -> dict[str, Any]:
        """What the run has cost so far, with what it had cost before it was taken over."""
        return {
            "counts": dict(self.counts),
            "requests": self.run.requests + self.pace.requests,
            "stripe_seconds": self.run.stripe_seconds + self.pace.stripe_seconds,
            "paced_seconds": self.run.paced_seconds + self.pace.paced_seconds,
        }

    @asynccontextmanager
    async def step(self, stage: str, cursor: str | None = None, **values: Any) -> AsyncIterator[Tx]:
        """One transaction, with where the run goes on after it: both stand, or neither. Raises LeaseLost."""
        async with self.pipeline.database.transaction() as tx:
            yield tx
            await runs.save(tx, self.run, self.lease, stage=stage, cursor=cursor, **self.spent, **values)
        self.stage, self.cursor = stage, cursor
        self.tell(self)


async def reread(work: Work, stage: str, *, then: str) -> None:
    """Reads every suspect of the run from Stripe again, on the one path on which anything changes; then `then`."""
    async with work.pipeline.database.transaction() as tx:
        work.counts["customers.to_read"] = work.counts["customers.read"] + await runs.suspects(tx, work.run)
    work.tell(work)
    while True:
        async with work.pipeline.database.transaction() as tx:
            suspect = await runs.next_suspect(tx, work.run)
        if suspect is None:
            break
        await _reread_one(work, suspect, stage)
    async with work.step(then):
        pass


async def _reread_one(work: Work, suspect: str, stage: str) -> None:
    work.counts["customers.read"] += 1
    try:
        await _apply(work, suspect, stage)
    except (StripeUnavailable, DBAPIError, runs.LeaseLost):
        raise  # not this customer's fault: the run goes on here when the others can answer again
    except Exception as error:  # one customer's must not keep all who come after from being read
        if not isinstance(error, (*PARKED, StripeRefused)):
            log.exception("a customer cannot be reconciled", stripe_customer_id=suspect)
        work.counts["customers.unreadable"] += 1
        async with work.step(stage) as tx:
            said = f"{type(error).__name__}: {error}"
            await drift.record_unreadable(tx, work.run.id, suspect, said, at=work.now())
            await runs.cleared(tx, work.run, suspect)


async def _apply(work: Work, suspect: str, stage: str) -> None:
    REREADS.labels("reconcile").inc()
    facts, read = await work.pipeline.read(suspect)
    why, dry_run = Cause("reconcile", work.run.id), work.run.asked.dry_run
    found: Found | None = None
    if dry_run:
        try:
            # The same to the letter, and undone: a way of its own to foretell could foretell something else.
            async with work.pipeline.database.transaction() as tx:
                raise _Undone(await work.pipeline.write(tx, facts, read, why))
        except _Undone as undone:
            found = undone.found
    async with work.step(stage) as tx:
        if not dry_run:
            found = await work.pipeline.write(tx, facts, read, why)
        if found and (found.differences or found.gone):
            await drift.record(tx, work.run.id, found, at=work.now(), repaired=not dry_run)
            work.counts["customers.differed"] += 1
        elif found and not dry_run:
            await drift.close(tx, drift.of_customer(found.owner.customer_id), work.now())
        await runs.cleared(tx, work.run, suspect)


class _Undone(Exception):
    def __init__(self, found: Found | None) -> None:
        self.found = found
