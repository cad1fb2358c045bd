"""The customer portal: sessions and configurations by API, and what a customer does there."""

import pytest
import stripe

from tollhouse_sandbox.errors import AuthenticationRequired, StripeError


def test_sessions_and_the_default_configuration(shop):
    """A session names the default configuration, which is made on first use and only once."""
    customer = shop.customer(card=None)
    params = {"customer": customer.id, "return_url": "https://app.example/back"}
    session = shop.api.billing_portal.sessions.create(params=params)
    assert session.url == f"{shop.desk.url}/portal/{session.id}"
    assert (session.customer, session.return_url) == (customer.id, "https://app.example/back")
    shop.api.billing_portal.sessions.create(params=params)
    (default,) = shop.api.billing_portal.configurations.list(params={"is_default": True}).data
    assert session.configuration == default.id
    assert default.features.subscription_cancel.mode == "at_period_end"
    assert shop.last_event().type == "billing_portal.session.created"


def test_configurations(shop):
    """A configuration says what customers may do; a session can use it, and deep links are kept."""
    made = shop.api.billing_portal.configurations.create(
        params={
            "features": {
                "subscription_cancel": {"enabled": True, "mode": "immediately"},
                "invoice_history": {"enabled": False},
            },
            "business_profile": {"headline": "Hello"},
            "default_return_url": "https://app.example/",
        }
    )
    assert (made.features.subscription_cancel.mode, made.features.invoice_history.enabled) == ("immediately", False)
    assert (made.business_profile.headline, made.is_default) == ("Hello", False)
    changed = shop.api.billing_portal.configurations.update(
        made.id, params={"features": {"invoice_history": {"enabled": True}}, "name": "n", "metadata": {"a": "b"}}
    )
    assert changed.features.invoice_history.enabled is True
    assert changed.features.subscription_cancel.mode == "immediately"
    assert shop.api.billing_portal.configurations.retrieve(made.id).name == "n"
    subscription = shop.subscribe(shop.price())
    session = shop.api.billing_portal.sessions.create(
        params={
            "customer": subscription.customer,
            "configuration": made.id,
            "flow_data": {"type": "subscription_cancel", "subscription_cancel": {"subscription": subscription.id}},
        }
    )
    assert session.return_url == "https://app.example/"
    assert session.flow.subscription_cancel.subscription == subscription.id
    with pytest.raises(stripe.InvalidRequestError, match="No such billing_portal"):
        shop.api.billing_portal.sessions.create(params={"customer": subscription.customer, "configuration": "bpc_none"})


@pytest.fixture
def price(here):
    return here.post(
        "prices",
        {"currency": "eur", "unit_amount": "900", "recurring[interval]": "month", "product_data[name]": "Pro"},
    )["id"]


@pytest.fixture
def subscribed(here, price):
    """A customer with a subscription: the ids of both and of a portal session."""
    session = _checkout(here, price)
    here.run(here.sandbox.pay(session["id"]))
    paid = here.get(f"checkout/sessions/{session['id']}")
    portal = here.post("billing_portal/sessions", {"customer": paid["customer"]})["id"]
    return paid["customer"], paid["subscription"], portal


def _checkout(here, price, **more):
    return here.post(
        "checkout/sessions",
        {
            "mode": "subscription",
            "line_items[0][price]": price,
            "line_items[0][quantity]": "2",
            "success_url": "https://app.example/?s={CHECKOUT_SESSION_ID}",
            **more,
        },
    )


def test_what_the_checkout_page_shows(here, price):
    """Lines with names and rhythm, what is due today, and the trial in words."""
    session = _checkout(
        here, price, **{"subscription_data[trial_period_days]": "14", "customer_email": "a@example.com"}
    )
    view = here.run(here.sandbox.checkout_view(session["id"]))
    (line,) = view["lines"]
    assert (line["name"], line["quantity"], line["amount"], line["interval"]) == ("Pro", 2, 1800, "month")
    assert (view["amount_total"], view["amount_due_today"], view["email"]) == (1800, 0, "a@example.com")
    assert (view["trial_days"], view["trial_text"]) == (14, "14 days free, then €18.00")
    assert view["needs_card"] is True
    assert {"pm_card_visa", "pm_card_chargeDeclined", "pm_sepaDebit"} <= {each["card"] for each in view["cards"]}
    assert here.run(here.sandbox.cancel_url(session["id"])) is None
    assert here.run(here.sandbox.checkout_view(_checkout(here, price)["id"]))["trial_text"] is None


def test_paying_from_the_page(here, price):
    """The page pays, asks for 3-D Secure first where the card wants it, and cannot be paid twice."""
    session = _checkout(here, price, cancel_url="https://app.example/?back={CHECKOUT_SESSION_ID}")
    assert here.run(here.sandbox.cancel_url(session["id"])) == f"https://app.example/?back={session['id']}"
    with pytest.raises(AuthenticationRequired):
        here.run(here.sandbox.pay(session["id"], "pm_card_threeDSecure2Required"))
    url = here.run(here.sandbox.pay(session["id"], "pm_card_threeDSecure2Required", authenticated=True))
    assert url == f"https://app.example/?s={session['id']}"
    with pytest.raises(StripeError, match="complete"):
        here.run(here.sandbox.pay(session["id"]))
    for wrong in ("cs_none", "cs_test_none"):
        with pytest.raises(StripeError) as unknown:
            here.run(here.sandbox.checkout_view(wrong))
        assert unknown.value.status == 404


def test_an_unknown_card_is_refused(here, price):
    """A card that is none of the test cards is a 400."""
    with pytest.raises(StripeError, match="No such PaymentMethod"):
        here.run(here.sandbox.pay(_checkout(here, price)["id"], "pm_none"))


def test_what_the_portal_shows(here, subscribed):
    """Subscriptions with their lines and end, invoices, and the method that pays."""
    customer, subscription, portal = subscribed
    view = here.run(here.sandbox.portal_view(portal))
    assert view["customer"]["id"] == customer
    (standing,) = view["subscriptions"]
    assert (standing["subscription"]["id"], standing["lines"][0]["name"]) == (subscription, "Pro")
    assert standing["scheduled_end"] is None
    assert view["payment_method"]["card"]["last4"] == "4242"
    assert [each["status"] for each in view["invoices"]] == ["paid"]


def test_cancelling_in_the_portal_sets_only_cancel_at(here, subscribed):
    """A portal cancellation of a flexible subscription leaves `cancel_at_period_end` false; it can be taken back."""
    _, subscription, portal = subscribed
    here.run(here.sandbox.portal_cancel(portal, subscription))
    scheduled = here.get(f"subscriptions/{subscription}")
    assert scheduled["cancel_at"] == scheduled["items"]["data"][0]["current_period_end"]
    assert scheduled["cancel_at_period_end"] is False
    assert scheduled["canceled_at"] is not None
    event = here.get("events?limit=1")["data"][0]
    assert event["type"] == "customer.subscription.updated"
    assert "cancel_at_period_end" not in event["data"]["previous_attributes"]
    here.run(here.sandbox.portal_resume(portal, subscription))
    undone = here.get(f"subscriptions/{subscription}")
    assert (undone["cancel_at"], undone["canceled_at"]) == (None, None)
    here.run(here.sandbox.portal_cancel(portal, subscription))
    here.run(here.sandbox.advance(40 * 86_400))
    assert here.get(f"subscriptions/{subscription}")["status"] == "canceled"


def test_the_configuration_decides_how_the_portal_cancels(here, subscribed):
    """At once where it says so, not at all where it forbids it."""
    customer, subscription, _ = subscribed

    def portal(**feature):
        fields = {f"features[subscription_cancel][{name}]": value for name, value in feature.items()}
        configuration = here.post("billing_portal/configurations", fields)["id"]
        return here.post("billing_portal/sessions", {"customer": customer, "configuration": configuration})["id"]

    with pytest.raises(StripeError, match="does not let"):
        here.run(here.sandbox.portal_cancel(portal(enabled="false"), subscription))
    here.run(here.sandbox.portal_cancel(portal(enabled="true", mode="immediately"), subscription))
    assert here.get(f"subscriptions/{subscription}")["status"] == "canceled"


def test_a_new_card_in_the_portal(here, subscribed):
    """It becomes the default of customer and subscription; a declined one changes nothing."""
    customer, subscription, portal = subscribed
    before = here.get(f"customers/{customer}")["invoice_settings"]["default_payment_method"]
    with pytest.raises(StripeError) as refused:
        here.run(here.sandbox.portal_set_payment_method(portal, "pm_card_chargeDeclined"))
    assert refused.value.status == 402
    assert here.get(f"customers/{customer}")["invoice_settings"]["default_payment_method"] == before
    here.run(here.sandbox.portal_set_payment_method(portal, "pm_card_mastercard"))
    after = here.get(f"customers/{customer}")["invoice_settings"]["default_payment_method"]
    assert after != before
    assert here.get(f"subscriptions/{subscription}")["default_payment_method"] == after


def test_a_portal_shows_only_its_own_customer(here, subscribed, price):
    """Another customer's subscription is 404 in a portal, as is an unknown portal."""
    _, _, portal = subscribed
    other = _checkout(here, price)
    here.run(here.sandbox.pay(other["id"], email="other@example.com"))
    foreign = here.get(f"checkout/sessions/{other['id']}")["subscription"]
    for attempt in (here.sandbox.portal_cancel(portal, foreign), here.sandbox.portal_view("bps_none")):
        with pytest.raises(StripeError) as unknown:
            here.run(attempt)
        assert unknown.value.status == 404


def test_the_overview(here, subscribed):
    """The control page's numbers, newest events with their deliveries, endpoints and customers."""
    endpoint = here.post("webhook_endpoints", {"url": "http://127.0.0.1:9/", "enabled_events[]": "customer.created"})
    here.post("customers", {"email": "new@example.com"})
    here.run(here.sandbox.drain())
    view = here.run(here.sandbox.overview())
    assert (view["counts"]["customer"], view["counts"]["subscription"]) == (2, 1)
    newest = view["events"][0]
    assert newest["event"]["type"] == "customer.created"
    (delivery,) = newest["deliveries"]
    assert (delivery["endpoint"], delivery["url"], delivery["state"]) == (endpoint["id"], endpoint["url"], "pending")
    assert delivery["attempts"][0]["status"] is None and "Connect" in delivery["attempts"][0]["error"]
    assert delivery["next_attempt"] > view["now"]
    assert view["customers"][0]["email"] == "new@example.com"
    assert len(view["events"]) <= 20
