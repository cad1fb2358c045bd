"""A read of Stripe is whole: every list to its last page, however long."""

import json
from typing import Any

import httpx

from tollhouse_server.domain.facts import CustomerFacts
from tollhouse_server.resources import Resources
from tollhouse_server.stripe_gateway.client import close_client, open_client
from tollhouse_server.stripe_gateway.fetch import fetch_customer, fetch_customer_of_charge, fetch_prices
from tollhouse_server.testing import World


def read(world: World, customer_id: str, api_base: str | None = None) -> CustomerFacts:
    async def fetch(resources: Resources) -> CustomerFacts | None:
        stripe = open_client(world.sandbox.secret_key, api_base or world.sandbox.url)
        try:
            return await fetch_customer(stripe, customer_id)
        finally:
            await close_client(stripe)

    facts = world.service.run(fetch)
    assert facts is not None
    return facts


def a_subscription_of(world: World, *amounts: int) -> tuple[str, str]:
    """A customer (`cus_…`) who subscribes to as many things at once, and the subscription."""
    v1 = world.stripe.v1
    product = v1.products.create({"name": "Many"})
    prices = [
        v1.prices.create(
            {"product": product.id, "currency": "eur", "unit_amount": amount, "recurring": {"interval": "month"}}
        )
        for amount in amounts
    ]
    customer = v1.customers.create({"payment_method": "pm_card_visa"})
    method = v1.payment_methods.list({"customer": customer.id}).data[0]
    made = v1.subscriptions.create(
        {
            "customer": customer.id,
            "default_payment_method": method.id,
            "items": [{"price": price.id} for price in prices],
        }
    )
    return customer.id, made.id


def test_more_than_ten_items_and_lines(world: World, proxy: Any) -> None:
    """Stripe embeds ten rows and says `has_more`: the twelfth item counts, and so does each line of the bill."""

    def first_ten(said: str) -> str:
        page = json.loads(said)
        for one in page["data"]:
            one["items"] = {**one["items"], "data": one["items"]["data"][:10], "has_more": True}
        return json.dumps(page)

    customer_id, subscription_id = a_subscription_of(world, *range(100, 1300, 100))
    proxy.rewrites["/v1/subscriptions"] = first_ten
    facts = read(world, customer_id, proxy.url)
    assert any(path.endswith("/lines") for path in proxy.asked)
    assert [one.id for one in facts.subscriptions] == [subscription_id]
    assert len({item.stripe_price for item in facts.subscriptions[0].items}) == 12
    assert facts.subscriptions[0].paid_through == facts.subscriptions[0].period_end
    assert facts.subscriptions[0].payment is not None and facts.subscriptions[0].payment.money.amount == 7800


def test_more_than_a_page_of_checkouts(world: World) -> None:
    """The purchase of long ago lies behind a hundred later checkouts, and is found."""
    v1 = world.stripe.v1
    product = v1.products.create({"name": "One"})
    price = v1.prices.create({"product": product.id, "currency": "eur", "unit_amount": 500})
    customer = v1.customers.create({})
    asked: dict[str, Any] = {
        "mode": "payment",
        "customer": customer.id,
        "line_items": [{"price": price.id, "quantity": 1}],
        "success_url": "https://app.test/",
    }
    bought = v1.checkout.sessions.create(asked)  # type: ignore[arg-type]
    world.sandbox.pay(bought.id)
    form = {key: asked[key] for key in ("mode", "customer", "success_url")}
    form |= {"line_items[0][price]": price.id, "line_items[0][quantity]": "1"}
    headers = {"Authorization": f"Bearer {world.sandbox.secret_key}"}
    with httpx.Client(base_url=world.sandbox.url, headers=headers, trust_env=False) as http:
        for _ in range(101):
            assert http.post("/v1/checkout/sessions", data=form).is_success
    facts = read(world, customer.id)
    assert [one.id for one in facts.purchases] == [bought.id]
    assert len(facts.checkouts) == 102


def test_what_is_not_there(world: World) -> None:
    """A customer, a charge or a product that Stripe does not know is an answer, not an error."""

    async def fetch(resources: Resources) -> list[Any]:
        stripe = resources.stripe
        return [
            await fetch_customer(stripe, "cus_none"),
            await fetch_customer_of_charge(stripe, "ch_none"),
            await fetch_prices(stripe, "prod_none"),
        ]

    assert world.service.run(fetch) == [None, None, []]


def test_prices_of_a_product(world: World) -> None:
    """All of them, active as they are, and none while the product is archived."""
    v1 = world.stripe.v1
    product = v1.products.create({"name": "Priced"})
    prices = [v1.prices.create({"product": product.id, "currency": "eur", "unit_amount": n}) for n in range(100, 112)]
    v1.prices.update(prices[3].id, {"active": False})

    async def fetch(resources: Resources) -> dict[str, bool]:
        return {one.id: one.active for one in await fetch_prices(resources.stripe, product.id)}

    assert world.service.run(fetch) == {one.id: one is not prices[3] for one in prices}
    v1.products.update(product.id, {"active": False})
    assert not any(world.service.run(fetch).values())
