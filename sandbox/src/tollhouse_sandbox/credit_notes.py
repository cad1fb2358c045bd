"""Credit notes: what a finalised invoice asked for too much, taken off it or given back."""

from typing import Any

from tollhouse_sandbox import dunning, events, ids, invoices, refunds
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.store import Json


def create(account: Account, invoice: Json, lines: list[Json], given: Json) -> Json:
    """Issues a note over the sum of `lines`. Raises 400 when the invoice does not hold as much.

    What is not paid yet is taken off the invoice. The rest has to be accounted for to the cent: by a new refund
    (`refund_amount`), by `refunds` made before, on the customer's balance (`credit_amount`) or elsewhere
    (`out_of_band_amount`).
    """
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise StripeError(f"You cannot credit an invoice that is {invoice['status']}.", param="invoice")
    amount = sum(line["amount"] for line in lines)
    before_payment = min(amount, invoice["amount_remaining"])
    after_payment = amount - before_payment
    made_before = [_link(account, invoice, one, place) for place, one in enumerate(given.get("refunds", []))]
    _check(account, invoice, given, after_payment, sum(one["amount_refunded"] for one in made_before))
    note = _store(account, invoice, lines, given, before_payment, after_payment)
    made = []
    if given.get("refund_amount"):
        charge = account.require("charge", _charge(account, invoice))
        refund = refunds.refund(account, charge, amount=given["refund_amount"])
        made.append({"amount_refunded": refund["amount"], "refund": refund["id"], "type": "refund"})
    note = account.store.change(note, refunds=[*made_before, *made])
    if given.get("credit_amount"):
        _credit_balance(account, invoice["customer"], given["credit_amount"])
    events.emit(account, "credit_note.created", note)
    _take_off(account, invoice, before_payment, after_payment)
    return account.require("credit_note", note["id"])


def _check(account: Account, invoice: Json, given: Json, after_payment: int, linked: int) -> None:
    accounted = linked + sum(given.get(name, 0) for name in ("credit_amount", "out_of_band_amount", "refund_amount"))
    left = invoice["amount_paid"] - invoice["post_payment_credit_notes_amount"] - _refunded(account, invoice) + linked
    if after_payment > left:
        raise StripeError(
            f"The credit note amount is greater than what is left of the invoice: {left} of what was paid and "
            f"{invoice['amount_remaining']} of what was not.",
            param="amount",
        )
    if given.get("refund_amount") and not _charge(account, invoice):
        raise StripeError("This invoice was not paid by a charge that could be refunded.", param="refund_amount")
    if accounted != after_payment:
        raise StripeError(
            f"The sum of credit amount, refund amount and out of band amount ({accounted}) must equal the post payment "
            f"amount ({after_payment})."
        )


def _refunded(account: Account, invoice: Json) -> int:
    """What was given back of an invoice's payment by refunds that no credit note tells of."""
    told = {
        one["refund"]
        for note in account.store.newest_first("credit_note", invoice=invoice["id"])
        for one in note["refunds"]
    }
    charge = _charge(account, invoice)
    made = account.store.newest_first("refund", charge=charge) if charge else ()
    return sum(one["amount"] for one in made if one["id"] not in told and one["status"] not in ("failed", "canceled"))


def _charge(account: Account, invoice: Json) -> str:
    """The charge an invoice was paid by; empty when there is none."""
    intent = account.store.get("payment_intent", invoice["_intent"] or "")
    return (intent and intent["latest_charge"]) or ""


def _link(account: Account, invoice: Json, named: Json, place: int) -> Json:
    param = f"refunds[{place}][refund]"
    refund = account.require("refund", named["refund"], param=param)
    if refund["charge"] != _charge(account, invoice):
        raise StripeError(f"The refund {refund['id']} does not belong to the invoice's payment.", param=param)
    amount = named.get("amount_refunded", refund["amount"])
    return {"amount_refunded": amount, "refund": refund["id"], "type": "refund"}


def _store(
    account: Account, invoice: Json, lines: list[Json], given: Json, before_payment: int, after_payment: int
) -> Json:
    amount = before_payment + after_payment
    earlier = sum(1 for _ in account.store.newest_first("credit_note", invoice=invoice["id"]))
    note_id = ids.new("credit_note")
    kind = "mixed" if before_payment and after_payment else "pre_payment" if before_payment else "post_payment"
    fields: Json = {
        "amount": amount,
        "amount_shipping": 0,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": given.get("effective_at", account.now),
        "invoice": invoice["id"],
        "lines": [{"id": ids.new("credit_note_line_item"), **line} for line in lines],
        "memo": given.get("memo"),
        "metadata": given.get("metadata") or {},
        "number": f"{invoice['number']}-CN-{earlier + 1:02}",
        "out_of_band_amount": given.get("out_of_band_amount"),
        "pdf": f"{account.url}/credit_notes/{note_id}/pdf",
        "post_payment_amount": after_payment,
        "pre_payment_amount": before_payment,
        "pretax_credit_amounts": [],
        "reason": given.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": kind,
        "voided_at": None,
    }
    return account.born("credit_note", id=note_id, **fields)


def _credit_balance(account: Account, customer_id: str, amount: int) -> None:
    customer = account.require("customer", customer_id)
    before = events.picture(account, customer)
    customer = account.store.change(customer, balance=customer["balance"] - amount)
    events.updated(account, "customer.updated", customer, before)


def _take_off(account: Account, invoice: Json, before_payment: int, after_payment: int) -> None:
    """Writes the amounts on the invoice; one of which nothing is left to pay is paid, and its subscription follows."""
    before = dunning.billed(account, invoice)
    _, happened = invoices.credit(account, invoice, before_payment, after_payment)
    dunning.conclude(account, invoice, happened, before, automatic=False)


def void(account: Account, note: Json) -> Json:
    """Takes a note back whose invoice is still to be paid: that asks for the amount again. Raises 400 otherwise."""
    invoice = account.require("invoice", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open" or note["post_payment_amount"]:
        raise StripeError("You can only void a credit note that was issued for an invoice that is still open.")
    note = account.store.change(note, status="void", voided_at=account.now)
    events.emit(account, "credit_note.voided", note)
    _take_off(account, invoice, -note["pre_payment_amount"], 0)
    return note


def line(kind: str, amount: int, quantity: int | None, **more: Any) -> Json:
    """One line of a note, still without its id; `kind` is its `type`."""
    return {
        "object": "credit_note_line_item",
        "amount": amount,
        "description": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": None,
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": kind,
        "unit_amount": None,
        "unit_amount_decimal": None,
        **more,
    }
