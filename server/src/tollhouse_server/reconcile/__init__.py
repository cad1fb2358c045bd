"""Walks Stripe's side of the books and repairs ours: scheduled, on demand, and once at a time over all replicas."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from .. import drift
from ..db.engine import Tx
from ..domain.errors import Problem
from ..pipeline import Pipeline
from ..stripe_gateway import StripeClient
from ..stripe_gateway.pace import Pace
from . import runs
from .catch_up import FIRST_WINDOW, OVERLAP, catch_up
from .runs import Asked, Kind, LeaseLost, ReconciliationRunning, Run, Trigger
from .schedule import Schedule
from .sweep import WrongAccount, sweep
from .work import Work

__all__ = ["Asked", "Kind", "Reconciler", "ReconciliationRunning", "Schedule", "Trigger", "Work"]

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
"""After how long another replica goes on with a run whose process gives no sign of life."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What the runs need from outside. `open_stripe` opens a client on which every request keeps the pace given."""

    pipeline: Pipeline
    open_stripe: Callable[[Pace], AbstractAsyncContextManager[StripeClient]]
    requests_per_second: float
    schedule: Schedule
    lease: timedelta = LEASE

    async def turn(self, kind: Kind) -> bool:
        """What a worker does every few seconds: goes on with a run that waits or was abandoned, else begins one that is
        due. False where there was nothing to do."""
        await self.begin_if_due(kind)
        return await self.go_on(kind)

    async def begin_if_due(self, kind: Kind) -> None:
        now = self.pipeline.clock.now()
        async with self.pipeline.database.transaction() as tx:
            if not self.schedule.is_due(kind, await runs.last_started(tx, kind), now):
                return
            await runs.alone(tx)
            # Asked again under the lock: another replica may have begun it, and finished it, meanwhile.
            if self.schedule.is_due(kind, await runs.last_started(tx, kind), now):
                with contextlib.suppress(ReconciliationRunning):
                    await self.begin(tx, Asked(kind, Trigger.SCHEDULE, "timetable"))

    async def begin(self, tx: Tx, asked: Asked) -> str:
        """Leaves a run for whoever takes it next; returns its id. Raises ReconciliationRunning."""
        now = self.pipeline.clock.now()
        reached = await runs.reached(tx)
        since = now - FIRST_WINDOW if reached is None else reached - OVERLAP
        return await runs.begin(tx, asked, at=now, since=since if asked.kind is Kind.CATCH_UP else None)

    async def run_now(self, asked: Asked, tell: Callable[[Work], None] = lambda _: None) -> str:
        """Begins a run and does it; returns its id. Raises ReconciliationRunning, where nobody has abandoned that one:
        an abandoned one is done first."""
        while await self.go_on(asked.kind, tell, at_once=True):
            pass
        async with self.pipeline.database.transaction() as tx:
            run_id = await self.begin(tx, asked)
            run = await runs.take(tx, asked.kind, self.lease)
        assert run is not None
        await self._do(run, tell)
        return run_id

    async def go_on(self, kind: Kind, tell: Callable[[Work], None] = lambda _: None, *, at_once: bool = False) -> bool:
        """Takes the run of the kind that waits or was abandoned, and does it to its end; False where there is none.

        `at_once` takes one that pauses after an error, too. Raises nothing that Stripe or one customer can cause: that
        is kept with the run. Cancelled, it leaves the run for another to go on with.
        """
        async with self.pipeline.database.transaction() as tx:
            run = await runs.take(tx, kind, self.lease, at_once=at_once)
        if run is None:
            return False
        await self._do(run, tell)
        return True

    async def _do(self, run: Run, tell: Callable[[Work], None]) -> None:
        try:
            async with self._beating(run):
                await self._carry_out(run, tell)
        except LeaseLost as lost:
            log.warning("a reconciliation goes on elsewhere", run_id=run.id, error=str(lost))
        except asyncio.CancelledError:
            await self._release(run)
            raise
        except Exception as error:  # whatever it is, it belongs into the row, not into a log alone
            await self._stumble(run, error)

    async def _carry_out(self, run: Run, tell: Callable[[Work], None]) -> None:
        pace = Pace(self.requests_per_second)
        async with self.open_stripe(pace) as stripe:
            work = Work(run, replace(self.pipeline, stripe=stripe), pace, self.lease, tell)
            if work.stage != "done":
                await (catch_up if run.asked.kind is Kind.CATCH_UP else sweep)(work)
        now = work.now()
        async with self.pipeline.database.transaction() as tx:
            if run.asked.kind is Kind.SWEEP and not run.asked.dry_run:
                await drift.close_older(tx, run.id, run.asked.project_id, at=run.started_at)
            await runs.finish(tx, run, at=now, **work.spent)
        log.info("reconciled", run_id=run.id, kind=run.asked.kind, **work.spent)

    @asynccontextmanager
    async def _beating(self, run: Run) -> AsyncIterator[None]:
        """Gives signs of life meanwhile: a single request may take longer than the lease."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(self.lease.total_seconds() / 3)
                async with self.pipeline.database.transaction() as tx:
                    await runs.beat(tx, run, self.lease)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            # It may have ended by an error of its own: the next step notices by itself whether the lease still stands.
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await beating

    async def _release(self, run: Run) -> None:
        with contextlib.suppress(LeaseLost):
            async with self.pipeline.database.transaction() as tx:
                await runs.release(tx, run)

    async def _stumble(self, run: Run, error: Exception) -> None:
        final = isinstance(error, WrongAccount)
        with contextlib.suppress(LeaseLost):
            async with self.pipeline.database.transaction() as tx:
                failed = await runs.stumble(tx, run, error, at=self.pipeline.clock.now(), final=final)
            said = "a reconciliation has failed" if failed else "a reconciliation was interrupted and will go on"
            expected = isinstance(error, (Problem, WrongAccount))
            (log.warning if expected else log.exception)(said, run_id=run.id, error=str(error))
