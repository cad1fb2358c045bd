"""A subscription's life, as stories."""

from datetime import timedelta

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World


def test_subscribe_renew_cancel_at_period_end_closed(world: World, pdf_tool: Tollhouse) -> None:
    """Access opens with the payment, lasts through a renewal, and ends at the instant the cancellation names."""
    ada = world.customer("ada")
    assert not ada.may("premium_export")

    ada.buys("pdf-tool.pro.monthly")
    assert ada.may("premium_export")
    assert ada.may("pages_per_day").value == 500
    first = ada.state().subscriptions[0]
    assert (first.renews, first.status) == (True, "active")

    world.passes(days=32)
    renewed = ada.state().subscriptions[0]
    assert renewed.current_period_end > first.current_period_end
    assert ada.may("premium_export")

    world.stripe.v1.subscriptions.update(renewed.id, {"cancel_at_period_end": True})
    world.arrive()
    assert ada.may("premium_export").valid_until == renewed.current_period_end
    assert not ada.state().subscriptions[0].renews

    world.passes_until(renewed.current_period_end - timedelta(seconds=1))
    assert ada.may("premium_export")
    world.service.clock.set(renewed.current_period_end)  # Stripe has said nothing yet: time alone must end it
    assert not ada.may("premium_export")

    world.passes(hours=1)
    assert ada.state().subscriptions[0].status == "canceled"
    assert not ada.may("premium_export")


def test_cancelled_in_the_portal(world: World, pdf_tool: Tollhouse) -> None:
    """The portal sets only `cancel_at`; the app says until when it stays open, and undoing it keeps it open."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    subscription = ada.state().subscriptions[0]

    ada.cancels()
    at_stripe = world.stripe.v1.subscriptions.retrieve(subscription.id)
    assert (at_stripe.cancel_at is not None, at_stripe.cancel_at_period_end) == (True, False)
    assert ada.may("premium_export").valid_until == subscription.current_period_end
    assert not ada.state().subscriptions[0].renews

    ada.resumes()
    assert ada.state().subscriptions[0].renews
    world.passes(days=32)
    assert ada.may("premium_export")


def test_a_renewal_fails_and_recovers(world: World, pdf_tool: Tollhouse) -> None:
    """A failed renewal keeps access for seven days from the start of the unpaid period, no more; paying reopens it."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    turned = ada.state().subscriptions[0].current_period_end
    ada.card_declines()

    world.passes_until(turned + timedelta(days=1))
    unpaid = ada.state().subscriptions[0]
    assert (unpaid.status, unpaid.billing_issue) == ("past_due", True)
    check = ada.may("premium_export")
    assert check.reason == "subscription-past-due-grace"
    assert check.valid_until == turned + timedelta(days=7)

    world.passes_until(turned + timedelta(days=7))
    assert not ada.may("premium_export")

    ada.pays_with("pm_card_visa")
    ada.pays_invoice()
    assert ada.may("premium_export").reason == "subscription-active"


def test_a_trial_becomes_a_paid_subscription(world: World, pdf_tool: Tollhouse) -> None:
    """A trial opens at once and ends at its instant; the payment that follows keeps the feature open."""
    ada = world.customer("ada")
    started = world.service.clock.now()
    ada.buys("pdf-tool.pro.trial")
    check = ada.may("premium_export")
    assert check.reason == "subscription-trialing"
    assert check.valid_until is not None and abs(check.valid_until - started - timedelta(days=14)) < timedelta(
        minutes=1
    )

    world.passes(days=15)
    assert ada.state().subscriptions[0].status == "active"
    assert ada.may("premium_export").reason == "subscription-active"


def test_who_has_it_does_not_pay_again(world: World, pdf_tool: Tollhouse) -> None:
    """A subscriber who asks for the same plan is told `already_owned` and given no page."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    home = "https://app.test/"
    opened = pdf_tool.open_checkout("ada", "pdf-tool.pro.monthly", success_url=home, cancel_url=home)
    assert (opened.outcome, opened.url) == ("already_owned", None)
    ada.buys("pdf-tool.lifetime.once")
    assert ada.may("pages_per_day").value == float("inf")


def test_paused_and_resumed(world: World, pdf_tool: Tollhouse) -> None:
    """What was paid stays open through a pause, and no more; what is resumed opens with the payment of its invoice."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    world.passes(days=40)  # the renewal is announced and paid
    subscription = ada.state().subscriptions[0]
    world.stripe.v1.subscriptions.pause(subscription.id)
    world.arrive()
    assert ada.state().subscriptions[0].status == "paused"
    assert ada.may("premium_export").valid_until == subscription.current_period_end

    world.passes(days=60)
    assert not ada.may("premium_export")
    world.stripe.v1.subscriptions.resume(subscription.id)
    world.arrive()
    assert not ada.may("premium_export")
    ada.pays_invoice()
    assert ada.state().subscriptions[0].status == "active"
    assert ada.may("premium_export").reason == "subscription-active"


@pytest.mark.parametrize(("ending", "status"), [("unpaid", "unpaid"), ("pause", "paused")])
def test_an_end_of_dunning_without_an_end_closes(world: World, pdf_tool: Tollhouse, ending: str, status: str) -> None:
    """Where the account keeps who never pays, unpaid or paused, nothing stays open beyond the grace."""
    world.sandbox.settings(after_dunning=ending, uncollectible_after_dunning=True)
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    ada.card_declines()
    world.passes(days=50)
    assert ada.state().subscriptions[0].status == status
    assert not ada.may("premium_export")
