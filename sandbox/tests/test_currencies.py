"""Prices in several currencies: what is charged, in which, and what Stripe does not mix."""

import pytest
import stripe

OPTIONS = {"usd": {"unit_amount": 1000}, "gbp": {"unit_amount": 800, "tax_behavior": "inclusive"}}


@pytest.fixture
def price(shop):
    return shop.price(currency_options=OPTIONS)


def options(shop, price):
    return shop.api.prices.retrieve(price.id, params={"expand": ["currency_options"]}).to_dict()["currency_options"]


def test_a_price_shows_its_currencies_when_asked(shop, price):
    """Its own is among them; a list and a price inside of another object can show them too."""
    assert not hasattr(price, "currency_options")
    shown = options(shop, price)
    assert {name: one["unit_amount"] for name, one in shown.items()} == {"eur": 900, "usd": 1000, "gbp": 800}
    assert (shown["gbp"]["tax_behavior"], int(shown["usd"]["unit_amount_decimal"])) == ("inclusive", 1000)
    listed = shop.api.prices.list(params={"expand": ["data.currency_options"]}).data[0]
    assert listed.currency_options["usd"].unit_amount == 1000
    made = shop.price(currency_options=OPTIONS, expand=["currency_options"])
    assert set(made.to_dict()["currency_options"]) == {"eur", "usd", "gbp"}


def test_a_currency_is_added_later(shop, price):
    """An update adds to those there are."""
    shop.api.prices.update(price.id, params={"currency_options": {"CHF": {"unit_amount": 950}}})
    assert {name: one["unit_amount"] for name, one in options(shop, price).items()} == {
        "eur": 900,
        "usd": 1000,
        "gbp": 800,
        "chf": 950,
    }


def test_wrong_currency_options(shop):
    """Not the price's own currency, none without an amount, none that is no currency."""
    for wrong, param in (
        ({"eur": {"unit_amount": 900}}, "currency_options[eur]"),
        ({"usd": {"tax_behavior": "inclusive"}}, "currency_options[usd][unit_amount]"),
        ({"dollars": {"unit_amount": 900}}, "currency_options[dollars]"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            shop.price(currency_options=wrong)
        assert refused.value.param == param


def test_a_page_in_another_currency_and_what_follows(shop, price):
    """Paid, renewed, prorated: everything is in the page's currency; the price shows its own."""
    page = shop.checkout(price, currency="usd", quantity=2)
    assert (page.currency, page.amount_total) == ("usd", 2000)
    shop.desk.pay(page.id)
    (subscription,) = shop.api.subscriptions.list().data
    assert (subscription.currency, subscription["items"].data[0].price.currency) == ("usd", "eur")
    shop.desk.advance(days=15)
    item = {"id": subscription["items"].data[0].id, "quantity": 4}
    params = {"items": [item], "proration_behavior": "always_invoice"}
    shop.api.subscriptions.update(subscription.id, params=params)
    shop.desk.advance(days=20)
    charges = shop.api.charges.list().data
    assert {one.currency for one in charges} == {"usd"}
    assert [one.amount for one in charges][::2] == [4000, 2000]
    assert 900 < charges[1].amount < 1100
    line = shop.api.invoices.list().data[0].lines.data[0]
    assert (line.currency, line.pricing.unit_amount_decimal) == ("usd", 1000)
    assert "$10.00 / month" in line.description


def test_a_purchase_in_another_currency(shop):
    """One-time prices too, with their invoice, and with a discount by amount in that currency."""
    once = shop.price(5000, None, currency_options={"gbp": {"unit_amount": 4500}})
    coupon = shop.api.coupons.create(
        params={"amount_off": 1000, "currency": "eur", "currency_options": {"gbp": {"amount_off": 900}}}
    )
    page = shop.checkout(once, currency="GBP", invoice_creation={"enabled": True}, discounts=[{"coupon": coupon.id}])
    assert page.amount_total == 3600
    shop.desk.pay(page.id)
    charge = shop.api.charges.list().data[0]
    assert (charge.amount, charge.currency) == (3600, "gbp")


def test_a_subscription_by_the_api_in_another_currency(shop, price):
    """`currency` chooses; the price is then in it, whatever it is by itself."""
    subscription = shop.subscribe(price, currency="gbp")
    assert shop.api.invoices.retrieve(subscription.latest_invoice).amount_paid == 800
    with pytest.raises(stripe.InvalidRequestError, match="only supports `eur`, `usd`, `gbp`"):
        shop.subscribe(price, currency="chf")


def test_a_customer_is_billed_in_one_currency_at_a_time(shop, price):
    """A second subscription in another currency is refused, on a page before and while it is paid; later it is not."""
    customer = shop.customer()
    page = shop.checkout(price, customer=customer.id)
    running = shop.subscribe(price, customer, currency="usd")
    for again in (
        lambda: shop.subscribe(price, customer),
        lambda: shop.checkout(price, customer=customer.id),
    ):
        with pytest.raises(stripe.InvalidRequestError, match="cannot combine currencies"):
            again()
    with pytest.raises(Exception, match="cannot combine currencies"):
        shop.desk.pay(page.id)
    once = shop.checkout(shop.price(100, None), customer=customer.id)
    shop.desk.pay(once.id)
    shop.api.subscriptions.cancel(running.id)
    shop.desk.pay(page.id)
    assert shop.api.subscriptions.list(params={"customer": customer.id}).data[0].currency == "eur"


def test_a_change_keeps_the_currency(shop, price):
    """A price that is not sold in the subscription's currency cannot be changed to; one that is, is charged in it."""
    customer = shop.customer()
    subscription = shop.subscribe(price, customer, currency="usd")
    item = subscription["items"].data[0].id
    only_euros, both = shop.price(1900), shop.price(1900, currency_options={"usd": {"unit_amount": 2000}})
    with pytest.raises(stripe.InvalidRequestError, match="only supports `eur`"):
        shop.api.subscriptions.update(subscription.id, params={"items": [{"id": item, "price": only_euros.id}]})
    params = {"items": [{"id": item, "price": both.id}], "proration_behavior": "none"}
    shop.api.subscriptions.update(subscription.id, params=params)
    preview = shop.api.invoices.create_preview(params={"subscription": subscription.id})
    assert (preview.currency, preview.total) == ("usd", 2000)
