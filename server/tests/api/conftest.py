"""A world for each module, in which the tests do not disturb each other: every one has users of its own."""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import httpx
import pytest
import stripe

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.doctor import broken_invariants
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.testing import World, running_world

_numbers = itertools.count(1)

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
            "plan_group": "plan",
            "opens": {"premium_export": True, "pages_per_day": {"limit": 500, "per_seat": True}},
            "prices": {
                "monthly": {"amount": 900, "currency": "eur", "interval": "month"},
                "yearly": {"amount": 9000, "currency": "eur", "interval": "year"},
                "trial": {"amount": 900, "currency": "eur", "interval": "month", "trial_days": 14},
            },
        },
        "lifetime": {
            "name": "PDF Tool Lifetime",
            "opens": {"premium_export": True, "pages_per_day": "unlimited"},
            "prices": {"once": {"amount": 19900, "currency": "eur"}},
        },
    },
}
GUILD_BOT: dict[str, Any] = {
    "project": "guild-bot",
    "name": "Guild Bot",
    "redirect_origins": ["https://bot.test"],
    "features": {"premium_export": {}, "music_hours": {"kind": "limit"}},
    "products": {
        "premium": {
            "opens": {"premium_export": True, "music_hours": 5},
            "prices": {"monthly": {"amount": 500, "currency": "usd", "interval": "month"}},
        }
    },
}


@pytest.fixture(scope="module")
def world(sandbox: RunningSandbox, postgres_server: PostgresServer, migrated_template: str) -> Iterator[World]:
    """The service, its database and Stripe, for all tests of the module."""
    name = f"api_{next(_numbers)}"
    postgres_server.create_database(name, template=migrated_template)
    with running_world(sandbox, postgres_server.url(name)) as running:
        yield running
        assert running.service.run(lambda resources: broken_invariants(resources.database)) == []
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def pdf_tool(world: World) -> Tollhouse:
    """The PDF tool's client, its catalog published."""
    return world.publish(PDF_TOOL)


@pytest.fixture(scope="module")
def guild_bot(world: World) -> Tollhouse:
    """The other project's client, its catalog published."""
    return world.publish(GUILD_BOT)


def with_a_key(request: httpx.Request) -> None:
    """Gives a POST a new Idempotency-Key unless it has one, as every client should."""
    if request.method == "POST":
        request.headers.setdefault("Idempotency-Key", uuid.uuid4().hex)


class Caller(Protocol):
    """Makes a client of the API with a key of its own."""

    def __call__(self, project: str) -> httpx.Client: ...


@pytest.fixture(scope="module")
def caller(world: World) -> Iterator[Caller]:
    """Bare HTTP with a new key of a project, for what the client library would not send."""
    opened = []

    def call(project: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {world.new_key(project)}"}
        opened.append(
            httpx.Client(
                base_url=world.service.url,
                headers=headers,
                timeout=30,
                trust_env=False,
                verify=False,
                event_hooks={"request": [with_a_key]},
            )
        )
        return opened[-1]

    yield call
    for client in opened:
        client.close()


@pytest.fixture(scope="module")
def http(pdf_tool: Tollhouse, caller: Caller) -> httpx.Client:
    """Bare HTTP with a key of the PDF tool."""
    return caller("pdf-tool")


@pytest.fixture(scope="module")
def stranger(world: World) -> Iterator[httpx.Client]:
    """Bare HTTP without any key."""
    with httpx.Client(base_url=world.service.url, timeout=30, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def wish() -> Callable[..., dict[str, Any]]:
    """The body of a checkout that is right but for what is given."""

    def body(user_id: str = "ada", **other: Any) -> dict[str, Any]:
        right = {
            "user_id": user_id,
            "price": "pdf-tool.pro.monthly",
            "success_url": "https://app.test/welcome",
            "cancel_url": "https://app.test/",
        }
        return right | other

    return body


@pytest.fixture(scope="session")
def refused() -> Callable[..., dict[str, Any]]:
    """Checks that an answer is a problem of this code, whole and in form, and answers with its body."""

    def check(answer: httpx.Response, status: int, code: str, *pointers: str) -> dict[str, Any]:
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
        body: dict[str, Any] = answer.json()
        assert set(body) - {"errors"} == {"type", "title", "status", "code", "detail", "instance"}
        assert (body["code"], body["type"], body["status"]) == (code, f"urn:tollhouse:problem:{code}", status)
        assert body["title"] and body["detail"]
        assert body["instance"] == answer.headers["X-Request-Id"]
        assert sorted(error["pointer"] for error in body.get("errors", [])) == sorted(pointers)
        assert all(
            set(error) - {"code"} == {"pointer", "detail"} and error["detail"] for error in body.get("errors", [])
        )
        return body

    return check


@pytest.fixture(scope="module")
def deliver(world: World, stranger: httpx.Client) -> Callable[..., httpx.Response]:
    """Posts a body to the webhook, signed as Stripe would; `age` in seconds, `secret` the configured one if absent."""

    def post(body: bytes, *, age: float = 0, secret: str | None = None) -> httpx.Response:
        configured = world.service.settings.webhook_secrets[0]
        stamp = int(time.time() - age)
        made = stripe.WebhookSignature._compute_signature(f"{stamp}.{body.decode('latin-1')}", secret or configured)
        if not body.isascii():
            raise ValueError("sign what is not ASCII by hand")
        return stranger.post("/v1/stripe/webhook", content=body, headers={"Stripe-Signature": f"t={stamp},v1={made}"})

    return post
