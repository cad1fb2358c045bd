"""Runs the loops until told to stop: the pipeline, the timetable, and the ear on PostgreSQL that wakes them."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import psycopg
import structlog

from . import inbox, logs, outbox
from .audit import anchors, trail
from .commands.change_subscription import SubscriptionDesk
from .commands.finish_checkouts import finish_checkouts
from .commands.open_checkout import CheckoutDesk
from .db.engine import conninfo
from .inbox import Claim
from .reconcile import Kind
from .resources import Resources
from .telemetry import JOB_LAST_SUCCESS, JOB_SECONDS, JOBS
from .timetable import HEARTBEAT_EVERY, PRUNE_EVERY, RECONCILE_EVERY, REFRESH_EVERY, Timetable

log = structlog.get_logger(__name__)

POLL_EVERY = timedelta(seconds=1)
"""How long a missed NOTIFY can delay work."""
AFTER_ERROR = timedelta(seconds=1)
FINISH_EVERY = timedelta(seconds=30)
CORRECT_EVERY = timedelta(seconds=2)
ANCHOR_EVERY = timedelta(minutes=5)
"""How much of the audit trail, at most, could be made anew without contradicting a line of the log."""


class Worker:
    """One process' work. `stop()` lets the work in hand finish."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._pipeline = resources.pipeline
        self._timetable = Timetable(resources.database, resources.clock, resources.refresh)
        self._id = f"{socket.gethostname()}-{os.getpid()}"
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._in_hand = 0
        self._wakes = {outbox.CHANNEL: resources.courier.wake, inbox.CHANNEL: self._wake}

    def stop(self) -> None:
        self._stopping.set()
        for wake in self._wakes.values():
            wake.set()

    async def run(self) -> None:
        """Returns after `stop()`, once everything in hand is committed."""
        ear = asyncio.create_task(self._listen())
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._work())
                loops.create_task(self._resources.courier.run(self._stopping))
                loops.create_task(self._every("refresh", REFRESH_EVERY, self._refresh_all))
                loops.create_task(
                    self._every("heartbeat", HEARTBEAT_EVERY, lambda: self._timetable.heartbeat(self._id))
                )
                loops.create_task(self._every("checkouts", FINISH_EVERY, self._finish_checkouts))
                loops.create_task(self._every("corrections", CORRECT_EVERY, self._correct))
                loops.create_task(self._every("prune", PRUNE_EVERY, self._timetable.prune))
                loops.create_task(self._every("anchor", ANCHOR_EVERY, self._anchor))
                for kind in Kind:
                    loops.create_task(self._every(f"reconcile-{kind}", RECONCILE_EVERY, partial(self._reconcile, kind)))
        finally:
            ear.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ear

    async def _work(self) -> None:
        """Takes up customers as long as some are due and a hand is free; else waits to be woken."""
        async with asyncio.TaskGroup() as hands:
            while not self._stopping.is_set():
                self._wake.clear()
                try:
                    pause = await self._take_up(hands)
                except Exception:  # the database is away: what is claimed comes free when its lease ends
                    log.exception("the pipeline cannot work")
                    pause = AFTER_ERROR
                if pause is not None:
                    await self._wait(self._wake, pause)

    async def _take_up(self, hands: asyncio.TaskGroup) -> timedelta | None:
        """Gives each free hand a customer; returns how long there is nothing to take up, None: there may be more."""
        free = self._resources.settings.worker_concurrency - self._in_hand
        if not free:
            return POLL_EVERY  # a hand that comes free wakes
        claims = await self._pipeline.claim(most=free)
        for claim in claims:
            self._in_hand += 1
            hands.create_task(self._work_on(claim))
        if claims:
            return None
        return min(await self._pipeline.until_next() or POLL_EVERY, POLL_EVERY)

    async def _work_on(self, claim: Claim) -> None:
        try:
            await self._pipeline.work_on(claim)
        except Exception:  # the database is away: the lease ends, and somebody takes the customer up again
            log.exception("the pipeline cannot work")
            await self._wait(self._stopping, AFTER_ERROR)
        finally:
            self._in_hand -= 1
            self._wake.set()

    async def _finish_checkouts(self) -> None:
        resources = self._resources
        desk = CheckoutDesk(resources.database, resources.stripe, self._pipeline)
        await finish_checkouts(desk, at=resources.clock.now())
        await SubscriptionDesk(desk.database, desk.stripe, desk.pipeline).finish(at=resources.clock.now())

    async def _correct(self) -> None:
        while not self._stopping.is_set() and await self._resources.corrector.carry_out_next():
            pass

    async def _refresh_all(self) -> None:
        """A published catalog makes all of a project's customers outdated at once: batch after batch, no pause."""
        while not self._stopping.is_set() and await self._timetable.refresh_outdated():
            pass

    async def _anchor(self) -> None:
        """Says where the audit trail's chains end, where whoever can rewrite the database cannot take it back."""
        url = self._resources.settings.database_url.get_secret_value()
        for anchor in await asyncio.to_thread(trail.heads, url):
            log.info(anchors.EVENT, **anchor.said())

    async def _reconcile(self, kind: Kind) -> None:
        """Told to stop, it stops where it is: another replica, or the next start, goes on there."""
        turn = asyncio.create_task(self._resources.reconciler.turn(kind))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([turn, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not turn.done():
            turn.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await turn

    async def _every(self, name: str, interval: timedelta, job: Callable[[], Awaitable[object]]) -> None:
        while not self._stopping.is_set():
            with logs.concerning(job=name, run_id=logs.new_run_id()):
                await self._turn(name, job)
            await self._wait(self._stopping, interval)

    @staticmethod
    async def _turn(name: str, job: Callable[[], Awaitable[object]]) -> None:
        started, result = time.perf_counter(), "failed"
        try:
            await job()
            result = "done"
            JOB_LAST_SUCCESS.labels(name).set_to_current_time()
        except Exception:  # one failed turn must not end the timetable
            log.exception("a job failed")
        JOBS.labels(name, result).inc()
        JOB_SECONDS.labels(name).observe(time.perf_counter() - started)

    async def _listen(self) -> None:
        """Hears NOTIFY; where it cannot, polling goes on without it."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    conninfo(self._resources.settings.database_url.get_secret_value()), autocommit=True
                ) as connection:
                    for channel, wake in self._wakes.items():
                        await connection.execute(f"LISTEN {channel}")
                        wake.set()  # for what came while nobody listened
                    async for heard in connection.notifies():
                        self._wakes[heard.channel].set()
            except psycopg.Error as error:
                log.warning("cannot listen for new events; polling instead", error=str(error))
                await asyncio.sleep(AFTER_ERROR.total_seconds())

    @staticmethod
    async def _wait(event: asyncio.Event, longest: timedelta) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), longest.total_seconds())
