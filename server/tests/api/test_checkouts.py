"""Checkouts: opened once, resumed after any crash, and never two that could both be paid on."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import stripe
from sqlalchemy import update

from tollhouse import Tollhouse
from tollhouse_sandbox.errors import StripeError
from tollhouse_server.db.tables import checkout
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
Wish = Callable[..., dict[str, Any]]
CHECKOUTS = "/v1/checkouts"
SESSIONS = "/v1/checkout/sessions"


def opened(answer: httpx.Response, outcome: str) -> dict[str, Any]:
    assert answer.status_code == (201 if outcome == "new" else 200), answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"id", "url", "outcome", "expires_at", "subscription", "trial_days", "trial_refused"}
    assert body["outcome"] == outcome
    return body


def sessions(world: World, user_id: str) -> list[stripe.checkout.Session]:
    """What Stripe has of the user, through every customer stamped with that id."""
    return [
        session
        for customer in customers(world, user_id)
        for session in world.stripe.v1.checkout.sessions.list({"customer": customer.id, "limit": 100}).data
    ]


def customers(world: World, user_id: str) -> list[stripe.Customer]:
    listed = world.stripe.v1.customers.list({"limit": 100}).data
    return [one for one in listed if one.metadata and one.metadata["tollhouse_user_id"] == user_id]


def test_a_checkout_from_opening_to_owning(world: World, http: httpx.Client, wish: Wish) -> None:
    """New, then pending with the same page, then complete and paid, then already owned."""
    new = opened(http.post(CHECKOUTS, json=wish("ada", email="ada@app.test", quantity=2)), "new")
    assert new["id"].startswith("chk_")
    pending = opened(http.post(CHECKOUTS, json=wish("ada", email="ada@app.test", quantity=2)), "pending")
    assert pending == {**new, "outcome": "pending"}

    state = http.get(f"{CHECKOUTS}/{new['id']}").json()
    assert state == {
        "id": new["id"],
        "user_id": "ada",
        "price": "pdf-tool.pro.monthly",
        "quantity": 2,
        "state": "open",
        "payment_status": "unpaid",
        "url": new["url"],
        "created_at": state["created_at"],
        "expires_at": new["expires_at"],
    }
    redirect = world.sandbox.pay(new["url"])
    assert parse_qs(urlsplit(redirect).query)["checkout_id"] == [new["id"]]
    # The person is back before any webhook: sync asks Stripe.
    synced = http.post(f"{CHECKOUTS}/{new['id']}/sync")
    assert synced.status_code == 200 and set(synced.json()) == {"checkout", "customer"}
    assert synced.json()["checkout"] == {**state, "state": "complete", "payment_status": "paid", "url": None}
    assert synced.json()["customer"] == http.get("/v1/customers/ada").json()
    assert synced.json()["customer"]["features"]["premium_export"]["allowed"] is True
    assert http.get(f"{CHECKOUTS}/{new['id']}").json() == synced.json()["checkout"]
    assert customers(world, "ada")[0].email == "ada@app.test"

    nothing = {"id": None, "url": None, "outcome": "already_owned", "expires_at": None, "subscription": None}
    nothing |= {"trial_days": 0, "trial_refused": None}
    assert opened(http.post(CHECKOUTS, json=wish("ada")), "already_owned") == nothing
    world.arrive()


def test_syncing_an_unfinished_checkout(world: World, http: httpx.Client, wish: Wish) -> None:
    """Nobody paid: it is still open and nothing is allowed."""
    new = opened(http.post(CHECKOUTS, json=wish("undecided")), "new")
    synced = http.post(f"{CHECKOUTS}/{new['id']}/sync").json()
    assert (synced["checkout"]["state"], synced["checkout"]["url"]) == ("open", new["url"])
    assert synced["customer"]["features"]["premium_export"]["allowed"] is False


def test_a_declined_card_opens_nothing(world: World, http: httpx.Client, wish: Wish) -> None:
    """The page stays open for another card, and asking again leads to the same page."""
    new = opened(http.post(CHECKOUTS, json=wish("broke")), "new")
    with pytest.raises(StripeError):
        world.sandbox.pay(new["url"], "pm_card_chargeDeclined")
    world.arrive()
    assert http.post(f"{CHECKOUTS}/{new['id']}/sync").json()["checkout"]["state"] == "open"
    assert http.get("/v1/customers/broke/entitlements/premium_export").json()["allowed"] is False
    assert opened(http.post(CHECKOUTS, json=wish("broke")), "pending")["url"] == new["url"]


def test_no_page_beside_one_that_cannot_be_closed(
    world: World, http: httpx.Client, wish: Wish, refused: Refused
) -> None:
    """409, and Stripe is asked for no second page: both could be paid on. Closed later, the other one opens."""
    opened(http.post(CHECKOUTS, json=wish("torn")), "new")
    world.sandbox.fail_next(400, method="POST", path=f"{SESSIONS}/")
    other = wish("torn", price="pdf-tool.pro.yearly")
    refused(http.post(CHECKOUTS, json=other), 409, "checkout-conflict")
    assert [one.status for one in sessions(world, "torn")] == ["open"]
    opened(http.post(CHECKOUTS, json=other), "new")
    assert sorted(str(one.status) for one in sessions(world, "torn")) == ["expired", "open"]


def test_the_same_request_ten_times_at_once_is_one_page(world: World, http: httpx.Client, wish: Wish) -> None:
    """A double click, or ten: one session at Stripe, and everybody is sent there."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: http.post(CHECKOUTS, json=wish("hasty")), range(10)))
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    assert len({answer.json()["url"] for answer in answers}) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(sessions(world, "hasty")) == 1


def test_twenty_first_checkouts_at_once_are_one_customer(world: World, http: httpx.Client, wish: Wish) -> None:
    """However many tabs: one Stripe customer, and of the pages of one group one at most is open.

    Told that the service is busy, a tab asks again, as the client does.
    """
    prices = ["pdf-tool.pro.monthly", "pdf-tool.lifetime.once"]

    def ask(number: int) -> httpx.Response:
        for _ in range(20):
            answer = http.post(CHECKOUTS, json=wish("tabs", price=prices[number % 2]))
            if answer.status_code != 503:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        return answer

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    assert len(customers(world, "tabs")) == 1
    assert [one.status for one in sessions(world, "tabs")] == ["open", "open"]


def test_another_price_of_the_group_closes_the_page_before(world: World, http: httpx.Client, wish: Wish) -> None:
    """Two plans that exclude each other cannot both be paid; what is in no group stays open."""
    first = opened(http.post(CHECKOUTS, json=wish("wavering")), "new")
    once = opened(http.post(CHECKOUTS, json=wish("wavering", price="pdf-tool.lifetime.once")), "new")
    second = opened(http.post(CHECKOUTS, json=wish("wavering", price="pdf-tool.pro.yearly")), "new")
    assert second["url"] != first["url"]
    states = {one: http.get(f"{CHECKOUTS}/{one}").json()["state"] for one in (first["id"], once["id"], second["id"])}
    assert list(states.values()) == ["expired", "open", "open"]
    with pytest.raises(StripeError):
        world.sandbox.pay(first["url"])


def test_a_page_that_was_paid_before_its_webhook_came_is_not_paid_twice(
    world: World, http: httpx.Client, wish: Wish
) -> None:
    """Paid in one tab, another plan asked for in the next, no webhook yet: they may change what they have."""
    first = opened(http.post(CHECKOUTS, json=wish("quick")), "new")
    world.sandbox.pay(first["url"])
    opened(http.post(CHECKOUTS, json=wish("quick", price="pdf-tool.pro.yearly")), "plan_change")
    assert http.get("/v1/customers/quick/entitlements/premium_export").json()["allowed"] is True
    world.arrive()


@pytest.mark.parametrize(
    "url",
    [
        "https://app.test@evil.test/",
        "https://app.test:pw@evil.test/",
        "https://@app.test/",
        "//evil.test",
        "/relative",
        "app.test/welcome",
        "javascript:alert(1)//https://app.test",
        "data:text/html,x",
        "http://app.test/",
        "https://app.test:8443/",
        "https://app.test:port/",
        "https://app.test.evil.test/",
        "https://evil.test#https://app.test/",
        "https://evil.test/?https://app.test/",
        "https:app.test/",
        "https:///app.test/",
        "https://app.test%2eevil.test/",
        "https://app。test/",
        "https://[app.test]/",
        "https://app.test%00.evil.test/",
        "",
    ],
)
def test_nobody_is_sent_to_another_origin(http: httpx.Client, refused: Refused, wish: Wish, url: str) -> None:
    """Whatever the trick, in either URL: a checkout link is not an open redirect."""
    for name in ("success_url", "cancel_url"):
        body = refused(http.post(CHECKOUTS, json=wish("phish", **{name: url})), 422, "url-not-allowed", f"/{name}")
        assert "redirect_origins" in body["detail"]


@pytest.mark.parametrize(
    "url", [" https://app.test/", "https://app.test/\n", "https://app\t.test/", "https://app.test\\@evil.test/"]
)
def test_a_url_with_blanks_or_backslashes_is_refused(
    http: httpx.Client, refused: Refused, wish: Wish, url: str
) -> None:
    """Browsers read those otherwise than Python does, so what was checked would not be what is opened."""
    refused(http.post(CHECKOUTS, json=wish("phish", success_url=url)), 422, "validation-failed", "/success_url")


@pytest.mark.parametrize(
    ("url", "returned"),
    [
        ("HTTPS://APP.TEST/x", "https://APP.TEST/x?checkout_id={}"),
        ("https://app.test:443", "https://app.test:443?checkout_id={}"),
        ("https://app.test/a?b=c&d#e", "https://app.test/a?b=c&d&checkout_id={}#e"),
        ("https://app.test/{CHECKOUT_SESSION_ID}", "https://app.test/{CHECKOUT_SESSION_ID}?checkout_id={}"),
    ],
)
def test_the_origin_counts_and_the_rest_is_the_apps(
    world: World, http: httpx.Client, wish: Wish, url: str, returned: str
) -> None:
    """Case and default port do not matter; the query is added to and the fragment kept."""
    user = f"origin {url}"
    new = opened(http.post(CHECKOUTS, json=wish(user, success_url=url)), "new")
    assert sessions(world, user)[0].success_url == returned.replace("{}", new["id"])


def test_a_price_that_is_not_sold(http: httpx.Client, guild_bot: Tollhouse, refused: Refused, wish: Wish) -> None:
    """404 with what is sold, or that it is another project's; whether that one sells it is not told."""
    body = refused(http.post(CHECKOUTS, json=wish(price="pdf-tool.pro.weekly")), 404, "price-not-found")
    assert "'pdf-tool.pro.weekly'" in body["detail"] and "pdf-tool.lifetime.once" in body["detail"]
    theirs, nobodys = (
        refused(http.post(CHECKOUTS, json=wish(price=price)), 404, "price-of-another-project")["detail"]
        for price in ("guild-bot.premium.monthly", "no-such-app.premium.monthly")
    )
    assert theirs == nobodys.replace("no-such-app", "guild-bot")
    refused(http.post(CHECKOUTS, json=wish(price="monthly")), 404, "price-not-found")


def test_a_price_archived_in_stripe_is_not_sold(
    world: World, guild_bot: Tollhouse, caller: Callable[[str], httpx.Client], refused: Refused
) -> None:
    """Taken off sale in Stripe's dashboard: Stripe's own words until we hear of it, then how to sell it again."""
    [price] = world.stripe.v1.prices.list({"lookup_keys": ["guild-bot.premium.monthly"]}).data
    world.stripe.v1.prices.update(price.id, {"active": False})
    body = {"user_id": "ada", "price": "guild-bot.premium.monthly"}
    body |= {"success_url": "https://bot.test/", "cancel_url": "https://bot.test/"}
    app = caller("guild-bot")
    assert refused(app.post(CHECKOUTS, json=body), 422, "upstream-refused")["detail"].startswith("Stripe refused: ")
    world.arrive()
    assert "publish" in refused(app.post(CHECKOUTS, json=body), 404, "price-not-found")["detail"]
    document = world.operator.get("/v1/admin/projects/guild-bot/catalog").json()
    assert world.operator.put("/v1/admin/projects/guild-bot/catalog", json=document).is_success
    opened(app.post(CHECKOUTS, json=body), "new")


@pytest.mark.parametrize(
    ("asked", "days"),
    [
        ({"price": "pdf-tool.pro.trial"}, 14),
        ({"price": "pdf-tool.pro.trial", "trial_days": 0}, None),
        ({"price": "pdf-tool.pro.trial", "trial_days": 30}, 30),
        ({"trial_days": 7}, 7),
        ({}, None),
    ],
    ids=str,
)
def test_trials(world: World, http: httpx.Client, wish: Wish, asked: dict[str, Any], days: int | None) -> None:
    """The price's own trial unless the request says otherwise; 0 is none."""
    user = f"trial {asked}"
    new = opened(http.post(CHECKOUTS, json=wish(user, **asked)), "new")
    world.sandbox.pay(new["url"])
    state = http.post(f"{CHECKOUTS}/{new['id']}/sync").json()["customer"]
    trial_end = state["subscriptions"][0]["trial_end"]
    if days is None:
        assert trial_end is None
    else:
        ends = world.service.clock.now() + timedelta(days=days)
        assert trial_end == ends.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    world.arrive()


def test_quantity_and_promotion_codes_reach_stripe(world: World, http: httpx.Client, wish: Wish) -> None:
    """What is asked for is what Stripe is asked for."""
    opened(http.post(CHECKOUTS, json=wish("team", quantity=7, allow_promotion_codes=True)), "new")
    [session] = sessions(world, "team")
    items = world.stripe.v1.checkout.sessions.line_items.list(session.id).data
    assert (session.allow_promotion_codes, session.mode, [one.quantity for one in items]) == (True, "subscription", [7])


@pytest.mark.parametrize("carried_out", [False, True], ids=["nothing done", "done, answer lost"])
@pytest.mark.parametrize("path", ["/v1/customers", SESSIONS], ids=["customer", "session"])
def test_a_500_of_stripes_is_overcome(
    world: World, http: httpx.Client, wish: Wish, path: str, carried_out: bool
) -> None:
    """Stripe keeps a 500 for its idempotency key for a day: still one customer and one page, whatever it had done."""
    user = f"unlucky {path} {carried_out}"
    world.sandbox.fail_next(500, path=path, method="POST", after=carried_out)
    new = opened(http.post(CHECKOUTS, json=wish(user)), "new")
    assert len(customers(world, user)) == 1
    assert [one.url for one in sessions(world, user)] == [new["url"]]
    assert opened(http.post(CHECKOUTS, json=wish(user)), "pending")["url"] == new["url"]


@pytest.mark.parametrize("path", ["/v1/customers", SESSIONS], ids=["customer", "session"])
def test_a_checkout_that_was_cut_short_is_resumed(
    world: World, http: httpx.Client, refused: Refused, wish: Wish, path: str
) -> None:
    """Stripe away between the intent and its page: 503 now, and asking again goes on where it stopped."""
    user = f"cut short {path}"
    world.sandbox.fail_next(429, path=path, method="POST")
    answer = http.post(CHECKOUTS, json=wish(user))
    refused(answer, 503, "upstream-unavailable")
    assert answer.headers["Retry-After"]
    opened(http.post(CHECKOUTS, json=wish(user)), "new")
    assert (len(customers(world, user)), len(sessions(world, user))) == (1, 1)


def test_a_price_that_changed_is_not_sold_for_the_old_amount(
    world: World, caller: Callable[[str], httpx.Client]
) -> None:
    """The page that was opened before the catalog changed is closed; the same request opens one at the new price."""

    def publish(amount: int) -> None:
        price = {"amount": amount, "currency": "eur", "interval": "month"}
        document = {"project": "dear", "name": "Dear", "redirect_origins": ["https://app.test"]}
        document |= {"products": {"pro": {"prices": {"monthly": price}}}}
        assert world.operator.put("/v1/admin/projects/dear/catalog", json=document).is_success

    publish(900)
    app = caller("dear")
    body = {"user_id": "ada", "price": "dear.pro.monthly"}
    body |= {"success_url": "https://app.test/", "cancel_url": "https://app.test/"}
    cheap = opened(app.post(CHECKOUTS, json=body), "new")
    publish(1000)
    dear = opened(app.post(CHECKOUTS, json=body), "new")
    session = world.stripe.v1.checkout.sessions.retrieve(world.sandbox.session_id(dear["url"]))
    assert session.amount_total == 1000
    assert app.get(f"{CHECKOUTS}/{cheap['id']}").json()["state"] == "expired"


def test_a_page_whose_intent_was_ended_is_shown_to_nobody(
    world: World, http: httpx.Client, refused: Refused, wish: Wish
) -> None:
    """Stripe was so slow that the worker had given the opening up: another page may be open, so this one is closed."""
    world.sandbox.fault("slow_answer", times=1, seconds=1, method="POST", path=SESSIONS, after=True)

    async def give_up(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            await tx.execute(
                update(checkout).where(checkout.c.asked["user_id"].astext == "slow").values(state="expired")
            )

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(http.post, CHECKOUTS, json=wish("slow"))
        while not customers(world, "slow") or not sessions(world, "slow"):
            pass
        world.service.run(give_up)
        refused(asked.result(), 409, "checkout-conflict")
    assert [one.status for one in sessions(world, "slow")] == ["expired"]
    opened(http.post(CHECKOUTS, json=wish("slow")), "new")


def test_an_unknown_checkout(http: httpx.Client, refused: Refused) -> None:
    """404 for what was never opened, read or synced."""
    for id_ in ("chk_none", "x", "chk_%2e%2e", "chk_%F0%9F%A6%8A"):
        refused(http.get(f"{CHECKOUTS}/{id_}"), 404, "checkout-not-found")
        refused(http.post(f"{CHECKOUTS}/{id_}/sync"), 404, "checkout-not-found")
    refused(http.get(f"{CHECKOUTS}/chk_%00"), 422, "validation-failed", "id")
