"""`invoice_creation`: the invoice of a purchase that was paid on a page."""

from tollhouse_sandbox import currency_options, drafts, dunning, events, invoice_items, invoices, invoicing
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.payments import Payment
from tollhouse_sandbox.store import Json

_COPIED = ("custom_fields", "description", "footer")


def bill(
    account: Account, session: Json, customer: Json, method: Json | None, discounts: list[str], intent: Json
) -> tuple[Json, Payment | None]:
    """Bills what the page sold, and collects it at once with the card given there; `intent` are its fields."""
    data = session["invoice_creation"]["invoice_data"]
    items = [_item(account, customer, line) for line in session["_line_items"]]
    invoice = drafts.by_hand(
        account,
        account.require("customer", customer["id"]),
        None,
        items,
        currency=session["currency"],
        discounts=discounts,
        metadata=data["metadata"] or {},
        **{name: data[name] for name in _COPIED},
    )
    happened = [*(Happening("invoiceitem.created", item) for item in items), Happening("invoice.created", invoice)]
    invoice, finalised = invoices.finalise(account, invoice)
    happened += finalised
    payment = None
    if invoice["status"] == "open":
        account.store.change(account.require("payment_intent", invoice["_intent"]), **intent)
        payment, attempted = dunning.collect(
            account, invoice, method, automatic=False, off_session=False, authenticated=True
        )
        happened += attempted
    events.emit_all(account, happened)
    return account.require("invoice", invoice["id"]), payment


def _item(account: Account, customer: Json, line: Json) -> Json:
    return invoice_items.make(
        account,
        customer=customer["id"],
        amount=line["amount_subtotal"],
        currency=line["currency"],
        description=line["description"],
        pricing=invoicing.pricing(currency_options.charged(account, line["price"], line["currency"])),
        quantity=line["quantity"],
    )
