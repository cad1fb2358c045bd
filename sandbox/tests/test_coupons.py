"""Coupons: what they take off, for how long, and where it is written."""

import pytest
from stripe import InvalidRequestError

from tollhouse_sandbox.discounts import taken_off

FOREVER = {"duration": "forever"}


def totals(api, subscription):
    """(subtotal, total, what the discounts took) of each bill, oldest first."""
    invoices = api.invoices.list(params={"subscription": subscription.id}).data[::-1]
    return [(one.subtotal, one.total, sum(each.amount for each in one.total_discount_amounts)) for one in invoices]


def test_a_coupon_is_made_found_renamed_and_deleted(api):
    """Its terms never change; a deleted one cannot be redeemed, and its id is not listed."""
    coupon = api.coupons.create(params={"percent_off": 25.5, "id": "AUTUMN", "name": "Autumn", **FOREVER})
    assert (coupon.id, coupon.percent_off, coupon.amount_off, coupon.valid) == ("AUTUMN", 25.5, None, True)
    other = api.coupons.create(params={"amount_off": 100, "currency": "eur", "duration": "once"})
    assert [one.id for one in api.coupons.list().data] == [other.id, "AUTUMN"]
    assert api.coupons.update("AUTUMN", params={"name": "Fall", "metadata": {"a": "b"}}).name == "Fall"
    assert api.coupons.retrieve("AUTUMN").metadata.to_dict() == {"a": "b"}
    assert api.coupons.delete("AUTUMN").deleted
    assert [one.id for one in api.coupons.list().data] == [other.id]
    with pytest.raises(InvalidRequestError, match="No such coupon"):
        api.coupons.retrieve("AUTUMN")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"percent_off": 10, "amount_off": 1, "currency": "eur"}, "percent_off"),
        ({}, "percent_off"),
        ({"amount_off": 1}, "currency"),
        ({"percent_off": 101}, "percent_off"),
        ({"percent_off": 10, "duration": "repeating"}, "duration_in_months"),
        ({"percent_off": 10, "duration": "once", "duration_in_months": 3}, "duration_in_months"),
        ({"percent_off": 10, "id": "TAKEN"}, "id"),
    ],
)
def test_a_coupon_that_cannot_be(api, wrong, param):
    """Refused, with the parameter that is wrong."""
    api.coupons.create(params={"percent_off": 1, "id": "TAKEN"})
    with pytest.raises(InvalidRequestError) as refused:
        api.coupons.create(params=wrong)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("terms", "bills"),
    [
        ({"percent_off": 10, **FOREVER}, [(900, 810, 90)] * 3),
        ({"percent_off": 33.3, **FOREVER}, [(900, 600, 300)] * 3),
        ({"amount_off": 200, "currency": "eur", **FOREVER}, [(900, 700, 200)] * 3),
        ({"amount_off": 2000, "currency": "eur", **FOREVER}, [(900, 0, 900)] * 3),
        ({"percent_off": 10, "duration": "once"}, [(900, 810, 90), (900, 900, 0), (900, 900, 0)]),
        (
            {"percent_off": 50, "duration": "repeating", "duration_in_months": 2},
            [(900, 450, 450), (900, 450, 450), (900, 900, 0)],
        ),
    ],
)
def test_a_subscription_with_a_discount(desk, api, shop, terms, bills):
    """What is taken off is on the bill and its line, and what is charged is the rest; as long as the coupon says."""
    coupon = api.coupons.create(params=terms)
    subscription = shop.subscribe(shop.price(), discounts=[{"coupon": coupon.id}])
    desk.advance(days=63)
    assert totals(api, subscription) == bills
    charged = [one.amount for one in api.charges.list(params={"customer": subscription.customer}).data[::-1]]
    assert charged == [total for _, total, _ in bills if total]
    invoice = api.invoices.list(
        params={"subscription": subscription.id, "expand": ["data.discounts.source.coupon"]}
    ).data[-1]
    (line,) = invoice.lines.data
    assert [(one.amount, one.discount) for one in line.discount_amounts] == [(bills[0][2], invoice.discounts[0].id)]
    assert invoice.discounts[0].source.coupon.id == coupon.id
    now = api.subscriptions.retrieve(subscription.id, params={"expand": ["discounts"]})
    assert len(now.discounts) == (1 if bills[2][2] else 0)
    assert api.coupons.retrieve(coupon.id).times_redeemed == 1


def test_discounts_are_added_kept_and_taken_away(desk, api, shop):
    """An update names all that are to be; what it names by its id stays, and an empty list ends them."""
    subscription = shop.subscribe(shop.price())
    tenth = api.coupons.create(params={"percent_off": 10, **FOREVER})
    euro = api.coupons.create(params={"amount_off": 100, "currency": "eur", **FOREVER})
    (first,) = api.subscriptions.update(subscription.id, params={"discounts": [{"coupon": tenth.id}]}).discounts
    both = [{"discount": first}, {"coupon": euro.id}]
    assert api.subscriptions.update(subscription.id, params={"discounts": both}).discounts[0] == first
    desk.advance(days=32)
    assert api.subscriptions.update(subscription.id, params={"discounts": ""}).discounts == []
    desk.advance(days=31)
    assert totals(api, subscription) == [(900, 900, 0), (900, 710, 190), (900, 900, 0)]
    with pytest.raises(InvalidRequestError, match="No such discount"):
        api.subscriptions.update(subscription.id, params={"discounts": [{"discount": "di_x"}]})


def test_a_trial_uses_up_no_discount(desk, api, shop):
    """The bill of nothing takes nothing off; the first one that costs something does."""
    coupon = api.coupons.create(params={"percent_off": 10, "duration": "once"})
    subscription = shop.subscribe(shop.price(), discounts=[{"coupon": coupon.id}], trial_period_days=7)
    desk.advance(days=40)
    assert totals(api, subscription) == [(0, 0, 0), (900, 810, 90), (900, 900, 0)]


def test_a_change_within_a_period_is_discounted_too(desk, api, shop):
    """Half a period later twice the price: the rest given back and billed are both less by what lasts."""
    coupon = api.coupons.create(params={"percent_off": 10, **FOREVER})
    subscription = shop.subscribe(shop.price(3000, interval="day"), discounts=[{"coupon": coupon.id}])
    desk.advance(hours=12)
    item = {"id": subscription["items"].data[0].id, "price": shop.price(6000, interval="day").id}
    api.subscriptions.update(subscription.id, params={"items": [item], "proration_behavior": "always_invoice"})
    invoice = api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert [(one.amount, one.discountable) for one in invoice.lines.data] == [(-1350, False), (2700, False)]
    assert invoice.total == 1350


def test_a_page_with_a_discount(desk, api, shop):
    """The page shows what is taken off; a subscription keeps the discount, a purchase is charged the rest."""
    coupon = api.coupons.create(params={"percent_off": 20, **FOREVER})
    page = shop.checkout(shop.price(), discounts=[{"coupon": coupon.id}])
    assert (page.amount_subtotal, page.amount_total, page.total_details.amount_discount) == (900, 720, 180)
    assert page.discounts[0].coupon == coupon.id
    desk.pay(page.url)
    bought = api.checkout.sessions.retrieve(page.id)
    subscription = api.subscriptions.retrieve(bought.subscription)
    assert (len(subscription.discounts), totals(api, subscription)) == (1, [(900, 720, 180)])
    once = shop.checkout(shop.price(interval=None), discounts=[{"coupon": coupon.id}])
    desk.pay(once.url)
    assert api.charges.list(params={"limit": 1}).data[0].amount == 720
    with pytest.raises(InvalidRequestError, match="only specify one"):
        shop.checkout(shop.price(), discounts=[{"coupon": coupon.id}], allow_promotion_codes=True)


def test_a_coupon_that_cannot_be_redeemed(desk, api, shop):
    """Another currency, used up, run out, deleted, unknown or not named."""
    now = int(desk.now().timestamp())
    dollars = api.coupons.create(params={"amount_off": 100, "currency": "usd", **FOREVER})
    single = api.coupons.create(params={"percent_off": 1, "max_redemptions": 1})
    late = api.coupons.create(params={"percent_off": 1, "redeem_by": now + 60})
    gone = api.coupons.create(params={"percent_off": 1})
    shop.subscribe(shop.price(), discounts=[{"coupon": single.id}])
    desk.advance(minutes=2)
    api.coupons.delete(gone.id)
    for named in ({"coupon": one} for one in (dollars.id, single.id, late.id, gone.id, "never")):
        with pytest.raises(InvalidRequestError) as refused:
            shop.subscribe(shop.price(), discounts=[named])
        assert refused.value.param == "discounts[0][coupon]"
    with pytest.raises(InvalidRequestError, match="Missing required param"):
        shop.subscribe(shop.price(), discounts=[{"discount": "di_of_another"}])


def test_an_amount_is_spread_to_the_last_cent():
    """Over three equal lines a euro is 33, 33 and 34; over nothing it is nothing."""
    terms = {"amount_off": 100, "percent_off": None, "duration": "forever"}
    assert sorted(taken_off([500, 500, 500], [("di_1", terms)])[0].amounts) == [33, 33, 34]
    assert taken_off([0, 0], [("di_1", terms)])[0].amounts == [0, 0]
