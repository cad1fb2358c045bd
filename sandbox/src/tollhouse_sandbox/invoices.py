"""Invoices: finalised, paid, sent, given up. Changes the state and says what happened; emits nothing itself."""

from tollhouse_sandbox import invoicing, payments
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Outcome
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import Happening, picture
from tollhouse_sandbox.lifecycle import FINALISED_AFTER
from tollhouse_sandbox.store import Json


def subscription_id(invoice: Json) -> str | None:
    """The subscription an invoice bills; None for one that bills none."""
    parent = invoice["parent"]
    return parent["subscription_details"]["subscription"] if parent else None


def subscription_of(account: Account, invoice: Json) -> Json | None:
    named = subscription_id(invoice)
    return account.require("subscription", named) if named else None


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
        hosted_invoice_url=f"{account.url}/invoice/{invoice['id']}",
        invoice_pdf=f"{account.url}/invoice/{invoice['id']}/print",
        number=invoice["number"] or f"{customer['invoice_prefix']}-{sequence:04}",
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


def pay_out_of_band(account: Account, invoice: Json) -> tuple[Json, list[Happening]]:
    """Marks an open invoice as paid elsewhere: no money moves here, and its intent is called off."""
    before = picture(account, invoice)
    called_off = _call_off(account, invoice)
    invoice = account.store.change(_paid(account, invoice), amount_paid_off_stripe=invoice["amount_due"])
    return invoice, [*called_off, Happening("invoice.updated", invoice, before), *_paid_events(invoice)]


def credit(account: Account, invoice: Json, unpaid: int, paid: int) -> tuple[Json, list[Happening]]:
    """Takes a credit note's `unpaid` part off what is due, and notes its `paid` part; paid if nothing is left.

    A note that is taken back has a negative part.
    """
    before = picture(account, invoice)
    invoice = account.store.change(
        invoice,
        amount_due=invoice["amount_due"] - unpaid,
        amount_remaining=invoice["amount_remaining"] - unpaid,
        pre_payment_credit_notes_amount=invoice["pre_payment_credit_notes_amount"] + unpaid,
        post_payment_credit_notes_amount=invoice["post_payment_credit_notes_amount"] + paid,
    )
    if not unpaid or invoice["status"] == "paid":
        return invoice, [Happening("invoice.updated", invoice, before)]
    if not invoice["amount_remaining"]:
        called_off = _call_off(account, invoice)
        return _paid(account, invoice), [
            *called_off,
            Happening("invoice.updated", invoice, before),
            *_paid_events(invoice),
        ]
    intent = account.require("payment_intent", invoice["_intent"])
    payment = payment_of(account, intent=intent["id"])
    assert payment
    account.store.change(intent, amount=invoice["amount_remaining"])
    account.store.change(payment, amount_requested=invoice["amount_remaining"])
    return invoice, [Happening("invoice.updated", invoice, before)]


def first_attempt(account: Account, invoice: Json) -> int | None:
    """When an open invoice that advances by itself is first tried; None when it waits for somebody."""
    waits = invoice["status"] != "open" or invoice["collection_method"] == "send_invoice"
    return None if waits or not invoice["auto_advance"] else account.now + FINALISED_AFTER


def sent(account: Account, invoice: Json) -> list[Happening]:
    """What sending an open invoice to the customer causes; the sandbox sends no mail."""
    return [Happening("invoice.sent", account.require("invoice", invoice["id"]))]


def close(account: Account, invoice: Json, status: str, *, why: str = "user_forgiven") -> tuple[Json, list[Happening]]:
    """Gives an open invoice up: `void` or `uncollectible`, and `why` the latter. 400 when it is not open."""
    allowed = ("open", "uncollectible") if status == "void" else ("open",)
    if invoice["status"] not in allowed:
        raise StripeError(f"You can only pass in open invoices. This invoice isn't open: it is {invoice['status']}.")
    before = picture(account, invoice)
    moment = "voided_at" if status == "void" else "marked_uncollectible_at"
    called_off = _call_off(account, invoice) if status == "void" else []
    invoice = account.store.change(
        invoice,
        auto_advance=False,
        next_payment_attempt=None,
        status=status,
        status_details={"uncollectible": {"reason": why} if status == "uncollectible" else None},
        status_transitions={**invoice["status_transitions"], moment: account.now},
    )
    name = "invoice.voided" if status == "void" else "invoice.marked_uncollectible"
    return invoice, [*called_off, Happening("invoice.updated", invoice, before), Happening(name, invoice)]


def _call_off(account: Account, invoice: Json) -> list[Happening]:
    """Ends the intent and the payment of an invoice that is not to be collected any more."""
    intent = account.store.get("payment_intent", invoice["_intent"] or "")
    if intent is None or intent["status"] in ("processing", "succeeded"):
        return []
    payment = payment_of(account, intent=intent["id"])
    assert payment
    moments = {**payment["status_transitions"], "canceled_at": account.now}
    account.store.change(payment, status="canceled", status_transitions=moments)
    intent = account.store.change(
        intent, canceled_at=account.now, cancellation_reason="void_invoice", next_action=None, status="canceled"
    )
    return [Happening("payment_intent.canceled", intent)]
