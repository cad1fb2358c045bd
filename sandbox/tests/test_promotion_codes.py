"""Promotion codes: made, found, restricted, typed on a page, and counted."""

import pytest
from stripe import InvalidRequestError

from tollhouse_sandbox.errors import StripeError

FOREVER = {"percent_off": 20, "duration": "forever"}


@pytest.fixture
def coupon(api):
    """A fifth off for ever."""
    return api.coupons.create(params={**FOREVER, "name": "Autumn"})


@pytest.fixture
def code(api, coupon):
    """Makes a code of that coupon."""

    def make(written="AUTUMN", **params):
        promotion = {"type": "coupon", "coupon": params.pop("coupon", coupon.id)}
        return api.promotion_codes.create(params={"promotion": promotion, "code": written, **params})

    return make


def test_a_code_is_made_found_and_switched_off(api, shop, coupon, code):
    """It has a text of its own or gets one; it is found by that in whichever case, by its coupon, and while active."""
    made = code(metadata={"a": "b"})
    assert (made.active, made.promotion.coupon, made.times_redeemed) == (True, coupon.id, 0)
    assert made.restrictions.first_time_transaction is False
    other = api.promotion_codes.create(params={"promotion": {"type": "coupon", "coupon": coupon.id}})
    assert len(other.code) == 8
    assert shop.happened()[-2:] == ["promotion_code.created"] * 2
    assert api.promotion_codes.retrieve(made.id, params={"expand": ["promotion.coupon"]}).promotion.coupon.name

    def found(**params):
        return [one.id for one in api.promotion_codes.list(params=params).data]

    assert found(code="autumn") == [made.id]
    assert found(coupon=coupon.id) == [other.id, made.id]
    options = {
        "restrictions": {"currency_options": {"usd": {"minimum_amount": 5}}},
        "expand": ["restrictions.currency_options"],
    }
    assert "currency_options" not in made.restrictions
    shown = api.promotion_codes.update(made.id, params=options).restrictions.currency_options
    assert shown["usd"]["minimum_amount"] == 5
    assert api.promotion_codes.update(other.id, params={"active": False}).active is False
    assert (found(active=True), found(active=False)) == ([made.id], [other.id])
    changed = shop.last_event()
    assert (changed.type, changed.data.previous_attributes.to_dict()) == ("promotion_code.updated", {"active": True})


def test_a_text_belongs_to_one_active_code(api, shop, code):
    """In whichever case; customers may each have one of the same text, but not beside one that is for all."""
    first = code()
    with pytest.raises(InvalidRequestError, match="already exists"):
        code("autumn")
    ada, bo = shop.customer(card=None), shop.customer(card=None)
    with pytest.raises(InvalidRequestError, match="already exists"):
        code(customer=ada.id)
    api.promotion_codes.update(first.id, params={"active": False})
    code(customer=ada.id)
    code(customer=bo.id)
    with pytest.raises(InvalidRequestError, match="already exists"):
        code(customer=ada.id)
    with pytest.raises(InvalidRequestError, match="already exists"):
        api.promotion_codes.update(first.id, params={"active": True})


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"code": "no spaces"}, "code"),
        ({"promotion": {"type": "coupon", "coupon": "none"}}, "promotion[coupon]"),
        ({"promotion": {"type": "coupon"}}, "promotion[coupon]"),
        ({"max_redemptions": 0}, "max_redemptions"),
        ({"max_redemptions": 4}, "max_redemptions"),
        ({"expires_at": 1}, "expires_at"),
        ({"customer": "cus_none"}, "customer"),
        ({"restrictions": {"minimum_amount": 100}}, "restrictions[minimum_amount_currency]"),
        (
            {
                "restrictions": {
                    "minimum_amount": 1,
                    "minimum_amount_currency": "eur",
                    "currency_options": {"eur": {"minimum_amount": 2}},
                }
            },
            "restrictions[currency_options][eur]",
        ),
    ],
)
def test_a_code_that_cannot_be(api, params, param):
    """Refused, with the parameter that is wrong; a code cannot do more than its coupon."""
    coupon = api.coupons.create(params={**FOREVER, "max_redemptions": 3})
    with pytest.raises(InvalidRequestError) as refused:
        api.promotion_codes.create(params={"promotion": {"type": "coupon", "coupon": coupon.id}, **params})
    assert refused.value.param == param


def test_a_code_named_by_the_app(api, shop, coupon, code):
    """On a new subscription, a running one, and a page: the discount says which code, and both are counted."""
    made = code()
    named = [{"promotion_code": made.id}]
    since = shop.last_event()
    first = shop.subscribe(shop.price(), discounts=named, expand=["discounts"])
    (discount,) = first.discounts
    assert (discount.promotion_code, discount.source.coupon) == (made.id, coupon.id)
    assert (discount.subscription, discount.customer) == (first.id, first.customer)
    assert {"customer.discount.created", "promotion_code.updated", "coupon.updated"} <= set(shop.happened(since))
    second = shop.subscribe(shop.price())
    api.subscriptions.update(second.id, params={"discounts": named})
    page = shop.checkout(shop.price(), discounts=named)
    assert (page.amount_total, page.discounts[0].promotion_code) == (720, made.id)
    shop.desk.pay(page.url)
    assert api.promotion_codes.retrieve(made.id).times_redeemed == api.coupons.retrieve(coupon.id).times_redeemed == 3
    with pytest.raises(InvalidRequestError, match="only specify one"):
        shop.checkout(shop.price(), discounts=[{"promotion_code": made.id, "coupon": coupon.id}])


def test_a_code_typed_on_the_page(api, shop, code):
    """It lowers the total at once, can be replaced and taken off again, and the purchase is charged the rest."""
    made = code()
    code("HALF", coupon=api.coupons.create(params={"percent_off": 50, "name": "Half"}).id)
    page = shop.checkout(shop.price(interval=None), allow_promotion_codes=True)
    view = shop.desk.apply_promotion_code(page.url, "half")
    assert (view["promotion_code"], view["discount"]["terms"], view["amount_due_today"]) == ("HALF", "50% off", 450)
    view = shop.desk.apply_promotion_code(page.url, " autumn ")
    assert view["discount"] == {"name": "Autumn", "terms": "20% off for ever", "amount": 180}
    view = shop.desk.remove_promotion_code(page.url)
    assert (view["allow_promotion_codes"], view["promotion_code"], view["discount"]) == (True, None, None)
    assert api.checkout.sessions.retrieve(page.id).amount_total == 900
    shop.desk.apply_promotion_code(page.url, "Autumn")
    shown = api.checkout.sessions.retrieve(page.id, params={"expand": ["line_items"]})
    assert (shown.amount_total, shown.discounts[0].promotion_code) == (720, made.id)
    assert (shown.line_items.data[0].amount_discount, shown.total_details.amount_discount) == (180, 180)
    assert api.promotion_codes.retrieve(made.id).times_redeemed == 0
    shop.desk.pay(page.url)
    assert api.charges.list().data[0].amount == 720
    assert api.promotion_codes.retrieve(made.id).times_redeemed == 1


def test_a_page_that_becomes_free(api, shop, code):
    """All off: a purchase needs no payment, and a subscription no card if none is asked for."""
    code("GIFT", coupon=api.coupons.create(params={"percent_off": 100}).id)
    once = shop.checkout(shop.price(interval=None), allow_promotion_codes=True)
    monthly = shop.checkout(shop.price(), allow_promotion_codes=True, payment_method_collection="if_required")
    for page in (once, monthly):
        shop.desk.apply_promotion_code(page.url, "gift")
        shop.desk.pay(page.url)
        paid = api.checkout.sessions.retrieve(page.id, params={"expand": ["subscription"]})
        assert (paid.payment_status, paid.payment_intent) == ("no_payment_required", None)
    assert (paid.subscription.status, paid.subscription.default_payment_method) == ("active", None)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"active": False}, "expired"),
        ({"expires_at": 60}, "expired"),
        ({"restrictions": {"minimum_amount": 1000, "minimum_amount_currency": "eur"}}, "minimum amount of €10.00"),
        ({"restrictions": {"minimum_amount": 1, "minimum_amount_currency": "usd"}}, "purchase in eur"),
        ({"restrictions": {"currency_options": {"EUR": {"minimum_amount": 901}}}}, "minimum amount of €9.01"),
        ({"restrictions": {"first_time_transaction": True}}, "prior transactions"),
        ({"customer": "another"}, "invalid"),
        ({"used": True}, "expired"),
    ],
)
def test_a_code_that_is_refused(desk, api, shop, code, params, sentence):
    """Switched off, over, used up, for more or other money, for new customers, for somebody else: the page says so."""
    buyer = shop.customer()
    shop.subscribe(shop.price(), customer=buyer)
    params = dict(params)
    if params.pop("used", False):
        params["max_redemptions"] = 1
    if "expires_at" in params:
        params["expires_at"] += int(desk.now().timestamp())
    if "customer" in params:
        params["customer"] = shop.customer(card=None).id
    made = code(**params)
    if "max_redemptions" in params:
        shop.subscribe(shop.price(), discounts=[{"promotion_code": made.id}])
        assert api.promotion_codes.retrieve(made.id).active is False
    page = shop.checkout(shop.price(), customer=buyer.id, allow_promotion_codes=True)
    desk.advance(minutes=2)
    with pytest.raises(StripeError, match=sentence):
        shop.desk.apply_promotion_code(page.url, "autumn")
    with pytest.raises(InvalidRequestError) as refused:
        shop.subscribe(shop.price(), customer=buyer, discounts=[{"promotion_code": made.id}])
    assert refused.value.param == "discounts[0][promotion_code]"


def test_a_code_that_ends_while_the_page_is_open(api, shop, code):
    """Paying is refused and nothing has happened; without the code the page can be paid."""
    made = code()
    page = shop.checkout(shop.price(), allow_promotion_codes=True)
    shop.desk.apply_promotion_code(page.url, "autumn")
    api.promotion_codes.update(made.id, params={"active": False})
    with pytest.raises(StripeError, match="expired"):
        shop.desk.pay(page.url)
    assert api.subscriptions.list().data == []
    shop.desk.remove_promotion_code(page.url)
    shop.desk.pay(page.url)


def test_pages_that_take_no_code(shop, code):
    """Unless the app allows codes; an unknown one is invalid."""
    code()
    with pytest.raises(StripeError, match="does not take"):
        shop.desk.apply_promotion_code(shop.checkout(shop.price()).url, "autumn")
    with pytest.raises(StripeError, match="invalid"):
        shop.desk.apply_promotion_code(shop.checkout(shop.price(), allow_promotion_codes=True).url, "spring")
