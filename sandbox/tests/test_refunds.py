"""Refunds: whole, in parts, late, failed; and what cannot be given back."""

import pytest
import stripe

from tollhouse_sandbox.errors import StripeError


def test_full_refund(shop, charge):
    """All of it goes back: refund, charge and events agree, and the refund names the customer."""
    since = shop.last_event()
    refund = shop.api.refunds.create(params={"charge": charge.id, "reason": "requested_by_customer"})
    assert (refund.amount, refund.status, refund.charge) == (10_000, "succeeded", charge.id)
    assert (refund.customer, refund.payment_intent) == (charge.customer, charge.payment_intent)
    after = shop.api.charges.retrieve(charge.id, params={"expand": ["refunds"]})
    assert (after.refunded, after.amount_refunded, after.refunds.data[0].id) == (True, 10_000, refund.id)
    assert shop.happened(since) == ["refund.created", "charge.refunded", "charge.refund.updated", "refund.updated"]
    told = next(event for event in shop.events(since) if event.type == "charge.refunded")
    assert told.data.previous_attributes.to_dict() == {"amount_refunded": 0, "refunded": False}
    with pytest.raises(stripe.InvalidRequestError) as again:
        shop.api.refunds.create(params={"charge": charge.id})
    assert again.value.code == "charge_already_refunded"


def test_partial_refunds(shop, charge):
    """Parts add up; `charge.refunded` comes for each, `refunded` is true only when all is back."""
    first = shop.api.refunds.create(params={"payment_intent": charge.payment_intent, "amount": 4000})
    assert shop.api.charges.retrieve(charge.id).refunded is False
    with pytest.raises(
        stripe.InvalidRequestError, match=r"€70.00\) is greater than unrefunded amount on charge \(€60.00"
    ):
        shop.api.refunds.create(params={"charge": charge.id, "amount": 7000})
    second = shop.api.refunds.create(params={"charge": charge.id})
    assert second.amount == 6000
    assert shop.api.charges.retrieve(charge.id).refunded is True
    assert shop.happened().count("charge.refunded") == 2
    assert [each.id for each in shop.api.refunds.list(params={"charge": charge.id}).data] == [second.id, first.id]
    assert shop.api.refunds.retrieve(first.id, params={"expand": ["charge"]}).charge.id == charge.id
    noted = shop.api.refunds.update(first.id, params={"metadata": {"why": "late"}})
    assert noted.metadata["why"] == "late"


def test_a_refund_ends_no_subscription(shop):
    """Giving the money of a subscription back leaves it active; the invoice is found through its payment."""
    subscription = shop.subscribe(shop.price())
    charge = shop.api.charges.list(params={"customer": subscription.customer}).data[0]
    shop.api.refunds.create(params={"charge": charge.id})
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"
    payments = shop.api.invoice_payments.list(
        params={
            "payment": {"type": "payment_intent", "payment_intent": charge.payment_intent},
            "expand": ["data.invoice"],
        }
    )
    assert payments.data[0].invoice.parent.subscription_details.subscription == subscription.id
    assert shop.api.invoice_payments.list(params={"invoice": subscription.latest_invoice}).data[0].status == "paid"
    assert shop.api.invoice_payments.retrieve(payments.data[0].id).amount_paid == 900


def test_what_cannot_be_refunded(shop):
    """Nothing named, nothing charged, or a debit still under way: 400."""
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        shop.api.refunds.create(params={"amount": 1})
    assert nothing.value.code == "parameter_missing"
    intent = shop.api.payment_intents.create(params={"amount": 500, "currency": "eur"})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        shop.api.refunds.create(params={"payment_intent": intent.id})
    shop.desk.pay(shop.checkout(shop.price(500, None)).id, "pm_sepaDebit")
    with pytest.raises(stripe.InvalidRequestError, match="it is pending"):
        shop.api.refunds.create(params={"charge": shop.api.charges.list().data[0].id})


def test_a_refund_that_takes_days(shop):
    """Pending first; the charge already counts it as given back; succeeded later."""
    shop.desk.pay(shop.checkout(shop.price(700, None)).id, "pm_card_pendingRefund")
    charge = shop.api.charges.list().data[0]
    since = shop.last_event()
    refund = shop.api.refunds.create(params={"charge": charge.id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    assert shop.happened(since) == ["refund.created", "charge.refunded"]
    since = shop.last_event()
    shop.desk.advance(days=5)
    assert shop.happened(since) == ["refund.updated", "charge.refund.updated"]
    assert shop.last_event().data.previous_attributes.to_dict() == {"pending_reason": "processing", "status": "pending"}
    assert shop.api.refunds.retrieve(refund.id).status == "succeeded"


def test_a_refund_that_fails(shop):
    """It had succeeded; then the bank sends the money back, and the charge is refunded no longer."""
    shop.desk.pay(shop.checkout(shop.price(700, None)).id, "pm_card_refundFail")
    charge = shop.api.charges.list().data[0]
    refund = shop.api.refunds.create(params={"charge": charge.id, "amount": 500})
    assert (refund.status, shop.api.balance.retrieve().available[0].amount) == ("succeeded", 200)
    since = shop.last_event()
    shop.desk.advance(days=5)
    assert shop.happened(since) == ["refund.updated", "charge.refund.updated", "refund.failed", "charge.updated"]
    failed = shop.api.refunds.retrieve(refund.id, params={"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert (failed.failure_balance_transaction.net, failed.failure_balance_transaction.type) == (500, "refund_failure")
    assert shop.api.balance.retrieve().available[0].amount == 700
    assert shop.api.charges.retrieve(charge.id).amount_refunded == 0
    assert shop.api.refunds.create(params={"charge": charge.id, "reason": "fraudulent"}).amount == 700
    assert shop.api.charges.retrieve(charge.id).fraud_details.user_report == "fraudulent"


def test_the_refund_of_a_debit_and_the_dispute_that_ends_it(shop):
    """A bank's refund is pending; if the bank takes the payment back meanwhile, it fails; canceled by hand."""
    page = shop.checkout(shop.price(700, None)).id
    shop.desk.pay(page, "pm_usBankAccount")
    shop.desk.settle(page)
    charge = shop.api.charges.list().data[0]
    refund = shop.api.refunds.create(params={"payment_intent": charge.payment_intent, "amount": 100})
    assert shop.api.balance_transactions.retrieve(refund.balance_transaction).type == "payment_refund"
    with pytest.raises(stripe.InvalidRequestError, match="requires_action"):
        shop.api.refunds.cancel(refund.id)
    shop.desk.decide_refund(refund.id, "requires_action")
    assert shop.api.refunds.cancel(refund.id).status == "canceled"
    with pytest.raises(StripeError, match="cannot become"):
        shop.desk.decide_refund(refund.id, "succeeded")
    second = shop.api.refunds.create(params={"charge": charge.id, "amount": 100})
    shop.desk.dispute(charge.id)
    failed = shop.api.refunds.retrieve(second.id)
    assert (failed.status, failed.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    moved = shop.api.balance_transactions.list(params={"source": charge.id})
    assert [(each.type, each.amount) for each in moved.data] == [("payment", 700)]
