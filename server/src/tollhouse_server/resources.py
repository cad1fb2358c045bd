"""Opens what the processes need and closes it again: the one place where everything is put together."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import time, timedelta

from .cache import Cache
from .cache.announcements import Announcements
from .cache.local import Local
from .clock import Clock, open_clock
from .commands.carry_out_corrections import Corrector
from .db.change_feed import ChangeFeed
from .db.engine import Database
from .db.reader import Reader
from .intake import Intake
from .notifications.courier import Courier
from .notifications.post import Post
from .notifications.signing import Signer
from .pipeline import Pipeline
from .reconcile import Reconciler, Schedule
from .refresh import Refresh
from .settings import Settings
from .stripe_gateway import StripeClient
from .stripe_gateway.client import close_client, open_client
from .stripe_gateway.pace import Pace, paced_client
from .trial_memory import TrialMemory


@dataclass(frozen=True, slots=True)
class Resources:
    settings: Settings
    database: Database
    cache: Cache
    changes: ChangeFeed
    announcements: Announcements
    """Neither listens by itself: a process that keeps what it reads has both do it."""
    intake: Intake
    stripe: StripeClient
    clock: Clock
    refresh: Refresh
    courier: Courier

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            self.database,
            self.stripe,
            self.clock,
            self.refresh,
            max_attempts=self.settings.event_max_attempts,
            lease=timedelta(seconds=self.settings.claim_lease_seconds),
            pause=timedelta(seconds=self.settings.reread_pause_seconds),
            memory=TrialMemory(self.settings.secret_keys),
        )

    @property
    def corrector(self) -> Corrector:
        return Corrector(
            self.database,
            self.stripe,
            self.clock,
            max_attempts=self.settings.event_max_attempts,
            lease=timedelta(seconds=self.settings.claim_lease_seconds),
        )

    @property
    def reconciler(self) -> Reconciler:
        settings = self.settings

        def open_stripe(pace: Pace) -> AbstractAsyncContextManager[StripeClient]:
            return paced_client(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_base, pace)

        return Reconciler(self.pipeline, open_stripe, settings.reconcile_requests_per_second, _schedule(settings))


def _schedule(settings: Settings) -> Schedule:
    daily_at = settings.reconcile_sweep_daily_at
    return Schedule(
        catch_up_every=timedelta(seconds=settings.reconcile_catch_up_seconds) or None,
        sweep_every=timedelta(seconds=settings.reconcile_sweep_seconds) or None,
        sweep_daily_at=None if daily_at == "never" else time.fromisoformat(daily_at),
    )


@asynccontextmanager
async def open_resources(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Resources]:
    """Everything open; closed when the block ends. `clock` replaces the one the settings name."""
    async with contextlib.AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value()
        database = Database(url, pool_size=settings.database_pool_size)
        stack.push_async_callback(database.close)
        cache = Cache(
            settings.redis_url.get_secret_value() if settings.redis_url else None,
            local=Local() if settings.cache_in_process else None,
            reader=Reader(url),
        )
        stack.push_async_callback(cache.close)
        database.announcer = announcements = Announcements(cache.shared, cache.local)
        changes = ChangeFeed(url)
        changes.subscribe(announcements)
        intake = Intake(url)
        stack.push_async_callback(intake.close)
        stripe = open_client(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_base)
        stack.push_async_callback(close_client, stripe)
        if clock is None:
            clock = await stack.enter_async_context(
                open_clock(settings.stripe_api_base if settings.follow_sandbox_clock else None)
            )
        post = Post(allow_private=settings.notifications_allow_private, connections=settings.notification_concurrency)
        stack.push_async_callback(post.close)
        courier = Courier(database, clock, Signer(settings.secret_keys), post, settings.notification_concurrency)
        yield Resources(settings, database, cache, changes, announcements, intake, stripe, clock, Refresh(), courier)
