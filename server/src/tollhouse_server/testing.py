"""The whole service for tests: real HTTP, a real database, Stripe's sandbox, and one clock that the test moves."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self, TypeVar

import httpx
import stripe as stripe_library
import uvicorn
from pydantic import SecretStr
from sqlalchemy import select

from tollhouse import Check, Customer, Tollhouse
from tollhouse_sandbox.testing import RunningSandbox

from .api.protocol import SERVED
from .app import build_app
from .catalogs import project_by_slug
from .commands.finish_checkouts import finish_checkouts
from .commands.open_checkout import CheckoutDesk
from .db.tables import customer
from .domain.scopes import OF_PROJECTS
from .reconcile import Asked, Kind, Trigger
from .resources import Resources, open_resources
from .settings import Settings
from .timetable import Timetable

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


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


Play = Callable[[BaseHTTPRequestHandler], object]


def answering(status: int, **headers: str) -> Play:
    """An answer without a body; `Retry_After="5"` is a header."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return play


class Receiver:
    """An app that hears of changes: a server on loopback that keeps what it is sent and answers as the test says."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, Play] = {}
        """Path → how it is answered; 204 where nothing is said."""
        self.over = threading.Event()
        """Set at the end, so that whoever hangs lets go."""

    def hang(self, path: str) -> None:
        """From now on requests for `path` are taken and not answered."""

        def play(handler: BaseHTTPRequestHandler) -> None:
            self.over.wait()
            handler.close_connection = True

        self.answers[path] = play

    def at(self, path: str) -> list[Received]:
        """What was sent there, in the order in which it came."""
        return [one for one in self.received if one.path == path]

    @contextmanager
    def running(self) -> Iterator[Self]:
        def handle(handler: BaseHTTPRequestHandler) -> None:
            length = int(handler.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.received.append(Received(handler.path, headers, handler.rfile.read(length)))
            self.answers.get(handler.path, answering(204))(handler)

        parts = {"do_POST": handle, "log_message": lambda *_: None, "protocol_version": "HTTP/1.1"}
        server = _ReceiverServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), parts))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.over.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _ReceiverServer(ThreadingHTTPServer):
    block_on_close = False  # a connection that is kept open for the next message must not keep the test

    def handle_error(self, request: object, client_address: object) -> None:
        """One who hangs up in the middle is part of these tests."""

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's would look up the host's name


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
            while await resources.courier.deliver_due():
                pass
            return done

        return self.run(drain)

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


class World:
    """A project that sells, its customers, Stripe and the service, all at one time of day."""

    def __init__(self, sandbox: RunningSandbox, service: RunningService, endpoint: str) -> None:
        self.sandbox, self.service, self.endpoint = sandbox, service, endpoint
        headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Tollhouse-Operator": "grace"}
        self.operator = httpx.Client(base_url=service.url, headers=headers, timeout=30, trust_env=False, verify=NO_TLS)
        self.stripe = stripe_library.StripeClient(
            sandbox.secret_key, base_addresses={"api": sandbox.url}, max_network_retries=0
        )
        self._apps: list[Tollhouse] = []

    def publish(self, document: Mapping[str, Any]) -> Tollhouse:
        """Publishes a catalog and answers with a client of its project, with a new key."""
        slug = document["project"]
        published = self.operator.put(f"/v1/admin/projects/{slug}/catalog", json=document)
        assert published.is_success, published.text
        self._apps.append(
            Tollhouse(self.service.url, self.new_key(slug), retries=0, check_timeout=20, stream=False, poll_interval=0)
        )
        return self._apps[-1]

    def new_key(self, project: str) -> str:
        """Another key of the project, with every scope."""
        issued = self.operator.post(
            f"/v1/admin/projects/{project}/keys", json={"name": "test", "scopes": list(OF_PROJECTS)}
        )
        return str(issued.raise_for_status().json()["key"])

    def customer(self, app: Tollhouse, user_id: str) -> "WorldCustomer":
        return WorldCustomer(self, app, user_id)

    def arrive(self) -> None:
        """Lets every webhook under way arrive and the worker do its work."""
        self.sandbox.drain()
        self.service.work()

    def passes(self, **by: float) -> None:
        """Time passes for Stripe and the service alike (`days=40`), and everything due happens."""
        self.passes_until(self.service.clock.now() + timedelta(**by))

    def passes_until(self, end: datetime) -> None:
        """The same, up to an instant."""
        self.service.clock.set(end)
        self.sandbox.advance_to(end)
        self.arrive()

    def pays_with(self, customer: "WorldCustomer", card: str) -> None:
        """Makes a test card the one that the customer's subscriptions are charged to from now on."""
        attached = self.stripe.v1.payment_methods.attach(card, {"customer": customer.stripe_id})
        settings = {"invoice_settings": {"default_payment_method": attached.id}}
        self.stripe.v1.customers.update(customer.stripe_id, settings)  # type: ignore[arg-type]
        for one in self.stripe.v1.subscriptions.list({"customer": customer.stripe_id}).data:
            self.stripe.v1.subscriptions.update(one.id, {"default_payment_method": attached.id})

    def in_portal(self, portal_url: str, action: str, subscription_id: str) -> None:
        """Presses a button of the portal's page: `cancel` or `resume`."""
        pressed = httpx.post(portal_url, data={"action": action, "subscription": subscription_id}, verify=NO_TLS)
        assert pressed.status_code == httpx.codes.SEE_OTHER, pressed.text
        self.arrive()

    def hold_webhooks(self, held: bool = True) -> None:
        """Stripe delivers nothing until let go; what happens meanwhile is never delivered by itself."""
        self.stripe.v1.webhook_endpoints.update(self.endpoint, {"disabled": held})

    def close(self) -> None:
        self.operator.close()
        for app in self._apps:
            app.close()


class WorldCustomer:
    """One user of one app."""

    def __init__(self, world: World, app: Tollhouse, user_id: str) -> None:
        self.world, self.app, self.user_id = world, app, user_id

    def buys(self, price: str, card: str = "pm_card_visa", **asked: Any) -> str:
        """Pays for `price` on the hosted page; answers with the checkout's id once the webhooks have arrived."""
        opened = self.app.open_checkout(
            self.user_id, price, success_url="https://app.test/welcome", cancel_url="https://app.test/", **asked
        )
        if opened.url is None or opened.id is None:
            raise AssertionError(f"{self.user_id} was not asked to pay: {opened.outcome}")
        self.world.sandbox.pay(opened.url, card)
        self.world.arrive()
        return opened.id

    def may(self, feature: str) -> Check:
        return self.app.check(self.user_id, feature)

    def state(self) -> Customer:
        return self.app.customer(self.user_id)

    @property
    def stripe_id(self) -> str:
        """The Stripe customer (`cus_…`)."""

        async def find(resources: Resources) -> str:
            async with resources.database.transaction() as tx:
                found = await tx.scalar(select(customer.c.stripe_customer_id).where(customer.c.user_id == self.user_id))
            return str(found)

        return self.world.service.run(find)


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


@contextmanager
def world_of(sandbox: RunningSandbox, service: RunningService) -> Iterator[World]:
    """A world that begins now: the sandbox emptied and frozen, the service, whose database is empty, at its time."""
    sandbox.reset()
    sandbox.freeze()
    # On a whole second, as Stripe's timestamps are: what begins now has begun.
    begins = sandbox.now().replace(microsecond=0) + timedelta(seconds=1)
    sandbox.advance_to(begins)
    service.clock.set(begins)
    stripe = stripe_library.StripeClient(sandbox.secret_key, base_addresses={"api": sandbox.url})
    url = f"{service.url}/v1/stripe/webhook"
    endpoint = stripe.v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
    service.trust(endpoint["secret"])
    world = World(sandbox, service, endpoint.id)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def running_world(sandbox: RunningSandbox, database_url: str, *, redis_url: str | None = None) -> Iterator[World]:
    """A world with a service of its own on `database_url`, which is migrated and empty."""
    with running_service(sandbox, database_url, redis_url=redis_url) as service, world_of(sandbox, service) as world:
        yield world
