"""All that can happen to Stripe's deliveries happens at once; what is open is what Stripe's last state says."""

from datetime import timedelta

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

AT_WORST = timedelta(minutes=10)
"""Twice the catch-up's interval: by then it has asked for what was dropped, whenever it last asked."""

FAULTS: dict[str, dict[str, float]] = {
    "reorder": {"chance": 0.5},
    "duplicate": {"chance": 0.3, "seconds": 45},
    "twin": {"chance": 0.3},
    "delay": {"chance": 0.3, "seconds": 90 * 60},
    "drop": {"chance": 0.3},
    "slow_delivery": {"chance": 0.3, "seconds": 0.02},
    "old_shape": {"chance": 0.3},
}


def settles(world: World) -> None:
    world.passes(seconds=AT_WORST.total_seconds())
    world.service.reconcile_if_due()
    world.service.work()


@pytest.mark.parametrize("seed", range(2))
def test_a_life_under_all_faults_at_once(world: World, pdf_tool: Tollhouse, seed: int) -> None:
    """A purchase, a renewal and a cancellation come out right although one event in three is dropped, and others are
    late, shuffled, doubled or told by two events."""
    world.service.reconcile_if_due()
    for kind, how in FAULTS.items():
        world.sandbox.fault(kind, seed=seed, **how)
    ada = world.customer("ada")

    ada.buys("pdf-tool.pro.monthly")
    settles(world)
    first = ada.state().subscriptions[0]
    assert ada.may("premium_export").reason == "subscription-active"

    world.passes_until(first.current_period_end + timedelta(hours=2))
    settles(world)
    renewed = ada.state().subscriptions[0]
    at_stripe = world.stripe.v1.subscriptions.retrieve(first.id)
    assert renewed.current_period_end.timestamp() == at_stripe["items"].data[0].current_period_end
    assert renewed.current_period_end > first.current_period_end
    assert ada.may("premium_export").reason == "subscription-active"

    world.stripe.v1.subscriptions.update(first.id, {"cancel_at_period_end": True})
    settles(world)
    assert ada.may("premium_export").valid_until == renewed.current_period_end
    world.passes_until(renewed.current_period_end)
    assert not ada.may("premium_export")
    settles(world)
    assert ada.state().subscriptions[0].status == "canceled"

    struck = {fault["kind"]: fault["struck"] for fault in world.sandbox.faults()}
    assert all(struck[kind] for kind in FAULTS), struck
    world.sandbox.clear_faults()
    world.passes(hours=3)  # what was late arrives long after the end, and changes nothing
    assert not ada.may("premium_export")
    assert len(ada.state().subscriptions) == 1
