"""Stripe was asked for a page, and nobody heard what it did: exactly one page in the end, and nobody waits for ever."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import stripe
from sqlalchemy import func, select

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.commands.finish_checkouts import STUCK_AFTER, finish_checkouts
from tollhouse_server.commands.open_checkout import CheckoutDesk
from tollhouse_server.db.tables import checkout
from tollhouse_server.resources import Resources, open_resources
from tollhouse_server.testing import ManualClock, RunningService, World

Refused = Callable[..., dict[str, Any]]
Wish = Callable[..., dict[str, Any]]
CHECKOUTS = "/v1/checkouts"
SESSIONS = "/v1/checkout/sessions"


def stripe_customer(world: World, user_id: str) -> str:
    listed = world.stripe.v1.customers.list({"limit": 100}).data
    [customer] = [one for one in listed if one.metadata and one.metadata["tollhouse_user_id"] == user_id]
    return customer.id


def sessions(world: World, user_id: str) -> list[stripe.checkout.Session]:
    """What Stripe has of the user."""
    found = {"customer": stripe_customer(world, user_id), "limit": 100}
    return world.stripe.v1.checkout.sessions.list(found).data  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class CutShort:
    """A user whose page Stripe answered 500 for, having made it or not, and then did not let us look for."""

    user_id: str
    carried_out: bool
    id: str


@pytest.fixture(scope="module")
def cut_short(world: World, http: httpx.Client, pdf_tool: Tollhouse) -> dict[tuple[str, bool], CutShort]:
    """Several at once, as the `stripe` library takes its time before it gives up."""
    body = {"price": "pdf-tool.pro.monthly", "success_url": "https://app.test/", "cancel_url": "https://app.test/"}

    def begin(user_id: str) -> httpx.Response:
        return http.post(CHECKOUTS, json={"user_id": user_id, **body}, headers={"Idempotency-Key": user_id})

    made = {}
    for carried_out in (True, False):
        whose = {what: f"{what} {carried_out}" for what in ("asked again", "synced", "gone", "owner")}
        world.sandbox.fail_next(500, path=SESSIONS, method="POST", times=4, after=carried_out)
        world.sandbox.fail_next(500, path=SESSIONS, method="GET", times=12)
        with ThreadPoolExecutor(4) as pool:
            answers = dict(zip(whose, pool.map(begin, whose.values()), strict=True))
        for what, answer in answers.items():
            said = answer.json()
            assert (answer.status_code, said["outcome"], said["url"]) == (202, "opening", None), answer.text
            assert answer.headers["Location"] == f"{CHECKOUTS}/{said['id']}"
            state = http.get(answer.headers["Location"]).json()
            assert (state["state"], state["url"]) == ("opening", None)
            made[what, carried_out] = CutShort(whose[what], carried_out, said["id"])
    return made


Cut = dict[tuple[str, bool], CutShort]
DONE = pytest.mark.parametrize("carried_out", [True, False], ids=["done", "not done"])


def wished(user_id: str) -> dict[str, str]:
    urls = {"success_url": "https://app.test/", "cancel_url": "https://app.test/"}
    return {"user_id": user_id, "price": "pdf-tool.pro.monthly", **urls}


@DONE
def test_who_asks_again_gets_the_one_page(world: World, http: httpx.Client, cut_short: Cut, carried_out: bool) -> None:
    """The page that Stripe made, or one that it makes now. 202 was not the last word for its Idempotency-Key: that is
    tried again, and then its answer is kept."""
    begun = cut_short["asked again", carried_out]
    key = {"Idempotency-Key": begun.user_id}
    opened, again = (http.post(CHECKOUTS, json=wished(begun.user_id), headers=key) for _ in range(2))
    assert (opened.status_code, opened.json()["id"]) == (201, begun.id)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (opened.content, "true")
    assert [one.url for one in sessions(world, begun.user_id)] == [opened.json()["url"]]


@DONE
def test_a_sync_opens_the_one_page(world: World, http: httpx.Client, cut_short: Cut, carried_out: bool) -> None:
    """The app that got 202 asks about its checkout until there is a page."""
    begun = cut_short["synced", carried_out]
    synced = http.post(f"{CHECKOUTS}/{begun.id}/sync").json()["checkout"]
    assert synced["state"] == "open" and synced["url"]
    assert [one.url for one in sessions(world, begun.user_id)] == [synced["url"]]
    assert http.post(CHECKOUTS, json=wished(begun.user_id)).json()["url"] == synced["url"]


def test_who_owns_it_by_now_is_given_no_page(world: World, http: httpx.Client, cut_short: Cut) -> None:
    """Subscribed in the meantime, at Stripe's dashboard: syncing the checkout makes no second way to pay."""
    begun = cut_short["owner", False]
    customer = stripe_customer(world, begun.user_id)
    [price] = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.pro.monthly"]}).data
    card = world.stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    world.stripe.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": price.id}], "default_payment_method": card.id}
    )
    assert http.post(f"/v1/customers/{begun.user_id}/sync").json()["subscriptions"]
    assert http.post(f"{CHECKOUTS}/{begun.id}/sync").json()["checkout"]["state"] == "expired"
    assert sessions(world, begun.user_id) == []
    world.arrive()


async def still_opening(resources: Resources) -> int:
    async with resources.database.transaction() as tx:
        return (await tx.execute(select(func.count()).where(checkout.c.state == "opening"))).scalar_one()


def test_nobody_comes_back(world: World, http: httpx.Client, cut_short: Cut) -> None:
    """After two minutes the worker looks at Stripe, and makes nothing: the page that is there, or none. While Stripe is
    away it leaves things as they are."""
    gone = [cut_short["gone", True], cut_short["gone", False]]

    def states() -> list[str]:
        return [http.get(f"{CHECKOUTS}/{one.id}").json()["state"] for one in gone]

    world.service.work()
    assert states() == ["opening", "opening"]  # somebody may still be at it
    world.service.clock.set(world.service.clock.now() + STUCK_AFTER + timedelta(seconds=1))
    world.sandbox.fail_next(429, path=SESSIONS, method="GET", times=world.service.run(still_opening))
    world.service.work()
    assert states() == ["opening", "opening"]
    world.service.work()
    assert states() == ["open", "expired"]
    assert [len(sessions(world, one.user_id)) for one in gone] == [1, 0]


class Severed:
    """Stripe over a line that breaks: what is asked of `path` arrives, and its answer never comes back."""

    def __init__(self, target: str, path: str) -> None:
        self._target, self._path = httpx.URL(target), path.encode()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.host, self._target.port
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(_length(head))
                upstream, forward = await asyncio.open_connection(host, port)
                forward.write(head + body)
                answer = await upstream.readuntil(b"\r\n\r\n")
                answer += await upstream.readexactly(_length(answer))
                forward.close()
                if head.startswith(b"POST " + self._path + b" "):
                    break
                writer.write(answer)
        writer.close()


def _length(head: bytes) -> int:
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lines[0].partition(b":")[2]) if lines else 0


def test_a_line_that_breaks_after_the_request_was_sent(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, wish: Wish
) -> None:
    """Every answer to `create` is lost, and Stripe had done it: 202, one session, and the worker finds it."""
    settings = world.service.settings

    async def lose() -> tuple[httpx.Response, int]:
        async with Severed(sandbox.url, SESSIONS) as broken:
            through = settings.model_copy(update={"stripe_api_base": broken})
            key = await asyncio.to_thread(world.new_key, "pdf-tool")
            clock = ManualClock(world.service.clock.now())

            def ask() -> httpx.Response:
                with RunningService(through, clock) as service:
                    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "severed"}
                    return httpx.post(f"{service.url}{CHECKOUTS}", json=wish("severed"), headers=headers, timeout=30)

            answer = await asyncio.to_thread(ask)
            clock.set(clock.now() + STUCK_AFTER + timedelta(seconds=1))
            async with open_resources(settings, clock=clock) as resources:
                desk = CheckoutDesk(resources.database, resources.stripe, resources.pipeline)
                return answer, await finish_checkouts(desk, at=clock.now())

    answer, finished = asyncio.run(lose())
    assert (answer.status_code, answer.json()["outcome"]) == (202, "opening") and finished >= 1
    [session] = sessions(world, "severed")
    again = pdf_tool.open_checkout(
        "severed", "pdf-tool.pro.monthly", success_url="https://app.test/welcome", cancel_url="https://app.test/"
    )
    assert (again.id, again.url, again.outcome) == (answer.json()["id"], session.url, "pending")


def test_what_was_never_sent_was_not_done(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, wish: Wish, refused: Refused
) -> None:
    """Nobody listens at Stripe's address: 503 and not 202, as nothing can have been opened."""
    assert pdf_tool.open_checkout(
        "known", "pdf-tool.lifetime.once", success_url="https://app.test/", cancel_url="https://app.test/"
    ).url
    settings = world.service.settings.model_copy(update={"stripe_api_base": "http://127.0.0.1:9"})
    headers = {"Authorization": f"Bearer {world.new_key('pdf-tool')}", "Idempotency-Key": "never"}
    with RunningService(settings, ManualClock(sandbox.now())) as service:
        answer = httpx.post(f"{service.url}{CHECKOUTS}", json=wish("known"), headers=headers, timeout=30)
        refused(answer, 503, "upstream-unavailable")
