"""The demo's stories as a person lives them: from the app to the payment page, back, and to the billing portal."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

Picture = Callable[[Page, str], None]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), pytest.mark.xdist_group("browser")]


def test_a_person_upgrades_and_cancels(page: Page, demo_url: str, picture: Picture) -> None:
    """A declined card is told, a good one unlocks the app at once, and a cancellation says until when it stays open."""
    sign_in(page, picture, demo_url, "Ada")
    page.goto(f"{demo_url}/pdf")
    expect(page.get_by_text("Locked")).to_be_visible()
    picture(page, "pdf-locked")

    page.locator("form", has_text="per month").get_by_role("button", name="Upgrade").click()
    expect(page.get_by_text("14 days free").first).to_be_visible()
    picture(page, "checkout")
    pay(page, "Declined", "Start trial")
    expect(page.get_by_role("alert")).to_contain_text("declined")
    picture(page, "checkout-declined")

    pay(page, "Visa, succeeds", "Start trial")
    expect(page.get_by_role("status")).to_contain_text("What you bought is open")
    expect(page.get_by_text("Unlocked")).to_be_visible()
    picture(page, "pdf-unlocked")
    with page.expect_download() as download:
        page.get_by_role("button", name="Premium export").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")

    page.get_by_role("button", name="Manage billing").click()
    picture(page, "portal")
    page.get_by_role("link", name="Cancel plan").click()
    picture(page, "portal-cancel")
    page.get_by_role("button", name="Yes, cancel it").click()
    ends = page.get_by_text(re.compile(r"Ends on (.+)\.")).inner_text().removeprefix("Ends on ").rstrip(".")
    page.get_by_role("link", name="Return to the app").click()
    expect(page.get_by_text(f"Cancelled, open until {ends}")).to_be_visible()
    expect(page.get_by_text("Unlocked")).to_be_visible()
    picture(page, "pdf-cancelled")


def test_a_locked_button_leads_to_the_plans(page: Page, demo_url: str, picture: Picture) -> None:
    """Pressing what is locked does nothing but show what opens it; a program that tries is told 402."""
    sign_in(page, picture, demo_url, "Alan")
    page.goto(f"{demo_url}/pdf")
    page.get_by_role("button", name="Premium export").click()
    expect(page).to_have_url(f"{demo_url}/pdf#plans")
    answer = page.request.post(f"{demo_url}/pdf/export", form={"text": "mine"}, headers={"Accept": "application/json"})
    assert answer.status == 402
    assert answer.json()["feature"] == "premium_export"
    expect(page.get_by_text("Locked")).to_be_visible()


def test_a_bank_debit_opens_when_it_arrives(page: Page, demo_url: str, sandbox_url: str, picture: Picture) -> None:
    """A lifetime licence paid by debit is on its way, stays locked, and opens by itself once the bank has paid."""
    sign_in(page, picture, demo_url, "Katherine")
    page.goto(f"{demo_url}/pdf")
    page.locator("form", has_text="Lifetime").get_by_role("button", name="Buy").click()
    pay(page, "SEPA debit, arrives days later", "Pay €199.00")
    expect(page.get_by_role("status")).to_contain_text("on its way")
    expect(page.get_by_text("Locked")).to_be_visible()
    picture(page, "pdf-on-its-way")

    page.goto(sandbox_url)
    page.get_by_role("button", name="+1 week").click()
    picture(page, "control-desk")
    page.goto(f"{demo_url}/pdf")
    reload_until_shown(page, page.get_by_text("Unlocked"))
    expect(page.get_by_text("Yours for good")).to_be_visible()


def test_the_bank_asks_who_it_is(page: Page, demo_url: str, picture: Picture) -> None:
    """A card with 3-D Secure: failing the bank's question keeps the page open, answering it finishes the purchase."""
    sign_in(page, picture, demo_url, "Grace")
    page.goto(f"{demo_url}/pdf")
    page.locator("form", has_text="per year").get_by_role("button", name="Upgrade").click()
    pay(page, "Asks for 3-D Secure once, also when saved", "Subscribe")
    picture(page, "3-d-secure")
    page.get_by_role("button", name="Fail").click()
    expect(page.get_by_role("alert")).to_contain_text("could not confirm")
    page.get_by_role("button", name="Subscribe").click()
    page.get_by_role("button", name="Complete authentication").click()
    expect(page.get_by_text("Unlocked")).to_be_visible()


def test_premium_is_for_one_server(page: Page, demo_url: str, picture: Picture) -> None:
    """Paying for one server opens its commands and leaves the other server as it was."""
    sign_in(page, picture, demo_url, "Ada")
    page.goto(f"{demo_url}/bot")
    cellar, pioneers = (
        page.get_by_role("article", name="The Chess Cellar"),
        page.get_by_role("article", name="Pixel Pioneers"),
    )
    cellar.get_by_role("button", name="Upgrade").click()
    pay(page, "Visa, succeeds", "Subscribe")
    expect(cellar.get_by_text("Premium", exact=True)).to_be_visible()
    expect(pioneers.get_by_text("Free", exact=True)).to_be_visible()

    cellar.get_by_role("button", name="/hello").click()
    expect(cellar.get_by_role("status")).to_contain_text("Hello from a command")
    pioneers.get_by_role("button", name="/hello").click()
    expect(pioneers.get_by_role("status")).to_contain_text("need Guild Bot Premium")
    cellar.get_by_role("button", name="/play").click()
    expect(cellar.get_by_role("status")).to_contain_text("24 hours of music")
    picture(page, "guild-bot")


def sign_in(page: Page, picture: Picture, demo_url: str, person: str) -> None:
    page.goto(demo_url)
    picture(page, "home")
    page.get_by_role("button", name=person).click()
    expect(page.get_by_text(f"Signed in as {person}")).to_be_visible()


def pay(page: Page, card: str, button: str) -> None:
    page.get_by_label("E-mail").fill("somebody@example.com")
    page.get_by_label(re.compile(rf"^\s*{re.escape(card)}\s+\w+ \d")).check()
    page.get_by_role("button", name=button).click()


def reload_until_shown(page: Page, wanted: Locator) -> None:
    """What changed at Stripe alone is known here once its webhook has arrived and been worked on."""
    for _ in range(100):
        if wanted.is_visible():
            return
        page.wait_for_timeout(100)
        page.reload()
    expect(wanted).to_be_visible()
