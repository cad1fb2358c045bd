"""Invoices: drafted, finalised, paid, voided. Changes the state and says what happened; emits nothing itself."""

from collections.abc import Sequence

from tollhouse_sandbox import discounts, ids, invoicing, payments
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Outcome
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening, picture
from tollhouse_sandbox.store import Json


def pending_items(account: Account, subscription: Json) -> list[Json]:
    """The invoice items that wait for this subscription's next invoice, oldest first."""
    return [
        item
        for item in account.store.oldest_first("invoiceitem", subscription=subscription["id"])
        if item["invoice"] is None
    ]


def draft(
    account: Account,
    subscription: Json,
    lines: Sequence[Json],
    *,
    reason: str,
    period: tuple[int, int],
    finalises_at: int | None = None,
) -> Json:
    """Stores a draft of these lines and of every pending invoice item of the subscription."""
    invoice_id = ids.new("invoice")
    customer = account.require("customer", subscription["customer"])
    waiting = pending_items(account, subscription)
    for item in waiting:
        account.store.change(item, invoice=invoice_id)
    swept = [
        invoicing.invoice_item_line(item, account.require("price", item["pricing"]["price_details"]["price"]))
        for item in waiting
    ]
    stamped = [{"id": ids.new("line_item"), **line, "invoice": invoice_id} for line in [*swept, *lines]]
    stamped, taken = discounts.apply(account, subscription, stamped)
    subtotal = sum(line["amount"] for line in stamped)
    total = subtotal - sum(one["amount"] for one in taken)
    return account.born(
        "invoice",
        id=invoice_id,
        **_UNUSED,
        **_billed_to(customer),
        **_amounts(subtotal, total),
        attempt_count=0,
        attempted=False,
        auto_advance=finalises_at is not None,
        automatically_finalizes_at=finalises_at,
        billing_reason=reason,
        collection_method="charge_automatically",
        currency=subscription["currency"],
        discounts=[one["discount"] for one in taken],
        ending_balance=None,
        lines=stamped,
        metadata={},
        next_payment_attempt=None,
        number=None,
        parent=_parent(subscription),
        period_end=period[1],
        period_start=period[0],
        starting_balance=customer["balance"],
        status="draft",
        status_transitions=dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        total_discount_amounts=taken,
        hosted_invoice_url=None,
        invoice_pdf=None,
        effective_at=None,
        _intent=None,
    )


def _amounts(subtotal: int, total: int) -> Json:
    """What a draft says of its sums: `subtotal` before and `total` after discounts."""
    return {
        "amount_due": max(0, total),
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": max(0, total),
        "amount_shipping": 0,
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": total,
        "total_excluding_tax": total,
    }


_UNUSED: Json = {
    "account_country": "DE",
    "account_name": "Tollhouse sandbox",
    "account_tax_ids": None,
    "application": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
    "custom_fields": None,
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "due_date": None,
    "footer": None,
    "from_invoice": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "on_behalf_of": None,
    "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "statement_descriptor": None,
    "test_clock": None,
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


def _billed_to(customer: Json) -> Json:
    return {
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
    }


def _parent(subscription: Json) -> Json:
    return {
        "type": "subscription_details",
        "quote_details": None,
        "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
    }


def subscription_id(invoice: Json) -> str:
    """The subscription an invoice bills; the sandbox has no other invoices."""
    return str(invoice["parent"]["subscription_details"]["subscription"])


def subscription_of(account: Account, invoice: Json) -> Json:
    return account.require("subscription", subscription_id(invoice))


def finalise(account: Account, invoice: Json) -> tuple[Json, list[Happening]]:
    """Closes a draft: number, customer's balance applied, a payment intent for what is due; paid if nothing is."""
    customer = account.require("customer", invoice["customer"])
    totals = invoicing.totals(invoice["lines"], customer["balance"])
    sequence = customer["next_invoice_sequence"]
    account.store.change(customer, balance=totals.balance, next_invoice_sequence=sequence + 1)
    invoice = account.store.change(
        invoice,
        amount_due=totals.amount_due,
        amount_remaining=totals.amount_due,
        automatically_finalizes_at=None,
        effective_at=account.now,
        ending_balance=totals.balance,
        number=f"{customer['invoice_prefix']}-{sequence:04}",
        starting_balance=customer["balance"],
        status="open",
        status_transitions={**invoice["status_transitions"], "finalized_at": account.now},
    )
    if not totals.amount_due:
        invoice = _paid(account, invoice)
        return invoice, [Happening("invoice.finalized", invoice), *_paid_events(invoice)]
    intent = _intend(account, invoice)
    invoice = account.store.change(invoice, _intent=intent["id"])
    return invoice, [Happening("invoice.finalized", invoice), Happening("payment_intent.created", intent)]


def _intend(account: Account, invoice: Json) -> Json:
    intent = payments.intend(
        account,
        invoice["amount_due"],
        invoice["currency"],
        customer=invoice["customer"],
        description="Subscription creation" if invoice["billing_reason"] == "subscription_create" else None,
        setup_future_usage="off_session" if invoice["billing_reason"] == "subscription_create" else None,
    )
    account.born(
        "invoice_payment",
        amount_paid=None,
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"type": "payment_intent", "payment_intent": intent["id"]},
        status="open",
        status_transitions={"canceled_at": None, "paid_at": None},
    )
    return intent


def payment_of(account: Account, *, intent: str) -> Json | None:
    """The invoice payment an intent belongs to; None when the intent pays no invoice."""
    return next(account.store.newest_first("invoice_payment", payment_intent=intent), None)


def _paid(account: Account, invoice: Json) -> Json:
    transitions = {**invoice["status_transitions"], "paid_at": account.now}
    return account.store.change(
        invoice,
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
        auto_advance=False,
        next_payment_attempt=None,
        status="paid",
        status_transitions=transitions,
    )


def _paid_events(invoice: Json) -> list[Happening]:
    return [Happening("invoice.paid", invoice), Happening("invoice.payment_succeeded", invoice)]


def record(
    account: Account, invoice: Json, payment: payments.Payment, *, attempts: int, next_attempt: int | None = None
) -> tuple[Json, list[Happening]]:
    """Writes the n-th attempt's result on the invoice; `next_attempt` is when a failed one is tried again."""
    before = picture(account, invoice)
    invoice = account.store.change(invoice, attempt_count=attempts, attempted=True)
    if payment.outcome is Outcome.SUCCEEDS:
        invoice = _paid(account, invoice)
        settled = _settle_invoice_payment(account, invoice)
        return invoice, [
            Happening("invoice.updated", invoice, before),
            *_paid_events(invoice),
            Happening("invoice_payment.paid", settled),
        ]
    if payment.outcome is Outcome.PROCESSING:
        invoice = account.store.change(invoice, next_payment_attempt=None)
        return invoice, [Happening("invoice.updated", invoice, before)]
    invoice = account.store.change(invoice, next_payment_attempt=next_attempt, auto_advance=next_attempt is not None)
    happened = [Happening("invoice.updated", invoice, before), Happening("invoice.payment_failed", invoice)]
    if payment.outcome is Outcome.NEEDS_AUTHENTICATION:
        happened.append(Happening("invoice.payment_action_required", invoice))
    return invoice, happened


def _settle_invoice_payment(account: Account, invoice: Json) -> Json:
    payment = payment_of(account, intent=invoice["_intent"])
    assert payment
    return account.store.change(
        payment,
        amount_paid=payment["amount_requested"],
        status="paid",
        status_transitions={**payment["status_transitions"], "paid_at": account.now},
    )


def close(account: Account, invoice: Json, status: str) -> tuple[Json, list[Happening]]:
    """Gives an open invoice up: `void` or `uncollectible`. 400 when it is not open."""
    allowed = ("open", "uncollectible") if status == "void" else ("open",)
    if invoice["status"] not in allowed:
        raise StripeError(f"You can only pass in open invoices. This invoice isn't open: it is {invoice['status']}.")
    before = picture(account, invoice)
    moment = "voided_at" if status == "void" else "marked_uncollectible_at"
    invoice = account.store.change(
        invoice,
        auto_advance=False,
        next_payment_attempt=None,
        status=status,
        status_transitions={**invoice["status_transitions"], moment: account.now},
    )
    name = "invoice.voided" if status == "void" else "invoice.marked_uncollectible"
    return invoice, [Happening("invoice.updated", invoice, before), Happening(name, invoice)]
