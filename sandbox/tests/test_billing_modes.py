"""Classic and flexible billing, the day of billing, several rhythms, and what a subscription's bill takes besides."""

import pytest
import stripe

DAY = 86_400
FLEXIBLE, CLASSIC = {"type": "flexible"}, {"type": "classic"}


def daily(shop, amount, days=40):
    """A price for so many days, so that shares come out even."""
    return shop.price(amount, recurring={"interval": "day", "interval_count": days}, interval=None)


def change(shop, subscription, proration="create_prorations", **item):
    items = [{"id": subscription["items"].data[0].id, **item}]
    return shop.api.subscriptions.update(subscription.id, params={"items": items, "proration_behavior": proration})


def pending(shop):
    return [(each.amount, each.proration_details.credited_items) for each in shop.api.invoice_items.list().data[::-1]]


@pytest.mark.parametrize(("mode", "credit"), [(FLEXIBLE, -250), (CLASSIC, -750)])
def test_what_a_credit_is_reckoned_from(shop, mode, credit):
    """Flexible gives back what was billed, classic what it costs now: they differ after a change without proration."""
    subscription = shop.subscribe(daily(shop, 1000), billing_mode=mode)
    assert subscription.billing_mode.type == mode["type"]
    shop.desk.advance(days=20)
    change(shop, subscription, "none", price=daily(shop, 3000).id)
    shop.desk.advance(days=10)
    change(shop, subscription, price=daily(shop, 2000).id)
    (given_back, billed), (charged, _) = pending(shop)
    assert (given_back, charged) == (credit, 500)
    assert billed.invoice_line_item_details.invoice == subscription.latest_invoice
    line = shop.api.invoices.retrieve(subscription.latest_invoice).lines.data[0]
    assert billed.invoice_line_item_details.invoice_line_items == [line.id]


def test_a_credit_names_the_charge_that_waits_or_was_billed(shop):
    """A charge that is still pending is named itself, one on an invoice by its line."""
    subscription = shop.subscribe(daily(shop, 1000))
    shop.desk.advance(days=20)
    change(shop, subscription, quantity=2)
    change(shop, subscription, quantity=1)
    _, (charged, _), (given_back, credited), (again, _) = pending(shop)
    assert (charged, given_back, again) == (1000, -1000, 500)
    assert credited.type == "invoice_item"
    changed = change(shop, subscription, "always_invoice", quantity=3)
    lines = shop.api.invoices.retrieve(changed.latest_invoice).lines.data
    assert sum(line.amount for line in lines) == 1000
    change(shop, subscription, "always_invoice", quantity=4)
    last = shop.api.invoices.list(params={"subscription": subscription.id}).data[0].lines.data
    details = last[0].parent.subscription_item_details.proration_details
    assert details.credited_items.to_dict() == {"invoice": changed.latest_invoice, "invoice_line_items": [lines[-1].id]}


def test_rhythms_are_mixed_only_with_flexible_billing(shop):
    """Classic wants one interval, at the beginning and later; a migrated subscription does not, and stays so."""
    monthly, weekly = shop.price(), shop.price(100, "week")
    with pytest.raises(stripe.InvalidRequestError, match="must have the same"):
        shop.subscribe(monthly, items=[{"price": monthly.id}, {"price": weekly.id}], billing_mode=CLASSIC)
    subscription = shop.subscribe(monthly, billing_mode=CLASSIC)
    add = {"items": [{"price": weekly.id}]}
    with pytest.raises(stripe.InvalidRequestError, match="must have the same"):
        shop.api.subscriptions.update(subscription.id, params=add)
    since = shop.last_event()
    migrated = shop.api.subscriptions.migrate(subscription.id, params={"billing_mode": FLEXIBLE})
    assert (migrated.billing_mode.type, bool(migrated.billing_mode.updated_at)) == ("flexible", True)
    assert shop.happened(since) == ["customer.subscription.updated"]
    assert len(shop.api.subscriptions.update(subscription.id, params=add)["items"].data) == 2
    with pytest.raises(stripe.InvalidRequestError, match="flexible already"):
        shop.api.subscriptions.migrate(subscription.id, params={"billing_mode": FLEXIBLE})
    with pytest.raises(stripe.InvalidRequestError):
        shop.subscribe(monthly, billing_mode={**CLASSIC, "flexible": {"proration_discounts": "included"}})


@pytest.mark.parametrize(("proration", "first"), [("create_prorations", [250]), ("none", [])])
def test_a_day_of_billing_to_come(shop, proration, first):
    """Until then a share is billed, or nothing; then the periods turn."""
    now = int(shop.desk.now().timestamp())
    subscription = shop.subscribe(daily(shop, 1000), billing_cycle_anchor=now + 10 * DAY, proration_behavior=proration)
    item = subscription["items"].data[0]
    assert (item.current_period_start, item.current_period_end) == (now, now + 10 * DAY)
    invoice = shop.api.invoices.retrieve(subscription.latest_invoice)
    assert [line.amount for line in invoice.lines.data] == first
    shop.desk.advance(days=10, hours=2)
    renewal = shop.api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert (renewal.total, renewal.lines.data[0].period.end) == (1000, now + 50 * DAY)


@pytest.mark.parametrize("more", [{"billing_cycle_anchor": 1}, {"trial_period_days": 3}])
def test_a_wrong_day_of_billing(shop, more):
    """It lies in the future, within a period, and goes with no trial."""
    soon = int(shop.desk.now().timestamp()) + DAY
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.subscribe(shop.price(), **{"billing_cycle_anchor": soon, **more})
    assert refused.value.param == "billing_cycle_anchor"


def test_the_day_of_billing_becomes_today(shop):
    """`now` gives the rest back and bills a whole new period of every item; `unchanged` does nothing."""
    subscription = shop.subscribe(daily(shop, 1000))
    shop.desk.advance(days=10)
    same = shop.api.subscriptions.update(subscription.id, params={"billing_cycle_anchor": "unchanged"})
    assert same.latest_invoice == subscription.latest_invoice
    changed = shop.api.subscriptions.update(
        subscription.id, params={"billing_cycle_anchor": "now", "items": [{"price": daily(shop, 200).id}]}
    )
    invoice = shop.api.invoices.retrieve(changed.latest_invoice)
    assert [line.amount for line in invoice.lines.data] == [-750, 1000, 200]
    now = int(shop.desk.now().timestamp())
    assert {each.current_period_end for each in changed["items"].data} == {now + 40 * DAY}
    trial = shop.subscribe(shop.price(), trial_period_days=5)
    with pytest.raises(stripe.InvalidRequestError, match="trial"):
        shop.api.subscriptions.update(trial.id, params={"billing_cycle_anchor": "now"})


def test_single_charges_on_a_subscriptions_bill(shop):
    """`add_invoice_items` is on the first invoice, also of a trial; of a running subscription, on the next."""
    once = shop.price(500, None)
    extras = {"add_invoice_items": [{"price": once.id, "quantity": 2}]}
    since = shop.last_event()
    subscription = shop.subscribe(shop.price(), trial_period_days=3, **extras)
    invoice = shop.api.invoices.retrieve(subscription.latest_invoice)
    assert [line.amount for line in invoice.lines.data] == [1000, 0]
    assert (invoice.amount_paid, subscription.status) == (1000, "trialing")
    happened = shop.happened(since)
    assert happened.index("customer.subscription.created") < happened.index("invoiceitem.created")
    shop.api.subscriptions.update(subscription.id, params=extras)
    shop.desk.advance(days=4)
    assert shop.api.invoices.list(params={"subscription": subscription.id}).data[0].total == 1900
    for wrong in ({"quantity": 1}, {"price": shop.price().id}, {"price": shop.price(1, None, currency="usd").id}):
        with pytest.raises(stripe.InvalidRequestError):
            shop.subscribe(shop.price(), add_invoice_items=[wrong])


def test_items_one_by_one(shop):
    """Added, changed and deleted through their own calls, as an update of the subscription does it."""
    subscription = shop.subscribe(daily(shop, 1000))
    shop.desk.advance(days=20)
    params = {"subscription": subscription.id, "price": daily(shop, 400).id, "quantity": 2}
    item = shop.api.subscription_items.create(params=params)
    assert (item.quantity, [amount for amount, _ in pending(shop)]) == (2, [400])
    assert len(shop.api.subscription_items.list(params={"subscription": subscription.id}).data) == 2
    deleted = shop.api.subscription_items.delete(item.id, params={"proration_behavior": "none"})
    assert deleted.deleted
    with pytest.raises(stripe.InvalidRequestError):
        shop.api.subscription_items.retrieve(item.id)
    with pytest.raises(stripe.InvalidRequestError, match="price"):
        shop.api.subscription_items.create(params={"subscription": subscription.id})
