"""Coupons: what they take off, for how long, and where it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import InvalidRequestError

from tollhouse_sandbox.discounts import Cost, Given, discounted, taken_off
from tollhouse_sandbox.discounts import totals as summed

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


def test_what_can_be_said_of_a_coupon(desk, api, shop):
    """Which products it is for and what it takes off in other currencies, shown when asked for."""
    now = int(desk.now().timestamp())
    coupon = api.coupons.create(
        params={
            "amount_off": 100,
            "currency": "EUR",
            "currency_options": {"usd": {"amount_off": 120}},
            "applies_to": {"products": [shop.product.id]},
            "redeem_by": now + 60,
            "expand": ["applies_to", "currency_options"],
        }
    )
    assert (coupon.currency, coupon.applies_to.products) == ("eur", [shop.product.id])
    assert coupon.currency_options["usd"]["amount_off"] == 120
    assert "applies_to" not in api.coupons.retrieve(coupon.id)
    api.coupons.update(coupon.id, params={"currency_options": {"gbp": {"amount_off": 90}}})
    for currency, total in (("eur", 800), ("usd", 780), ("gbp", 810)):
        price = shop.price(interval=None, currency=currency)
        assert shop.checkout(price, discounts=[{"coupon": coupon.id}]).amount_total == total
    with pytest.raises(InvalidRequestError, match="usd, gbp, eur"):
        shop.checkout(shop.price(interval=None, currency="chf"), discounts=[{"coupon": coupon.id}])
    desk.advance(minutes=2)
    assert api.coupons.retrieve(coupon.id).valid is False


def test_a_coupon_for_some_products(desk, api, shop):
    """Only their lines cost less; a coupon for once waits for a bill that has one."""
    other = api.prices.create(
        params={
            "currency": "eur",
            "unit_amount": 500,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Storage"},
        }
    )
    coupon = api.coupons.create(params={"percent_off": 50, "applies_to": {"products": [other.product]}})
    items = [{"price": shop.price().id}, {"price": other.id}]
    subscription = shop.subscribe(shop.price(), items=items, discounts=[{"coupon": coupon.id}])
    bill = api.invoices.retrieve(subscription.latest_invoice)
    assert [sum(each.amount for each in line.discount_amounts) for line in bill.lines.data] == [0, 250]
    untouched = shop.subscribe(shop.price(), discounts=[{"coupon": coupon.id}])
    assert (len(subscription.discounts), len(untouched.discounts)) == (0, 1)


def test_discounts_one_after_the_other(desk, api, shop):
    """An item's own comes first, then the subscription's in their order, each of what the others left."""
    coupons = [
        api.coupons.create(params=terms)
        for terms in (
            {"percent_off": 50, **FOREVER},
            {"amount_off": 100, "currency": "eur", **FOREVER},
            {"percent_off": 10, **FOREVER},
        )
    ]
    half, euro, tenth = ({"coupon": coupon.id} for coupon in coupons)
    items = [{"price": shop.price(1000).id, "discounts": [tenth]}, {"price": shop.price(500).id}]
    subscription = shop.subscribe(shop.price(), items=items, discounts=[euro, half])
    assert totals(api, subscription) == [(1500, 650, 850)]
    bill = api.invoices.retrieve(subscription.latest_invoice)
    assert [each.amount for each in bill.total_discount_amounts] == [100, 100, 650]
    assert (len(bill.discounts), len(bill.lines.data[0].discounts)) == (2, 1)
    (own,) = subscription["items"].data[0].discounts
    keeps = {"items": [{"id": subscription["items"].data[0].id, "discounts": [{"discount": own}, half]}]}
    changed = api.subscriptions.update(subscription.id, params={**keeps, "expand": ["items.data.discounts"]})
    kept, added = changed["items"].data[0].discounts
    assert (kept.id, added.subscription_item) == (own, changed["items"].data[0].id)
    desk.advance(days=32)
    assert totals(api, subscription)[1] == (1500, 424, 1076)


def test_a_discount_ends_with_its_months_on_the_day(desk, api, shop):
    """A yearly subscription loses it long before its next bill, and both are told."""
    coupon = api.coupons.create(params={"percent_off": 50, "duration": "repeating", "duration_in_months": 2})
    subscription = shop.subscribe(shop.price(interval="year"), discounts=[{"coupon": coupon.id}])
    since = shop.last_event()
    desk.advance(days=62)
    assert api.subscriptions.retrieve(subscription.id).discounts == []
    assert shop.happened(since) == ["customer.discount.deleted", "customer.subscription.updated"]
    assert shop.last_event().data.previous_attributes.to_dict() == {"discounts": subscription.discounts}


def test_a_discount_is_taken_away(api, shop):
    """By name, or by an update that does not name it; a customer has none since basil."""
    coupon = api.coupons.create(params={"percent_off": 50, **FOREVER})
    subscription = shop.subscribe(shop.price(), discounts=[{"coupon": coupon.id}])
    since = shop.last_event()
    assert api.subscriptions.delete_discount(subscription.id).id == subscription.discounts[0]
    assert shop.happened(since) == ["customer.discount.deleted", "customer.subscription.updated"]
    with pytest.raises(InvalidRequestError, match="No active discount for subscription"):
        api.subscriptions.delete_discount(subscription.id)
    with pytest.raises(InvalidRequestError, match="No active discount for customer"):
        api.customers.delete_discount(subscription.customer)


def test_a_bill_by_hand_is_discounted(api, shop):
    """An item's own discount first, then the bill's; another one in its place, or none, makes the sums again."""
    customer = shop.customer()
    euro, half = (
        {"coupon": api.coupons.create(params=terms).id}
        for terms in ({"amount_off": 100, "currency": "eur"}, {"percent_off": 50})
    )
    item = {"customer": customer.id, "amount": 1000, "currency": "eur", "discounts": [euro]}
    item = api.invoice_items.create(params={**item, "expand": ["discounts"]})
    assert item.discounts[0].invoice_item == item.id
    params = {"customer": customer.id, "pending_invoice_items_behavior": "include"}
    invoice = api.invoices.create(params={**params, "discounts": [half], "expand": ["discounts"]})
    assert (invoice.subtotal, invoice.total, invoice.discounts[0].invoice) == (1000, 450, invoice.id)
    assert [each.amount for each in invoice.total_discount_amounts] == [100, 450]
    assert api.invoices.update(invoice.id, params={"discounts": ""}).total == 900
    assert api.invoice_items.update(item.id, params={"discounts": ""}).discounts == []
    line = {"amount": 500, "discounts": [half]}
    assert api.invoices.add_lines(invoice.id, params={"lines": [line]}).total == 1250
    assert api.invoices.pay(api.invoices.finalize_invoice(invoice.id).id).amount_paid == 1250


@pytest.mark.parametrize(
    ("terms", "lines"),
    [
        ({"percent_off": 10}, [-1350, 2700]),
        ({"amount_off": 1000, "currency": "eur"}, [-1000, 2500]),
        ({"amount_off": 5000, "currency": "eur"}, [500]),
    ],
)
def test_a_change_within_a_period_is_less_by_what_lasts(desk, api, shop, terms, lines):
    """Half a period later twice the price: the rest is given back and billed as it was and will be paid."""
    coupon = api.coupons.create(params={**terms, **FOREVER})
    subscription = shop.subscribe(shop.price(3000, interval="day"), discounts=[{"coupon": coupon.id}])
    desk.advance(hours=12)
    item = {"id": subscription["items"].data[0].id, "price": shop.price(6000, interval="day").id}
    api.subscriptions.update(subscription.id, params={"items": [item], "proration_behavior": "always_invoice"})
    invoice = api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert [one.amount for one in invoice.lines.data] == lines
    assert not any(one.discountable for one in invoice.lines.data)
    assert invoice.total == sum(lines)


# Laws

_PERCENT = st.fixed_dictionaries({"percent_off": st.decimals("0.01", 100, places=2), "amounts_off": st.none()})
_AMOUNT = st.fixed_dictionaries(
    {"percent_off": st.none(), "amounts_off": st.dictionaries(st.sampled_from(["eur", "usd"]), st.integers(1, 10_000))}
)
_TERMS = st.builds(
    lambda terms, duration, products: {**terms, "duration": duration, "products": products},
    st.one_of(_PERCENT, _AMOUNT),
    st.sampled_from(["once", "repeating", "forever"]),
    st.one_of(st.none(), st.lists(st.sampled_from("ab"), min_size=1)),
)
_LINES = st.lists(st.builds(Cost, st.integers(0, 3000), st.sampled_from(["a", "b", None])), min_size=1, max_size=12)
_PLACES = st.one_of(st.none(), st.integers(0, 11))


@given(_LINES, st.lists(st.tuples(_TERMS, _PLACES), max_size=4))
def test_no_line_costs_less_than_nothing(costs, discounts):
    """Whatever is taken off in whichever order, each line keeps something between nothing and its amount."""
    asked = [Given(f"di_{nth}", terms, place) for nth, (terms, place) in enumerate(discounts)]
    taken = taken_off(costs, asked, "eur")
    assert {one.discount for one in taken} == {one.discount for one in asked}
    for place, cost in enumerate(costs):
        off = [one.amounts[place] for one in taken]
        assert all(each >= 0 for each in off) and sum(off) <= cost.amount
    for one, terms in ((one, next(each.terms for each in asked if each.discount == one.discount)) for one in taken):
        assert one.total <= (terms["amounts_off"] or {}).get("eur", 0) or terms["percent_off"]
        others = [terms["products"] is None or cost.product in terms["products"] for cost in costs]
        assert all(not off or counted for off, counted in zip(one.amounts, others, strict=True))


@given(_LINES, st.lists(_TERMS, max_size=4))
def test_a_bill_says_the_same_of_its_lines_and_its_whole(costs, discounts):
    """What is taken off the lines by each discount is what the bill says it took off."""
    lines = [
        {"amount": amount, "discountable": True, "pricing": {"price_details": {"product": product}}}
        for amount, product in costs
    ]
    written, taken = discounted(lines, [Given(f"di_{nth}", terms) for nth, terms in enumerate(discounts)], "eur")
    by_line: dict[str, int] = {one.discount: 0 for one in taken}
    for line in written:
        for each in line["discount_amounts"]:
            by_line[each["discount"]] += each["amount"]
    assert by_line == {each["discount"]: each["amount"] for each in summed(taken)}


@given(_LINES, st.integers(1, 40_000))
def test_an_amount_is_taken_off_whole(costs, amount):
    """To the last cent, or all there is."""
    terms = {"amounts_off": {"eur": amount}, "percent_off": None, "duration": "once", "products": None}
    (taken,) = taken_off(costs, [Given("di_1", terms)], "eur")
    assert taken.total == min(amount, sum(cost.amount for cost in costs))
