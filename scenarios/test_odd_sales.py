"""Sales that did not take the usual way: nothing paid for is ever lost from sight."""

from math import inf
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


def test_a_price_made_in_the_dashboard_is_mapped(
    world: World, pdf_tool: Tollhouse, pdf_tool_document: dict[str, Any]
) -> None:
    """Sold on an unknown price, nothing opens and it is listed; counted by a product, its holder is let in, audited.

    Taken out again it opens nothing; nothing of it was changed at Stripe.
    """
    ada, admin = world.customer("ada"), "/v1/admin/projects/pdf-tool"
    pdf_tool.open_checkout(
        "ada", "pdf-tool.pro.yearly", success_url="https://app.test/", cancel_url="https://app.test/"
    )
    ada.pays_with("pm_card_visa")
    product = world.stripe.v1.products.create({"name": "PDF Tool Pro (2023)"})
    price = world.stripe.v1.prices.create(
        {"product": product.id, "currency": "eur", "unit_amount": 700, "recurring": {"interval": "month"}}
    )
    world.stripe.v1.subscriptions.create({"customer": ada.stripe_id, "items": [{"price": price.id}]})
    world.arrive()
    assert not ada.may("premium_export")
    [listed] = world.operator.get(f"{admin}/unmapped-prices").json()["data"]
    assert (listed["price"], listed["product"], listed["amount"]) == (price.id, "PDF Tool Pro (2023)", 700)
    assert (listed["customers"], listed["users"], listed["lookup_key"]) == (1, ["ada"], None)

    pro = pdf_tool_document["products"]["pro"] | {"stripe_prices": [price.id]}
    counting = pdf_tool_document | {"products": pdf_tool_document["products"] | {"pro": pro}}
    planned = world.operator.post(f"{admin}/catalog/plan", json=counting).json()
    assert planned["stripe"] == [] and planned["changes"] == [f"Product pro: whoever has Stripe's {price.id} holds it."]
    gained = ["gain pages_per_day: 500", "gain premium_export"]
    assert [one["says"] for one in planned["blast_radius"]["effects"]] == gained
    world.publish(counting)
    world.arrive()
    assert ada.may("premium_export").reason == "subscription-active"
    [shown] = ada.state().subscriptions
    assert (shown.product, shown.price) == ("pro", None)
    audited = world.operator.get("/v1/admin/audit", params={"project": "pdf-tool", "user_id": "ada"}).json()["data"]
    assert ("entitlements.changed", "catalog version 2") in [(one["action"], one["cause"]) for one in audited]
    assert world.operator.get(f"{admin}/unmapped-prices").json()["data"] == []
    assert world.stripe.v1.prices.retrieve(price.id).active

    world.publish(pdf_tool_document)
    world.arrive()
    assert not ada.may("premium_export")
    assert world.operator.get(f"{admin}/unmapped-prices").json()["data"] == [listed]


def test_an_old_price_counts_as_another_product(
    world: World, pdf_tool: Tollhouse, pdf_tool_document: dict[str, Any]
) -> None:
    """A price that the catalog sold once may count as another product; no longer listed, it counts as its own again."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    [old] = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.pro.monthly"]}).data
    pro, lifetime = pdf_tool_document["products"]["pro"], pdf_tool_document["products"]["lifetime"]
    monthly = pro["prices"]["monthly"] | {"amount": 1_200}
    dearer = pdf_tool_document["products"] | {"pro": pro | {"prices": pro["prices"] | {"monthly": monthly}}}
    world.publish(pdf_tool_document | {"products": dearer})
    world.arrive()
    assert ada.may("pages_per_day").value == 500
    world.publish(pdf_tool_document | {"products": dearer | {"lifetime": lifetime | {"stripe_prices": [old.id]}}})
    world.arrive()
    assert ada.may("pages_per_day").value == inf
    assert ada.state().subscriptions[0].product == "lifetime"
    world.publish(pdf_tool_document | {"products": dearer})
    world.arrive()
    assert ada.may("pages_per_day").value == 500


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
