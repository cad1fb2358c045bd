"""Tax: automatic tax is accepted everywhere and comes to nothing; rates of one's own are refused."""

import pytest
import stripe

ASKED = {"automatic_tax": {"enabled": True}}


def test_automatic_tax_comes_to_nothing(shop):
    """The page, its subscription and every invoice say that it is on and complete; nothing is added."""
    session = shop.checkout(shop.price(900), **ASKED)
    assert session.automatic_tax.status == "requires_location_inputs"
    shop.desk.pay(session.id)
    session = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["subscription", "invoice"]})
    assert (session.automatic_tax.status, session.total_details.amount_tax) == ("complete", 0)
    assert (session.subscription.automatic_tax.enabled, session.invoice.automatic_tax.status) == (True, "complete")
    assert (session.invoice.total, session.invoice.total_taxes) == (900, [])
    shop.desk.advance(days=32)
    renewed = shop.api.invoices.list(params={"subscription": session.subscription.id}).data[0]
    assert (renewed.billing_reason, renewed.automatic_tax.enabled) == ("subscription_cycle", True)
    params = {"automatic_tax": {"enabled": False}}
    assert shop.api.subscriptions.update(session.subscription.id, params=params).automatic_tax.liability is None
    by_api = shop.subscribe(shop.price(), **ASKED)
    assert by_api.automatic_tax.liability.type == "self"
    by_hand = shop.api.invoices.create(params={"customer": by_api.customer, **ASKED})
    assert by_hand.automatic_tax.provider == "stripe"


def test_a_known_customer_needs_an_address(shop):
    """Theirs, or the one on the page if it may be kept: else there is nothing to reckon by."""
    nowhere = shop.customer()
    with pytest.raises(stripe.InvalidRequestError, match="requires a valid address") as refused:
        shop.checkout(shop.price(), customer=nowhere.id, **ASKED)
    assert refused.value.param == "automatic_tax"
    shop.checkout(shop.price(), customer=nowhere.id, customer_update={"address": "auto"}, **ASKED)
    at_home = shop.customer(address={"country": "DE"})
    shop.checkout(shop.price(), customer=at_home.id, **ASKED)


def test_a_tax_behavior_is_said_once(shop):
    """Unspecified it can be told; told, it stays."""
    price = shop.price()
    assert shop.api.prices.update(price.id, params={"tax_behavior": "inclusive"}).tax_behavior == "inclusive"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be changed"):
        shop.api.prices.update(price.id, params={"tax_behavior": "exclusive"})


def test_tax_rates_are_refused(shop):
    """What would have to be computed is not ignored."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.subscribe(shop.price(), default_tax_rates=["txr_1"])
    assert refused.value.code == "parameter_unknown"
