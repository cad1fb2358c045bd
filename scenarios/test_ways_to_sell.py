"""Ways to sell the same thing: in another currency, for less, for nothing, on trial without a card, with tax."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tollhouse import ApiError, Invalid, NotFound, Tollhouse
from tollhouse_server.testing import World

MONTH = {"currency": "eur", "interval": "month"}
WAYS: dict[str, Any] = {
    "project": "ways",
    "name": "Ways",
    "redirect_origins": ["https://app.test"],
    "features": {"export": {"name": "Export"}, "music": {"name": "Music"}},
    "products": {
        "pro": {
            "plan_group": "plan",
            "opens": {"export": True},
            "prices": {
                "monthly": {"amount": 900, **MONTH, "currency_options": {"usd": 1000, "gbp": 800}},
                "trial": {"amount": 900, **MONTH, "trial_days": 14, "trial_card": False},
                "careful": {"amount": 900, **MONTH, "trial_days": 14},
            },
        },
        "music": {"opens": {"music": True}, "prices": {"monthly": {"amount": 300, **MONTH}}},
        "sounds": {
            "opens": {"music": True},
            "prices": {"monthly": {"amount": 300, **MONTH, "currency_options": {"usd": 350}}},
        },
        "lifetime": {
            "opens": {"export": True},
            "prices": {"once": {"amount": 5000, "currency": "eur", "currency_options": {"usd": 5500}}},
        },
    },
}
MONTHLY, ONCE = "ways.pro.monthly", "ways.lifetime.once"
HOME = {"success_url": "https://app.test/", "cancel_url": "https://app.test/"}


@pytest.fixture
def ways(world: World) -> Tollhouse:
    return world.publish(WAYS)


def charged(world: World, user: str) -> list[tuple[int, str]]:
    """What the user paid, the first payment first."""
    listed = world.stripe.v1.charges.list({"customer": world.customer(user).stripe_id, "limit": 100}).data
    return [(one.amount, one.currency) for one in reversed(listed)]


def mrr(world: World, since: datetime) -> dict[str, int]:
    asked = {"project": "ways", "interval": "total", "from": since.isoformat()}
    rows = world.operator.get("/v1/admin/metrics", params=asked).json()["data"]
    return {row["currency"]: row["mrr_end"] for row in rows if row["mrr_end"]}


def without(document: dict[str, Any], **monthly: Any) -> dict[str, Any]:
    """The catalog with another monthly price."""
    pro = document["products"]["pro"]
    prices = {**pro["prices"], "monthly": {**pro["prices"]["monthly"], **monthly}}
    return {**document, "products": {**document["products"], "pro": {**pro, "prices": prices}}}


# Currencies


def test_a_subscription_in_dollars_stays_in_dollars(world: World, ways: Tollhouse) -> None:
    """Day 0: bought at 10.00 USD. Day 32: renewed at 10.00 USD. MRR is in dollars, and in euros nothing."""
    since = world.now
    ada = world.customer("ada")
    ada.buys(MONTHLY, currency="usd")
    world.passes(days=32)
    assert ada.may("export") and charged(world, "ada") == [(1000, "usd"), (1000, "usd")]
    assert mrr(world, since) == {"usd": 1000}
    world.customer("bob").buys(MONTHLY)
    assert mrr(world, since) == {"usd": 1000, "eur": 900}


def test_what_comes_beside_it_is_in_the_same_currency(world: World, ways: Tollhouse) -> None:
    """Without being told, a second subscription is in dollars; in euros it is refused before Stripe would refuse it.

    Something bought once is in whatever currency is asked for; and when the subscription is over, all are open again.
    """
    ada = world.customer("ada")
    ada.buys(MONTHLY, currency="usd")
    with pytest.raises(ApiError) as mixed:
        ways.open_checkout("ada", "ways.music.monthly", **HOME)
    assert mixed.value.code == "currency-conflict"
    with pytest.raises(ApiError) as mixed:
        ways.open_checkout("ada", "ways.sounds.monthly", currency="eur", **HOME)
    assert mixed.value.code == "currency-conflict"
    ada.buys("ways.sounds.monthly")
    ada.buys(ONCE, currency="eur")
    assert charged(world, "ada") == [(1000, "usd"), (350, "usd"), (5000, "eur")]
    ada.cancels(MONTHLY, now=True)
    ada.cancels("ways.sounds.monthly", now=True)
    ada.buys("ways.music.monthly")
    assert charged(world, "ada")[-1] == (300, "eur")


def test_a_currency_that_is_not_sold(ways: Tollhouse) -> None:
    """Told with those that are, and nothing was opened."""
    with pytest.raises(Invalid) as refused:
        ways.open_checkout("ada", MONTHLY, currency="chf", **HOME)
    assert refused.value.code == "currency-not-sold" and "eur, usd, gbp" in str(refused.value)


def test_a_currency_added_later_and_one_changed(world: World, ways: Tollhouse) -> None:
    """Another currency is added to the price that is there; another amount is another price, for new customers only."""
    key = {"lookup_keys": [MONTHLY]}
    first = world.stripe.v1.prices.list(key).data[0].id
    world.publish(without(WAYS, currency_options={"usd": 1000, "gbp": 800, "chf": 950}))
    assert world.stripe.v1.prices.list(key).data[0].id == first
    world.customer("ada").buys(MONTHLY, currency="chf")
    world.publish(without(WAYS, currency_options={"usd": 1000, "gbp": 800, "chf": 990}))
    assert world.stripe.v1.prices.list(key).data[0].id != first
    world.customer("bob").buys(MONTHLY, currency="chf")
    world.passes(days=32)
    assert (charged(world, "ada")[-1], charged(world, "bob")[-1]) == ((950, "chf"), (990, "chf"))
    shown = ways.catalog().products[0].prices[0]
    assert (shown.currency, shown.currency_options["chf"]) == ("eur", 990)


# For less, and for nothing


def test_a_coupon_for_all_of_it(world: World, ways: Tollhouse) -> None:
    """A subscription at 100 % off for ever: access by what Stripe calls paid, no payment ever, no MRR."""
    since = world.now
    coupon = world.stripe.v1.coupons.create({"percent_off": 100, "duration": "forever", "id": "FRIENDS"})
    ada = world.customer("ada")
    ada.buys(MONTHLY, coupon=coupon.id)
    world.passes(days=32)
    assert ada.may("export").reason == "subscription-active"
    assert charged(world, "ada") == [] and mrr(world, since) == {}


def test_a_code_for_the_first_month(world: World, ways: Tollhouse) -> None:
    """Half of the first month by a promotion code that the app names: 4.50, then 9.00; MRR is 9.00 at once."""
    since = world.now
    coupon = world.stripe.v1.coupons.create({"percent_off": 50, "duration": "once"})
    promotion: Any = {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "HALF"}
    world.stripe.v1.promotion_codes.create(promotion)
    world.customer("ada").buys(MONTHLY, promotion_code="HALF")
    assert mrr(world, since) == {"eur": 900}
    world.passes(days=32)
    assert charged(world, "ada") == [(450, "eur"), (900, "eur")]


def test_a_code_typed_on_the_page_makes_an_order_free(world: World, ways: Tollhouse) -> None:
    """Bought once for nothing: Stripe makes no payment, and it opens for life all the same."""
    coupon = world.stripe.v1.coupons.create({"percent_off": 100})
    promotion: Any = {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "GIFT"}
    world.stripe.v1.promotion_codes.create(promotion)
    ada = world.customer("ada")
    page = ways.open_checkout("ada", ONCE, allow_promotion_codes=True, **HOME).url
    assert page is not None
    world.sandbox.apply_promotion_code(page, "GIFT")
    world.sandbox.pay(page)
    world.arrive()
    assert ada.may("export").reason == "purchase-paid" and charged(world, "ada") == []
    (bought,) = ada.state().purchases
    assert (bought.payment_status, bought.amount) == ("no_payment_required", 0)
    world.passes(days=400)
    assert ada.may("export")


def test_codes_that_cannot_be_used(world: World, ways: Tollhouse) -> None:
    """Unknown, used up, and two ways at once: each has its own code, and nothing was opened."""
    used_up = world.stripe.v1.coupons.create({"percent_off": 100, "max_redemptions": 1}).id
    world.customer("ada").buys(ONCE, coupon=used_up)
    for wrong in ({"coupon": "NONE"}, {"promotion_code": "NONE"}, {"coupon": used_up}):
        with pytest.raises(NotFound) as unknown:
            ways.open_checkout("bob", ONCE, **wrong, **HOME)
        assert unknown.value.code == "discount-not-found"
    for both in ({"promotion_code": "X"}, {"allow_promotion_codes": True}):
        with pytest.raises(Invalid) as refused:
            ways.open_checkout("bob", ONCE, coupon="X", **both, **HOME)
        assert refused.value.code == "discount-conflict"


# Trials


def test_a_trial_without_a_card_ends_by_itself(world: World, ways: Tollhouse) -> None:
    """Day 0: begun, no card asked for. Day 14, to the second: closed, cancelled by Stripe, nothing was charged."""
    ada = world.customer("ada")
    ada.buys("ways.pro.trial")
    began = world.now
    assert ada.may("export").reason == "subscription-trialing"
    assert world.stripe.v1.payment_methods.list({"customer": ada.stripe_id}).data == []
    world.passes_until(began + timedelta(days=14) - timedelta(seconds=1))
    assert ada.may("export")
    world.passes_until(began + timedelta(days=14))
    assert not ada.may("export")
    assert ada.state().subscriptions[0].status == "canceled" and charged(world, "ada") == []


def test_a_trial_without_a_card_is_kept_by_giving_one(world: World, ways: Tollhouse) -> None:
    """Day 10: a card is given. Day 14: charged, and active."""
    ada = world.customer("ada")
    ada.buys("ways.pro.trial")
    world.passes(days=10)
    ada.in_portal("save", card="pm_card_visa")
    world.passes(days=5)
    assert ada.may("export").reason == "subscription-active" and charged(world, "ada") == [(900, "eur")]


def test_a_trial_with_a_card_asks_for_it(world: World, ways: Tollhouse) -> None:
    """The page takes a card at once, by which it is charged on day 14."""
    ada = world.customer("ada")
    ada.buys("ways.pro.careful")
    assert len(world.stripe.v1.payment_methods.list({"customer": ada.stripe_id}).data) == 1
    world.passes(days=15)
    assert ada.may("export").reason == "subscription-active" and charged(world, "ada") == [(900, "eur")]


# Tax


def test_tax_is_left_to_stripe(world: World) -> None:
    """What the catalog says of tax is on Stripe's product and price, and page, subscription and bills ask for it."""
    taxed = without(WAYS, tax_behavior="inclusive")
    pro = {**taxed["products"]["pro"], "tax_code": "txcd_10103001"}
    app = world.publish({**taxed, "automatic_tax": True, "products": {**taxed["products"], "pro": pro}})
    price = world.stripe.v1.prices.list({"lookup_keys": [MONTHLY], "expand": ["data.product"]}).data[0]
    assert (price.tax_behavior, price.product.tax_code) == ("inclusive", "txcd_10103001")  # type: ignore[union-attr]
    ada = world.customer("ada", app)
    ada.buys(MONTHLY, currency="gbp")
    assert ada.subscription().automatic_tax.enabled and ada.may("export")
    bill = world.stripe.v1.invoices.list({"customer": ada.stripe_id}).data[0]
    assert (bill.automatic_tax.status, bill.total) == ("complete", 800)
    assert app.catalog().products[0].prices[0].tax_behavior == "inclusive"
