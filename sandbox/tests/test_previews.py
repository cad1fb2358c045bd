"""Previews of invoices: they promise what is then billed, and leave nothing behind."""

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollhouse_sandbox.form import flatten

DAY = 86_400


def preview(shop, **params):
    return shop.api.invoices.create_preview(params=params)


def said(invoice):
    """What an invoice says of money, which a preview says too."""
    lines = [
        (line["amount"], line["description"], line["period"]["start"], line["period"]["end"], line["quantity"])
        for line in invoice["lines"]["data"]
    ]
    sums = [invoice[name] for name in ("subtotal", "total", "amount_due", "starting_balance", "ending_balance")]
    return sums, lines, [each["amount"] for each in invoice["total_discount_amounts"]]


def test_the_next_renewal(shop):
    """A customer's next invoice, of whichever subscription comes first; it is not listed and nothing is told of it."""
    customer = shop.customer()
    shop.subscribe(shop.price(9000, "year"), customer)
    monthly = shop.subscribe(shop.price(), customer)
    shop.api.invoice_items.create(params={"customer": customer.id, "amount": 11, "currency": "eur"})
    since = shop.last_event()
    upcoming = preview(shop, customer=customer.id)
    assert upcoming.id.startswith("upcoming_in_")
    assert (upcoming.status, upcoming.billing_reason, upcoming.total) == ("draft", "upcoming", 911)
    assert upcoming.parent.subscription_details.subscription == monthly.id
    assert upcoming.created == monthly["items"].data[0].current_period_end
    assert shop.happened(since) == []
    assert len(shop.api.invoices.list().data) == 2
    assert len(shop.api.invoice_items.list(params={"pending": True}).data) == 1
    assert shop.api.subscriptions.retrieve(monthly.id) == monthly


@pytest.mark.parametrize("end", [{"cancel_at_period_end": True}, {"cancel_at": "min_period_end"}])
def test_nothing_is_upcoming(shop, end):
    """Who has no subscription, or none that renews, has no upcoming invoice."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    for params in (
        {"customer": shop.customer().id},
        {"subscription": subscription.id, "subscription_details": end},
    ):
        with pytest.raises(stripe.InvalidRequestError) as none:
            preview(shop, **params)
        assert (none.value.http_status, none.value.code) == (404, "invoice_upcoming_none")


def test_an_upgrade_as_it_was_previewed(shop):
    """The proration of a preview's date is charged to the cent when the update names that date too."""
    subscription = shop.subscribe(shop.price(3000))
    item = subscription["items"].data[0].id
    shop.desk.advance(days=10)
    details = {
        "items": [{"id": item, "price": shop.price(7000).id}],
        "proration_behavior": "always_invoice",
        "proration_date": int(shop.desk.now().timestamp()),
    }
    promised = preview(shop, subscription=subscription.id, subscription_details=details)
    shop.desk.advance(days=1)
    changed = shop.api.subscriptions.update(subscription.id, params=details)
    assert said(promised) == said(shop.api.invoices.retrieve(changed.latest_invoice))
    with pytest.raises(stripe.InvalidRequestError, match="current billing period"):
        shop.api.subscriptions.update(subscription.id, params={**details, "proration_date": 1_000_000_000})


def test_an_end_with_proration(shop):
    """Ending now gives back the rest of the period."""
    subscription = shop.subscribe(shop.price(3000))
    period = subscription["items"].data[0]
    middle = (period.current_period_start + period.current_period_end) // 2
    shop.desk.advance(seconds=middle - period.current_period_start)
    last = preview(shop, subscription=subscription.id, subscription_details={"cancel_now": True})
    assert [line.amount for line in last.lines.data] == [-1500]
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"


def test_a_new_subscription(shop):
    """Its first invoice, with items, coupon and trial as if it began now."""
    customer = shop.customer()
    coupon = shop.api.coupons.create(params={"percent_off": 10, "duration": "forever"})
    params = {
        "customer": customer.id,
        "subscription_details": {"items": [{"price": shop.price(1000).id, "quantity": 2}]},
        "invoice_items": [{"price": shop.price(500, None).id}],
        "discounts": [{"coupon": coupon.id}],
    }
    first = preview(shop, **params)
    assert [line.amount for line in first.lines.data] == [500, 2000]
    assert first.total == 2250
    assert shop.api.coupons.retrieve(coupon.id).times_redeemed == 0
    assert shop.api.subscriptions.list(params={"status": "all"}).data == []


def test_only_what_recurs(shop):
    """`preview_mode` recurring leaves prorations and single items out."""
    subscription = shop.subscribe(shop.price(1000))
    item = subscription["items"].data[0].id
    params = {
        "subscription": subscription.id,
        "subscription_details": {"items": [{"id": item, "quantity": 3}]},
        "invoice_items": [{"amount": 5}, {"unit_amount": 7, "quantity": 2, "currency": "eur"}],
    }
    assert preview(shop, **params).total == 1000 * 3 + 2000 + 19
    assert preview(shop, **params, preview_mode="recurring").total == 3000


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "customer"),
        ({"schedule": "sub_sched_1"}, "schedule"),
        ({"subscription": "sub_none"}, "subscription"),
        ({"subscription_details": {"items": [{"price": "price_1"}]}}, "customer"),
    ],
)
def test_wrong_previews_are_refused(shop, params, param):
    """Stripe names the parameter that is wrong; schedules are not covered."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        preview(shop, **params)
    assert refused.value.param == param


amounts = st.integers(0, 100_000)
quantities = st.integers(1, 7)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    currency=st.sampled_from(["eur", "jpy"]),
    old=st.tuples(amounts, quantities),
    new=st.tuples(amounts, quantities),
    interval=st.sampled_from(["month", "month", "year"]),
    behavior=st.sampled_from(["always_invoice", "create_prorations", "none"]),
    percent=st.sampled_from([0, 0, 20, 33.3]),
    passed=st.integers(0, 28 * DAY - 1),
    extra=st.integers(-5000, 5000),
)
def test_a_preview_is_what_is_billed(here, currency, old, new, interval, behavior, percent, passed, extra):
    """Whatever changes when: the preview's lines, sums and balances are those of the invoice that follows."""
    here.sandbox.reset()
    here.sandbox.freeze(True)

    def post(path, **params):
        return here.post(path, dict(flatten(params)))

    product = post("products", name="Pro")["id"]
    rhythm = {"product": product, "currency": currency}
    price = post("prices", **rhythm, unit_amount=str(old[0]), recurring={"interval": "month"})
    target = post("prices", **rhythm, unit_amount=str(new[0]), recurring={"interval": interval})
    customer = post("customers", invoice_settings={"default_payment_method": "pm_card_visa"})["id"]
    discounts = {}
    if percent:
        coupon = post("coupons", percent_off=str(percent), duration="forever")
        discounts = {"discounts": {"0": {"coupon": coupon["id"]}}}
    items = {"0": {"price": price["id"], "quantity": str(old[1])}}
    subscription = post("subscriptions", customer=customer, items=items, **discounts)
    post("invoiceitems", customer=customer, amount=str(extra), currency=currency)
    here.run(here.sandbox.advance(passed))
    item = subscription["items"]["data"][0]["id"]
    change = {
        "items": {"0": {"id": item, "price": target["id"], "quantity": str(new[1])}},
        "proration_behavior": behavior,
    }
    promised = post("invoices/create_preview", subscription=subscription["id"], subscription_details=change)
    post(f"subscriptions/{subscription['id']}", **change)
    if promised["created"] > here.sandbox.account.now:
        here.run(here.sandbox.advance_to(promised["created"] + 2 * 3600))
    (billed, *_) = here.get(f"invoices?subscription={subscription['id']}&limit=1")["data"]
    assert said(promised) == said(billed)
