"""Products, prices with lookup keys, customers, and payment methods."""

import pytest
import stripe


def test_products(shop):
    """Create, change, list, delete; each change is told with the old values."""
    product = shop.api.products.create(
        params={"name": "Stickers", "id": "prod-own-id", "default_price_data": {"currency": "eur", "unit_amount": 250}}
    )
    assert product.id == "prod-own-id"
    default = shop.api.products.retrieve(product.id, params={"expand": ["default_price"]}).default_price
    assert default.unit_amount == 250
    shop.desk.advance(seconds=5)
    changed = shop.api.products.update(product.id, params={"name": "Badges", "metadata": {"a": "b"}, "description": ""})
    assert (changed.name, changed.metadata["a"], changed.updated - product.updated) == ("Badges", "b", 5)
    assert shop.last_event().type == "product.updated"
    assert shop.last_event().data.previous_attributes["name"] == "Stickers"
    with pytest.raises(stripe.InvalidRequestError) as again:
        shop.api.products.create(params={"name": "x", "id": "prod-own-id"})
    assert again.value.code == "resource_already_exists"
    with pytest.raises(stripe.InvalidRequestError, match="prices"):
        shop.api.products.delete(product.id)
    bare = shop.api.products.create(params={"name": "Bare", "active": False})
    assert [each.id for each in shop.api.products.list(params={"active": False}).data] == [bare.id]
    assert [each.id for each in shop.api.products.list(params={"ids": [product.id]}).data] == [product.id]
    assert shop.api.products.delete(bare.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError):
        shop.api.products.retrieve(bare.id)


def test_lookup_keys(shop):
    """A lookup key finds one price; it moves to another only when asked to, and the old price is told of."""
    old = shop.price(900, lookup_key="pdf.pro.monthly")
    shop.price(100, lookup_key="other")
    found = shop.api.prices.list(params={"lookup_keys": ["pdf.pro.monthly", "none"]}).data
    assert [each.id for each in found] == [old.id]
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        shop.price(1000, lookup_key="pdf.pro.monthly")
    since = shop.last_event()
    new = shop.price(1000, lookup_key="pdf.pro.monthly", transfer_lookup_key=True)
    assert shop.happened(since) == ["price.updated", "price.created"]
    assert shop.api.prices.retrieve(old.id).lookup_key is None
    assert shop.api.prices.list(params={"lookup_keys": ["pdf.pro.monthly"]}).data[0].id == new.id
    shop.api.prices.update(old.id, params={"lookup_key": "pdf.pro.monthly", "transfer_lookup_key": True})
    assert shop.api.prices.retrieve(new.id).lookup_key is None
    assert shop.api.prices.update(old.id, params={"lookup_key": "pdf.pro.monthly"}).lookup_key == "pdf.pro.monthly"
    assert shop.api.prices.update(old.id, params={"lookup_key": ""}).lookup_key is None


def test_a_running_subscription_shows_its_price_as_it_is_now(shop):
    """A price's metadata and key are joined when shown, not copied when sold."""
    price = shop.price(lookup_key="a")
    subscription = shop.subscribe(price)
    shop.price(1000, lookup_key="a", transfer_lookup_key=True)
    shop.api.prices.update(price.id, params={"metadata": {"x": "y"}, "nickname": "old"})
    shown = shop.api.subscriptions.retrieve(subscription.id)["items"].data[0].price
    assert (shown.lookup_key, shown.metadata["x"], shown.nickname) == (None, "y", "old")


def test_prices_are_listed_by_what_they_are(shop):
    """Type, interval, currency, product and activity narrow the list."""
    monthly, once = shop.price(), shop.price(100, None)
    usd = shop.api.prices.create(params={"currency": "USD", "unit_amount": 1, "product_data": {"name": "Other"}})
    shop.api.prices.update(once.id, params={"active": False})

    def found(**params):
        return {each.id for each in shop.api.prices.list(params=params).data}

    assert found(type="recurring") == found(recurring={"interval": "month"}) == {monthly.id}
    assert found(currency="usd") == found(product=usd.product) == {usd.id}
    assert found(active=False) == {once.id}
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        shop.checkout(once)


def test_fractions_of_a_cent(shop):
    """A decimal amount has no whole `unit_amount`, and is rounded when it is sold."""
    price = shop.api.prices.create(
        params={"currency": "eur", "product": shop.product.id, "unit_amount_decimal": "0.5", "nickname": "half"}
    )
    assert (price.unit_amount, str(price.unit_amount_decimal)) == (None, "0.5")
    assert shop.checkout(price, quantity=3).amount_total == 2


def test_customers(shop):
    """Create with everything, change, unset, find by email."""
    customer = shop.api.customers.create(
        params={
            "email": "ann@example.com",
            "name": "Ann",
            "address": {"country": "DE", "line1": "Weg 1"},
            "shipping": {"name": "Ann", "address": {"city": "Bonn"}},
            "metadata": {"user_id": "u/1", "empty": ""},
            "preferred_locales": ["de"],
            "tax_exempt": "none",
        }
    )
    assert customer.metadata.to_dict() == {"user_id": "u/1"}
    assert (customer.address.country, customer.address.city, customer.shipping.address.city) == ("DE", None, "Bonn")
    other = shop.api.customers.create(params={"email": "bo@example.com"})
    assert [each.id for each in shop.api.customers.list(params={"email": "ann@example.com"}).data] == [customer.id]
    changed = shop.api.customers.update(customer.id, params={"name": "", "metadata": {"plan": "pro"}})
    assert (changed.name, changed.metadata.to_dict()) == (None, {"user_id": "u/1", "plan": "pro"})
    event = shop.last_event()
    assert event.type == "customer.updated"
    assert event.data.previous_attributes.to_dict() == {"name": "Ann", "metadata": {"plan": None}}
    assert shop.api.customers.update(customer.id, params={"metadata": ""}).metadata.to_dict() == {}
    since = shop.last_event()
    shop.api.customers.update(other.id, params={"email": "bo@example.com"})
    assert shop.happened(since) == []


def test_saving_and_removing_payment_methods(shop):
    """Attach by magic id, list, make default, detach; each use of a magic id is a new method."""
    customer = shop.customer(card=None)
    first = shop.api.payment_methods.attach("pm_card_visa", params={"customer": customer.id})
    second = shop.api.payment_methods.attach("pm_card_mastercard", params={"customer": customer.id})
    assert first.id != "pm_card_visa" and first.customer == customer.id
    assert shop.api.payment_methods.attach(first.id, params={"customer": customer.id}).id == first.id
    listed = shop.api.customers.payment_methods.list(customer.id, params={"type": "card"}).data
    assert [(each.id, each.card.brand) for each in listed] == [(second.id, "mastercard"), (first.id, "visa")]
    assert shop.api.customers.payment_methods.retrieve(customer.id, first.id).id == first.id
    by_customer = shop.api.payment_methods.list(params={"customer": customer.id, "type": "card"}).data
    assert [each.id for each in by_customer] == [second.id, first.id]
    shop.give_card(customer, first.id)
    assert shop.api.payment_methods.detach(first.id).customer is None
    assert shop.api.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    assert shop.last_event().type == "payment_method.detached"
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        shop.api.payment_methods.detach(first.id)
    with pytest.raises(stripe.InvalidRequestError, match="another Customer"):
        shop.api.payment_methods.attach(second.id, params={"customer": shop.customer(card=None).id})


def test_foreign_methods_cannot_pay(shop):
    """A customer pays only with what they saved."""
    method = shop.api.payment_methods.attach("pm_card_visa", params={"customer": shop.customer(card=None).id})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        shop.give_card(shop.customer(card=None), method.id)
    with pytest.raises(stripe.InvalidRequestError, match="No such PaymentMethod"):
        shop.give_card(shop.customer(card=None), "pm_none")


def test_declined_cards_cannot_be_saved(shop):
    """Saving checks a card: a declined one is a 402, the one that fails only later can be saved."""
    customer = shop.customer(card=None)
    with pytest.raises(stripe.CardError) as refused:
        shop.api.payment_methods.attach("pm_card_chargeDeclined", params={"customer": customer.id})
    assert (refused.value.http_status, refused.value.code) == (402, "card_declined")
    assert refused.value.error.decline_code == "generic_decline"
    assert shop.api.customers.payment_methods.list(customer.id).data == []
    shop.api.payment_methods.attach("pm_card_chargeCustomerFail", params={"customer": customer.id})


@pytest.mark.parametrize(
    ("params", "last4"),
    [
        ({"type": "card", "card": {"token": "tok_visa"}}, "4242"),
        ({"type": "card", "card": {"number": "4000 0000 0000 0341", "exp_month": 1, "exp_year": 2040}}, "0341"),
        ({"type": "us_bank_account", "us_bank_account": {"account_number": "000123456789"}}, "6789"),
        ({"type": "sepa_debit", "sepa_debit": {"iban": "DE89370400440532013000"}}, "3000"),
    ],
)
def test_methods_from_tokens_and_numbers(shop, params, last4):
    """Test tokens, card numbers and accounts make the method they stand for."""
    method = shop.api.payment_methods.create(
        params={**params, "billing_details": {"email": "a@example.com", "address": {"country": "DE"}}}
    )
    assert method[params["type"]].last4 == last4
    assert (method.customer, method.billing_details.address.country) == (None, "DE")
    changed = shop.api.payment_methods.update(
        method.id, params={"billing_details": {"name": "Ann"}, "metadata": {"a": "b"}, "allow_redisplay": "always"}
    )
    assert (changed.billing_details.name, changed.billing_details.email) == ("Ann", "a@example.com")
    assert shop.api.payment_methods.retrieve(method.id).allow_redisplay == "always"


def test_balance(shop):
    """The balance is what was taken less what was given back."""
    assert shop.api.balance.retrieve().available[0].amount == 0
    shop.desk.pay(shop.checkout(shop.price(700, None)).id)
    assert shop.api.balance.retrieve().available[0].amount == 700


def test_entitlement_features(shop):
    """Features have a key of their own, belong to products, and can be archived."""
    feature = shop.api.entitlements.features.create(
        params={"name": "Export", "lookup_key": "export", "metadata": {"a": "b"}}
    )
    with pytest.raises(stripe.InvalidRequestError) as again:
        shop.api.entitlements.features.create(params={"name": "Other", "lookup_key": "export"})
    assert again.value.code == "resource_already_exists"
    attached = shop.api.products.features.create(shop.product.id, params={"entitlement_feature": feature.id})
    assert attached.entitlement_feature.lookup_key == "export"
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        shop.api.products.features.create(shop.product.id, params={"entitlement_feature": feature.id})
    assert [each.id for each in shop.api.products.features.list(shop.product.id).data] == [attached.id]
    assert shop.api.products.features.retrieve(shop.product.id, attached.id).id == attached.id
    assert shop.api.products.features.delete(shop.product.id, attached.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError):
        shop.api.products.features.retrieve(shop.product.id, attached.id)
    archived = shop.api.entitlements.features.update(feature.id, params={"active": False, "metadata": {"c": "d"}})
    assert archived.metadata.to_dict() == {"a": "b", "c": "d"}
    assert shop.api.entitlements.features.list().data == []
    assert (
        shop.api.entitlements.features.list(params={"archived": True, "lookup_key": "export"}).data[0].id == feature.id
    )
    assert shop.api.entitlements.features.retrieve(feature.id).active is False
