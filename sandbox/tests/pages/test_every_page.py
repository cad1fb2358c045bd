"""What holds for all pages, and the words they are written in."""

import re

import pytest

from tollhouse_sandbox.pages import wording


def test_every_page_keeps_to_itself(merchant):
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
        page = merchant.words(answer)
        assert answer.headers["content-security-policy"].startswith("default-src 'none';")
        assert answer.headers["cache-control"] == "no-store"
        assert not page.all("script")
        assert not [tag for tag in page.tags if "style" in tag[1]]
        fetched = [found["href"] for found in page.all("link")] + [found["src"] for found in page.all("img")]
        assert fetched
        for address in fetched:
            assert address
            assert merchant.browser.get(address).status_code == 200
        assert all((form["action"] or "").startswith("/") for form in page.all("form"))


def test_every_field_has_a_label(merchant):
    """Whoever hears the page instead of seeing it learns what each field is for."""
    portal, _ = merchant.subscriber(merchant.price())
    for path in (f"/pay/{merchant.checkout(merchant.price())}", portal):
        html = merchant.browser.get(path).text
        page = merchant.open(path)
        labelled = {label["for"] for label in page.all("label") if "for" in label}
        wrapped = len(re.findall(r"<label[^>]*>\s*<input", html))
        fields = [field for field in page.all("input") if field["type"] != "hidden"]
        assert fields
        assert len([field for field in fields if field.get("id") not in labelled]) == wrapped


def test_an_address_that_leads_nowhere_is_a_page_too(merchant):
    """An unknown checkout or portal is 404 in words, for reading and for acting."""
    for path in ("/pay/cs_test_gone", "/portal/bps_gone"):
        assert merchant.browser.get(path).status_code == 404
        answer = merchant.browser.post(path, data={"action": "cancel", "subscription": "sub_gone"})
        assert answer.status_code == 404
        assert "Nothing here" in merchant.words(answer).text


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


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}],
)
def test_another_site_cannot_press_the_buttons(merchant, headers):
    """A form that a page of another origin sends is refused in words, and nothing has happened."""
    checkout = merchant.checkout(merchant.price())
    fields = {"card": "pm_card_visa", "email": "ada@example.com"}
    for path in (f"/pay/{checkout}", "/control/clock", "/_sandbox/reset"):
        answer = merchant.browser.post(path, data=fields, headers=headers)
        assert answer.status_code == 403
        assert "page of another site" in merchant.words(answer).text
    assert merchant.session(checkout)["status"] == "open"
    own = {"Sec-Fetch-Site": "same-origin", "Origin": merchant.sandbox.url}
    assert merchant.browser.post(f"/pay/{checkout}", data=fields, headers=own).status_code == 303
