"""Upgrades, downgrades, quantities and items of a running subscription, to the cent."""

from datetime import UTC, datetime

import pytest
import stripe


@pytest.fixture
def halfway(shop):
    """A subscription at 10.00 a month, exactly in the middle of its first period, and its item's id."""
    subscription = shop.subscribe(shop.price(1000))
    item = subscription["items"].data[0]
    shop.desk.advance_to(datetime.fromtimestamp((item.current_period_start + item.current_period_end) // 2, UTC))
    return subscription, item


def test_upgrade_billed_at_once(shop, halfway):
    """always_invoice credits the unused half, charges the new half, and pays the difference now."""
    subscription, item = halfway
    price = shop.price(3000)
    since = shop.last_event()
    changed = shop.api.subscriptions.update(
        subscription.id,
        params={"items": [{"id": item.id, "price": price.id}], "proration_behavior": "always_invoice"},
    )
    assert changed["items"].data[0].price.id == price.id
    assert changed["items"].data[0].current_period_end == item.current_period_end
    invoice = shop.api.invoices.retrieve(changed.latest_invoice)
    assert (invoice.billing_reason, invoice.status, invoice.amount_paid) == ("subscription_update", "paid", 1000)
    assert [line.amount for line in invoice.lines.data] == [-500, 1500]
    for line in invoice.lines.data:
        details = line.parent.subscription_item_details
        assert (details.proration, details.subscription_item) == (True, item.id)
        assert details.invoice_item.startswith("ii_")
    happened = shop.happened(since)
    assert happened[:3] == ["invoiceitem.created", "invoiceitem.created", "invoice.created"]
    assert happened[-1] == "customer.subscription.updated"
    assert set(shop.last_event().data.previous_attributes.to_dict()) == {"items", "latest_invoice", "plan"}


def test_downgrade_waits_for_the_next_invoice(shop, halfway):
    """create_prorations moves no money now; credit and charge are on the renewal's invoice."""
    subscription, item = halfway
    since = shop.last_event()
    price = shop.price(400)
    shop.api.subscriptions.update(subscription.id, params={"items": [{"id": item.id, "price": price.id}]})
    assert shop.happened(since) == [
        "price.created",
        "invoiceitem.created",
        "invoiceitem.created",
        "customer.subscription.updated",
    ]
    pending = shop.api.invoice_items.list(params={"customer": subscription.customer, "pending": True}).data
    assert sorted(each.amount for each in pending) == [-500, 200]
    shop.desk.advance(days=20)
    invoice = shop.api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert [line.amount for line in invoice.lines.data] == [-500, 200, 400]
    assert (invoice.total, invoice.amount_paid) == (100, 100)
    assert shop.api.invoice_items.list(params={"pending": True}).data == []


def test_prorations_end_with_their_subscription(shop, halfway):
    """Canceled at once without `prorate` and `invoice_now`, what waited for the next invoice is dropped."""
    subscription, item = halfway
    price = shop.price(400)
    shop.api.subscriptions.update(subscription.id, params={"items": [{"id": item.id, "price": price.id}]})
    since = shop.last_event()
    shop.api.subscriptions.cancel(subscription.id)
    assert shop.happened(since) == ["invoiceitem.deleted", "invoiceitem.deleted", "customer.subscription.deleted"]
    assert shop.api.invoice_items.list(params={"pending": True}).data == []


def test_a_negative_invoice_becomes_credit(shop, halfway):
    """A downgrade billed at once leaves credit, which the next renewal uses up first."""
    subscription, item = halfway
    price = shop.price(200)
    changed = shop.api.subscriptions.update(
        subscription.id,
        params={"items": [{"id": item.id, "price": price.id}], "proration_behavior": "always_invoice"},
    )
    invoice = shop.api.invoices.retrieve(changed.latest_invoice)
    assert (invoice.total, invoice.amount_due, invoice.status, invoice.ending_balance) == (-400, 0, "paid", -400)
    assert shop.api.customers.retrieve(subscription.customer).balance == -400
    shop.desk.advance(days=20)
    renewal = shop.api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert (renewal.total, renewal.amount_due, renewal.starting_balance, renewal.ending_balance) == (200, 0, -400, -200)
    assert renewal.status == "paid"


def test_quantity(shop, halfway):
    """More seats are prorated like another price, also through the item itself."""
    subscription, item = halfway
    shop.api.subscription_items.update(item.id, params={"quantity": 3, "proration_behavior": "always_invoice"})
    changed = shop.api.subscriptions.retrieve(subscription.id, params={"expand": ["latest_invoice"]})
    assert changed["items"].data[0].quantity == 3
    assert changed.latest_invoice.amount_paid == 1000
    assert changed.latest_invoice.lines.data[1].description.startswith("Remaining time on 3 × PDF Tool Pro after")


def test_without_proration(shop, halfway):
    """`none` changes the price from the next period on and bills nothing for the rest of this one."""
    subscription, item = halfway
    shop.api.subscriptions.update(
        subscription.id,
        params={"items": [{"id": item.id, "price": shop.price(5000).id}], "proration_behavior": "none"},
    )
    shop.desk.advance(days=20)
    assert shop.api.invoices.list(params={"subscription": subscription.id}).data[0].total == 5000


def test_another_interval_starts_a_new_period(shop, halfway):
    """From monthly to yearly: the period begins now and is billed now, less the unused half."""
    subscription, item = halfway
    yearly = shop.price(9000, "year")
    changed = shop.api.subscriptions.update(subscription.id, params={"items": [{"id": item.id, "price": yearly.id}]})
    now = int(shop.desk.now().timestamp())
    new = changed["items"].data[0]
    assert (new.current_period_start, changed.billing_cycle_anchor) == (now, now)
    assert new.current_period_end - now in (365 * 86_400, 366 * 86_400)
    invoice = shop.api.invoices.retrieve(changed.latest_invoice)
    assert [line.amount for line in invoice.lines.data] == [-500, 9000]
    assert invoice.amount_paid == 8500


def test_nothing_is_prorated_on_trial(shop):
    """A change during a trial costs nothing."""
    subscription = shop.subscribe(shop.price(), trial_period_days=14)
    since = shop.last_event()
    price = shop.price(5000)
    items = [{"id": subscription["items"].data[0].id, "price": price.id}]
    shop.api.subscriptions.update(subscription.id, params={"items": items})
    assert shop.happened(since) == ["price.created", "customer.subscription.updated"]


def test_items_are_added_and_removed(shop, halfway):
    """An added item shares the running period and is charged for its rest; the last one cannot be removed."""
    subscription, item = halfway
    extra = shop.price(600)
    both = shop.api.subscriptions.update(subscription.id, params={"items": [{"price": extra.id, "quantity": 2}]})
    added = next(each for each in both["items"].data if each.price.id == extra.id)
    assert added.current_period_end == item.current_period_end
    assert shop.api.invoice_items.list().data[0].amount == 600
    with pytest.raises(stripe.InvalidRequestError, match="already using"):
        shop.api.subscriptions.update(subscription.id, params={"items": [{"price": extra.id}]})
    left = shop.api.subscriptions.update(subscription.id, params={"items": [{"id": added.id, "deleted": True}]})
    assert [each.id for each in left["items"].data] == [item.id]
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        shop.api.subscriptions.update(subscription.id, params={"items": [{"id": item.id, "deleted": True}]})


def test_a_price_given_inline(shop, halfway):
    """`price_data` makes the price on the way; an item of another rhythm gets a period of its own."""
    subscription, item = halfway
    data = {"currency": "eur", "product": shop.product.id, "unit_amount": 70, "recurring": {"interval": "week"}}
    changed = shop.api.subscriptions.update(
        subscription.id, params={"items": [{"price_data": data}, {"id": item.id, "metadata": {"a": "b"}}]}
    )
    first, added = changed["items"].data
    assert first.metadata["a"] == "b"
    assert added.price.unit_amount == 70
    assert added.current_period_end != first.current_period_end


def test_items_of_different_rhythm_renew_on_their_own_days(shop):
    """A subscription may mix a monthly and a weekly price; each item has its own period."""
    monthly, weekly = shop.price(1000), shop.price(100, "week")
    customer = shop.customer()
    subscription = shop.api.subscriptions.create(
        params={"customer": customer.id, "items": [{"price": monthly.id}, {"price": weekly.id}]}
    )
    assert shop.api.invoices.retrieve(subscription.latest_invoice).total == 1100
    shop.desk.advance(days=7, hours=1)
    assert shop.api.invoices.list(params={"subscription": subscription.id}).data[0].total == 100


def test_an_upgrade_that_cannot_be_paid(shop, halfway):
    """It is past due, or with error_if_incomplete refused without any change."""
    subscription, item = halfway
    customer = shop.api.customers.retrieve(subscription.customer)
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    price = shop.price(3000)
    change = {"items": [{"id": item.id, "price": price.id}], "proration_behavior": "always_invoice"}
    with pytest.raises(stripe.CardError):
        shop.api.subscriptions.update(subscription.id, params={**change, "payment_behavior": "error_if_incomplete"})
    assert shop.api.subscriptions.retrieve(subscription.id)["items"].data[0].price.id == item.price.id
    assert shop.api.subscriptions.update(subscription.id, params=change).status == "past_due"


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([{"id": "si_none", "quantity": 2}], "resource_missing"),
        ([{"quantity": 2}], "parameter_missing"),
        ([{"price": "price_none"}], "resource_missing"),
    ],
)
def test_wrong_items_are_refused(shop, halfway, items, code):
    """Unknown items and prices are 400."""
    subscription, _ = halfway
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.api.subscriptions.update(subscription.id, params={"items": items})
    assert (refused.value.http_status, refused.value.code) == (400, code)


def test_one_time_prices_cannot_be_subscribed_to(shop):
    """Stripe's sentence for a price without an interval."""
    with pytest.raises(stripe.InvalidRequestError, match="type=recurring"):
        shop.subscribe(shop.price(100, None))
