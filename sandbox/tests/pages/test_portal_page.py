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


def configured(merchant, customer, features, **flow):
    """The path of a portal with these features, which may lead to one thing only."""
    fields = {f"features{name}": value for name, value in features.items()}
    configuration = merchant.create("/billing_portal/configurations", **fields)["id"]
    fields = {"customer": customer, "configuration": configuration, "return_url": f"{APP}/account", **flow}
    return "/portal/" + merchant.create("/billing_portal/sessions", **fields)["id"]


def changeable(merchant, product, *prices):
    fields = {f"[products][0][prices][{place}]": price for place, price in enumerate(prices)}
    fields |= {"[products][0][product]": product, "[products][0][adjustable_quantity][enabled]": "true"}
    fields |= {"[enabled]": "true", "[proration_behavior]": "always_invoice"}
    fields |= {f"[default_allowed_updates][{place}]": name for place, name in enumerate(("price", "quantity"))}
    return {f"[subscription_update]{name}": value for name, value in fields.items()}


def test_the_plan_is_changed_after_a_look_at_the_cost(merchant):
    """Change leads to the plans on offer, a choice to what it costs today, and confirming to the new plan."""
    price = merchant.price()
    _, subscription = merchant.subscriber(price)
    standing, product = merchant.read(f"/subscriptions/{subscription}"), merchant.read(f"/prices/{price}")["product"]
    dearer = merchant.create(
        "/prices", product=product, currency="eur", unit_amount=1900, **{"recurring[interval]": "month"}
    )["id"]
    portal = configured(merchant, standing["customer"], changeable(merchant, product, price, dearer))
    assert merchant.open(portal).all("a", href=f"{portal}/change/{subscription}")
    offers = merchant.open(f"{portal}/change/{subscription}")
    assert "checked" in offers.all("input", value=price)[0]
    assert "€19.00 per month" in offers.text

    query = f"price={dearer}&quantity=2"
    asked = merchant.open(f"{portal}/confirm/{subscription}?{query}")
    assert "€38.00 per month instead of €9.00 per month" in asked.text
    assert "Due today €29.00" in asked.text
    assert merchant.read(f"/subscriptions/{subscription}")["items"] == standing["items"]

    fields = {str(each["name"]): str(each["value"]) for each in asked.all("input", type="hidden")}
    answer = merchant.browser.post(portal, data=fields | {"action": "change"})
    assert answer.status_code == 303
    assert "The plan is changed." in merchant.open(answer.headers["location"]).text
    assert merchant.read(f"/subscriptions/{subscription}")["quantity"] == 2
    for wrong, words in (("price=price_x&quantity=1", "does not offer"), (f"price={dearer}&quantity=-1", "whole")):
        assert words in merchant.open(f"{portal}/confirm/{subscription}?{wrong}").text


def test_who_cancels_may_say_why(merchant):
    """The reasons of the configuration are offered, and what was chosen and written goes with the cancellation."""
    _, subscription = merchant.subscriber(merchant.price())
    asks = {"[enabled]": "true", "[cancellation_reason][enabled]": "true"}
    asks |= {"[cancellation_reason][options][0]": "too_expensive", "[cancellation_reason][options][1]": "other"}
    features = {f"[subscription_cancel]{name}": value for name, value in asks.items()}
    customer = merchant.read(f"/subscriptions/{subscription}")["customer"]
    portal = configured(merchant, customer, features)
    question = merchant.open(f"{portal}/cancel/{subscription}")
    assert [each["value"] for each in question.all("input", name="feedback")] == ["too_expensive", "other"]
    fields = {"action": "cancel", "subscription": subscription, "feedback": "other", "comment": "Moving to a farm"}
    assert merchant.browser.post(portal, data=fields).status_code == 303
    details = merchant.read(f"/subscriptions/{subscription}")["cancellation_details"]
    assert (details["feedback"], details["comment"]) == ("other", "Moving to a farm")


def test_a_link_to_one_thing_ends_where_the_app_said(merchant):
    """A flow shows only its own step, then sends people on, or tells the app's own words; after it all is open."""
    _, subscription = merchant.subscriber(merchant.price())
    customer = merchant.read(f"/subscriptions/{subscription}")["customer"]
    features = {"[subscription_pause][enabled]": "true"}
    pause = {"[type]": "subscription_pause", "[subscription_pause][subscription]": subscription}
    pause |= {"[after_completion][type]": "redirect", "[after_completion][redirect][return_url]": f"{APP}/paused"}
    portal = configured(merchant, customer, features, **{f"flow_data{name}": value for name, value in pause.items()})
    page = merchant.open(portal)
    assert "nothing is charged until you resume" in page.text
    assert page.all("a", href=f"{APP}/account")
    answer = merchant.browser.post(portal, data={"action": "pause", "subscription": subscription})
    assert answer.headers["location"] == f"{APP}/paused"
    assert "Resume plan" in merchant.open(portal).text

    card = {"[type]": "payment_method_update", "[after_completion][type]": "hosted_confirmation"}
    card["[after_completion][hosted_confirmation][custom_message]"] = "Thank you kindly"
    portal = configured(merchant, customer, features, **{f"flow_data{name}": value for name, value in card.items()})
    assert "Plans" not in merchant.open(portal).text
    declined = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_chargeDeclined"})
    assert (declined.status_code, "Plans" in declined.text) == (402, False)
    answer = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_visa"})
    assert "Thank you kindly" in merchant.open(answer.headers["location"]).text


def test_a_saved_card_may_ask_who_it_is(merchant):
    """A card with 3-D Secure is saved only after the bank's question."""
    portal, _ = merchant.subscriber(merchant.price())
    step = merchant.browser.post(portal, data={"action": "save", "card": "pm_card_authenticationRequired"})
    fields = {str(each["name"]): str(each["value"]) for each in merchant.words(step).all("input", type="hidden")}
    failed = merchant.browser.post(portal, data=fields | {"answer": "fail"})
    assert (failed.status_code, "was not changed" in failed.text) == (402, True)
    merchant.browser.post(portal, data=fields | {"answer": "complete"})
    assert "Visa ending in 3184" in merchant.open(portal).text


def test_an_open_invoice_is_paid_on_its_page(merchant):
    """A renewal that failed is paid by its link: a decline and the bank's question are told, then it is paid."""
    portal, subscription = merchant.subscriber(merchant.price())
    merchant.browser.post(portal, data={"action": "save", "card": "pm_card_chargeCustomerFail"})
    merchant.sandbox.advance(days=32)
    invoice = merchant.read(f"/subscriptions/{subscription}")["latest_invoice"]
    path = f"/invoice/{invoice}"
    assert merchant.read(f"/invoices/{invoice}")["hosted_invoice_url"] == f"{merchant.sandbox.url}{path}"
    assert merchant.open(portal).all("a", href=f"{merchant.sandbox.url}{path}")
    page = merchant.open(path)
    assert "To pay €9.00" in page.text
    assert "Saved" in page.text

    declined = merchant.browser.post(path, data={"card": "pm_card_chargeDeclined"})
    assert (declined.status_code, "Your card was declined." in declined.text) == (402, True)
    step = merchant.words(merchant.browser.post(path, data={"card": "pm_card_threeDSecure2Required"}))
    fields = {str(each["name"]): str(each["value"]) for each in step.all("input", type="hidden")}
    assert "could not confirm" in merchant.words(merchant.browser.post(path, data=fields | {"answer": "fail"})).text
    assert merchant.browser.post(path, data=fields | {"answer": "complete"}).status_code == 303
    assert "Paid on" in merchant.open(path).text
    assert "Receipt" in merchant.open(f"{path}/print").text
    assert merchant.read(f"/subscriptions/{subscription}")["status"] == "active"
    assert merchant.browser.post(path, data={"card": "pm_card_visa"}).status_code == 400


def test_an_invoice_paid_by_debit_waits_for_it(merchant):
    """While a bank debit is under way the page says when it arrives and takes no second payment."""
    _, subscription = merchant.subscriber(merchant.price(), "pm_sepaDebit")
    invoice = merchant.read(f"/subscriptions/{subscription}")["latest_invoice"]
    page = merchant.open(f"/invoice/{invoice}")
    assert "The bank debit is on its way and arrives on" in page.text
    assert not page.all("form")
    for path in ("/invoice/in_gone", "/invoice/in_gone/print"):
        assert merchant.browser.get(path).status_code == 404
