"""Payment intents, charges, and what belongs to an invoice."""

import pytest
import stripe


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


def test_charges_are_listed_by_customer_and_intent(shop, charge):
    """The two ways consumers route a charge."""
    shop.desk.pay(shop.checkout(shop.price(1, None)).id)
    for params in ({"customer": charge.customer}, {"payment_intent": charge.payment_intent}):
        assert [each.id for each in shop.api.charges.list(params=params).data] == [charge.id]
    noted = shop.api.charges.update(charge.id, params={"metadata": {"a": "b"}})
    assert noted.metadata["a"] == "b"
    assert shop.last_event().type == "charge.updated"


def test_giving_an_invoice_up(shop):
    """Void and uncollectible, each with its event, before that of the subscription; a paid one cannot be given up."""
    customer = shop.customer("pm_card_chargeCustomerFail")
    first, second = (shop.subscribe(shop.price(), customer).latest_invoice for _ in range(2))
    assert shop.api.invoices.void_invoice(first).status == "void"
    assert shop.happened()[-2:] == ["invoice.voided", "customer.subscription.updated"]
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
