"""The customer portal as a browser without JavaScript meets it."""

import re
from datetime import UTC, datetime

APP = "http://app.example.com"


def written_day(unix: int) -> str:
    at = datetime.fromtimestamp(unix, UTC)
    return f"{at.day} {at:%B %Y}"


def test_cancelling_asks_first_then_says_until_when(merchant):
    """Cancel leads to a question; yes schedules the end of the period and the portal tells that day."""
    portal, subscription = merchant.subscriber(merchant.price())
    period_end = merchant.read(f"/subscriptions/{subscription}")["items"]["data"][0]["current_period_end"]
    assert f"Renews on {written_day(period_end)}" in merchant.open(portal).text

    question = merchant.open(f"{portal}/cancel/{subscription}")
    assert f"It stays open until {written_day(period_end)}" in question.text
    assert merchant.read(f"/subscriptions/{subscription}")["cancel_at"] is None

    answer = merchant.browser.post(portal, data={"action": "cancel", "subscription": subscription})
    assert answer.status_code == 303
    assert merchant.read(f"/subscriptions/{subscription}")["cancel_at"] == period_end
    assert f"Ends on {written_day(period_end)}" in merchant.open(answer.headers["location"]).text


def test_a_cancellation_can_be_taken_back(merchant):
    """Don't cancel clears the scheduled end."""
    portal, subscription = merchant.subscriber(merchant.price())
    merchant.browser.post(portal, data={"action": "cancel", "subscription": subscription})
    assert "Don’t cancel" in merchant.open(portal).text
    merchant.browser.post(portal, data={"action": "resume", "subscription": subscription})
    assert merchant.read(f"/subscriptions/{subscription}")["cancel_at"] is None
    assert "Renews on" in merchant.open(portal).text


def test_the_payment_method_can_be_changed(merchant):
    """A good new card becomes the one in use; one that is refused is not taken and the portal says why."""
    portal, _ = merchant.subscriber(merchant.price())
    assert "Visa ending in 4242" in merchant.open(portal).text
    answer = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_mastercard"})
    assert "Mastercard ending in 4444" in merchant.open(answer.headers["location"]).text

    refused = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_chargeDeclined"})
    assert refused.status_code == 402
    assert "Your card was declined." in merchant.words(refused).text
    assert "Mastercard ending in 4444" in merchant.open(portal).text


def test_a_failed_renewal_is_past_due(merchant):
    """When the card fails at the renewal, the portal says so and lists the open invoice above the paid one."""
    portal, _ = merchant.subscriber(merchant.price())
    merchant.browser.post(portal, data={"action": "save", "card": "pm_card_chargeCustomerFail"})
    merchant.sandbox.advance(days=32)
    page = merchant.open(portal)
    assert "Past due" in page.text
    assert re.search(r"Open €9\.00 .* Paid €9\.00", page.text)
    assert page.all("a", href=f"{APP}/account")


def test_nobody_cancels_the_subscription_of_somebody_else(merchant):
    """A portal acts only on its own customer's subscriptions, whatever the form says."""
    price = merchant.price()
    _, theirs = merchant.subscriber(price)
    mine, _ = merchant.subscriber(price)
    assert merchant.browser.post(mine, data={"action": "cancel", "subscription": theirs}).status_code == 404
    assert merchant.read(f"/subscriptions/{theirs}")["cancel_at"] is None
