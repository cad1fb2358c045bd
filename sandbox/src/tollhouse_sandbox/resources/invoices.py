"""Invoices as they are read, finalised, paid, sent and given up, and their payments. `draft_invoices` makes them."""

from tollhouse_sandbox import dunning, events, invoices, payment_methods, subscriptions
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import DATED, PAGING, Call, Handler, Operation, Page, fits, page, paged
from tollhouse_sandbox.params import choice, flag, moments, shape, text, within
from tollhouse_sandbox.store import Json


def _list(call: Call) -> Page:
    wanted = call.params

    def keep(invoice: Json) -> bool:
        named = invoices.subscription_id(invoice)
        return (
            fits(invoice, wanted, "customer", "status", "collection_method")
            and wanted.get("subscription") in (None, named)
            and ("due_date" not in wanted or within(invoice["due_date"] or -1, wanted["due_date"]))
        )

    return page(call, "invoice", keep)


def _pay(call: Call) -> Json:
    account, invoice = call.account, call.target("invoice")
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid")
    if invoice["status"] == "draft":
        invoice = _finalised(account, invoice)
    if invoice["status"] == "paid":  # there was nothing to pay
        return invoice
    if invoice["status"] != "open":
        raise StripeError(f"You cannot pay an invoice that is {invoice['status']}.")
    if call.params.get("paid_out_of_band"):
        before = dunning.billed(account, invoice)
        invoice, happened = invoices.pay_out_of_band(account, invoice)
        dunning.conclude(account, invoice, happened, before, automatic=False)
        return account.require("invoice", invoice["id"])
    method = None
    if "payment_method" in call.params:
        customer = account.require("customer", invoice["customer"])
        method = payment_methods.owned(account, call.params["payment_method"], customer, param="payment_method")
    payment = subscriptions.pay_invoice(account, invoice, method, off_session=call.params.get("off_session", True))
    if payment.error:
        raise payment.error.keeping()
    return account.require("invoice", invoice["id"])


def _finalised(account: Account, invoice: Json) -> Json:
    subscriptions.finalise_draft(account, invoice, collected=False)
    return account.require("invoice", invoice["id"])


def _finalise(call: Call) -> Json:
    account, invoice = call.account, call.target("invoice")
    if invoice["status"] != "draft":
        raise StripeError("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    if "auto_advance" in call.params:
        invoice = account.store.change(invoice, auto_advance=call.params["auto_advance"])
    invoice = _finalised(account, invoice)
    return account.store.change(invoice, next_payment_attempt=invoices.first_attempt(account, invoice))


def _send(call: Call) -> Json:
    account, invoice = call.account, call.target("invoice")
    if invoice["collection_method"] != "send_invoice":
        raise StripeError("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] == "draft":
        invoice = _finalised(account, invoice)
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise StripeError(f"You cannot send an invoice that is {invoice['status']}.")
    events.emit_all(account, invoices.sent(account, invoice))
    return account.require("invoice", invoice["id"])


def _close(status: str) -> Handler:
    def close(call: Call) -> Json:
        return subscriptions.close_invoice(call.account, call.target("invoice"), status)

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
            "due_date": moments,
            "status": choice("draft", "open", "paid", "uncollectible", "void"),
            "subscription": text,
        },
    ),
    Operation("GET", _PATH + "/{id}", lambda call: call.target("invoice")),
    Operation("GET", _PATH + "/{id}/lines", _lines, PAGING),
    Operation(
        "POST", _PATH + "/{id}/pay", _pay, {"off_session": flag, "paid_out_of_band": flag, "payment_method": text}
    ),
    Operation("POST", _PATH + "/{id}/send", _send),
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
]
