"""A database of the test's own in the test's event loop, and a shop in it: a project with a catalog and a customer."""

import asyncio
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import insert, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server import snapshot
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import audit, catalog, customer, price, project
from tollhouse_server.domain.evidence import Subscription, SubscriptionItem, SubscriptionStatus
from tollhouse_server.domain.facts import CustomerFacts
from tollhouse_server.inbox import Event
from tollhouse_server.snapshot import Snapshot

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)

PDF_TOOL: dict[str, Any] = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://app.test"],
    "features": {
        "premium_export": {"name": "Premium export"},
        "pages_per_day": {"name": "Pages per day", "kind": "limit"},
    },
    "products": {
        "pro": {
            "name": "PDF Tool Pro",
            "opens": {"premium_export": True, "pages_per_day": 500},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
        },
        "lifetime": {
            "name": "PDF Tool Lifetime",
            "opens": {"premium_export": True, "pages_per_day": "unlimited"},
            "prices": {"once": {"amount": 19900, "currency": "eur"}},
        },
    },
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def pdf_tool_catalog() -> dict[str, Any]:
    """A catalog document: a monthly plan and a thing to own."""
    return PDF_TOOL


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The test's own database in the test's own event loop; what is committed is committed."""
    opened = Database(database_url, pool_size=12)
    yield opened
    await opened.close()


@dataclass
class Shop:
    """The project `pdf-tool`, which sells `pro` as `price_pro`, and its customer Ada (`cus_ada`)."""

    database: Database
    project_id: uuid.UUID = field(default_factory=uuid.uuid4)
    customer_id: uuid.UUID = field(default_factory=uuid.uuid4)

    async def open(self) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(
                insert(project).values(id=self.project_id, slug="pdf-tool", name="PDF Tool", redirect_origins=[])
            )
            await tx.execute(
                insert(price).values(
                    stripe_price_id="price_pro",
                    project_id=self.project_id,
                    lookup_key="pdf-tool.pro.monthly",
                    product="pro",
                    stripe_product_id="prod_pro",
                    current=True,
                    active=True,
                )
            )
            await tx.execute(
                insert(customer).values(
                    id=self.customer_id, project_id=self.project_id, user_id="ada", stripe_customer_id="cus_ada"
                )
            )
        await self.publish(1, PDF_TOOL)

    async def publish(self, version: int, document: dict[str, Any]) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(
                insert(catalog).values(
                    project_id=self.project_id, version=version, document=document, published_by="grace"
                )
            )
            await tx.execute(project.update().values(catalog_version=version))

    def facts(self, status: str = "active", *, ends: datetime = NOW + timedelta(days=30), **more: Any) -> CustomerFacts:
        """What Stripe says of Ada: one subscription to `pro`."""
        item = SubscriptionItem("price_pro", None, "pdf-tool.pro.monthly", 1, ends - timedelta(days=30), ends)
        one = Subscription("sub_1", SubscriptionStatus(status), (item,), ends - timedelta(days=30))
        return CustomerFacts(**{"id": "cus_ada", "subscriptions": (one,), **more})

    async def stored(self) -> Snapshot:
        async with self.database.transaction() as tx:
            return await snapshot.read(tx, self.project_id, "ada")

    async def audited(self) -> list[Any]:
        """The audit entries of Ada's entitlements, oldest first."""
        async with self.database.transaction() as tx:
            rows = await tx.execute(select(audit).where(audit.c.action == "entitlements.changed").order_by(audit.c.id))
            return list(rows)


@pytest.fixture
async def shop(database: Database) -> Shop:
    opened = Shop(database)
    await opened.open()
    return opened


class Events:
    """Events as they would arrive, each new unless it is given an id."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self, subject: str | None = "cus_ada", **more: Any) -> Event:
        self._made += 1
        usual = {
            "id": f"evt_{self._made}",
            "type": "invoice.paid" if subject else "balance.available",
            "api_version": "2026-10-28.endive",
            "occurred_at": NOW,
            "body": "{}",
        }
        return Event(**{**usual, **more, "subject": subject})


@pytest.fixture
def event() -> Events:
    return Events()


class Proxy:
    """Stands before the sandbox: counts what is asked, can hold it up and can change the answer."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        self.rewrites: dict[str, Callable[[str], str]] = {}
        """Path → what becomes of its answers."""
        self.open = threading.Event()
        """While it is not set, nothing is passed on."""
        self.open.set()
        self.closes_at = ""
        """The path at whose next request it closes by itself."""

    async def _pass_on(self, request: Request) -> Response:
        if request.url.path == self.closes_at:
            self.closes_at = ""
            self.open.clear()
        self.asked.append(request.url.path)
        await asyncio.to_thread(self.open.wait, 20)
        async with httpx.AsyncClient(base_url=self._target, trust_env=False) as http:
            headers = {"Authorization": request.headers["Authorization"]}
            url = httpx.URL(path=request.url.path, query=request.url.query.encode())
            answer = await http.request(request.method, url, content=await request.body(), headers=headers)
        said = self.rewrites.get(request.url.path, str)(answer.text)
        return Response(said, answer.status_code, media_type="application/json")

    def run(self) -> Iterator["Proxy"]:
        routes = [Route("/{path:path}", self._pass_on, methods=["GET", "POST", "DELETE"])]
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([self._listener])), daemon=True)
        thread.start()
        yield self
        self.open.set()
        server.should_exit = True
        thread.join(10)
        self._listener.close()


@pytest.fixture
def proxy(sandbox: RunningSandbox) -> Iterator[Proxy]:
    """A Stripe that the test can hold up: the sandbox, behind a proxy."""
    yield from Proxy(sandbox.url).run()
