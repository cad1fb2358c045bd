"""Invoices, their lines and payments: /v1/invoices, /v1/invoice_payments, /v1/invoiceitems."""

from tollhouse_sandbox import events, invoices, payment_methods, subscriptions
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import DATED, PAGING, Call, Handler, Operation, Page, fits, page, paged
from tollhouse_sandbox.params import choice, flag, merged, metadata, shape, text
from tollhouse_sandbox.store import Json


def _list(call: Call) -> Page:
    wanted = call.params

    def keep(invoice: Json) -> bool:
        named = invoices.subscription_id(invoice)
        return fits(invoice, wanted, "customer", "status", "collection_method") and (
            wanted.get("subscription") in (None, named)
        )

    return page(call, "invoice", keep)


def _update(call: Call) -> Json:
    invoice = call.target("invoice")
    before = events.picture(call.account, invoice)
    changed = merged(invoice["metadata"], call.params.get("metadata", {}))
    invoice = call.account.store.change(invoice, metadata=changed)
    events.updated(call.account, "invoice.updated", invoice, before)
    return invoice


def _pay(call: Call) -> Json:
    account, invoice = call.account, call.target("invoice")
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid")
    if invoice["status"] == "draft":
        invoice = _finalise(call)
    if invoice["status"] != "open":
        raise StripeError(f"You cannot pay an invoice that is {invoice['status']}.")
    method = None
    if "payment_method" in call.params:
        customer = account.require("customer", invoice["customer"])
        method = payment_methods.owned(account, call.params["payment_method"], customer, param="payment_method")
    payment = subscriptions.pay_invoice(account, invoice, method, off_session=call.params.get("off_session", True))
    if payment.error:
        raise payment.error.keeping()
    return account.require("invoice", invoice["id"])


def _finalise(call: Call) -> Json:
    account, invoice = call.account, call.target("invoice")
    if invoice["status"] != "draft":
        raise StripeError("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    subscriptions.finalise_draft(account, invoice, collected=False)
    return account.require("invoice", invoice["id"])


def _close(status: str) -> Handler:
    def close(call: Call) -> Json:
        invoice, happened = invoices.close(call.account, call.target("invoice"), status)
        events.emit_all(call.account, happened)
        return invoice

    return close


def _lines(call: Call) -> Page:
    return paged(call, "line_item", iter(call.target("invoice")["lines"]))


def _payments(call: Call) -> Page:
    wanted = call.params
    intent = wanted.get("payment", {}).get("payment_intent")
    if "payment" in wanted and intent is None:
        raise StripeError(
            "Missing required param: payment[payment_intent].",
            code="parameter_missing",
            param="payment[payment_intent]",
        )

    def keep(payment: Json) -> bool:
        paid_by = payment["payment"]["payment_intent"]
        return fits(payment, wanted, "invoice", "status") and intent in (None, paid_by)

    return page(call, "invoice_payment", keep)


def _items(call: Call) -> Page:
    wanted = call.params

    def keep(item: Json) -> bool:
        pending = item["invoice"] is None
        return fits(item, wanted, "customer", "invoice") and bool(wanted.get("pending", pending) == pending)

    return page(call, "invoiceitem", keep)


_PATH = "/v1/invoices"
OPERATIONS = [
    Operation(
        "GET",
        _PATH,
        _list,
        {
            **DATED,
            "collection_method": choice("charge_automatically", "send_invoice"),
            "customer": text,
            "status": choice("draft", "open", "paid", "uncollectible", "void"),
            "subscription": text,
        },
    ),
    Operation("GET", _PATH + "/{id}", lambda call: call.target("invoice")),
    Operation("POST", _PATH + "/{id}", _update, {"metadata": metadata}),
    Operation("GET", _PATH + "/{id}/lines", _lines, PAGING),
    Operation("POST", _PATH + "/{id}/pay", _pay, {"off_session": flag, "payment_method": text}),
    Operation("POST", _PATH + "/{id}/finalize", _finalise, {"auto_advance": flag}),
    Operation("POST", _PATH + "/{id}/void", _close("void")),
    Operation("POST", _PATH + "/{id}/mark_uncollectible", _close("uncollectible")),
    Operation(
        "GET",
        "/v1/invoice_payments",
        _payments,
        {
            **DATED,
            "invoice": text,
            "payment": shape({"type": choice("payment_intent"), "payment_intent": text}, ("type",)),
            "status": choice("canceled", "open", "paid"),
        },
    ),
    Operation("GET", "/v1/invoice_payments/{id}", lambda call: call.target("invoice_payment")),
    Operation("GET", "/v1/invoiceitems", _items, {**DATED, "customer": text, "invoice": text, "pending": flag}),
    Operation("GET", "/v1/invoiceitems/{id}", lambda call: call.target("invoiceitem")),
]
