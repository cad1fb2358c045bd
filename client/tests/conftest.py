"""A scripted Tollhouse on loopback, both clients driven alike, and an example of each answer in the API's own words."""

import asyncio
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tollhouse import AsyncTollhouse, Tollhouse

KEY = "tollhouse_abcdefghijkl_0123456789abcdef0123456789abcdefcrc123"


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedService:
    """Answers requests with what the test queued, in order; the last entry repeats."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    script: list[Callable[["Handler"], None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: object, status: int = 200, **headers: str) -> None:
        self.raw(json.dumps(body).encode(), status, "application/json", **headers)

    def problem(self, status: int, code: str, detail: str = "Because.", **headers: str) -> None:
        body = {"type": f"urn:tollhouse:problem:{code}", "title": "T", "status": status, "detail": detail, "code": code}
        self.raw(json.dumps(body).encode(), status, "application/problem+json", **headers)

    def raw(self, body: bytes, status: int = 200, content_type: str = "text/html", **headers: str) -> None:
        def play(handler: "Handler") -> None:
            handler.send_response(status)
            handler.send_header("Content-Type", content_type)
            handler.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.script.append(play)

    def silence(self) -> None:
        """Take the request and never answer."""
        self.script.append(lambda handler: self._hold(handler))

    def cut(self) -> None:
        """Take the request and hang up."""
        self.script.append(lambda handler: setattr(handler, "close_connection", True))

    def drip(self) -> None:
        """Begin an answer and never finish it, though a byte arrives every few milliseconds."""

        def play(handler: "Handler") -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
            handler.close_connection = True
            try:
                while not self.over.wait(0.01):
                    handler.wfile.write(b" ")
            except OSError:
                return  # the client gave up, as it should

        self.script.append(play)

    def _hold(self, handler: "Handler") -> None:
        handler.close_connection = True
        self.over.wait()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ScriptedService

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.service.seen.append(Seen(self.command, self.path, dict(self.headers), body))
        script = self.service.script
        play = script.pop(0) if len(script) > 1 else script[0]
        play(self)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is part of these tests."""

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would look up the host's name
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    server = Server(("127.0.0.1", 0), type("Scripted", (Handler,), {"service": scripted}))
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield scripted
    scripted.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


class Blocking:
    """An AsyncTollhouse that can be called like a Tollhouse."""

    def __init__(self, client: AsyncTollhouse, runner: asyncio.Runner) -> None:
        self.client, self._runner = client, runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest, service: ScriptedService) -> Iterator[Callable[..., Any]]:
    """Make a client of either kind for the scripted service; keyword arguments go to its constructor.

    Where nothing else is said, each check asks: these tests are about one call and its answer.
    """
    opened: list[Any] = []

    with asyncio.Runner() as runner:

        def make(url: str = service.url, **options: Any) -> Any:
            options = {"stream": False, "poll_interval": 0, **options}
            if request.param == "blocking":
                opened.append(Tollhouse(url, KEY, **options))
            else:
                opened.append(Blocking(AsyncTollhouse(url, KEY, **options), runner))
            return opened[-1]

        yield make
        for client in opened:
            client.aclose() if isinstance(client, Blocking) else client.close()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    return connect()


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def examples() -> dict[str, Any]:
    """One answer of each call, in the words of the API's description."""
    at, later = "2026-11-22T10:00:00Z", "2026-12-22T10:00:00Z"
    switch = {"allowed": True, "value": True, "valid_until": later, "reason": "subscription-active", "source": "sub_1"}
    limit = {"allowed": True, "value": "unlimited", "valid_until": None, "reason": "purchase-paid", "source": "cs_1"}
    closed = {"allowed": False, "value": False, "valid_until": None, "reason": "no-source", "source": None}
    entitlements = {
        "user_id": "ada",
        "version": 7,
        "checked_at": at,
        "features": {"premium_export": switch, "pages_per_day": limit, "api": closed},
    }
    subscription = {"id": "sub_1", "product": "pro", "price": "pdf-tool.pro.monthly", "quantity": 1, "status": "active"}
    subscription |= {
        "renews": True,
        "ends_at": None,
        "current_period_end": later,
        "trial_end": None,
        "items": [{"product": "pro", "price": "pdf-tool.pro.monthly", "quantity": 1, "current_period_end": later}],
        "billing_issue": False,
        "correction": None,
        "scheduled_change": None,
    }
    purchase = {"id": "cs_1", "product": "lifetime", "price": "pdf-tool.lifetime.once", "quantity": 1}
    purchase |= {"payment_status": "paid", "purchased_at": at, "refunded": 500, "amount": 19900, "currency": "eur"}
    grant = {"id": "gr_1", "feature": "pages_per_day", "product": None, "value": 50, "override": False}
    grant |= {"starts_at": at, "ends_at": later, "reason": "sorry"}
    customer = {**entitlements, "subscriptions": [subscription], "purchases": [purchase], "grants": [grant]}
    status = {"id": "chk_1", "user_id": "ada", "price": "pdf-tool.pro.monthly", "quantity": 1, "state": "open"}
    status |= {"payment_status": "unpaid", "url": "https://pay.test/chk_1", "created_at": at, "expires_at": later}
    source = {"kind": "subscription", "id": "sub_1", "products": ["pro"], "counts": True, "value": True, "from": at}
    source |= {"until": later, "rule": "subscription-active", "sentence": "Active.", "stripe_ids": ["sub_1", "in_1"]}
    source |= {"event_ids": ["evt_1"], "policy": {"grace_days": 7}}
    explanation = {"feature": "premium_export", "at": at, "allowed": True, "value": True, "valid_until": later}
    explanation |= {"rule": "subscription-active", "sentence": "Active.", "next_change_at": later}
    explanation |= {"policy": {"grace_days": 7, "on_pause": "keep_paid"}, "sources": [source], "served": None}
    price = {"lookup_key": "pdf-tool.pro.monthly", "amount": 900, "currency": "eur", "interval": "month"}
    price |= {"interval_count": 1, "trial_days": 14, "trial_card": False}
    price |= {"currency_options": {"usd": 1000}, "tax_behavior": "exclusive"}
    product = {"code": "pro", "name": "PDF Tool Pro", "plan_group": "plan", "lasts_days": None, "prices": [price]}
    product |= {"opens": {"premium_export": True, "pages_per_day": "unlimited"}, "per_seat": ["pages_per_day"]}
    feature = {"code": "pages_per_day", "name": "Pages per day", "kind": "limit", "combine": "max"}
    amounts = ["mrr_start", "new_mrr", "reactivation_mrr", "expansion_mrr", "contraction_mrr", "churned_mrr", "mrr_end"]
    amounts += ["past_due_mrr", "subscription_revenue", "purchase_revenue", "gross_revenue", "refunded", "net_revenue"]
    counts = ["start", "new", "reactivated", "churned", "end"]
    earned: dict[str, Any] = {"project": "pdf-tool", "from": at, "to": later, "complete": False, "currency": "eur"}
    earned |= dict.fromkeys(amounts, 900) | {f"customers_{name}": 1 for name in counts}
    earned |= {"arpu": None, "customer_churn_rate": 0.25, "revenue_churn_rate": 1, "trial_conversion_rate": None}
    earned |= dict.fromkeys(("active", "trialing", "past_due", "paused", "refunds", "disputes_lost"), 2)
    earned |= dict.fromkeys(("trials_started", "trials_ended", "trials_converted", "lost_to_disputes"), 3)
    earned |= dict.fromkeys(("payments_failed", "failed", "payments_recovered", "recovered"), 4)
    stretch: dict[str, Any] = {
        "value": True,
        "from": at,
        "until": later,
        "reason": "subscription-active",
        "source": "sub_1",
    }
    endless = {"value": "unlimited", "from": at, "until": None, "reason": "purchase-paid", "source": "cs_1"}
    snapshot: dict[str, Any] = {
        "project": "pdf-tool",
        "user_id": "ada",
        "version": 7,
        "catalog_version": 3,
        "issued_at": at,
    }
    snapshot["features"] = {
        "premium_export": {"kind": "switch", "stretches": [stretch]},
        "pages_per_day": {"kind": "limit", "stretches": [endless]},
        "api": {"kind": "switch", "stretches": []},
    }
    return {
        "check": {"feature": "premium_export", **switch, "version": 7, "checked_at": at},
        "snapshot": snapshot,
        "entitlements": entitlements,
        "customer": customer,
        "checkout": {"id": "chk_1", "url": "https://pay.test/chk_1", "outcome": "new", "expires_at": later}
        | {"subscription": None, "trial_days": 14, "trial_refused": None},
        "status": status,
        "synced": {"checkout": status, "customer": customer},
        "portal": {"url": "https://portal.test/1"},
        "explanation": explanation,
        "catalog": {
            "project": "pdf-tool",
            "version": 3,
            "default_product": None,
            "features": [feature],
            "products": [product],
        },
        "metrics": {
            "definitions": 1,
            "computed_at": at,
            "from": at,
            "to": later,
            "interval": "month",
            "data": [earned],
        },
    }


@pytest.fixture
def listings() -> Callable[[str], list[str]]:
    """The Python listings of a how-to page, as they stand there."""
    pages = Path(__file__).parents[2] / "docs" / "howto"
    return lambda page: re.findall(r"```python\n(.*?)```", (pages / page).read_text(), re.DOTALL)


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app's settings, for a listing that makes its client of them; nobody answers there."""
    monkeypatch.setenv("TOLLHOUSE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TOLLHOUSE_API_KEY", KEY)
