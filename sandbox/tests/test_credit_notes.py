"""Credit notes: off what is still to be paid, or given back; previewed, changed, voided."""

import pytest
import stripe


@pytest.fixture
def paid(shop):
    """A paid invoice over 9.00."""
    return shop.api.invoices.retrieve(shop.subscribe(shop.price()).latest_invoice)


@pytest.fixture
def unpaid(shop):
    """An open invoice over 9.00, the first of a subscription."""
    subscription = shop.subscribe(shop.price(), shop.customer("pm_card_chargeCustomerFail"))
    return shop.api.invoices.retrieve(subscription.latest_invoice)


def credit(shop, invoice, **params):
    return shop.api.credit_notes.create(params={"invoice": invoice.id, **params})


def test_given_back(shop, paid):
    """By refund, on the customer's balance, and elsewhere: to the cent, and never more than was paid."""
    since = shop.last_event()
    with pytest.raises(stripe.InvalidRequestError, match=r"\(0\) must equal the post payment amount \(500\)"):
        credit(shop, paid, amount=500)
    params = {"refund_amount": 200, "credit_amount": 200, "out_of_band_amount": 100, "reason": "order_change"}
    note = credit(shop, paid, amount=500, memo="Sorry", **params)
    assert (note.type, note.post_payment_amount, note.number) == ("post_payment", 500, f"{paid.number}-CN-01")
    assert shop.api.refunds.retrieve(note.refunds[0].refund).amount == 200
    assert shop.api.customers.retrieve(paid.customer).balance == -200
    happened = shop.happened(since)
    assert happened.index("charge.refunded") < happened.index("credit_note.created") < happened.index("invoice.updated")
    invoice = shop.api.invoices.retrieve(paid.id)
    assert (invoice.status, invoice.post_payment_credit_notes_amount, invoice.amount_paid) == ("paid", 500, 900)
    with pytest.raises(stripe.InvalidRequestError, match="400 of what was paid"):
        credit(shop, paid, amount=401, credit_amount=401)
    refund = shop.api.refunds.create(params={"charge": shop.api.charges.list().data[0].id, "amount": 300})
    with pytest.raises(stripe.InvalidRequestError, match="100 of what was paid"):
        credit(shop, paid, amount=300, credit_amount=300)
    linked = credit(shop, paid, amount=300, refunds=[{"refund": refund.id}])
    assert (linked.number, linked.refunds[0].amount_refunded) == (f"{paid.number}-CN-02", 300)
    with pytest.raises(stripe.InvalidRequestError, match="still open"):
        shop.api.credit_notes.void_credit_note(note.id)
    listed = shop.api.credit_notes.list(params={"invoice": paid.id, "customer": paid.customer}).data
    assert [each.id for each in listed] == [linked.id, note.id]


def test_taken_off_what_is_due(shop, unpaid):
    """An open invoice asks for less; a note that is voided lets it ask for all again."""
    note = credit(shop, unpaid, amount=400)
    assert (note.type, note.pre_payment_amount) == ("pre_payment", 400)
    invoice = shop.api.invoices.retrieve(unpaid.id, params={"expand": ["payments"]})
    assert (invoice.amount_due, invoice.amount_remaining, invoice.total) == (500, 500, 900)
    intent = invoice.payments.data[0].payment.payment_intent
    assert shop.api.payment_intents.retrieve(intent).amount == 500
    voided = shop.api.credit_notes.void_credit_note(note.id)
    assert (voided.status, shop.api.invoices.retrieve(unpaid.id).amount_due) == ("void", 900)
    assert "credit_note.voided" in shop.happened()


def test_credited_whole(shop, unpaid):
    """An open invoice of which nothing is left is paid, and its subscription begins."""
    previewed = shop.api.credit_notes.preview(params={"invoice": unpaid.id, "amount": 900})
    assert (previewed.amount, shop.api.credit_notes.list().data) == (900, [])
    credit(shop, unpaid, amount=900)
    invoice = shop.api.invoices.retrieve(unpaid.id)
    assert (invoice.status, invoice.amount_paid, invoice.pre_payment_credit_notes_amount) == ("paid", 0, 900)
    subscription = invoice.parent.subscription_details.subscription
    assert shop.api.subscriptions.retrieve(subscription).status == "active"


def test_lines(shop, paid):
    """A part of a line of the invoice, and a line of one's own; texts can be changed later."""
    of_invoice = {"type": "invoice_line_item", "invoice_line_item": paid.lines.data[0].id, "amount": 100}
    of_its_own = {"type": "custom_line_item", "description": "Late", "unit_amount": 50, "quantity": 2}
    note = credit(shop, paid, lines=[of_invoice, of_its_own], credit_amount=200, metadata={"a": "b"})
    assert [line.amount for line in shop.api.credit_notes.line_items.list(note.id).data] == [100, 100]
    changed = shop.api.credit_notes.update(note.id, params={"memo": "Late", "metadata": {"c": "d"}})
    assert (changed.memo, shop.happened()[-1]) == ("Late", "credit_note.updated")
    for lines, complaint in (
        ([{**of_invoice, "amount": 901}], "was billed with 900"),
        ([{**of_invoice, "invoice_line_item": "il_none"}], "No such invoice line item"),
        ([{"type": "custom_line_item", "unit_amount": 5}], "needs a description"),
        ([], "positive"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=complaint):
            credit(shop, paid, lines=lines or [{**of_its_own, "quantity": 0}])
    with pytest.raises(stripe.InvalidRequestError, match="must be provided"):
        credit(shop, paid)
