"""A subscription's life, as one story."""

from datetime import timedelta

from tollhouse import Tollhouse
from tollhouse_server.testing import World


def test_subscribe_renew_cancel_at_period_end_closed(world: World, pdf_tool: Tollhouse) -> None:
    """Access opens with the payment, lasts through a renewal, and ends at the instant the cancellation names."""
    ada = world.customer(pdf_tool, "ada")
    assert not ada.may("premium_export")

    ada.buys("pdf-tool.pro.monthly")
    assert ada.may("premium_export")
    assert ada.may("pages_per_day").value == 500
    first = ada.state().subscriptions[0]
    assert first.renews and first.status == "active"

    world.passes(days=32)
    renewed = ada.state().subscriptions[0]
    assert renewed.current_period_end > first.current_period_end
    assert ada.may("premium_export")

    world.stripe.v1.subscriptions.update(renewed.id, {"cancel_at_period_end": True})
    world.arrive()
    check = ada.may("premium_export")
    assert check and check.valid_until == renewed.current_period_end
    assert not ada.state().subscriptions[0].renews

    world.passes(seconds=(renewed.current_period_end - world.service.clock.now()).total_seconds() - 1)
    assert ada.may("premium_export")
    world.service.clock.set(renewed.current_period_end)  # no event yet: time alone must end it
    assert not ada.may("premium_export")
    world.passes(hours=1)
    assert not ada.may("premium_export")
    assert ada.state().subscriptions[0].status == "canceled"
    assert world.service.clock.now() - renewed.current_period_end <= timedelta(hours=1)
