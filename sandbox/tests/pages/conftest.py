"""What an app does through the API, and its customer in a browser without JavaScript: real HTTP, a running sandbox."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from tollhouse_sandbox.testing import RunningSandbox, running_sandbox

APP = "http://app.example.com"
EMAIL = "ada@example.com"


class Merchant:
    """The app and its customer."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self.api = httpx.Client(base_url=f"{sandbox.url}/v1", auth=(sandbox.secret_key, ""))
        self.browser = httpx.Client(base_url=sandbox.url)

    def create(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self.api.post(path, data=fields)
        assert answer.status_code == 200, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def read(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(path).raise_for_status().json()
        return found

    def open(self, path: str) -> "Page":
        return Page(self.browser.get(path))

    def words(self, answer: httpx.Response) -> "Page":
        return Page(answer)

    def price(self, amount: int = 900, currency: str = "eur", interval: str | None = "month") -> str:
        fields = {"unit_amount": amount, "currency": currency, "product_data[name]": "PDF Tool Pro"}
        if interval:
            fields["recurring[interval]"] = interval
        return str(self.create("/prices", **fields)["id"])

    def checkout(self, price: str, *, mode: str = "subscription", **fields: Any) -> str:
        session = self.create(
            "/checkout/sessions",
            **{"mode": mode, "line_items[0][price]": price, "line_items[0][quantity]": 1},
            success_url=f"{APP}/welcome?session={{CHECKOUT_SESSION_ID}}",
            cancel_url=f"{APP}/pricing",
            **fields,
        )
        return str(session["id"])

    def session(self, checkout: str) -> dict[str, Any]:
        return self.read(f"/checkout/sessions/{checkout}")

    def pay(self, checkout: str, card: str = "pm_card_visa") -> httpx.Response:
        return self.browser.post(f"/pay/{checkout}", data={"email": EMAIL, "card": card})

    def subscriber(self, price: str, card: str = "pm_card_visa") -> tuple[str, str]:
        """Somebody who has subscribed: the portal's path and the subscription's id."""
        checkout = self.checkout(price)
        assert self.pay(checkout, card).status_code == 303
        session = self.session(checkout)
        portal = self.create("/billing_portal/sessions", customer=session["customer"], return_url=f"{APP}/account")
        return f"/portal/{portal['id']}", session["subscription"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def merchant(sandbox: RunningSandbox) -> Iterator[Merchant]:
    sandbox.reset()
    merchant = Merchant(sandbox)
    yield merchant
    merchant.api.close()
    merchant.browser.close()


class Page(HTMLParser):
    """A page's words, and every address and control in it."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(answer.text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]
