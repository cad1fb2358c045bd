"""The sandbox's endpoint of `tollhouse dev`: one, at the address of today, with a secret that we know."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.stripe_gateway.client import StripeClient, close_client, open_client
from tollhouse_server.stripe_gateway.webhook_endpoint import register_endpoint

Answer = TypeVar("Answer")
TODAY, TOMORROW = "http://127.0.0.1:8900/v1/stripe/webhook", "http://127.0.0.1:51234/v1/stripe/webhook"


@pytest.fixture
def empty_sandbox(sandbox: RunningSandbox) -> RunningSandbox:
    sandbox.reset()
    return sandbox


def asked(sandbox: RunningSandbox, ask: Callable[[StripeClient], Awaitable[Answer]]) -> Answer:
    async def answered() -> Answer:
        client = open_client(sandbox.secret_key, sandbox.url)
        try:
            return await ask(client)
        finally:
            await close_client(client)

    return asyncio.run(answered())


def register(sandbox: RunningSandbox, url: str, known: tuple[str | None, str | None]) -> tuple[str, str]:
    return asked(sandbox, lambda client: register_endpoint(client, url, *known))


def addresses(sandbox: RunningSandbox) -> list[str]:
    endpoints = asked(sandbox, lambda client: client.v1.webhook_endpoints.list_async())
    return [endpoint.url for endpoint in endpoints.data]


def test_the_endpoint_is_made_once(empty_sandbox: RunningSandbox) -> None:
    """The first run learns a secret; the next, knowing it, keeps endpoint and secret."""
    made = register(empty_sandbox, TODAY, (None, None))
    assert made[1].startswith("whsec_")
    assert register(empty_sandbox, TODAY, made) == made
    assert addresses(empty_sandbox) == [TODAY]


def test_the_endpoint_moves_with_the_port(empty_sandbox: RunningSandbox) -> None:
    """On another port the same endpoint gets the new address, so that no event goes to the old one."""
    made = register(empty_sandbox, TODAY, (None, None))
    assert register(empty_sandbox, TOMORROW, made) == made
    assert addresses(empty_sandbox) == [TOMORROW]


def test_an_endpoint_whose_secret_is_lost_is_replaced(empty_sandbox: RunningSandbox) -> None:
    """Stripe tells a secret once: without it a new endpoint is made, and the old one does not go on failing."""
    lost = register(empty_sandbox, TODAY, (None, None))
    made = register(empty_sandbox, TODAY, (None, None))
    assert made[0] != lost[0]
    assert addresses(empty_sandbox) == [TODAY]


def test_a_sandbox_that_was_emptied_gets_a_new_endpoint(empty_sandbox: RunningSandbox) -> None:
    """What we know of an endpoint that is gone is of no use."""
    known = register(empty_sandbox, TODAY, (None, None))
    empty_sandbox.reset()
    assert register(empty_sandbox, TODAY, known)[0] != known[0]
    assert addresses(empty_sandbox) == [TODAY]
