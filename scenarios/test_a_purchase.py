"""One-time purchases, as stories."""

import pytest

from tollhouse import Tollhouse
from tollhouse_sandbox.errors import StripeError
from tollhouse_server.testing import World


def test_bought_refunded_closed(world: World, pdf_tool: Tollhouse) -> None:
    """A lifetime licence opens for good; a partial refund keeps it, a full one ends it."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.lifetime.once")
    check = ada.may("premium_export")
    assert (check.allowed, check.valid_until, check.reason) == (True, None, "purchase-paid")

    ada.refunds(5_000)
    assert ada.may("premium_export")
    assert ada.state().purchases[0].refunded == 5_000

    ada.refunds()
    assert not ada.may("premium_export")
    assert ada.state().purchases[0].refunded == 19_900


def test_a_refund_ends_only_what_it_paid_for(world: World, pdf_tool: Tollhouse) -> None:
    """Refunding the licence leaves the subscription's access as it was."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    ada.buys("pdf-tool.lifetime.once")
    ada.refunds(price="pdf-tool.lifetime.once")
    assert ada.may("premium_export").reason == "subscription-active"
    assert ada.may("pages_per_day").value == 500


def test_the_refund_of_a_period_ends_it(world: World, pdf_tool: Tollhouse) -> None:
    """A fully refunded subscription invoice ends the period it paid for; the next paid period opens again."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    ada.refunds()
    assert not ada.may("premium_export")

    world.passes(days=32)
    assert ada.may("premium_export")


def test_a_dispute_suspends_and_won_restores(world: World, pdf_tool: Tollhouse) -> None:
    """A disputed payment gives no access while that is open; won gives it back, lost ends it."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.lifetime.once")
    ada.disputes()
    assert not ada.may("premium_export")

    ada.dispute_closes("won")
    assert ada.may("premium_export")

    grace = world.customer("grace")
    grace.buys("pdf-tool.lifetime.once")
    grace.disputes()
    grace.dispute_closes("lost")
    assert not grace.may("premium_export")


@pytest.mark.parametrize("succeeds", [True, False])
def test_completed_is_not_paid(world: World, pdf_tool: Tollhouse, succeeds: bool) -> None:
    """A bank debit completes the checkout at once and is paid days later, or never: only paid opens."""
    ada = world.customer("ada")
    checkout = ada.buys("pdf-tool.lifetime.once", card="pm_usBankAccount")
    assert not ada.may("premium_export")
    state = pdf_tool.checkout(checkout)
    assert (state.state, state.payment_status) == ("complete", "unpaid")
    assert asked_again(pdf_tool) == "already_owned", "the money is on its way: nobody may pay twice"

    ada.debit_settles(succeeds=succeeds)
    assert bool(ada.may("premium_export")) is succeeds
    assert asked_again(pdf_tool) == ("already_owned" if succeeds else "new")


def asked_again(app: Tollhouse) -> str:
    return app.open_checkout(
        "ada", "pdf-tool.lifetime.once", success_url="https://app.test/", cancel_url="https://app.test/"
    ).outcome


def test_a_declined_card_opens_nothing(world: World, pdf_tool: Tollhouse) -> None:
    """After a decline nothing is open and the same page can still be paid with a good card."""
    ada = world.customer("ada")
    with pytest.raises(StripeError, match="declined"):
        ada.buys("pdf-tool.pro.monthly", card="pm_card_chargeDeclined")
    world.arrive()
    assert not ada.may("premium_export")

    again = pdf_tool.open_checkout(
        "ada", "pdf-tool.pro.monthly", success_url="https://app.test/welcome", cancel_url="https://app.test/"
    )
    assert again.outcome == "pending" and again.url
    world.sandbox.pay(again.url)
    world.arrive()
    assert ada.may("premium_export")


def test_the_return_page_beats_the_webhook(world: World, pdf_tool: Tollhouse) -> None:
    """Sync on the return page of the checkout, and of the portal, shows what is true though no webhook ever came."""
    world.hold_webhooks()
    ada = world.customer("ada")
    checkout = ada.buys("pdf-tool.pro.monthly")
    assert not ada.may("premium_export")

    synced = pdf_tool.sync_checkout(checkout)
    assert synced.checkout.paid
    assert synced.customer.entitlements["premium_export"].allowed
    assert ada.may("premium_export")

    subscription = ada.state().subscriptions[0]
    world.stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert ada.state().subscriptions[0].renews
    assert not pdf_tool.sync_customer("ada").subscriptions[0].renews
