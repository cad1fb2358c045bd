"""The customer portal: sessions and configurations by API, and what a customer does there."""

import pytest
import stripe

from tollhouse_sandbox import portal
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


_UPDATE = "features[subscription_update]"


@pytest.mark.parametrize(
    "fields",
    [
        {f"{_UPDATE}[enabled]": "true"},
        {"features[customer_update][enabled]": "true"},
        {"features[subscription_cancel][mode]": "immediately"},
        {f"{_UPDATE}[enabled]": "false", f"{_UPDATE}[billing_cycle_anchor]": "now"},
        {f"{_UPDATE}[enabled]": "false", f"{_UPDATE}[products][0][product]": "prod_x"},
        {
            f"{_UPDATE}[enabled]": "false",
            f"{_UPDATE}[products][0][product]": "{product}",
            f"{_UPDATE}[products][0][prices][0]": "{other}",
        },
        {"features[invoice_history][enabled]": "true", "login_page[enabled]": "true"},
    ],
)
def test_a_configuration_that_could_not_be_kept_is_refused(here, price, fields):
    """What names nothing to do, what belongs to another product, and what the portal does not do."""
    named = {"product": here.get(f"prices/{price}")["product"]}
    named["other"] = here.post(
        "prices",
        {"currency": "eur", "unit_amount": "1", "recurring[interval]": "month", "product_data[name]": "Other"},
    )["id"]
    body = "&".join(f"{name}={value.format(**named)}" for name, value in fields.items())
    assert here.status("POST", "/v1/billing_portal/configurations", body) == 400


def test_an_inactive_configuration_opens_no_portal(here):
    """The default one cannot be switched off."""
    customer = here.post("customers")["id"]
    here.post("billing_portal/sessions", {"customer": customer})
    (default,) = here.get("billing_portal/configurations?is_default=true")["data"]
    assert here.status("POST", f"/v1/billing_portal/configurations/{default['id']}", "active=false") == 400
    other = here.post("billing_portal/configurations", {"features[invoice_history][enabled]": "true"})["id"]
    assert here.post(f"billing_portal/configurations/{other}", {"active": "false"})["active"] is False
    assert here.status("POST", "/v1/billing_portal/sessions", f"customer={customer}&configuration={other}") == 400


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


@pytest.fixture
def act(here):
    """Does something of the portal in one step, as its page does: `act(session_id, portal.cancel, …)`."""

    def act(session, doing, *given, **more):
        with here.sandbox.step(session):
            return doing(portal.visit(here.sandbox.account, session), *given, **more)

    return act


def _features(**features):
    """Form fields of a configuration: `subscription_cancel={"enabled": "true"}`."""
    return {f"features[{name}]{key}": value for name, feature in features.items() for key, value in feature.items()}


def _session(here, customer, features, **flow):
    configuration = here.post("billing_portal/configurations", features)["id"]
    return here.post("billing_portal/sessions", {"customer": customer, "configuration": configuration, **flow})["id"]


def test_what_the_portal_shows(here, subscribed):
    """Subscriptions with their lines and end, invoices, and the method that pays."""
    customer, subscription, session = subscribed
    view = portal.view(portal.visit(here.sandbox.account, session))
    assert view["customer"]["id"] == customer
    (standing,) = view["subscriptions"]
    assert (standing["subscription"]["id"], standing["lines"][0]["name"]) == (subscription, "Pro")
    assert standing["scheduled_end"] is None
    assert standing["may"] == {"cancel": True, "resume": False, "update": False, "pause": False, "unpause": False}
    assert view["payment_method"]["card"]["last4"] == "4242"
    assert [each["status"] for each in view["invoices"]] == ["paid"]


def test_cancelling_in_the_portal_sets_only_cancel_at(here, subscribed, act):
    """A portal cancellation of a flexible subscription leaves `cancel_at_period_end` false; it can be taken back."""
    _, subscription, session = subscribed
    act(session, portal.cancel, subscription)
    scheduled = here.get(f"subscriptions/{subscription}")
    assert scheduled["cancel_at"] == scheduled["items"]["data"][0]["current_period_end"]
    assert scheduled["cancel_at_period_end"] is False
    assert scheduled["canceled_at"] is not None
    event = here.get("events?limit=1")["data"][0]
    assert event["type"] == "customer.subscription.updated"
    assert "cancel_at_period_end" not in event["data"]["previous_attributes"]
    act(session, portal.resume, subscription)
    undone = here.get(f"subscriptions/{subscription}")
    assert (undone["cancel_at"], undone["canceled_at"]) == (None, None)
    act(session, portal.cancel, subscription)
    here.run(here.sandbox.advance(40 * 86_400))
    assert here.get(f"subscriptions/{subscription}")["status"] == "canceled"


def test_the_configuration_decides_how_the_portal_cancels(here, subscribed, act):
    """At once where it says so, with the reason and what is unused given back; not at all where it forbids it."""
    customer, subscription, _ = subscribed
    forbids = _session(here, customer, _features(subscription_cancel={"[enabled]": "false"}))
    with pytest.raises(StripeError, match="does not let"):
        act(forbids, portal.cancel, subscription)
    asks = {
        "[enabled]": "true",
        "[mode]": "immediately",
        "[proration_behavior]": "create_prorations",
        "[cancellation_reason][enabled]": "true",
        "[cancellation_reason][options][0]": "too_expensive",
    }
    session = _session(here, customer, _features(subscription_cancel=asks))
    with pytest.raises(StripeError, match="does not offer the reason"):
        act(session, portal.cancel, subscription, feedback="unused")
    here.run(here.sandbox.advance(86_400))
    act(session, portal.cancel, subscription, feedback="too_expensive", comment="Sorry")
    ended = here.get(f"subscriptions/{subscription}")
    assert ended["status"] == "canceled"
    told = {name: ended["cancellation_details"][name] for name in ("reason", "feedback", "comment")}
    assert told == {"reason": "cancellation_requested", "feedback": "too_expensive", "comment": "Sorry"}
    (credit,) = here.get("invoiceitems?pending=true")["data"]
    assert credit["amount"] < -1700


@pytest.fixture
def plans(here, price):
    """Form fields of a configuration that lets customers change to a dearer price, and to a yearly one; and these."""
    product = here.get(f"prices/{price}")["product"]
    dearer, yearly = (
        here.post(
            "prices",
            {"currency": "eur", "product": product, "unit_amount": amount, "recurring[interval]": interval},
        )["id"]
        for amount, interval in (("1900", "month"), ("9000", "year"))
    )
    fields = {
        "[enabled]": "true",
        "[default_allowed_updates][0]": "price",
        "[default_allowed_updates][1]": "quantity",
        "[proration_behavior]": "create_prorations",
        "[products][0][product]": product,
        "[products][0][adjustable_quantity][enabled]": "true",
        "[products][0][adjustable_quantity][maximum]": "5",
        **{f"[products][0][prices][{place}]": each for place, each in enumerate((price, dearer, yearly))},
    }
    return _features(subscription_update=fields), dearer, yearly


def test_a_plan_is_changed_as_by_the_api(here, subscribed, act, plans):
    """What the preview says is what the change then costs; the preview itself leaves nothing behind."""
    customer, subscription, _ = subscribed
    features, dearer, yearly = plans
    session = _session(here, customer, features)
    here.run(here.sandbox.advance(10 * 86_400))
    seen = portal.visit(here.sandbox.account, session)
    events = len(here.get("events?limit=100")["data"])
    told = portal.preview(seen, subscription, dearer, 3)
    assert (told["billed"], told["due"]) == (False, 0)
    at_once = portal.preview(seen, subscription, yearly, 2)
    assert at_once["billed"] and at_once["due"] == sum(line["amount"] for line in at_once["lines"])
    assert len(here.get("events?limit=100")["data"]) == events
    assert here.get("invoiceitems")["data"] == []
    act(session, portal.change, subscription, dearer, 3)
    (item,) = here.get(f"subscriptions/{subscription}")["items"]["data"]
    assert (item["price"]["id"], item["quantity"]) == (dearer, 3)
    made = {item["amount"] for item in here.get("invoiceitems")["data"]}
    assert made == {line["amount"] for line in told["lines"]}
    assert [each["type"] for each in here.get("events?limit=3")["data"]] == [
        "customer.subscription.updated",
        "invoiceitem.created",
        "invoiceitem.created",
    ]


def test_a_change_is_refused_that_is_not_offered_or_not_paid(here, subscribed, act, plans):
    """Another price, too many, the same again; and a declined payment leaves the plan as it was."""
    customer, subscription, plain = subscribed
    features, dearer, yearly = plans
    session = _session(here, customer, features)
    for price, quantity, words in (
        ("price_x", 1, "does not offer"),
        (dearer, 6, "from 1 to 5"),
        (here.get(f"subscriptions/{subscription}")["items"]["data"][0]["price"]["id"], 2, "have already"),
    ):
        with pytest.raises(StripeError, match=words):
            act(session, portal.change, subscription, price, quantity)
    with pytest.raises(StripeError, match="does not let"):
        act(plain, portal.change, subscription, dearer, 1)
    act(session, portal.set_payment_method, "pm_card_chargeCustomerFail")
    with pytest.raises(StripeError) as declined:
        act(session, portal.change, subscription, yearly, 2)
    assert declined.value.status == 402
    (item,) = here.get(f"subscriptions/{subscription}")["items"]["data"]
    assert item["price"]["id"] != yearly


def test_a_plan_is_paused_in_the_portal(here, subscribed, act):
    """Where the configuration allows it; and resumed, which pays for a new period."""
    customer, subscription, plain = subscribed
    with pytest.raises(StripeError, match="does not let"):
        act(plain, portal.pause, subscription)
    session = _session(here, customer, _features(subscription_pause={"[enabled]": "true"}))
    act(session, portal.pause, subscription)
    assert here.get(f"subscriptions/{subscription}")["status"] == "paused"
    act(session, portal.unpause, subscription)
    assert here.get(f"subscriptions/{subscription}")["status"] == "active"


def test_details_are_changed_in_the_portal(here, subscribed, act):
    """Those that the configuration names, with `customer.updated`; no others, and only an address that can be one."""
    customer, _, plain = subscribed
    allowed = {"[enabled]": "true", "[allowed_updates][0]": "email", "[allowed_updates][1]": "name"}
    session = _session(here, customer, _features(customer_update=allowed))
    act(session, portal.update_customer, {"email": "new@example.com", "name": "Ada"})
    event = here.get("events?limit=1")["data"][0]
    assert event["type"] == "customer.updated"
    assert set(event["data"]["previous_attributes"]) == {"email", "name"}
    for where, given in ((plain, {"name": "Eve"}), (session, {"phone": "1"}), (session, {"email": "nobody"})):
        with pytest.raises(StripeError):
            act(where, portal.update_customer, given)
    assert here.get(f"customers/{customer}")["name"] == "Ada"


FLOWS = {
    "subscription_cancel": {"flow_data[subscription_cancel][subscription]": "{subscription}"},
    "subscription_pause": {"flow_data[subscription_pause][subscription]": "{subscription}"},
    "subscription_update": {"flow_data[subscription_update][subscription]": "{subscription}"},
    "payment_method_update": {},
    "customer_update": {},
}


@pytest.mark.parametrize("kind", FLOWS)
def test_a_flow_needs_its_feature(here, subscribed, kind):
    """A link to what the configuration forbids, or without the subscription it is about, is refused."""
    customer, subscription, _ = subscribed
    off = {"[enabled]": "false"}
    features = _features(subscription_cancel=off, payment_method_update=off, subscription_pause=off)
    configuration = here.post("billing_portal/configurations", features)["id"]
    named = {name: value.format(subscription=subscription) for name, value in FLOWS[kind].items()}
    fields = {"customer": customer, "flow_data[type]": kind, **named}
    body = "&".join(f"{name}={value}" for name, value in {**fields, "configuration": configuration}.items())
    assert here.status("POST", "/v1/billing_portal/sessions", body) == 400
    if named:
        assert here.status("POST", "/v1/billing_portal/sessions", f"customer={customer}&flow_data[type]={kind}") == 400


def test_a_flow_ends_where_the_app_said(here, subscribed, act, faults_of):
    """Only what the link leads to completes it, and only once; the shape of each flow is the SDK's."""
    customer, subscription, _ = subscribed
    flow = {
        "flow_data[type]": "subscription_cancel",
        "flow_data[subscription_cancel][subscription]": subscription,
        "flow_data[after_completion][type]": "redirect",
        "flow_data[after_completion][redirect][return_url]": "https://app.example/bye",
    }
    made = here.post("billing_portal/sessions", {"customer": customer, **flow})
    assert faults_of(made) == []
    session = made["id"]
    assert act(session, portal.complete, "payment_method_update") is None
    assert act(session, portal.complete, "subscription_cancel")["redirect"]["return_url"] == "https://app.example/bye"
    assert act(session, portal.complete, "subscription_cancel") is None


def test_a_new_card_in_the_portal(here, subscribed, act):
    """It becomes the default of customer and subscription; a declined one changes nothing, one may ask who it is."""
    customer, subscription, session = subscribed
    before = here.get(f"customers/{customer}")["invoice_settings"]["default_payment_method"]
    with pytest.raises(StripeError) as refused:
        act(session, portal.set_payment_method, "pm_card_chargeDeclined")
    assert refused.value.status == 402
    with pytest.raises(AuthenticationRequired):
        act(session, portal.set_payment_method, "pm_card_authenticationRequired")
    assert here.get(f"customers/{customer}")["invoice_settings"]["default_payment_method"] == before
    act(session, portal.set_payment_method, "pm_card_authenticationRequired", authenticated=True)
    act(session, portal.set_payment_method, "pm_card_mastercard")
    after = here.get(f"customers/{customer}")["invoice_settings"]["default_payment_method"]
    assert after != before
    assert here.get(f"subscriptions/{subscription}")["default_payment_method"] == after


def test_a_portal_shows_only_its_own_customer(here, subscribed, price, act):
    """Another customer's subscription is 404 in a portal, as is an unknown portal."""
    _, _, session = subscribed
    other = _checkout(here, price)
    here.run(here.sandbox.pay(other["id"], email="other@example.com"))
    foreign = here.get(f"checkout/sessions/{other['id']}")["subscription"]
    for where, whose in ((session, foreign), ("bps_none", foreign)):
        with pytest.raises(StripeError) as unknown:
            act(where, portal.cancel, whose)
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
