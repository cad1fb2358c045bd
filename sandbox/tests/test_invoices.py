"""Invoices made by hand and the items on them: drafted, changed, finalised, paid, sent, given up."""

import pytest
import stripe

DAY = 86_400


def draft(shop, customer=None, amounts=(1000,), **params):
    """An invoice over these amounts, not yet finalised."""
    customer = customer or shop.customer()
    for amount in amounts:
        shop.api.invoice_items.create(params={"customer": customer.id, "amount": amount, "currency": "eur"})
    params = {"customer": customer.id, "pending_invoice_items_behavior": "include", **params}
    return shop.api.invoices.create(params=params)


def test_from_items_to_paid(shop):
    """Items wait, a draft takes them in, finalising numbers it, paying charges the card; in Stripe's order."""
    customer = shop.customer()
    price = shop.price(250, None)
    since = shop.last_event()
    item = shop.api.invoice_items.create(
        params={"customer": customer.id, "pricing": {"price": price.id}, "quantity": 3, "metadata": {"job": "7"}}
    )
    assert (item.amount, item.currency, item.description, item.invoice) == (750, "eur", "PDF Tool Pro", None)
    invoice = draft(shop, customer, amounts=(-50, 300), description="October")
    assert (invoice.status, invoice.billing_reason, invoice.parent, invoice.auto_advance) == (
        "draft",
        "manual",
        None,
        False,
    )
    assert [line.amount for line in invoice.lines.data] == [750, -50, 300]
    assert (invoice.total, invoice.amount_due, invoice.number) == (1000, 1000, None)
    line = shop.api.invoices.line_items.list(invoice.id, params={"limit": 1}).data[0]
    assert (line.parent.invoice_item_details.invoice_item, line.metadata["job"]) == (item.id, "7")
    assert shop.api.invoice_items.list(params={"pending": True}).data == []
    opened = shop.api.invoices.finalize_invoice(invoice.id)
    assert (opened.status, opened.number[-4:]) == ("open", "0001")
    assert shop.api.invoices.pay(invoice.id).amount_paid == 1000
    assert shop.happened(since) == [
        *["invoiceitem.created"] * 3,
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
    ]
    assert shop.api.invoices.list(params={"customer": customer.id, "subscription": "sub_x"}).data == []


def test_a_draft_advances_by_itself(shop):
    """With auto_advance it is finalised and charged an hour later; a refused card is tried again by the schedule."""
    customer = shop.customer("pm_card_chargeCustomerFail")
    invoice = draft(shop, customer, auto_advance=True)
    shop.desk.advance(hours=2)
    failed = shop.api.invoices.retrieve(invoice.id)
    assert (failed.status, failed.attempt_count) == ("open", 1) and failed.next_payment_attempt
    shop.give_card(customer, "pm_card_visa")
    shop.desk.advance(days=4)
    assert shop.api.invoices.retrieve(invoice.id).status == "paid"


def test_finalised_by_hand_it_is_charged_within_the_hour(shop):
    """`auto_advance` at finalisation says whether the sandbox tries it; switched off again, it waits."""
    first, second = draft(shop), draft(shop)
    for invoice in (first, second):
        assert shop.api.invoices.finalize_invoice(invoice.id, params={"auto_advance": True}).next_payment_attempt
    shop.api.invoices.update(second.id, params={"auto_advance": False})
    shop.desk.advance(hours=2)
    assert [shop.api.invoices.retrieve(each.id).status for each in (first, second)] == ["paid", "open"]


def test_a_bill_that_is_sent(shop):
    """It is due in so many days, is not charged, falls overdue, and may be paid elsewhere."""
    invoice = draft(shop, shop.customer(None), collection_method="send_invoice", days_until_due=14, auto_advance=True)
    assert invoice.due_date == invoice.created + 14 * DAY
    since = shop.last_event()
    shop.desk.advance(hours=2)
    assert shop.happened(since) == ["invoice.finalized", "payment_intent.created", "invoice.sent"]
    assert shop.api.invoices.send_invoice(invoice.id).status == "open"
    shop.desk.advance(days=14)
    assert shop.last_event().type == "invoice.overdue"
    assert shop.api.invoices.list(params={"due_date": {"lt": invoice.due_date + 1}}).data[0].id == invoice.id
    paid = shop.api.invoices.pay(invoice.id, params={"paid_out_of_band": True})
    assert (paid.status, paid.amount_remaining, paid.amount_paid_off_stripe) == ("paid", 0, 1000)
    assert shop.happened(since)[-4:] == [
        "payment_intent.canceled",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    assert shop.api.charges.list().data == []


@pytest.mark.parametrize(
    ("close", "status", "event"),
    [
        ("void_invoice", "void", "invoice.voided"),
        ("mark_uncollectible", "uncollectible", "invoice.marked_uncollectible"),
    ],
)
def test_given_up(shop, close, status, event):
    """An open invoice may be voided or marked uncollectible; a draft may not."""
    invoice = draft(shop)
    with pytest.raises(stripe.InvalidRequestError, match="open invoices"):
        getattr(shop.api.invoices, close)(invoice.id)
    shop.api.invoices.finalize_invoice(invoice.id)
    assert getattr(shop.api.invoices, close)(invoice.id).status == status
    assert shop.last_event().type == event
    payment = shop.api.invoice_payments.list(params={"invoice": invoice.id}).data[0]
    assert payment.status == ("canceled" if status == "void" else "open")


def test_a_bill_is_in_the_customers_currency(shop):
    """The one they were billed in first; until then the account's."""
    customer = shop.customer()
    assert shop.api.invoices.create(params={"customer": shop.customer().id}).currency == "eur"
    shop.api.invoice_items.create(params={"customer": customer.id, "amount": 2000, "currency": "usd"})
    assert shop.api.customers.retrieve(customer.id).currency == "usd"
    including = {"customer": customer.id, "pending_invoice_items_behavior": "include"}
    invoice = shop.api.invoices.create(params=including)
    assert (invoice.currency, invoice.total) == ("usd", 2000)


def test_items_on_a_draft_follow_it(shop):
    """What is added, changed and removed shows in the draft's lines and sums; a finalised one is past changing."""
    customer = shop.customer()
    invoice = draft(shop, customer, amounts=())
    assert invoice.total == 0
    params = {"customer": customer.id, "invoice": invoice.id, "amount": 400, "currency": "eur"}
    item = shop.api.invoice_items.create(params=params)
    other = shop.api.invoice_items.create(params={**params, "amount": 100, "period": {"start": 1, "end": 2}})
    assert (other.invoice, shop.api.invoices.retrieve(invoice.id).total) == (invoice.id, 500)
    assert shop.api.invoice_items.update(item.id, params={"quantity": 2, "description": "Two"}).amount == 800
    changed = shop.api.invoices.retrieve(invoice.id)
    assert [(line.amount, line.description) for line in changed.lines.data] == [(800, "Two"), (100, None)]
    since = shop.last_event()
    shop.api.invoice_items.delete(item.id)
    assert shop.happened(since) == ["invoice.updated", "invoiceitem.deleted"]
    assert shop.api.invoices.finalize_invoice(invoice.id).total == 100
    for refused in (
        lambda: shop.api.invoice_items.delete(other.id),
        lambda: shop.api.invoice_items.update(other.id, params={"amount": 1}),
        lambda: shop.api.invoice_items.create(params=params),
        lambda: shop.api.invoices.update(invoice.id, params={"description": "late"}),
        lambda: shop.api.invoices.delete(invoice.id),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            refused()


def test_lines_are_added_and_removed(shop):
    """A draft takes waiting items and new charges; a line that is unassigned leaves its item waiting."""
    customer = shop.customer()
    invoice = draft(shop, customer)
    waiting = shop.api.invoice_items.create(params={"customer": customer.id, "amount": 50, "currency": "eur"})
    data = {"currency": "eur", "product": shop.product.id, "unit_amount": 7}
    longer = shop.api.invoices.add_lines(
        invoice.id, params={"lines": [{"invoice_item": waiting.id}, {"price_data": data, "quantity": 2}]}
    )
    assert [line.amount for line in longer.lines.data] == [1000, 50, 14]
    lines = longer.lines.data
    shorter = shop.api.invoices.remove_lines(
        invoice.id,
        params={
            "lines": [{"id": lines[0].id, "behavior": "delete"}, {"id": lines[1].id, "behavior": "unassign"}],
            "invoice_metadata": {"a": "b"},
        },
    )
    assert (shorter.total, shorter.metadata["a"]) == (14, "b")
    assert [each.id for each in shop.api.invoice_items.list(params={"pending": True}).data] == [waiting.id]


def test_a_deleted_draft_is_gone(shop):
    """Its items wait for another invoice."""
    invoice = draft(shop)
    assert shop.api.invoices.delete(invoice.id).deleted
    assert shop.last_event().type == "invoice.deleted"
    with pytest.raises(stripe.InvalidRequestError) as missing:
        shop.api.invoices.retrieve(invoice.id)
    assert missing.value.http_status == 404
    assert len(shop.api.invoice_items.list(params={"pending": True}).data) == 1


def test_items_wait_for_the_next_renewal(shop):
    """One that names no subscription goes on the next that is billed; one that names a subscription, on that one's."""
    customer = shop.customer()
    monthly = shop.subscribe(shop.price(), customer)
    weekly = shop.subscribe(shop.price(100, "week"), customer)
    params = {"customer": customer.id, "currency": "eur"}
    shop.api.invoice_items.create(params={**params, "amount": 11})
    shop.api.invoice_items.create(params={**params, "amount": 22, "subscription": monthly.id})
    shop.api.invoice_items.create(params={**params, "amount": 33, "currency": "usd"})
    shop.desk.advance(days=8)
    assert shop.api.invoices.list(params={"subscription": weekly.id}).data[0].total == 111
    shop.desk.advance(days=31)
    assert shop.api.invoices.list(params={"subscription": monthly.id}).data[0].total == 922
    assert [each.amount for each in shop.api.invoice_items.list(params={"pending": True}).data] == [33]


def test_an_invoice_by_hand_for_a_subscription(shop):
    """It takes that subscription's items only and leaves its cycle alone."""
    subscription = shop.subscribe(shop.price())
    params = {"customer": subscription.customer, "currency": "eur"}
    shop.api.invoice_items.create(params={**params, "amount": 11})
    shop.api.invoice_items.create(params={**params, "amount": 22, "subscription": subscription.id})
    invoice = shop.api.invoices.create(
        params={
            "customer": subscription.customer,
            "subscription": subscription.id,
            "pending_invoice_items_behavior": "include",
        }
    )
    assert (invoice.total, invoice.parent.subscription_details.subscription) == (22, subscription.id)
    with pytest.raises(stripe.InvalidRequestError):
        shop.api.invoices.delete(invoice.id)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"collection_method": "send_invoice"}, "days_until_due"),
        ({"days_until_due": 3}, "days_until_due"),
        ({"collection_method": "send_invoice", "days_until_due": 3, "due_date": 4_000_000_000}, "due_date"),
        ({"currency": "euro"}, "currency"),
        ({"subscription": "sub_none"}, "subscription"),
        ({"default_payment_method": "pm_none"}, "default_payment_method"),
        ({"automatically_finalizes_at": 1}, "automatically_finalizes_at"),
    ],
)
def test_wrong_invoices_are_refused(shop, params, param):
    """Stripe names the parameter that is wrong."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.api.invoices.create(params={"customer": shop.customer(None).id, **params})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": "eur"}, "amount"),
        ({"amount": 5}, "currency"),
        ({"amount": 5, "unit_amount_decimal": "5", "currency": "eur"}, "unit_amount_decimal"),
        ({"amount": 5, "quantity": 2, "currency": "eur"}, "quantity"),
        ({"amount": 5, "currency": "eur", "period": {"start": 2, "end": 1}}, "period[end]"),
        ({"amount": 5, "currency": "eur", "subscription": "sub_none"}, "subscription"),
        ({"amount": 5, "currency": "eur", "invoice": "in_none"}, "invoice"),
    ],
)
def test_wrong_items_are_refused(shop, params, param):
    """Stripe names the parameter that is wrong."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.api.invoice_items.create(params={"customer": shop.customer(None).id, **params})
    assert refused.value.param == param
