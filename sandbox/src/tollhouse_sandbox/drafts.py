"""Draft invoices: made, changed, thrown away. Changes the state; emits nothing itself."""

from collections.abc import Sequence
from typing import Any

from tollhouse_sandbox import automatic_tax, customers, debits, discounts, ids, invoice_items, invoicing
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.store import Json


def for_subscription(
    account: Account,
    subscription: Json,
    lines: Sequence[Json],
    *,
    reason: str,
    period: tuple[int, int],
    finalises_at: int | None = None,
) -> Json:
    """Stores a draft of these lines and of every invoice item that waits for the subscription."""
    invoice_id = ids.new("invoice")
    days = subscription["days_until_due"]
    stamped = _lines(account, invoice_id, invoice_items.waiting(account, subscription), lines)
    stamped, taken = discounts.apply(account, subscription, stamped)
    debits.note_lines(account, subscription["id"], stamped)
    return _store(
        account,
        account.require("customer", subscription["customer"]),
        stamped,
        id=invoice_id,
        auto_advance=finalises_at is not None,
        automatic_tax=automatic_tax.of_invoice(enabled=subscription["automatic_tax"]["enabled"]),
        automatically_finalizes_at=finalises_at,
        billing_reason=reason,
        collection_method=subscription["collection_method"],
        currency=subscription["currency"],
        discounts=[one.discount for one in taken if not one.of_line],
        due_date=None if days is None else account.now + days * DAY,
        parent=_parent(subscription),
        period_end=period[1],
        period_start=period[0],
        total_discount_amounts=discounts.totals(taken),
    )


def by_hand(account: Account, customer: Json, subscription: Json | None, items: list[Json], **given: Any) -> Json:
    """Stores a draft of these invoice items, with the fields `given`; `currency` is one of them."""
    invoice_id = ids.new("invoice")
    lines = _lines(account, invoice_id, items, ())
    parent = _parent(subscription) if subscription else None
    invoice = _store(account, customer, lines, id=invoice_id, billing_reason="manual", parent=parent, **given)
    return rewritten(account, invoice, lines)


def _lines(account: Account, invoice_id: str, items: Sequence[Json], lines: Sequence[Json]) -> list[Json]:
    """The lines of items, which now belong to the invoice, and other lines, as the invoice holds them."""
    for item in items:
        account.store.change(item, invoice=invoice_id)
    both = [*map(invoicing.invoice_item_line, items), *lines]
    return [{"id": ids.new("line_item"), **line, "invoice": invoice_id} for line in both]


def _store(account: Account, customer: Json, lines: list[Json], **more: Any) -> Json:
    fields: Json = {
        **_UNUSED,
        **_billed_to(customer),
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatically_finalizes_at": None,
        "collection_method": "charge_automatically",
        "discounts": [],
        "effective_at": None,
        "ending_balance": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "lines": lines,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "period_end": account.now,
        "period_start": account.now,
        "starting_balance": customer["balance"],
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "total_discount_amounts": [],
        "_intent": None,
        "_lapses_at": None,
        "_overdue": False,
        **more,
    }
    customers.deals_in(account, customer["id"], fields["currency"])
    return account.born("invoice", **fields, **_amounts(lines))


def _amounts(lines: list[Json]) -> Json:
    """What a draft says of its sums, before and after discounts."""
    subtotal = sum(line["amount"] for line in lines)
    total = subtotal - sum(map(invoicing.discount_of, lines))
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


def editable(account: Account, invoice_id: str, param: str = "id") -> Json:
    """The invoice, if it is a draft. Raises 400 when it is not."""
    invoice = account.require("invoice", invoice_id, param=param)
    if invoice["status"] != "draft":
        raise StripeError(f"Invoice {invoice_id} is no longer editable: it is {invoice['status']}.", param=param)
    return invoice


def take(account: Account, invoice: Json, items: Sequence[Json]) -> Json:
    """Adds invoice items to a draft."""
    return rewritten(account, invoice, [*invoice["lines"], *_lines(account, invoice["id"], items, ())])


def follow(account: Account, invoice: Json, item: Json) -> Json:
    """Brings the line of an item that has changed up to date; it keeps its id."""
    fresh = invoicing.invoice_item_line(item)
    lines = [{**line, **fresh} if _item_of(line) == item["id"] else line for line in invoice["lines"]]
    return rewritten(account, invoice, lines)


def lines_of(invoice: Json) -> dict[str, str]:
    """The lines of invoice items: line id → item id."""
    return {line["id"]: item for line in invoice["lines"] if (item := _item_of(line))}


def leave_out(account: Account, invoice: Json, items: Sequence[str]) -> Json:
    """Takes the lines of these invoice items off a draft."""
    return rewritten(account, invoice, [line for line in invoice["lines"] if _item_of(line) not in items])


def _item_of(line: Json) -> str | None:
    kind = line["parent"]["type"]
    item: str | None = line["parent"][kind]["invoice_item"]
    return item


def discard(account: Account, invoice: Json) -> None:
    """Deletes a draft that bills no subscription; its items wait again. Raises 400 for any other invoice."""
    if invoice["status"] != "draft" or invoice["parent"]:
        raise StripeError("You can only delete draft invoices that do not bill a subscription.")
    for item in list(account.store.oldest_first("invoiceitem", invoice=invoice["id"])):
        account.store.change(item, invoice=None)
    account.store.remove(invoice)


def rewritten(account: Account, invoice: Json, lines: list[Json]) -> Json:
    """The draft with these lines: what its discounts take off and the sums are made again."""
    lines, taken = discounts.discounted(lines, discounts.given_to(account, invoice, lines), invoice["currency"])
    sums = discounts.totals(taken)
    return account.store.change(invoice, lines=lines, total_discount_amounts=sums, **_amounts(lines))


_UNUSED: Json = {
    "account_country": "DE",
    "account_name": "Tollhouse sandbox",
    "account_tax_ids": None,
    "application": None,
    "automatic_tax": automatic_tax.of_invoice(enabled=False),
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
