"""Payment intents, charges, refunds, disputes, and what belongs to an invoice."""

import pytest
import stripe

from tollhouse_sandbox.errors import StripeError


@pytest.fixture
def charge(shop):
    """A charge of 100.00, and the customer it names."""
    session = shop.checkout(shop.price(10_000, None), customer=shop.customer(card=None, email="ann@example.com").id)
    shop.desk.pay(session.id)
    return shop.api.charges.list().data[0]


def test_a_payment_intent_from_start_to_end(shop):
    """Created, confirmed with a card, succeeded; a decline leaves it open for another card."""
    intent = shop.api.payment_intents.create(
        params={
            "amount": 500,
            "currency": "eur",
            "metadata": {"a": "b"},
            "automatic_payment_methods": {"enabled": True},
        }
    )
    assert (intent.status, intent.amount_received) == ("requires_payment_method", 0)
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        shop.api.payment_intents.confirm(intent.id)
    with pytest.raises(stripe.CardError) as refused:
        shop.api.payment_intents.confirm(intent.id, params={"payment_method": "pm_card_chargeDeclined"})
    assert refused.value.code == "card_declined"
    failed = shop.api.payment_intents.retrieve(intent.id, params={"expand": ["latest_charge"]})
    assert (failed.status, failed.last_payment_error.decline_code) == ("requires_payment_method", "generic_decline")
    assert (failed.latest_charge.status, failed.latest_charge.outcome.type) == ("failed", "issuer_declined")
    paid = shop.api.payment_intents.confirm(intent.id, params={"payment_method": "pm_card_visa"})
    assert (paid.status, paid.amount_received) == ("succeeded", 500)
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded") as again:
        shop.api.payment_intents.confirm(intent.id)
    assert again.value.code == "payment_intent_unexpected_state"


def test_confirming_at_once(shop):
    """`confirm` with a card on the create call; 3-D Secure on the way stops at requires_action."""
    customer = shop.customer()
    params = {"amount": 500, "currency": "eur", "customer": customer.id, "confirm": True}
    assert shop.api.payment_intents.create(params={**params, "payment_method": "pm_card_visa"}).status == "succeeded"
    asked = shop.api.payment_intents.create(params={**params, "payment_method": "pm_card_threeDSecure2Required"})
    assert asked.status == "requires_action"
    with pytest.raises(stripe.CardError) as refused:
        off = {"payment_method": "pm_card_authenticationRequired", "off_session": True}
        shop.api.payment_intents.create(params={**params, **off})
    assert refused.value.code == "authentication_required"
    assert len(shop.api.payment_intents.list(params={"customer": customer.id}).data) == 3
    with pytest.raises(stripe.InvalidRequestError):
        shop.api.payment_intents.create(params={"amount": 0, "currency": "eur"})


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


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        ("won", ["charge.dispute.updated", "charge.dispute.closed", "charge.dispute.funds_reinstated"]),
        ("lost", ["charge.dispute.updated", "charge.dispute.closed"]),
    ],
)
def test_a_dispute(shop, charge, verdict, told):
    """It takes the money when it opens; won gives it back."""
    since = shop.last_event()
    dispute = shop.desk.dispute(charge.id)
    assert shop.happened(since) == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    read = shop.api.disputes.retrieve(dispute["id"], params={"expand": ["charge"]})
    assert (read.status, read.amount, read.charge.disputed) == ("needs_response", 10_000, True)
    assert [each.id for each in shop.api.disputes.list(params={"charge": charge.id}).data] == [read.id]
    assert shop.api.disputes.list(params={"payment_intent": charge.payment_intent}).data[0].id == read.id
    since = shop.last_event()
    shop.desk.decide_dispute(read.id, verdict)
    assert shop.happened(since) == told
    assert shop.api.disputes.retrieve(read.id).status == verdict


def test_inquiries_and_disputes_born_lost(shop, charge):
    """An inquiry takes no money; a dispute may be lost from the first moment; a charge is disputed once."""
    since = shop.last_event()
    inquiry = shop.desk.dispute(charge.id, "warning_needs_response")
    assert shop.happened(since) == ["charge.dispute.created"]
    shop.desk.decide_dispute(inquiry["id"], "warning_closed")
    with pytest.raises(StripeError, match="already disputed"):
        shop.desk.dispute(charge.id)
    shop.desk.pay(shop.checkout(shop.price(1, None)).id)
    since = shop.last_event()
    shop.desk.dispute(shop.api.charges.list().data[0].id, "lost")
    assert shop.happened(since) == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
    ]
    with pytest.raises(StripeError, match="no dispute status"):
        shop.desk.dispute(charge.id, "nonsense")
    with pytest.raises(StripeError, match="no dispute status"):
        shop.desk.decide_dispute(inquiry["id"], "nonsense")


def test_giving_in_to_a_dispute(shop, charge):
    """Closing by API loses it, once."""
    dispute = shop.desk.dispute(charge.id)["id"]
    assert shop.api.disputes.close(dispute).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        shop.api.disputes.close(dispute)
    assert shop.api.disputes.update(dispute, params={"metadata": {"a": "b"}}).metadata["a"] == "b"


def test_the_card_that_is_always_disputed(shop):
    """pm_card_createDispute succeeds and is disputed right afterwards."""
    session = shop.checkout(shop.price(500, None))
    shop.desk.pay(session.id, "pm_card_createDispute")
    shop.desk.drain()
    charge = shop.api.charges.list().data[0]
    assert (charge.status, charge.disputed) == ("succeeded", True)
    happened = shop.happened()
    assert happened.index("checkout.session.completed") < happened.index("charge.dispute.created")


def test_charges_are_listed_by_customer_and_intent(shop, charge):
    """The two ways consumers route a charge."""
    shop.desk.pay(shop.checkout(shop.price(1, None)).id)
    for params in ({"customer": charge.customer}, {"payment_intent": charge.payment_intent}):
        assert [each.id for each in shop.api.charges.list(params=params).data] == [charge.id]
    noted = shop.api.charges.update(charge.id, params={"metadata": {"a": "b"}})
    assert noted.metadata["a"] == "b"
    assert shop.last_event().type == "charge.updated"


def test_giving_an_invoice_up(shop):
    """Void and uncollectible, each with its event; a paid invoice cannot be given up."""
    customer = shop.customer("pm_card_chargeCustomerFail")
    first, second = (shop.subscribe(shop.price(), customer).latest_invoice for _ in range(2))
    assert shop.api.invoices.void_invoice(first).status == "void"
    assert shop.last_event().type == "invoice.voided"
    uncollectible = shop.api.invoices.mark_uncollectible(second)
    assert uncollectible.status_transitions.marked_uncollectible_at
    assert shop.api.invoices.void_invoice(second).status == "void"
    paid = shop.subscribe(shop.price()).latest_invoice
    with pytest.raises(stripe.InvalidRequestError, match="open"):
        shop.api.invoices.void_invoice(paid)
    with pytest.raises(stripe.InvalidRequestError, match="void"):
        shop.api.invoices.pay(first)


def test_a_draft_can_be_finalised_early(shop):
    """finalize, and pay on a draft, do not wait for the hour; lines are listed; metadata can be written."""
    subscription = shop.subscribe(shop.price())
    shop.desk.advance(seconds=subscription["items"].data[0].current_period_end - subscription.created)
    draft = shop.api.invoices.list(params={"status": "draft"}).data[0]
    assert shop.api.invoices.finalize_invoice(draft.id).status == "open"
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        shop.api.invoices.finalize_invoice(draft.id)
    assert shop.api.invoices.pay(draft.id).status == "paid"
    assert [line.amount for line in shop.api.invoices.line_items.list(draft.id).data] == [900]
    assert shop.api.invoices.update(draft.id, params={"metadata": {"a": "b"}}).metadata["a"] == "b"
    assert shop.api.subscriptions.retrieve(subscription.id).latest_invoice == draft.id
    shop.desk.advance(days=1)
    assert shop.api.invoices.retrieve(draft.id).attempt_count == 1
