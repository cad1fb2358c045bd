"""Sales that did not take the usual way: nothing paid for is ever lost from sight."""

from typing import Any

from tollhouse import Tollhouse
from tollhouse_server.testing import World


def test_a_subscription_made_in_the_dashboard(world: World, pdf_tool: Tollhouse) -> None:
    """Made at Stripe with none of our metadata, it opens what its price sells: the customer alone leads to the user."""
    ada = world.customer("ada")
    pdf_tool.open_checkout(
        "ada", "pdf-tool.pro.yearly", success_url="https://app.test/", cancel_url="https://app.test/"
    )
    ada.pays_with("pm_card_visa")
    price = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.pro.monthly"]}).data[0]
    world.stripe.v1.subscriptions.create({"customer": ada.stripe_id, "items": [{"price": price.id}]})
    world.arrive()
    assert ada.may("premium_export").reason == "subscription-active"


def test_a_price_the_catalog_does_not_know(world: World, pdf_tool: Tollhouse) -> None:
    """What was paid for is kept and shown, with the reason why it opens nothing; it is not dropped."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.lifetime.once")
    product = world.stripe.v1.products.create({"name": "Made by hand"})
    price = world.stripe.v1.prices.create(
        {"product": product.id, "currency": "eur", "unit_amount": 500, "recurring": {"interval": "month"}}
    )
    ada.pays_with("pm_card_visa")
    made = world.stripe.v1.subscriptions.create({"customer": ada.stripe_id, "items": [{"price": price.id}]})
    world.arrive()

    shown = next(one for one in ada.state().subscriptions if one.id == made.id)
    assert (shown.product, shown.status) == (None, "active")
    sources = pdf_tool.explain("ada", "premium_export").sources
    assert {source.rule for source in sources if source.id == made.id} == {"product-unknown"}
    assert ada.may("premium_export").reason == "purchase-paid"


def test_a_replaced_price_keeps_its_customers(
    world: World, pdf_tool: Tollhouse, pdf_tool_document: dict[str, Any]
) -> None:
    """A new amount is a new price for new customers; who has the old one goes on paying that, and keeps access."""
    ada, grace = world.customer("ada"), world.customer("grace", pdf_tool)
    ada.buys("pdf-tool.pro.monthly")
    monthly = pdf_tool_document["products"]["pro"]["prices"]["monthly"] | {"amount": 1_200}
    prices = pdf_tool_document["products"]["pro"]["prices"] | {"monthly": monthly}
    products = pdf_tool_document["products"] | {"pro": pdf_tool_document["products"]["pro"] | {"prices": prices}}
    world.publish(pdf_tool_document | {"products": products})
    world.arrive()
    grace.buys("pdf-tool.pro.monthly")
    world.passes(days=32)

    assert ada.may("premium_export") and grace.may("premium_export")
    assert ada.state().subscriptions[0].price == "pdf-tool.pro.monthly"
    paid = {
        user.user_id: {charge.amount for charge in world.stripe.v1.charges.list({"customer": user.stripe_id}).data}
        for user in (ada, grace)
    }
    assert paid == {"ada": {900}, "grace": {1_200}}


def test_one_stripe_customer_for_all_purchases(world: World, pdf_tool: Tollhouse) -> None:
    """However often someone buys, Stripe knows them once, and a one-time buyer may open the portal too."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.lifetime.once")
    assert pdf_tool.open_portal("ada", return_url="https://app.test/account").url.startswith("http")
    ada.buys("pdf-tool.pro.monthly")
    assert len(world.stripe.v1.customers.list({"limit": 100}).data) == 1


def test_changing_what_a_product_opens(world: World, pdf_tool: Tollhouse, pdf_tool_document: dict[str, Any]) -> None:
    """A published change of the catalog reaches those who have the product, each with a new version."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    version = ada.may("pages_per_day").version
    opens = {"premium_export": True, "pages_per_day": 800}
    products = pdf_tool_document["products"] | {"pro": pdf_tool_document["products"]["pro"] | {"opens": opens}}
    world.publish(pdf_tool_document | {"products": products})
    world.arrive()
    check = ada.may("pages_per_day")
    assert (check.value, check.version) == (800, version + 1)
