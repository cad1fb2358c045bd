"""The service and Stripe in one event loop: the real inbox, pipeline and database, with Stripe's sandbox behind a wire
that can be slow, break, or lose an answer."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import SecretStr

from reliability.shop import SHOP
from tollhouse_sandbox import rendering
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.app import build_app
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.sandbox import Sandbox
from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import Project, project_by_slug
from tollhouse_server.commands.publish_catalog import publish_catalog
from tollhouse_server.domain.facts import CustomerFacts
from tollhouse_server.domain.time import from_timestamp
from tollhouse_server.inbox import Event
from tollhouse_server.projection import concerning
from tollhouse_server.resources import Resources, open_resources
from tollhouse_server.settings import Settings
from tollhouse_server.stripe_gateway.parse import parse_customer

Json = dict[str, Any]
Send = Callable[[httpx.Request], Awaitable[httpx.Response]]
Weather = Callable[[httpx.Request, Send], Awaitable[httpx.Response]]


class Wire(httpx.AsyncBaseTransport):
    """What lies between the service and Stripe. `weather` decides what becomes of each request and its answer."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self.weather: Weather = fair

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.weather(request, self._send)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        # Read at once: what is held up on the wire says what was true when Stripe was asked.
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


async def fair(request: httpx.Request, send: Send) -> httpx.Response:
    return await send(request)


def slow(chance: random.Random, share: float, longest: float) -> Weather:
    """Some answers come late, by up to so many seconds: meanwhile Stripe changes, and other reads overtake."""

    async def weather(request: httpx.Request, send: Send) -> httpx.Response:
        answer = await send(request)
        if chance.random() < share:
            await asyncio.sleep(chance.uniform(0, longest))
        return answer

    return weather


class DeskClock:
    """The sandbox's time is the service's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._clock = sandbox.account.clock

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.second(), UTC)


@dataclass
class Desk:
    """Stripe's side is moved with `ask`, `pays` and `passes`; what it tells is read with `events`."""

    sandbox: Sandbox
    resources: Resources
    wire: Wire
    owner: Project
    _stripe: httpx.AsyncClient
    _told: int = 0

    async def ask(self, method: str, path: str, **given: Any) -> Json:
        """An API call by the merchant, in fair weather. Raises StripeError where Stripe refuses."""
        form = {key.replace("__", "[", 1) + ("]" if "__" in key else ""): value for key, value in given.items()}
        answer = await self._stripe.request(method, path, data=form or None)
        body: Json = answer.json()
        if answer.is_error:
            raise StripeError(body["error"]["message"], status=answer.status_code)
        return body

    async def passes(self, seconds: float) -> None:
        await self.sandbox.advance(seconds)

    def events(self) -> list[Json]:
        """What happened since the last time, oldest first."""
        store = self.sandbox.account.store
        fresh = store.count("event") - self._told
        self._told += fresh
        newest = store.newest_first("event")
        return [next(newest) for _ in range(fresh)][::-1]

    def owner_of(self, body: Json) -> str | None:
        """The Stripe customer (`cus_…`) whom an object belongs to in the end; None for prices and the like."""
        if body["object"] == "customer":
            return str(body["id"])
        if body.get("customer"):
            return str(body["customer"])
        charge = self.sandbox.account.store.get("charge", body.get("charge") or "")
        return str(charge["customer"]) if charge else None

    def facts(self, stripe_customer: str) -> CustomerFacts:
        """What Stripe has of a customer now, taken from its drawer: no network, no pages, no order of reads."""
        account = self.sandbox.account

        def all_of(kind: str, *expanded: str) -> list[Json]:
            found = [one for one in account.store.newest_first(kind) if self.owner_of(one) == stripe_customer]
            expansion = rendering.Expansion(account)
            shown = [expansion.along([*expanded], rendering.public(account, one)) for one in found]
            return [whole(account, one) for one in shown]

        customer = account.require("customer", stripe_customer)
        return parse_customer(
            json.loads(json.dumps(rendering.public(account, customer))),
            all_of("subscription"),
            all_of("invoice", "payments"),
            all_of("checkout.session", "line_items", "payment_intent"),
            all_of("charge"),
            all_of("refund"),
            all_of("dispute"),
        )


def whole(account: Account, shown: Json) -> Json:
    """With its embedded lists as lists, and all lines of an invoice instead of the first ten."""
    lists = {name: value["data"] for name, value in shown.items() if isinstance(value, dict) and "data" in value}
    if shown["object"] == "invoice":
        lists["lines"] = account.require("invoice", shown["id"])["lines"]
    return {**shown, **lists}


def as_received(event: Json) -> Event:
    """The event as the webhook's route stores it."""
    obj = event["data"]["object"]
    return Event(
        id=event["id"],
        type=event["type"],
        api_version=event["api_version"],
        occurred_at=from_timestamp(event["created"]),
        body=json.dumps(event),
        subject=concerning(event["type"], obj),
    )


@asynccontextmanager
async def desk(database_url: str, *, pool_size: int = 12, **settings: Any) -> AsyncIterator[Desk]:
    """A service on a migrated, empty database and a Stripe of its own, with the shop published."""
    sandbox = Sandbox("http://stripe.test")
    sandbox.freeze(True)
    wire = Wire(build_app(sandbox))
    # A customer's time is the sandbox's, in which a second is nothing.
    settings = {"reread_pause_seconds": 0, **settings}
    told = Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        stripe_secret_key=SecretStr("sk_test_sandbox"),
        stripe_api_base="http://stripe.test",
        database_pool_size=pool_size,
        **settings,
    )
    clock = DeskClock(sandbox)
    headers = {"Authorization": "Bearer sk_test_sandbox"}
    async with (
        open_resources(told, clock=clock) as resources,
        httpx.AsyncClient(transport=Wire(wire._inner.app), base_url="http://stripe.test", headers=headers) as stripe,
    ):
        library = resources.stripe._requestor._get_http_client()
        await library._client_async.aclose()  # type: ignore[attr-defined]
        library._client_async = httpx.AsyncClient(transport=wire)  # type: ignore[attr-defined]
        why = Cause("reliability", "a run begins")
        await publish_catalog(resources.database, resources.stripe, SHOP, why, at=clock.now())
        async with resources.database.transaction() as tx:
            owner = await project_by_slug(tx, SHOP["project"])
        assert owner is not None
        opened = Desk(sandbox, resources, wire, owner, stripe)
        opened.events()
        yield opened
        await sandbox.close()
