"""What each policy makes of money that goes back, beside the usual one; and subscriptions of several lines."""

from datetime import timedelta
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Document = dict[str, Any]
ONCE, MONTHLY = "pdf-tool.lifetime.once", "pdf-tool.pro.monthly"
HOME = {"success_url": "https://app.test/", "cancel_url": "https://app.test/"}


def under(world: World, document: Document, **policy: str) -> None:
    world.publish({**document, "policy": policy})


# Refunds


@pytest.mark.parametrize(("policy", "whole"), [("end", False), ("keep", True)])
@pytest.mark.parametrize(("price", "rule"), [(ONCE, "purchase-paid"), (MONTHLY, "subscription-active")])
def test_a_full_refund(
    world: World, pdf_tool_document: Document, policy: str, whole: bool, price: str, rule: str
) -> None:
    """Day 3: all is given back. Access ends, or stays, as the policy says; of a purchase and of a paid period alike."""
    under(world, pdf_tool_document, on_full_refund=policy)
    ada = world.customer("ada")
    ada.buys(price)
    world.passes(days=3)
    ada.refunds()
    assert ada.may("premium_export").allowed is whole
    assert ada.may("premium_export").reason == (rule if whole else "no-source")


@pytest.mark.parametrize(("policy", "kept"), [("keep", True), ("end", False)])
def test_a_refund_in_part(world: World, pdf_tool_document: Document, policy: str, kept: bool) -> None:
    """Day 3: one cent is given back. The rest on day 4 ends it in any case, unless full refunds are kept."""
    under(world, pdf_tool_document, on_partial_refund=policy)
    ada = world.customer("ada")
    ada.buys(ONCE)
    world.passes(days=3)
    ada.refunds(1)
    assert ada.may("premium_export").allowed is kept
    world.passes(days=1)
    ada.refunds()
    assert not ada.may("premium_export")


# Disputes


@pytest.mark.parametrize(
    ("policy", "ending", "open_then", "open_after"),
    [
        ("suspend", "won", False, True),
        ("suspend", "lost", False, False),
        ("keep", "won", True, True),
        ("keep", "lost", True, False),
    ],
)
@pytest.mark.parametrize("price", [ONCE, MONTHLY])
def test_a_dispute_and_its_end(
    world: World, pdf_tool_document: Document, policy: str, ending: str, open_then: bool, open_after: bool, price: str
) -> None:
    """Day 2: disputed. Day 5: decided. Won it is open again as if nothing had been; lost it is closed, either way."""
    under(world, pdf_tool_document, on_dispute=policy)
    ada = world.customer("ada")
    ada.buys(price)
    world.passes(days=2)
    ada.disputes()
    assert ada.may("premium_export").allowed is open_then
    world.passes(days=3)
    ada.dispute_closes(ending)
    assert ada.may("premium_export").allowed is open_after


@pytest.mark.parametrize("policy", ["suspend", "keep"])
def test_an_inquiry_takes_nothing(world: World, pdf_tool_document: Document, policy: str) -> None:
    """A bank that only asks has taken no money: open all the time."""
    under(world, pdf_tool_document, on_dispute=policy)
    ada = world.customer("ada")
    ada.buys(ONCE)
    ada.disputes(status="warning_needs_response")
    assert ada.may("premium_export")
    ada.dispute_closes("warning_closed")
    assert ada.may("premium_export")


def test_only_what_was_refunded_ends(world: World, pdf_tool: Tollhouse) -> None:
    """Bought for life and subscribed: the refund of the one leaves the other, with what that gives."""
    ada = world.customer("ada")
    ada.buys(ONCE)
    ada.buys(MONTHLY)
    ada.refunds(price=ONCE)
    assert (ada.may("premium_export").reason, ada.may("pages_per_day").value) == ("subscription-active", 500)


# Subscriptions that did not come from a checkout, and of several lines


def test_a_customer_made_in_the_dashboard_is_adopted_by_its_metadata(world: World, pdf_tool: Tollhouse) -> None:
    """A Stripe customer that says whose it is becomes our user's with all it has; the next checkout sells to it."""
    stripe = world.stripe.v1
    metadata = {"tollhouse_project": "pdf-tool", "tollhouse_user_id": "grace"}
    made = stripe.customers.create({"metadata": metadata, "email": "grace@example.com"})
    settings: Any = {"invoice_settings": {"default_payment_method": "pm_card_visa"}}
    stripe.customers.update(made.id, settings)
    price = stripe.prices.list({"lookup_keys": [MONTHLY]}).data[0].id
    stripe.subscriptions.create({"customer": made.id, "items": [{"price": price}]})
    world.arrive()
    grace = world.customer("grace")
    assert grace.may("premium_export").reason == "subscription-active"
    assert pdf_tool.contact("grace").email == "grace@example.com"
    assert pdf_tool.open_checkout("grace", MONTHLY, **HOME).outcome == "already_owned"
    grace.buys(ONCE)
    assert [one.id for one in stripe.customers.list({"limit": 100}).data] == [made.id]


def test_a_monthly_and_a_yearly_line_in_one_subscription(world: World, pdf_tool_document: Document) -> None:
    """Two products billed together, one by the month, one by the year: all lines are shown, each with its own end.

    Access follows the period that ends last; after a month that line alone is billed again.
    """
    document = {
        **pdf_tool_document,
        "products": {
            **pdf_tool_document["products"],
            "extra": {
                "opens": {"pages_per_day": 900},
                "prices": {"yearly": {"amount": 5000, "currency": "eur", "interval": "year"}},
            },
        },
    }
    world.publish(document)
    ada = world.customer("ada")
    began = world.now
    yearly = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.extra.yearly"]}).data[0].id
    monthly = world.stripe.v1.prices.list({"lookup_keys": [MONTHLY]}).data[0].id
    ada.gets_subscription(MONTHLY, items=[{"price": monthly, "quantity": 2}, {"price": yearly}])
    (one,) = ada.state().subscriptions
    assert [(item.product, item.price, item.quantity) for item in one.items] == [
        ("pro", MONTHLY, 2),
        ("extra", "pdf-tool.extra.yearly", 1),
    ]
    assert (one.product, one.price, one.quantity) == ("pro", MONTHLY, 2)
    assert one.items[0].current_period_end < began + timedelta(days=32) < one.items[1].current_period_end
    assert one.current_period_end == one.items[1].current_period_end
    assert ada.may("premium_export") and ada.may("pages_per_day").value == 900
    world.passes(days=40)
    assert ada.may("premium_export").reason == "subscription-active"
    charges = world.stripe.v1.charges.list({"customer": ada.stripe_id}).data
    assert [charge.amount for charge in charges] == [1800, 6800]
