"""What each item of a subscription was last billed for: with flexible billing, a credit is a share of that."""

from collections.abc import Iterable

from tollhouse_sandbox.account import Account
from tollhouse_sandbox.invoicing import Debit, discount_of
from tollhouse_sandbox.store import Json


def note_lines(account: Account, subscription: str, lines: Iterable[Json]) -> None:
    """Notes the lines of a bill that are for items' periods."""
    billed: dict[str, Json | None] = {}
    for line in lines:
        details = line["parent"]["subscription_item_details"]
        if details and details["invoice_item"] is None:
            amount = line["amount"] - discount_of(line)
            billed[details["subscription_item"]] = _debit(amount, line, invoice=line["invoice"], line=line["id"])
    _note(account, subscription, billed)


def note_pending(account: Account, subscription: str, item: str, charged: Json | None) -> None:
    """Notes what a change of an item charges for the rest of its period; None: nothing."""
    debit = _debit(charged["amount"], charged, invoice_item=charged["id"]) if charged else None
    _note(account, subscription, {item: debit})


def _debit(amount: int, of: Json, **where: str) -> Json:
    return {"amount": amount, "start": of["period"]["start"], "end": of["period"]["end"], **where}


def _note(account: Account, subscription: str, billed: dict[str, Json | None]) -> None:
    body = account.require("subscription", subscription)
    items = [{**item, "_debit": billed[item["id"]]} if item["id"] in billed else item for item in body["items"]]
    if billed:
        account.store.change(body, items=items)


def last(item: Json) -> Debit:
    """What an item was last billed for; nothing, if it never was or was given back."""
    debit = item["_debit"]
    if debit is None:
        return Debit(0, item["current_period_start"], item["current_period_end"])
    return Debit(debit["amount"], debit["start"], debit["end"])


def credited(account: Account, item: Json) -> Json | None:
    """Stripe's `credited_items` of a credit for that debit: an item that still waits, or a line of an invoice."""
    debit = item["_debit"]
    if debit is None:
        return None
    if "line" in debit:
        return _on_invoice(debit["invoice"], debit["line"])
    pending = account.store.get("invoiceitem", debit["invoice_item"])
    if pending is None:
        return None
    if pending["invoice"] is None:
        return {"type": "invoice_item", "invoice_item": pending["id"], "invoice_line_item_details": None}
    for line in account.require("invoice", pending["invoice"])["lines"]:
        details = line["parent"]["subscription_item_details"]
        if details and details["invoice_item"] == pending["id"]:
            return _on_invoice(line["invoice"], line["id"])
    return None


def _on_invoice(invoice: str, line: str) -> Json:
    return {
        "type": "invoice_line_items",
        "invoice_item": None,
        "invoice_line_item_details": {"invoice": invoice, "invoice_line_items": [line]},
    }
