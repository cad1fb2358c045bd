"""Checkout: sessions of every mode, the hosted page's button, expiry, and delayed debits."""

import httpx
import pytest
import stripe

from tollhouse_sandbox.errors import StripeError

PAID_ONCE = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]


def test_a_new_session_is_open_and_says_what_it_costs(shop):
    """A session is born open with its totals, its page, a day to live, and the success URL as it was given."""
    session = shop.checkout(shop.price(900), quantity=3, client_reference_id="user/1", metadata={"a": "b"})
    assert (session.status, session.payment_status, session.mode) == ("open", "unpaid", "subscription")
    assert (session.amount_subtotal, session.amount_total, session.currency) == (2700, 2700, "eur")
    assert session.expires_at == session.created + 86_400
    assert session.url == f"{shop.desk.url}/pay/{session.id}"
    assert session.success_url.endswith("{CHECKOUT_SESSION_ID}")
    assert (session.client_reference_id, session.metadata["a"]) == ("user/1", "b")
    assert session.subscription is None and session.customer is None


def test_paying_a_subscription_page(shop):
    """Paying makes customer, subscription and paid invoice, and tells it in Stripe's order."""
    price = shop.price(lookup_key="pdf.pro.monthly")
    since = shop.last_event()
    session = shop.checkout(price, subscription_data={"metadata": {"user": "u1"}}, customer_email="ann@example.com")
    url = shop.desk.pay(session.url)
    assert url == f"https://app.example/done?id={session.id}"
    paid = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["subscription", "invoice", "customer"]})
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.customer.email == paid.customer_details.email == "ann@example.com"
    assert (paid.subscription.status, paid.subscription.metadata["user"]) == ("active", "u1")
    assert paid.subscription.default_payment_method.startswith("pm_")
    assert paid.subscription.billing_mode.type == "flexible"
    assert (paid.invoice.status, paid.invoice.amount_paid, paid.invoice.billing_reason) == (
        "paid",
        900,
        "subscription_create",
    )
    assert paid.subscription.latest_invoice == paid.invoice.id
    assert shop.happened(since) == [
        "customer.created",
        "payment_method.attached",
        "customer.updated",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.updated",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "checkout.session.completed",
    ]
    created = next(event for event in shop.events(since) if event.type == "customer.subscription.created")
    assert created.data.object["status"] == "active"


def test_paying_once(shop):
    """A payment page leaves a succeeded intent and a charge that names the customer, and no subscription."""
    customer = shop.customer(card=None)
    session = shop.checkout(
        shop.price(19_900, None), customer=customer.id, payment_intent_data={"metadata": {"order": "7"}}
    )
    since = shop.last_event()
    shop.desk.pay(session.id)
    paid = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["payment_intent.latest_charge"]})
    assert (paid.payment_status, paid.subscription) == ("paid", None)
    assert paid.payment_intent.metadata["order"] == "7"
    charge = paid.payment_intent.latest_charge
    assert (charge.customer, charge.amount, charge.paid) == (customer.id, 19_900, True)
    assert charge.payment_intent == paid.payment_intent.id
    assert shop.happened(since) == PAID_ONCE


def test_a_payment_page_makes_a_customer_only_when_asked(shop):
    """`customer_creation` decides whether a one-time buyer becomes a customer."""
    price = shop.price(500, None)
    anonymous, known = shop.checkout(price), shop.checkout(price, customer_creation="always")
    shop.desk.pay(anonymous.id)
    shop.desk.pay(known.id, email="bo@example.com")
    assert shop.api.checkout.sessions.retrieve(anonymous.id).customer is None
    made = shop.api.checkout.sessions.retrieve(known.id, params={"expand": ["customer"]}).customer
    assert made.email == "bo@example.com"


def test_a_free_order_needs_no_payment(shop):
    """Nothing to pay means no intent: a consumer must not key purchases by it."""
    session = shop.checkout(shop.price(0, None))
    shop.desk.pay(session.id)
    paid = shop.api.checkout.sessions.retrieve(session.id)
    assert (paid.status, paid.payment_status, paid.payment_intent) == ("complete", "no_payment_required", None)


def test_the_email_given_on_the_page_is_kept_for_a_customer_without_one(shop):
    """A known customer without an address gets the one typed on the page."""
    customer = shop.customer(card=None)
    session = shop.checkout(shop.price(), customer=customer.id)
    shop.desk.pay(session.id, email="typed@example.com")
    assert shop.api.customers.retrieve(customer.id).email == "typed@example.com"


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
        ("pm_card_threeDSecure2Required", "authentication_required", "authentication_required"),
    ],
)
def test_a_refused_card_leaves_the_page_open(shop, card, code, decline_code):
    """A decline is a 402 and leaves neither customer nor subscription; the page can still be paid."""
    session = shop.checkout(shop.price())
    since = shop.last_event()
    with pytest.raises(StripeError) as refused:
        shop.desk.pay(session.id, card)
    assert (refused.value.status, refused.value.kind, refused.value.code) == (402, "card_error", code)
    assert refused.value.more["decline_code"] == decline_code
    assert shop.happened(since) == []
    assert shop.api.subscriptions.list().data == []
    shop.desk.pay(session.id)
    assert shop.api.checkout.sessions.retrieve(session.id).status == "complete"


def test_three_d_secure_on_the_page(shop):
    """A card with 3-D Secure pays once the customer has agreed."""
    session = shop.checkout(shop.price())
    shop.desk.pay(session.id, "pm_card_threeDSecure2Required", authenticated=True)
    assert shop.api.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_a_trial_takes_no_money(shop):
    """A trial completes without payment: a free invoice, a setup intent, and the trial's end on the subscription."""
    session = shop.checkout(shop.price(), subscription_data={"trial_period_days": 14})
    since = shop.last_event()
    shop.desk.pay(session.id, "pm_card_chargeCustomerFail")
    paid = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["subscription.latest_invoice"]})
    subscription = paid.subscription
    assert (paid.payment_status, subscription.status) == ("no_payment_required", "trialing")
    assert (
        subscription.trial_end == subscription.created + 14 * 86_400 == subscription["items"].data[0].current_period_end
    )
    invoice = subscription.latest_invoice
    assert (invoice.total, invoice.status, invoice.attempt_count) == (0, "paid", 0)
    assert invoice.lines.data[0].description == "Free trial for 1 × PDF Tool Pro"
    happened = shop.happened(since)
    assert "setup_intent.succeeded" in happened and "payment_intent.created" not in happened
    assert happened[-1] == "checkout.session.completed"


def test_a_trial_without_a_card(shop):
    """`payment_method_collection=if_required` lets a trial begin without any payment method."""
    session = shop.checkout(
        shop.price(),
        payment_method_collection="if_required",
        subscription_data={
            "trial_period_days": 7,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
        },
    )
    shop.desk.pay(session.id)
    subscription = shop.api.subscriptions.list(params={"status": "trialing"}).data[0]
    assert subscription.default_payment_method is None
    assert subscription.trial_settings.end_behavior.missing_payment_method == "cancel"


def test_setup_mode_saves_a_card(shop):
    """A setup page takes nothing and keeps the method with the customer."""
    customer = shop.customer(card=None)
    session = shop.api.checkout.sessions.create(
        params={"mode": "setup", "customer": customer.id, "currency": "eur", "success_url": "https://app.example/"}
    )
    shop.desk.pay(session.id)
    done = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["setup_intent.payment_method"]})
    assert (done.payment_status, done.setup_intent.status) == ("no_payment_required", "succeeded")
    assert done.setup_intent.payment_method.customer == customer.id
    assert shop.api.setup_intents.list(params={"customer": customer.id}).data[0].id == done.setup_intent.id


def test_an_open_page_expires_after_a_day(shop):
    """Unpaid pages expire by the clock, say so once, and cannot be paid any more."""
    session = shop.checkout(shop.price())
    shop.desk.advance(hours=23, minutes=59)
    assert shop.api.checkout.sessions.retrieve(session.id).status == "open"
    shop.desk.advance(minutes=2)
    expired = shop.api.checkout.sessions.retrieve(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    assert shop.happened().count("checkout.session.expired") == 1
    with pytest.raises(StripeError, match="expired"):
        shop.desk.pay(session.id)


def test_expire_by_request(shop):
    """A page can be closed at once, and only once; a paid one cannot."""
    session = shop.checkout(shop.price())
    assert shop.api.checkout.sessions.expire(session.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="status of `expired`"):
        shop.api.checkout.sessions.expire(session.id)


def test_expires_at_is_between_half_an_hour_and_a_day(shop):
    """The chosen end is respected inside Stripe's limits and refused outside."""
    now = int(shop.desk.now().timestamp())
    assert shop.checkout(shop.price(), expires_at=now + 3600).expires_at == now + 3600
    for wrong in (now + 60, now + 90_000):
        with pytest.raises(stripe.InvalidRequestError, match="expires_at"):
            shop.checkout(shop.price(), expires_at=wrong)


@pytest.mark.parametrize("card", ["pm_usBankAccount", "pm_sepaDebit"])
def test_a_delayed_debit_is_complete_but_unpaid(shop, card):
    """`completed` is not paid: the debit arrives three days later."""
    session = shop.checkout(shop.price(5000, None))
    since = shop.last_event()
    shop.desk.pay(session.id, card)
    waiting = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["payment_intent.latest_charge"]})
    assert (waiting.status, waiting.payment_status) == ("complete", "unpaid")
    assert (waiting.payment_intent.status, waiting.payment_intent.latest_charge.status) == ("processing", "pending")
    shop.desk.advance(days=3)
    assert shop.api.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert shop.happened(since) == [
        "payment_intent.created",
        "payment_intent.processing",
        "charge.pending",
        "checkout.session.completed",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]


def test_a_delayed_debit_that_fails(shop):
    """A debit the bank sends back ends with async_payment_failed and stays unpaid."""
    session = shop.checkout(shop.price(5000, None))
    shop.desk.pay(session.id, "pm_usBankAccount_insufficientFunds")
    shop.desk.advance(days=4)
    failed = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["payment_intent"]})
    assert (failed.payment_status, failed.payment_intent.status) == ("unpaid", "requires_payment_method")
    assert shop.happened()[-3:] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "checkout.session.async_payment_failed",
    ]


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_delayed_debit_can_be_settled_at_once(shop, succeeds):
    """A test decides when and how a debit ends, and it ends only once."""
    session = shop.checkout(shop.price(5000, None))
    shop.desk.pay(session.id, "pm_sepaDebit")
    shop.desk.settle(session.id, succeeds=succeeds)
    settled = shop.api.checkout.sessions.retrieve(session.id)
    assert settled.payment_status == ("paid" if succeeds else "unpaid")
    with pytest.raises(StripeError, match="waits for no delayed payment"):
        shop.desk.settle(session.id)


def test_a_subscription_begun_with_a_delayed_debit(shop):
    """It is active while the debit is under way and past due when the bank sends it back."""
    session = shop.checkout(shop.price())
    shop.desk.pay(session.id, "pm_sepaDebit")
    open_ = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["subscription", "invoice"]})
    assert (open_.payment_status, open_.subscription.status, open_.invoice.status) == ("unpaid", "active", "open")
    shop.desk.settle(session.id, succeeds=False)
    assert shop.api.subscriptions.retrieve(open_.subscription.id).status == "past_due"
    assert shop.api.invoices.retrieve(open_.invoice.id).status == "open"


def test_line_items(shop):
    """The lines of a session are listed with their prices and can be expanded."""
    session = shop.checkout(shop.price(250), quantity=4)
    lines = shop.api.checkout.sessions.line_items.list(session.id)
    assert [(line.quantity, line.amount_total, line.price.unit_amount) for line in lines.data] == [(4, 1000, 250)]
    assert "line_items" not in session
    expanded = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["line_items.data.price.product"]})
    assert expanded.line_items.data[0].price.product.name == "PDF Tool Pro"


def test_a_price_can_be_given_inline(shop):
    """`price_data` makes product and price on the way."""
    data = {"currency": "usd", "unit_amount": 777, "product_data": {"name": "Sticker"}}
    session = shop.api.checkout.sessions.create(
        params={
            "mode": "payment",
            "line_items": [{"price_data": data, "quantity": 2}],
            "success_url": "https://app.example/",
        }
    )
    assert (session.amount_total, session.currency) == (1554, "usd")


def test_sessions_are_found_by_what_they_made(shop):
    """Sessions can be listed by customer, subscription, intent, email and status."""
    first, second = shop.checkout(shop.price()), shop.checkout(shop.price(100, None))
    shop.desk.pay(first.id, email="ann@example.com")
    shop.desk.pay(second.id)
    first, second = (shop.api.checkout.sessions.retrieve(each.id) for each in (first, second))

    def found(**params):
        return [each.id for each in shop.api.checkout.sessions.list(params=params).data]

    assert found(subscription=first.subscription) == found(customer=first.customer) == [first.id]
    assert found(payment_intent=second.payment_intent) == [second.id]
    assert found(customer_details={"email": "ann@example.com"}) == [first.id]
    assert found(status="complete") == [second.id, first.id]
    assert found(status="open") == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"line_items": []}, "parameter_missing"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "resource_missing"),
        ({"mode": "payment"}, None),
        ({"customer": "cus_none"}, "resource_missing"),
        ({"customer": "cus_none", "customer_email": "a@example.com"}, None),
        ({"payment_intent_data": {"description": "x"}}, None),
        ({"subscription_data": {"trial_period_days": 0}}, None),
        ({"subscription_data": {"trial_end": 1}}, None),
        ({"frobnicate": "1"}, "parameter_unknown"),
        ({"subscription_data": {"frobnicate": "1"}}, "parameter_unknown"),
        ({"payment_method_types": ["card"]}, "parameter_unknown"),
    ],
)
def test_what_stripe_refuses(shop, params, code):
    """Wrong sessions are refused with 400 and Stripe's code; `payment_method_types` is gone since endive."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.checkout(shop.price(), **params)
    assert (refused.value.http_status, refused.value.code) == (400, code)


def test_more_that_stripe_refuses(shop):
    """Mixed prices, lines without price or quantity, no way back, lines in setup mode."""
    recurring, once = shop.price(), shop.price(100, None)
    success = {"success_url": "https://app.example/"}
    for params, sentence in (
        ({"mode": "payment", **success}, "line_items"),
        ({"mode": "payment", "line_items": [{"price": once.id, "quantity": 1}]}, "success_url"),
        ({"mode": "payment", "line_items": [{"price": once.id}], **success}, "quantity"),
        ({"mode": "payment", "line_items": [{"quantity": 1}], **success}, "price"),
        ({"mode": "setup", **success}, "currency"),
        (
            {"mode": "setup", "currency": "eur", "line_items": [{"price": once.id, "quantity": 1}], **success},
            "setup",
        ),
        ({"mode": "subscription", "line_items": [{"price": once.id, "quantity": 1}], **success}, "recurring"),
        (
            {
                "mode": "subscription",
                "line_items": [{"price": recurring.id, "quantity": 1}],
                "customer_creation": "always",
                **success,
            },
            "customer_creation",
        ),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=sentence):
            shop.api.checkout.sessions.create(params=params)


def test_metadata_of_a_session_can_be_changed(shop):
    """Keys are merged, and an empty value removes one."""
    session = shop.checkout(shop.price(), metadata={"a": "1", "b": "2"})
    changed = shop.api.checkout.sessions.update(session.id, params={"metadata": {"a": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}


def test_a_page_paid_as_the_stripe_cli_does(shop):
    """With a payment method, and the sum that the caller believes is due."""
    session = shop.checkout(shop.price(1500, interval=None))
    method = shop.api.payment_methods.create(params={"type": "card", "card": {"token": "tok_visa"}})

    def confirm(expected: int) -> httpx.Response:
        data = {"payment_method": method.id, "expected_amount": expected}
        url = f"{shop.desk.url}/v1/payment_pages/{session.id}/confirm"
        return httpx.post(url, data=data, auth=("sk_test_cli", ""), trust_env=False)

    assert confirm(1400).json()["error"]["param"] == "expected_amount"
    assert confirm(1500).json()["payment_status"] == "paid"
    assert "no longer be paid" in confirm(1500).json()["error"]["message"]
    assert shop.happened()[-4:] == PAID_ONCE
