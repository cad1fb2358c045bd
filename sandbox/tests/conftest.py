"""A running sandbox, the real `stripe` library pointed at it, and a check of every answer against its types."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args

import httpx
import pytest
import stripe
from conformance.answers import fields, shape_faults
from stripe._object_classes import get_object_class

from tollhouse_sandbox.app import build_app
from tollhouse_sandbox.sandbox import Sandbox
from tollhouse_sandbox.testing import RunningSandbox, running_sandbox


class CheckingClient(stripe.RequestsClient):
    """The SDK's own HTTP client; it looks at every answer before the SDK does."""

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **more: Any) -> Any:
        content, status, answered = super().request(method, url, headers, post_data, **more)
        if status == 200:
            faults = shape_faults(json.loads(content))
            assert not faults, f"{method} {url}: {faults}"
        return content, status, answered


# Fixtures


@pytest.fixture(scope="session")
def _running() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def desk(_running: RunningSandbox) -> RunningSandbox:
    """An empty sandbox whose clock stands still."""
    _running.reset()
    _running.freeze()
    return _running


@pytest.fixture(scope="session")
def connect() -> Callable[..., Any]:
    """Makes clients of the real library, whose every answer is checked."""

    def connect(url: str, key: str = "sk_test_sandbox", retries: int = 0) -> Any:
        return stripe.StripeClient(
            key, base_addresses={"api": url}, http_client=CheckingClient(), max_network_retries=retries
        ).v1

    return connect


@pytest.fixture
def api(desk: RunningSandbox, connect: Callable[..., Any]) -> Any:
    """`stripe.StripeClient(...).v1`, pointed at the sandbox."""
    return connect(desk.url)


@pytest.fixture(scope="session")
def faults_of() -> Callable[[dict[str, Any]], list[str]]:
    """Says what is wrong with the shape of an object."""
    return shape_faults


class Shop:
    """A small catalogue and the steps most stories begin with."""

    def __init__(self, desk: RunningSandbox, api: Any) -> None:
        self.desk = desk
        self.api = api
        self.product = api.products.create(params={"name": "PDF Tool Pro"})

    def price(self, amount: int = 900, interval: str | None = "month", **more: Any) -> Any:
        params = {"product": self.product.id, "currency": "eur", "unit_amount": amount, **more}
        if interval:
            params["recurring"] = {"interval": interval}
        return self.api.prices.create(params=params)

    def customer(self, card: str | None = "pm_card_visa", **params: Any) -> Any:
        """A customer who pays with this card by default."""
        customer = self.api.customers.create(params=params)
        return self.give_card(customer, card) if card else customer

    def give_card(self, customer: Any, card: str) -> Any:
        params = {"invoice_settings": {"default_payment_method": card}}
        return self.api.customers.update(customer.id, params=params)

    def subscribe(self, price: Any, customer: Any = None, **params: Any) -> Any:
        customer = customer or self.customer()
        items = [{"price": price.id}]
        return self.api.subscriptions.create(params={"customer": customer.id, "items": items, **params})

    def checkout(self, price: Any, quantity: int = 1, **params: Any) -> Any:
        mode = "subscription" if price.recurring else "payment"
        lines = [{"price": price.id, "quantity": quantity}]
        urls = {
            "success_url": "https://app.example/done?id={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://app.example/",
        }
        return self.api.checkout.sessions.create(params={"mode": mode, "line_items": lines, **urls, **params})

    def events(self, since: Any = None) -> list[Any]:
        """The events after one of them, oldest first, as far as 30 days back."""
        newest_first = list(self.api.events.list(params={"limit": 100}).auto_paging_iter())
        events = newest_first[::-1]
        ids = [event.id for event in events]
        return events[ids.index(since.id) + 1 :] if since and since.id in ids else events

    def happened(self, since: Any = None) -> list[str]:
        return [event.type for event in self.events(since)]

    def last_event(self) -> Any:
        return self.api.events.list(params={"limit": 1}).data[0]


@pytest.fixture
def shop(desk: RunningSandbox, api: Any) -> Shop:
    return Shop(desk, api)


@pytest.fixture
def charge(shop):
    """A charge of 100.00, and the customer it names."""
    session = shop.checkout(shop.price(10_000, None), customer=shop.customer(card=None, email="ann@example.com").id)
    shop.desk.pay(session.id)
    return shop.api.charges.list().data[0]


@pytest.fixture(scope="session")
def field_hint() -> Callable[[str, str], Any]:
    """The SDK's annotation of a field of a kind of object, by a path like `parent.subscription_details`."""

    def hint(kind: str, path: str) -> Any:
        cls: Any = get_object_class("V1", kind)
        for part in path.split("."):
            members = [cls, *get_args(cls)]
            owner = next(each for each in members if isinstance(each, type) and part in fields(each))
            cls = fields(owner)[part]
        return cls

    return hint


class Receiver:
    """An endpoint that keeps what it is sent and answers what the test says."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.answer: Callable[[int], int] = lambda _nth: 200
        self.when_called: Callable[[dict[str, Any]], None] = lambda _event: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((body, self.headers))
                receiver.when_called(json.loads(body))
                self.send_response(receiver.answer(len(receiver.received)))
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body, _ in self.received]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def endpoint(api: Any, receiver: Receiver) -> Any:
    """An endpoint that hears everything."""
    return api.webhook_endpoints.create(params={"url": receiver.url, "enabled_events": ["*"]})


class Desk:
    """A sandbox in this thread: its coroutines as the pages call them, and its API over ASGI."""

    def __init__(self, **how: Any) -> None:
        self.sandbox = Sandbox(**how)
        self.loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(build_app(self.sandbox))
        self._http = httpx.AsyncClient(transport=transport, base_url="http://desk", auth=("sk_test_x", ""))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def post(self, path: str, data: dict[str, str] | None = None, version: str | None = None) -> Any:
        answer = self.ask("POST", path, data, version)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask(
        self,
        method: str,
        path: str,
        data: dict[str, str] | None = None,
        version: str | None = None,
        key: str | None = None,
    ) -> Any:
        """Any call's answer, headers and all; `version` is the API version it is made in, `key` its idempotency key."""
        given = {"Stripe-Version": version, "Idempotency-Key": key}
        headers = {name: value for name, value in given.items() if value}
        return self.run(self._http.request(method, f"/v1/{path}", data=data, headers=headers))

    def status(self, method: str, path: str, body: str = "") -> int:
        """How any call is answered; a GET takes the body as its query."""
        if method == "GET":
            return int(self.run(self._http.get(f"{path}?{body}")).status_code)
        return int(self.run(self._http.request(method, path, content=body.encode())).status_code)

    def get(self, path: str, version: str | None = None) -> Any:
        return self.ask("GET", path, version=version).json()

    def control(self, path: str, **body: Any) -> Any:
        """One of the sandbox's own calls."""
        answer = self.run(self._http.post(f"/_sandbox/{path}", json=body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        self.run(self._http.aclose())
        self.run(self.sandbox.close())
        self.loop.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Desk]]:
    """Opens sandboxes in this thread, made with what it is told."""
    with ExitStack() as desks:
        yield lambda **how: desks.enter_context(closing(Desk(**how)))


@pytest.fixture
def here(opened: Callable[..., Desk]) -> Desk:
    return opened()
