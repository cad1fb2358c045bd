"""Older API versions: what a call or an endpoint that names one is shown, and may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse_sandbox import ids, resources
from tollhouse_sandbox.api_versions import STEPS
from tollhouse_sandbox.differences import difference, restored
from tollhouse_sandbox.faults import Fault

NEWEST = "2026-10-28.endive"
VERSIONS = ("2024-06-20", "2025-02-24.acacia", "2025-08-27.basil", "2026-02-25.clover", "2026-08-26.dahlia", NEWEST)

BASIL, CLOVER, DAHLIA, ENDIVE = "2025-03-31", "2025-09-30", "2026-03-25", "2026-09-30"
ONLY_BEFORE = {
    "subscription": {"current_period_start": BASIL, "current_period_end": BASIL, "discount": BASIL},
    "invoice": dict.fromkeys(("subscription", "charge", "payment_intent", "paid", "tax", "quote", "discount"), BASIL),
    "line_item": dict.fromkeys(("price", "plan", "proration", "type", "subscription_item", "subscription"), BASIL),
    "charge": {"invoice": BASIL},
    "payment_intent": {"invoice": BASIL},
    "credit_note": {"refund": BASIL, "tax_amounts": BASIL},
    "discount": {"coupon": CLOVER},
}
ONLY_SINCE = {
    "subscription": {"status_details": ENDIVE, "billing_schedules": DAHLIA, "billing_mode": BASIL},
    "subscription_item": {"current_period_start": BASIL, "current_period_end": BASIL},
    "invoice": {"parent": BASIL, "total_taxes": BASIL},
    "line_item": {"parent": BASIL, "pricing": BASIL, "subtotal": CLOVER},
    "discount": {"source": CLOVER},
    "checkout.session": {"allowed_payment_method_types": ENDIVE, "customer_account": CLOVER},
}
"""Kind → field → the day of the version it left with, or came with."""


def misfits(body, version):
    """The fields anywhere in an answer that its version does not have, or has and does not show."""
    if isinstance(body, list):
        return [fault for each in body for fault in misfits(each, version)]
    if not isinstance(body, dict):
        return []
    kind = body.get("object") if isinstance(body.get("object"), str) else None
    gone, come = ONLY_BEFORE.get(kind, {}), ONLY_SINCE.get(kind, {})
    found = [f"{kind}.{name}" for name, day in gone.items() if (name in body) != (version < day)]
    found += [f"{kind}.{name}" for name, day in come.items() if (name in body) != (version >= day)]
    return found + [fault for each in body.values() for fault in misfits(each, version)]


@pytest.fixture
def story(here):
    """A discounted subscription, paid; the API calls are those of today."""
    product = here.post("products", {"name": "PDF Tool"})
    price = here.post(
        "prices",
        {"product": product["id"], "currency": "eur", "unit_amount": "900", "recurring[interval]": "month"},
    )
    here.post("coupons", {"id": "TEN", "percent_off": "10", "duration": "forever"})
    customer = here.post("customers", {"invoice_settings[default_payment_method]": "pm_card_visa"})
    here.sandbox.freeze(True)
    return {"customer": customer["id"], "items[0][price]": price["id"]}


def subscribe(here, story, **more):
    return here.post("subscriptions", {**story, "discounts[0][coupon]": "TEN", **more})


@pytest.mark.parametrize("version", VERSIONS)
def test_answers(here, story, version):
    """Each object, alone, listed or expanded, has the fields of the version that the call names, and says so."""
    made = subscribe(here, story)
    subscription = made["id"]
    here.post("credit_notes", {"invoice": made["latest_invoice"], "amount": "100", "refund_amount": "100"})
    here.post(
        "checkout/sessions",
        {"mode": "setup", "currency": "eur", "customer": story["customer"], "success_url": "https://app.example/"},
    )
    for path in (
        f"subscriptions/{subscription}?expand[]=latest_invoice&expand[]=discounts&expand[]=customer",
        "subscriptions?expand[]=data.latest_invoice.discounts",
        "invoices",
        "charges?expand[]=data.payment_intent",
        "checkout/sessions",
        "credit_notes",
    ):
        answer = here.ask("GET", path, version=version)
        assert answer.headers["Stripe-Version"] == version
        assert misfits(answer.json(), version) == []


@pytest.mark.parametrize("version", ["2024-06-20", "2026-02-25.clover", "2026-08-26.dahlia"])
def test_deliveries(here, story, receiver, version):
    """An endpoint hears each event in its own version; the list of events shows each as it was first told."""
    endpoint = {"url": receiver.url, "enabled_events[]": "*", "api_version": version}
    assert here.post("webhook_endpoints", endpoint)["api_version"] == version
    subscribe(here, story)
    here.run(here.sandbox.advance(32 * 86_400))
    here.run(here.sandbox.drain())
    assert {event["api_version"] for event in receiver.events} == {version}
    assert [fault for event in receiver.events for fault in misfits(event["data"]["object"], version)] == []
    for event in here.get("events?limit=100", version=version)["data"]:
        assert event["api_version"] == NEWEST
        assert misfits(event["data"]["object"], NEWEST) == []


def test_what_older_versions_showed(here, story):
    """Before basil: the period, the payment and the price where they were, and expandable as they were."""
    subscription = subscribe(here, story)
    item = subscription["items"]["data"][0]
    old = here.get(
        f"subscriptions/{subscription['id']}?expand[]=latest_invoice.payment_intent.latest_charge", "2024-06-20"
    )
    assert old["current_period_end"] == item["current_period_end"]
    assert old["discount"]["coupon"]["percent_off"] == 10
    invoice = old["latest_invoice"]
    assert (invoice["paid"], invoice["paid_out_of_band"], invoice["subscription"]) == (True, False, old["id"])
    assert invoice["payment_intent"]["latest_charge"]["id"] == invoice["charge"]
    assert invoice["payment_intent"]["invoice"] == invoice["id"]
    (line,) = invoice["lines"]["data"]
    assert (line["type"], line["proration"], line["subscription_item"]) == ("subscription", False, item["id"])
    assert line["price"]["unit_amount"] == line["plan"]["amount"] == 900
    charge = here.get(f"charges/{invoice['charge']}?expand[]=invoice.subscription", "2024-06-20")
    assert charge["invoice"]["subscription"]["id"] == old["id"]
    here.post(f"subscriptions/{old['id']}", {"items[0][id]": item["id"], "items[0][quantity]": "2"})
    here.run(here.sandbox.advance(32 * 86_400))
    lines = here.get("invoices?limit=1", "2024-06-20")["data"][0]["lines"]["data"]
    prorated = [line for line in lines if line["proration"]]
    assert {(line["type"], line["subscription"], line["price"]["id"]) for line in prorated} == {
        ("invoiceitem", old["id"], line["price"]["id"])
    }
    assert len(prorated) == 2 and all(line["invoice_item"].startswith("ii_") for line in prorated)


def test_previous_attributes(here, story, receiver):
    """They are those of the version too: a renewal changes the subscription's own period."""
    here.post("webhook_endpoints", {"url": receiver.url, "enabled_events[]": "*", "api_version": "2024-06-20"})
    before = subscribe(here, story)["items"]["data"][0]
    here.run(here.sandbox.advance(31 * 86_400))
    here.run(here.sandbox.drain())
    renewal = next(event for event in receiver.events if event["type"] == "customer.subscription.updated")
    old, now = renewal["data"]["previous_attributes"], renewal["data"]["object"]
    assert old["current_period_end"] == before["current_period_end"] == now["current_period_start"]
    assert "items" not in old  # nothing of an item that this version shows has changed
    finalised = next(
        event
        for event in receiver.events
        if event["type"] == "invoice.updated" and "paid" in event["data"]["previous_attributes"]
    )
    assert finalised["data"]["previous_attributes"]["paid"] is False


def test_the_accounts_own_version(here, story, receiver):
    """It is that of calls and endpoints that name none, and of the events that are listed."""
    here.post("webhook_endpoints", {"url": receiver.url, "enabled_events[]": "customer.subscription.created"})
    modern = {"url": receiver.url, "enabled_events[]": "customer.subscription.created", "api_version": NEWEST}
    here.post("webhook_endpoints", modern)
    here.sandbox.account.settings["api_version"] = "2024-06-20"
    old = here.post("subscriptions", {**story, "coupon": "TEN"})
    assert misfits(old, "2024-06-20") == [] and old["discount"]["coupon"]["id"] == "TEN"
    here.run(here.sandbox.drain())
    told = {event["api_version"]: event["data"]["object"] for event in receiver.events}
    assert [misfits(shown, version) for version, shown in told.items()] == [[], []]
    [event] = here.get("events?type=customer.subscription.created", NEWEST)["data"]
    assert event["data"]["object"] == told["2024-06-20"]


def test_old_shape(here, story, receiver):
    """The fault: an endpoint of today is sent some of its deliveries in an older version."""
    here.post("webhook_endpoints", {"url": receiver.url, "enabled_events[]": "customer.subscription.created"})
    here.sandbox.faults.order(Fault("old_shape", times=1))
    here.sandbox.faults.order(Fault("old_shape", times=1, version="2026-08-26.dahlia"))
    for _ in range(3):
        subscribe(here, story)
    here.run(here.sandbox.drain())
    told = [event["api_version"] for event in receiver.events]
    assert sorted(told) == ["2024-06-20", "2026-08-26.dahlia", NEWEST]
    assert [misfits(event["data"]["object"], event["api_version"]) for event in receiver.events] == [[], [], []]


CHECKOUT = {"mode": "setup", "currency": "eur", "success_url": "https://app.example/"}


@pytest.mark.parametrize(
    ("version", "path", "asked", "param"),
    [
        ("2026-08-26.dahlia", "checkout/sessions", {**CHECKOUT, "payment_method_types[0]": "card"}, None),
        (NEWEST, "checkout/sessions", {**CHECKOUT, "payment_method_types[0]": "card"}, "payment_method_types"),
        (
            "2026-08-26.dahlia",
            "checkout/sessions",
            {**CHECKOUT, "allowed_payment_method_types[0]": "card"},
            "allowed_payment_method_types",
        ),
        ("2026-02-25.clover", "checkout/sessions", {**CHECKOUT, "ui_mode": "hosted"}, None),
        ("2026-02-25.clover", "checkout/sessions", {**CHECKOUT, "ui_mode": "hosted_page"}, "ui_mode"),
        ("2026-08-26.dahlia", "checkout/sessions", {**CHECKOUT, "ui_mode": "hosted"}, "ui_mode"),
        ("2025-08-27.basil", "promotion_codes", {"coupon": "TEN"}, None),
        ("2025-09-30.clover", "promotion_codes", {"coupon": "TEN"}, "coupon"),
        (
            "2025-08-27.basil",
            "promotion_codes",
            {"promotion[type]": "coupon", "promotion[coupon]": "TEN"},
            "promotion",
        ),
        ("2025-02-24.acacia", "subscriptions", {"coupon": "TEN"}, None),
        ("2025-03-31.basil", "subscriptions", {"coupon": "TEN"}, "coupon"),
        ("2024-06-20", "subscriptions", {"coupon": "TEN", "discounts[0][coupon]": "TEN"}, "coupon"),
        ("2026-10-28.endiv", "customers", {}, None),
        ("2023-10-16", "customers", {}, None),
        (NEWEST, "webhook_endpoints", {"url": "http://x", "enabled_events[]": "*", "api_version": "1"}, "api_version"),
    ],
)
def test_requests(here, story, version, path, asked, param):
    """What a version calls a parameter is taken in that version only; a version that there is not is refused."""
    answer = here.ask("POST", path, {**(story if path == "subscriptions" else {}), **asked}, version)
    refused = param is not None or path == "customers"
    assert answer.status_code == (400 if refused else 200), answer.text
    if refused:
        assert answer.json()["error"].get("param") == param
    if path == "customers":
        assert f"Invalid Stripe API version: {version}" in answer.json()["error"]["message"]


def test_the_steps_tell_of_what_there_is():
    """Newest first; each change is of a kind of object that the sandbox makes, or of a call that it answers."""
    calls = {(operation.method, operation.path) for operation in resources.OPERATIONS}
    assert [step.version for step in STEPS] == sorted((step.version for step in STEPS), reverse=True)
    for step in STEPS:
        assert {change.kind for change in step.changes} <= set(ids.PREFIXES), step.version
        assert {(ask.method, ask.path) for ask in step.asks} <= calls, step.version


VALUES = st.recursive(st.none() | st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner))


@given(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), st.fixed_dictionaries({"a": VALUES, "b": VALUES}))
def test_what_was_is_restored(before, now):
    """The old values of what changed, put back, make what was, but for null where nothing was."""

    def told(value):
        return (
            {key: told(inner) for key, inner in value.items() if inner is not None}
            if isinstance(value, dict)
            else value
        )

    assert told(restored(now, difference(before, now))) == told(before)
