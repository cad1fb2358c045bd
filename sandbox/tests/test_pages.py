"""The hosted pages as a browser without JavaScript meets them: real HTTP against a running sandbox."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from tollhouse_sandbox.pages import wording
from tollhouse_sandbox.testing import RunningSandbox, running_sandbox

APP = "http://app.example.com"
EMAIL = "ada@example.com"


class Merchant:
    """What the app does through the API, and what its customer does in a browser."""

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


def written_day(unix: int) -> str:
    at = datetime.fromtimestamp(unix, UTC)
    return f"{at.day} {at:%B %Y}"


# --- Checkout -----------------------------------------------------------------------------------------------------


def test_the_page_says_what_is_bought_and_what_it_costs(merchant: Merchant) -> None:
    """Product, price, interval, the total of today, and the way back to the app are on the page."""
    page = Page(merchant.browser.get(f"/pay/{merchant.checkout(merchant.price())}"))
    assert "PDF Tool Pro" in page.text
    assert "€9.00 per month" in page.text
    assert "Total due today €9.00" in page.text
    assert "SANDBOX No money moves" in page.text
    assert page.all("a", href=f"{APP}/pricing")


def test_a_trial_is_told_before_it_starts(merchant: Merchant) -> None:
    """Who starts a trial reads how long it is free, what it costs afterwards, and that nothing is due today."""
    fields: dict[str, Any] = {"subscription_data[trial_period_days]": 14}
    page = Page(merchant.browser.get(f"/pay/{merchant.checkout(merchant.price(), **fields)}"))
    assert "14 days free then €9.00 per month" in page.text
    assert "Total due today €0.00" in page.text
    assert "Start trial" in page.text


def test_paying_leads_back_to_the_app(merchant: Merchant) -> None:
    """A good card answers 303 to the app's success URL with the session's id in it, and the session is paid."""
    checkout = merchant.checkout(merchant.price())
    answer = merchant.pay(checkout)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{APP}/welcome?session={checkout}"
    assert merchant.session(checkout)["payment_status"] == "paid"
    assert merchant.session(checkout)["customer_details"]["email"] == EMAIL


def test_a_decline_is_said_and_nothing_is_lost(merchant: Merchant) -> None:
    """After a declined card the page shows why, keeps what was typed and chosen, and can be paid again."""
    checkout = merchant.checkout(merchant.price())
    answer = merchant.pay(checkout, "pm_card_chargeDeclined")
    page = Page(answer)
    assert answer.status_code == 402
    assert "Your card was declined." in page.text
    assert page.all("input", id="email")[0]["value"] == EMAIL
    assert "checked" in page.all("input", value="pm_card_chargeDeclined")[0]
    assert merchant.session(checkout)["status"] == "open"
    assert merchant.pay(checkout).status_code == 303


def test_the_bank_may_ask_who_it_is(merchant: Merchant) -> None:
    """A card with 3-D Secure leads to a second step; failing it charges nothing, completing it pays."""
    checkout = merchant.checkout(merchant.price(19900, interval=None), mode="payment")
    step = merchant.pay(checkout, "pm_card_threeDSecure2Required")
    assert step.status_code == 200
    fields = {str(hidden["name"]): str(hidden["value"]) for hidden in Page(step).all("input", type="hidden")}

    failed = merchant.browser.post(f"/pay/{checkout}/authenticate", data=fields | {"answer": "fail"})
    assert failed.status_code == 402
    assert "could not confirm it is you" in Page(failed).text
    assert merchant.session(checkout)["status"] == "open"

    completed = merchant.browser.post(f"/pay/{checkout}/authenticate", data=fields | {"answer": "complete"})
    assert completed.status_code == 303
    assert merchant.session(checkout)["payment_status"] == "paid"


def test_a_bank_debit_is_on_its_way_first(merchant: Merchant) -> None:
    """A delayed debit completes the page at once but is paid only days later."""
    checkout = merchant.checkout(merchant.price(19900, interval=None), mode="payment")
    assert merchant.pay(checkout, "pm_sepaDebit").status_code == 303
    assert (merchant.session(checkout)["status"], merchant.session(checkout)["payment_status"]) == (
        "complete",
        "unpaid",
    )
    merchant.sandbox.advance(days=14)
    assert merchant.session(checkout)["payment_status"] == "paid"


def test_a_finished_page_says_so(merchant: Merchant) -> None:
    """A page that was paid offers no second payment, neither shown nor when an old form is sent again."""
    checkout = merchant.checkout(merchant.price())
    merchant.pay(checkout)
    for answer in (merchant.browser.get(f"/pay/{checkout}"), merchant.pay(checkout)):
        page = Page(answer)
        assert "This checkout is complete" in page.text
        assert not page.all("form")


def test_an_expired_page_says_so(merchant: Merchant) -> None:
    """A page past its 24 hours cannot be paid and sends people back to the app."""
    checkout = merchant.checkout(merchant.price())
    merchant.sandbox.advance(hours=25)
    page = Page(merchant.browser.get(f"/pay/{checkout}"))
    assert "This checkout has expired" in page.text
    assert page.all("a", href=f"{APP}/pricing")


def test_currencies_without_cents_are_written_without(merchant: Merchant) -> None:
    """500 yen are 500, not 5.00."""
    page = Page(merchant.browser.get(f"/pay/{merchant.checkout(merchant.price(500, 'jpy'))}"))
    assert re.search(r"500 JPY per month", page.text)
    assert "5.00" not in page.text


# --- Portal -------------------------------------------------------------------------------------------------------


def test_cancelling_asks_first_then_says_until_when(merchant: Merchant) -> None:
    """Cancel leads to a question; yes schedules the end of the period and the portal tells that day."""
    portal, subscription = merchant.subscriber(merchant.price())
    period_end = merchant.read(f"/subscriptions/{subscription}")["items"]["data"][0]["current_period_end"]
    assert f"Renews on {written_day(period_end)}" in Page(merchant.browser.get(portal)).text

    question = Page(merchant.browser.get(f"{portal}/cancel/{subscription}"))
    assert f"It stays open until {written_day(period_end)}" in question.text
    assert merchant.read(f"/subscriptions/{subscription}")["cancel_at"] is None

    answer = merchant.browser.post(portal, data={"action": "cancel", "subscription": subscription})
    assert answer.status_code == 303
    assert merchant.read(f"/subscriptions/{subscription}")["cancel_at"] == period_end
    assert f"Ends on {written_day(period_end)}" in Page(merchant.browser.get(answer.headers["location"])).text


def test_a_cancellation_can_be_taken_back(merchant: Merchant) -> None:
    """Don't cancel clears the scheduled end."""
    portal, subscription = merchant.subscriber(merchant.price())
    merchant.browser.post(portal, data={"action": "cancel", "subscription": subscription})
    assert "Don’t cancel" in Page(merchant.browser.get(portal)).text
    merchant.browser.post(portal, data={"action": "resume", "subscription": subscription})
    assert merchant.read(f"/subscriptions/{subscription}")["cancel_at"] is None
    assert "Renews on" in Page(merchant.browser.get(portal)).text


def test_the_payment_method_can_be_changed(merchant: Merchant) -> None:
    """A good new card becomes the one in use; one that is refused is not taken and the portal says why."""
    portal, _ = merchant.subscriber(merchant.price())
    assert "Visa ending in 4242" in Page(merchant.browser.get(portal)).text
    answer = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_mastercard"})
    assert "Mastercard ending in 4444" in Page(merchant.browser.get(answer.headers["location"])).text

    refused = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_chargeDeclined"})
    assert refused.status_code == 402
    assert "Your card was declined." in Page(refused).text
    assert "Mastercard ending in 4444" in Page(merchant.browser.get(portal)).text


def test_a_failed_renewal_is_past_due(merchant: Merchant) -> None:
    """When the card fails at the renewal, the portal says so and lists the open invoice above the paid one."""
    portal, _ = merchant.subscriber(merchant.price())
    merchant.browser.post(portal, data={"action": "save", "card": "pm_card_chargeCustomerFail"})
    merchant.sandbox.advance(days=32)
    page = Page(merchant.browser.get(portal))
    assert "Past due" in page.text
    assert re.search(r"Open €9\.00 .* Paid €9\.00", page.text)
    assert page.all("a", href=f"{APP}/account")


def test_nobody_cancels_the_subscription_of_somebody_else(merchant: Merchant) -> None:
    """A portal acts only on its own customer's subscriptions, whatever the form says."""
    price = merchant.price()
    _, theirs = merchant.subscriber(price)
    mine, _ = merchant.subscriber(price)
    assert merchant.browser.post(mine, data={"action": "cancel", "subscription": theirs}).status_code == 404
    assert merchant.read(f"/subscriptions/{theirs}")["cancel_at"] is None


# --- Control desk -------------------------------------------------------------------------------------------------


def test_the_desk_moves_the_clock(merchant: Merchant) -> None:
    """Each fast-forward button moves the sandbox's time, and what falls due on the way happens."""
    portal, subscription = merchant.subscriber(merchant.price())
    before = merchant.sandbox.now()
    assert merchant.browser.post("/control/clock", data={"to": "week"}).status_code == 303
    assert 7 <= (merchant.sandbox.now() - before).total_seconds() / 86400 < 7.01
    merchant.browser.post("/control/clock", data={"to": "month"})
    assert len(merchant.read(f"/invoices?subscription={subscription}")["data"]) == 2
    assert "Renews on" in Page(merchant.browser.get(portal)).text


def test_the_desk_goes_to_what_is_due_next(merchant: Merchant) -> None:
    """The button names an instant, leads there, and then offers a later one."""
    merchant.subscriber(merchant.price())
    offered = re.search(r"due next: (.*?, \d\d:\d\d:\d\d)", Page(merchant.browser.get("/")).text)
    assert offered
    merchant.browser.post("/control/clock", data={"to": "next"})
    named = datetime.strptime(offered[1], "%a %d %b %Y, %H:%M:%S").replace(tzinfo=UTC)
    assert 0 <= (merchant.sandbox.now() - named).total_seconds() < 60
    again = re.search(r"due next: (.*?, \d\d:\d\d:\d\d)", Page(merchant.browser.get("/")).text)
    assert again
    assert again[1] != offered[1]


def test_the_desk_shows_events_and_what_became_of_them(merchant: Merchant) -> None:
    """An event whose delivery failed is listed with that failure, beside the endpoint and the customer."""
    merchant.create("/webhook_endpoints", url="http://127.0.0.1:9/hook", **{"enabled_events[0]": "*"})
    merchant.subscriber(merchant.price())
    merchant.sandbox.drain()
    page = Page(merchant.browser.get("/"))
    assert "http://127.0.0.1:9/hook enabled every event" in page.text
    assert EMAIL in page.text
    assert "customer.subscription.created" in page.text
    assert "again" in page.text


def test_an_empty_desk_is_not_an_error(merchant: Merchant) -> None:
    """A fresh sandbox has a desk that says there is nothing yet."""
    assert "No event yet." in Page(merchant.browser.get("/")).text


# --- All pages ----------------------------------------------------------------------------------------------------


def test_every_page_keeps_to_itself(merchant: Merchant) -> None:
    """No page runs a script, styles inline, or fetches from another host, and its policy forbids all of it."""
    portal, subscription = merchant.subscriber(merchant.price())
    paid, open_id = merchant.checkout(merchant.price()), merchant.checkout(merchant.price())
    merchant.pay(paid)
    step = merchant.pay(open_id, "pm_card_threeDSecure2Required")
    paths = [
        "/",
        f"/pay/{open_id}",
        f"/pay/{paid}",
        portal,
        f"{portal}/cancel/{subscription}",
        "/pay/cs_x",
        "/portal/x",
    ]
    for answer in [step, *(merchant.browser.get(path) for path in paths)]:
        page = Page(answer)
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert answer.headers["cache-control"] == "no-store"
        assert not page.all("script")
        assert not [tag for tag in page.tags if "style" in tag[1]]
        fetched = [found["href"] for found in page.all("link")] + [found["src"] for found in page.all("img")]
        assert fetched
        for address in fetched:
            assert address
            assert merchant.browser.get(address).status_code == 200
        assert all((form["action"] or "").startswith("/") for form in page.all("form"))


def test_every_field_has_a_label(merchant: Merchant) -> None:
    """Whoever hears the page instead of seeing it learns what each field is for."""
    portal, _ = merchant.subscriber(merchant.price())
    for path in (f"/pay/{merchant.checkout(merchant.price())}", portal):
        html = merchant.browser.get(path).text
        page = Page(merchant.browser.get(path))
        labelled = {label["for"] for label in page.all("label") if "for" in label}
        wrapped = len(re.findall(r"<label[^>]*>\s*<input", html))
        fields = [field for field in page.all("input") if field["type"] != "hidden"]
        assert fields
        assert len([field for field in fields if field.get("id") not in labelled]) == wrapped


def test_an_address_that_leads_nowhere_is_a_page_too(merchant: Merchant) -> None:
    """An unknown checkout or portal is 404 in words, for reading and for acting."""
    for path in ("/pay/cs_test_gone", "/portal/bps_gone"):
        assert merchant.browser.get(path).status_code == 404
        answer = merchant.browser.post(path, data={"action": "cancel", "subscription": "sub_gone"})
        assert answer.status_code == 404
        assert "Nothing here" in Page(answer).text


# --- Words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "count", "words"), [("month", 1, "per month"), ("month", 3, "every 3 months"), ("year", 1, "per year")]
)
def test_intervals_in_words(interval: str, count: int, words: str) -> None:
    """One interval is "per", several are "every"."""
    assert wording.per(interval, count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, ""),
        (59 * 60, "59 minutes"),
        (3600, "1 hour"),
        (90 * 60, "1 hour 30 minutes"),
        (86400 * 3 + 7300, "3 days 2 hours"),
    ],
)
def test_a_span_of_time_in_words(seconds: int, words: str) -> None:
    """Minutes are told only for spans below a day; no time at all is no words."""
    assert wording.length(seconds) == words
