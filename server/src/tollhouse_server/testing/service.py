"""The service on a loopback port, in a thread of the test's process, on a clock that the test moves."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Self, TypeVar

import uvicorn
from pydantic import SecretStr

from tollhouse_sandbox.testing import RunningSandbox

from ..api.protocol import SERVED
from ..app import build_app
from ..catalogs import project_by_slug
from ..commands.change_subscription import SubscriptionDesk
from ..commands.finish_checkouts import finish_checkouts
from ..commands.open_checkout import CheckoutDesk
from ..reconcile import Asked, Kind, Trigger
from ..resources import Resources, open_resources
from ..settings import Settings
from ..timetable import Timetable

Result = TypeVar("Result")

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Everything is on loopback, and reading the certificate authorities takes longer than most tests."""

FAST = 10_000
"""Requests a second with which reconciliation asks the sandbox, so that tests do not wait for their slots."""

OPERATOR_KEY = "an-operators-key-for-tests-only"


class ManualClock:
    """Stands still until it is set."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now


class RunningService:
    """The service on a loopback port. Its worker works when `work` is called, and only then."""

    def __init__(self, settings: Settings, clock: ManualClock) -> None:
        self.settings, self.clock = settings, clock
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Accepted connections inherit it; asyncio does not set it on them, and each answer would wait 40 ms for an ACK.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="tollhouse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(20):
            raise RuntimeError("the service did not start within 20 s")
        return self

    def stop(self) -> None:
        """Tells the service to end, and does not wait for it."""
        self._server.should_exit = True

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(20)
        self._listener.close()

    def run(self, job: Callable[[Resources], Awaitable[Result]]) -> Result:
        """Runs `job` beside the service, in its event loop and on its database."""

        async def awaited() -> Result:
            done = await job(self._resources)
            # The service hears of it from PostgreSQL, within milliseconds for which no test should have to wait.
            if (local := self._app.app.state.context.cache.local) is not None:
                local.clear()
            return done

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(60)

    def work(self) -> int:
        """What a worker would do: all pending events, what time has overtaken, what apps are to hear of it.

        Returns how many customers had events.
        """

        async def drain(resources: Resources) -> int:
            done = 0
            while await resources.pipeline.process_next():
                done += 1
            timetable = Timetable(resources.database, resources.clock, resources.refresh)
            while await timetable.refresh_outdated():
                pass
            desk = CheckoutDesk(resources.database, resources.stripe, resources.pipeline)
            await finish_checkouts(desk, at=resources.clock.now())
            changes = SubscriptionDesk(resources.database, resources.stripe, resources.pipeline)
            await changes.finish(at=resources.clock.now())
            while await resources.courier.deliver_due():
                pass
            return done

        return self.run(drain)

    def correct(self) -> int:
        """Carries out the corrections that are due; returns how many."""

        async def carry_out(resources: Resources) -> int:
            done = 0
            while await resources.corrector.carry_out_next():
                done += 1
            return done

        return self.run(carry_out)

    def reconcile(self, kind: Kind, *, project: str | None = None, stripe: str | None = None, **more: Any) -> str:
        """One run now, to its end; returns its id. `stripe` is where it asks instead, `more` as `Asked` has it."""

        async def asked(at: Resources) -> str:
            elsewhere = at.settings.model_copy(update={"stripe_api_base": stripe or at.settings.stripe_api_base})
            reconciler = replace(replace(at, settings=elsewhere).reconciler, requests_per_second=FAST)
            async with at.database.transaction() as tx:
                owner = await project_by_slug(tx, project) if project else None
            wanted = Asked(kind, Trigger.CLI, "grace", project_id=owner.id if owner else None, **more)
            return await reconciler.run_now(wanted)

        return self.run(asked)

    def reconcile_if_due(self) -> list[Kind]:
        """What a worker's schedule would do at this instant; which kinds of run that were."""

        async def turn(resources: Resources) -> list[Kind]:
            reconciler = replace(resources.reconciler, requests_per_second=FAST)
            return [kind for kind in Kind if await reconciler.turn(kind)]

        return self.run(turn)

    def trust(self, webhook_secret: str) -> None:
        """From now on events signed with this secret count, and no others."""
        self.settings = self.settings.model_copy(update={"stripe_webhook_secret": SecretStr(webhook_secret)})
        state = self._app.app.state
        state.context = replace(state.context, webhook_secrets=self.settings.webhook_secrets)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._app = build_app(self.settings, clock=self.clock)
        self._server = uvicorn.Server(uvicorn.Config(self._app, timeout_graceful_shutdown=2, **SERVED))
        async with open_resources(self.settings, clock=self.clock) as self._resources:
            serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
            while not self._server.started and not serving.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # uvicorn has no event to wait for
            self._started.set()
            await serving


@contextmanager
def running_service(
    sandbox: RunningSandbox, database_url: str, *, redis_url: str | None = None
) -> Iterator[RunningService]:
    """The service on `database_url`, which is migrated, against `sandbox`; `world_of` makes the two acquainted."""
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url) if redis_url else None,
        stripe_secret_key=SecretStr(sandbox.secret_key),
        stripe_webhook_secret=SecretStr("whsec_of_no_endpoint_so_far"),
        stripe_api_base=sandbox.url,
        admin_api_key=SecretStr(OPERATOR_KEY),
        secret_key=SecretStr("a-secret-key-for-tests-and-nothing-else"),
        notifications_allow_private=True,
        database_pool_size=5,
        reread_pause_seconds=0,  # a test's customers do in a second what others do in a year
        # What the tests of a process ask in a second no app asks of one service.
        rate_limit_reads=100_000,
        rate_limit_writes=100_000,
        rate_limit_refusals=100_000,
    )
    with RunningService(settings, ManualClock(sandbox.now())) as service:
        yield service
