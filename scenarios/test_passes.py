"""Passes that are bought again, and paused collections, as dated stories."""

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

PASS = "pdf-tool.month.once"


@pytest.fixture
def pass_tool(world: World, pdf_tool_document: dict[str, Any]) -> Tollhouse:
    """The PDF tool, which also sells a pass of 30 days, and 30 days for a team, by the seat."""
    document = deepcopy(pdf_tool_document)
    document["features"]["seats"] = {"kind": "limit"}
    document["products"]["month"] = {
        "lasts": {"days": 30},
        "opens": {"premium_export": True},
        "prices": {"once": {"amount": 900, "currency": "eur"}},
    }
    document["products"]["team"] = {
        "lasts": {"days": 30},
        "opens": {"seats": {"limit": 1, "per_seat": True}},
        "prices": {"once": {"amount": 400, "currency": "eur"}},
    }
    return world.publish(document)


def test_a_pass_bought_again_lengthens(world: World, pass_tool: Tollhouse) -> None:
    """Bought on day 0 and again on day 10: access lasts sixty days, without a gap and without a lost day."""
    began = world.now
    ada = world.customer("ada")
    ada.buys(PASS)
    assert ada.may("premium_export").valid_until == ada.state().purchases[0].purchased_at + timedelta(days=30)
    world.passes_until(began + timedelta(days=10))
    ada.buys(PASS)
    first = min(one.purchased_at for one in ada.state().purchases)
    open_ = ada.may("premium_export")
    assert (open_.reason, open_.valid_until) == ("purchase-paid", first + timedelta(days=60))

    world.passes_until(first + timedelta(days=30))
    assert (ada.may("premium_export").reason, ada.may("premium_export").valid_until) == (
        "purchase-stacked", first + timedelta(days=60),
    )  # fmt: skip
    world.passes_until(first + timedelta(days=60))
    assert not ada.may("premium_export")


def test_a_quantity_is_so_many_passes(world: World, pass_tool: Tollhouse) -> None:
    """Three at once are ninety days."""
    ada = world.customer("ada")
    ada.buys(PASS, quantity=3)
    bought = ada.state().purchases[0]
    assert bought.quantity == 3
    assert ada.may("premium_export").valid_until == bought.purchased_at + timedelta(days=90)


def test_a_refund_moves_the_passes_after_it_up(world: World, pass_tool: Tollhouse) -> None:
    """The first is refunded on day 20: the second begins then, and its thirty days are whole."""
    began = world.now
    ada = world.customer("ada")
    ada.buys(PASS)
    first = ada.payment()
    world.passes_until(began + timedelta(days=10))
    ada.buys(PASS)
    world.passes_until(began + timedelta(days=20))
    refunded_at = world.now
    world.stripe.v1.refunds.create({"charge": first.id})
    world.arrive()
    open_ = ada.may("premium_export")
    assert (open_.reason, open_.allowed) == ("purchase-stacked", True)
    assert open_.valid_until is not None
    assert abs(open_.valid_until - refunded_at - timedelta(days=30)) < timedelta(seconds=5)


def test_a_dispute_moves_a_pass_up_and_won_moves_it_back(world: World, pass_tool: Tollhouse) -> None:
    """While it is open the other pass runs; won, both have all their days."""
    ada = world.customer("ada")
    ada.buys(PASS)
    world.passes(days=10)
    ada.buys(PASS)
    first = min(one.purchased_at for one in ada.state().purchases)
    ada.disputes()
    assert ada.may("premium_export").valid_until == first + timedelta(days=30), "the second waits, and is suspended"
    ada.dispute_closes("won")
    assert ada.may("premium_export").valid_until == first + timedelta(days=60)


def test_seats_run_side_by_side(world: World, pass_tool: Tollhouse) -> None:
    """Three seats, and ten days later five: five at once, not after the three."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.team.once", quantity=3)
    world.passes(days=10)
    ada.buys("pdf-tool.team.once", quantity=5)
    last = max(one.purchased_at for one in ada.state().purchases)
    assert (ada.may("seats").value, ada.may("seats").valid_until) == (5, last + timedelta(days=30))


@pytest.mark.parametrize(("policy", "in_september"), [("keep_paid", False), ("keep", True), ("end", False)])
def test_a_paused_collection(world: World, pdf_tool_document: dict[str, Any], policy: str, in_september: bool) -> None:
    """`keep`: nothing changes while it is paused, the next period too, which Stripe begins without collecting it."""
    world.publish({**pdf_tool_document, "policy": {"on_pause": policy}})
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    world.stripe.v1.subscriptions.update(ada.subscription().id, {"pause_collection": {"behavior": "void"}})
    world.arrive()
    assert ada.may("premium_export").allowed is (policy != "end")
    world.passes(days=35)
    assert ada.may("premium_export").allowed is in_september
    assert not in_september or ada.may("premium_export").reason == "subscription-active"


def test_paused_after_a_trial_ends_under_keep_too(world: World, pdf_tool_document: dict[str, Any]) -> None:
    """A status of `paused` is no paused collection: nobody paid and nobody made a gift."""
    world.publish({**pdf_tool_document, "policy": {"on_pause": "keep"}})
    ada = world.customer("ada")
    ada.gets_subscription(
        "pdf-tool.pro.monthly",
        card=None,
        trial_period_days=14,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )
    assert ada.may("premium_export").reason == "subscription-trialing"
    world.passes(days=15)
    assert (ada.state().subscriptions[0].status, ada.may("premium_export").allowed) == ("paused", False)
