"""What a checkout session may ask, offer and do beside being paid."""

import httpx
import pytest
from stripe import InvalidRequestError

from tollhouse_sandbox.errors import StripeError

FIELDS = [
    {
        "key": "size",
        "label": {"type": "custom", "custom": "Size"},
        "type": "dropdown",
        "dropdown": {"options": [{"label": "Small", "value": "s"}, {"label": "Large", "value": "l"}]},
    },
    {
        "key": "age",
        "label": {"type": "custom", "custom": "Age"},
        "type": "numeric",
        "numeric": {"maximum_length": 3},
        "optional": True,
    },
]
ASKING = {
    "billing_address_collection": "required",
    "consent_collection": {"terms_of_service": "required", "promotions": "auto"},
    "custom_fields": FIELDS,
    "custom_text": {"submit": {"message": "Thank you."}},
    "phone_number_collection": {"enabled": True},
}
ANSWERS = {
    "name": "Ada",
    "line1": "Street 1",
    "postal_code": "10115",
    "city": "Berlin",
    "country": "DE",
    "phone": "+49 30 1",
    "custom_fields[size]": "l",
    "terms_of_service": "yes",
}


def test_what_the_page_asks_is_told(shop):
    """Address, phone, custom fields and consent are in the completed session, on the customer and on the card."""
    page = shop.checkout(shop.price(), **ASKING)
    assert page.custom_fields[0].dropdown.value is None
    shop.desk.pay(page.url, email="ada@example.com", answers=ANSWERS)
    paid = shop.api.checkout.sessions.retrieve(page.id, params={"expand": ["customer"]})
    details = paid.customer_details
    assert (details.name, details.phone, details.address.city) == ("Ada", "+49 30 1", "Berlin")
    assert [field[field.type].value for field in paid.custom_fields] == ["l", None]
    assert (paid.consent.terms_of_service, paid.consent.promotions) == ("accepted", "opt_out")
    assert (paid.customer.name, paid.customer.address.line1) == ("Ada", "Street 1")
    method = shop.api.payment_methods.list(params={"customer": paid.customer.id}).data[0]
    assert (method.billing_details.name, method.billing_details.address.country) == ("Ada", "DE")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"phone": ""}, "fill in: Phone number"),
        ({"custom_fields[size]": "xl"}, "no valid answer: Size"),
        ({"custom_fields[age]": "old"}, "Age must be a number"),
        ({"custom_fields[age]": "1234"}, "no valid answer: Age"),
        ({"terms_of_service": ""}, "fill in: I agree"),
        ({"shoe": "44"}, "does not ask for shoe"),
    ],
)
def test_an_answer_that_will_not_do(shop, wrong, sentence):
    """The page says which, and nothing has happened."""
    page = shop.checkout(shop.price(), **ASKING)
    with pytest.raises(StripeError, match=sentence):
        shop.desk.pay(page.url, answers={**ANSWERS, **wrong})
    assert shop.api.customers.list().data == []


def test_a_customer_there_was_is_changed_only_as_asked(shop):
    """`customer_update` says what of the answers is kept; business and personal names are collected by themselves."""
    customer = shop.customer(name="Before")
    asks = {"billing_address_collection": "required", "customer": customer.id}
    filled = {name: ANSWERS[name] for name in ("name", "line1", "postal_code", "city", "country")}
    shop.desk.pay(shop.checkout(shop.price(), **asks).url, answers=filled)
    assert shop.api.customers.retrieve(customer.id).name == "Before"
    page = shop.checkout(shop.price(), **asks, customer_update={"name": "auto", "address": "never"})
    shop.desk.pay(page.url, answers=filled)
    kept = shop.api.customers.retrieve(customer.id)
    assert (kept.name, kept.address) == ("Ada", None)
    names = {"business": {"enabled": True}, "individual": {"enabled": True, "optional": True}}
    page = shop.checkout(shop.price(), name_collection=names)
    shop.desk.pay(page.url, answers={"business_name": "Engines Ltd"})
    collected = shop.api.checkout.sessions.retrieve(page.id).collected_information
    assert (collected.business_name, collected.individual_name) == ("Engines Ltd", None)


def test_quantities_the_customer_may_change(shop):
    """Within the limits the app gives; optional items are added and taken off; what is charged follows."""
    price, extra = shop.price(500, None), shop.price(100, None)
    page = shop.api.checkout.sessions.create(
        params={
            "mode": "payment",
            "line_items": [{"price": price.id, "quantity": 1, "adjustable_quantity": {"enabled": True, "maximum": 4}}],
            "optional_items": [{"price": extra.id, "quantity": 2}],
            "success_url": "https://app.example/",
        }
    )
    (line,) = shop.api.checkout.sessions.line_items.list(page.id).data
    assert shop.desk.choose_quantity(page.url, line.id, 3)["amount_due_today"] == 1500
    view = shop.desk.choose_quantity(page.url, extra.id, 2)
    assert (view["amount_due_today"], view["optional"]) == (1700, [])
    assert shop.desk.choose_quantity(page.url, extra.id, 0)["amount_due_today"] == 1500
    shop.desk.choose_quantity(page.url, extra.id, 2)
    for item, quantity, sentence in ((line.id, 5, "from 1 to 4"), (extra.id, 3, "cannot be changed"), ("x", 1, "No")):
        with pytest.raises(StripeError, match=sentence):
            shop.desk.choose_quantity(page.url, item, quantity)
    shop.desk.pay(page.url)
    assert shop.api.charges.list().data[0].amount == 1700


@pytest.mark.parametrize(("amount", "status"), [(900, "paid"), (0, "no_payment_required")])
def test_a_purchase_with_an_invoice(shop, amount, status):
    """`invoice_creation` bills a purchase: a paid invoice of the same lines and discounts, for a customer."""
    coupon = shop.api.coupons.create(params={"percent_off": 10})
    data = {"description": "Thank you", "metadata": {"order": "7"}}
    page = shop.checkout(
        shop.price(amount, None),
        discounts=[{"coupon": coupon.id}],
        invoice_creation={"enabled": True, "invoice_data": data},
        payment_intent_data={"statement_descriptor": "TOLLHOUSE"},
    )
    since = shop.last_event()
    shop.desk.pay(page.url)
    paid = shop.api.checkout.sessions.retrieve(page.id, params={"expand": ["invoice.payments", "payment_intent"]})
    invoice = paid.invoice
    assert (paid.payment_status, invoice.status, invoice.total) == (status, "paid", amount * 9 // 10)
    assert (invoice.description, invoice.metadata["order"], invoice.customer) == ("Thank you", "7", paid.customer)
    assert invoice.billing_reason == "manual"
    happened = shop.happened(since)
    assert happened[-1] == "checkout.session.completed"
    assert happened.index("invoice.created") < happened.index("invoice.paid")
    if amount:
        assert paid.payment_intent.statement_descriptor == "TOLLHOUSE"
        assert invoice.payments.data[0].payment.payment_intent == paid.payment_intent.id


def test_a_page_that_expired_is_taken_up_again(shop):
    """The link that `after_expiration` promises makes one like it, which says where it is from."""
    recovery = {"recovery": {"enabled": True, "allow_promotion_codes": True}}
    page = shop.checkout(shop.price(), after_expiration=recovery)
    assert page.after_expiration.recovery.url is None
    expired = shop.api.checkout.sessions.expire(page.id)
    url = expired.after_expiration.recovery.url
    assert httpx.get(url, follow_redirects=False).status_code == 303
    again = shop.api.checkout.sessions.list(params={"status": "open"}).data[0]
    assert (again.recovered_from, again.allow_promotion_codes, again.amount_total) == (page.id, True, 900)
    shop.desk.pay(again.url)


def test_payment_methods_are_narrowed_down(shop):
    """Only what the app allows is taken; what the sandbox does not have is refused."""
    page = shop.checkout(shop.price(), allowed_payment_method_types=["card", "klarna"])
    assert page.payment_method_types == ["card"]
    with pytest.raises(StripeError, match="sepa_debit"):
        shop.desk.pay(page.url, "pm_sepaDebit")
    shop.desk.pay(page.url)
    with pytest.raises(InvalidRequestError, match="None of these"):
        shop.checkout(shop.price(), allowed_payment_method_types=["klarna"])


def test_a_setup_says_what_it_is_for(shop):
    """`setup_intent_data` is on the setup intent."""
    page = shop.api.checkout.sessions.create(
        params={
            "mode": "setup",
            "currency": "eur",
            "setup_intent_data": {"description": "Later", "metadata": {"a": "b"}},
            "success_url": "https://app.example/",
        }
    )
    shop.desk.pay(page.url)
    intent = shop.api.checkout.sessions.retrieve(page.id, params={"expand": ["setup_intent"]}).setup_intent
    assert (intent.description, intent.metadata["a"]) == ("Later", "b")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"custom_fields": [FIELDS[0], FIELDS[0]]}, "custom_fields"),
        ({"custom_fields": [{**FIELDS[0], "text": {"maximum_length": 3}}]}, "custom_fields[0][text]"),
        (
            {"custom_fields": [{"key": "a", "label": {"type": "custom", "custom": "A"}, "type": "dropdown"}]},
            "custom_fields[0][dropdown][options]",
        ),
        ({"custom_fields": [{**FIELDS[1], "key": "no spaces"}]}, "custom_fields[0][key]"),
        ({"customer_update": {"name": "auto"}}, "customer_update"),
        ({"custom_text": {"header": {"message": "x"}}}, "custom_text[header]"),
        ({"invoice_creation": {"enabled": True}}, "invoice_creation"),
        ({"currency": "usd"}, "line_items[0]"),
        ({"tax_id_collection": {"enabled": True}}, "tax_id_collection"),
        ({"shipping_address_collection": {"allowed_countries": ["DE"]}}, "shipping_address_collection"),
    ],
)
def test_options_that_are_refused(shop, params, param):
    """Wrong ones, those of another mode, and those the sandbox has not."""
    with pytest.raises(InvalidRequestError) as refused:
        shop.checkout(shop.price(), **params)
    assert refused.value.param == param
