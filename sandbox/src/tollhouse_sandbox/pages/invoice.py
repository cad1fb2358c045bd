"""The hosted page of an invoice: what it bills, paying it while it is open, and the same for printing."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox import hosted
from tollhouse_sandbox.errors import AuthenticationRequired, StripeError
from tollhouse_sandbox.money import written
from tollhouse_sandbox.pages.card_choices import USUAL, card_choices
from tollhouse_sandbox.pages.rendering import missing, page, posted
from tollhouse_sandbox.pages.wording import day, invoice_state, payment_method
from tollhouse_sandbox.payments import DEBIT_SETTLES_AFTER
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.sandbox import Sandbox

NOT_THE_HOLDER = "The bank could not confirm it is you. Nothing was charged; try again or choose another card."


def invoice_routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        return _page(sandbox, request.path_params["id"], template="invoice.html")

    async def to_print(request: Request) -> Response:
        return _page(sandbox, request.path_params["id"], template="invoice_print.html")

    async def pay(request: Request) -> Response:
        return _pay(sandbox, request.path_params["id"], await posted(request))

    return [
        Route("/invoice/{id}", show),
        Route("/invoice/{id}", pay, methods=["POST"]),
        Route("/invoice/{id}/print", to_print),
    ]


def _pay(sandbox: Sandbox, invoice_id: str, fields: Mapping[str, str]) -> Response:
    card, answer = fields.get("card", ""), fields.get("answer")
    if answer == "fail":
        return _page(sandbox, invoice_id, refusal=StripeError(NOT_THE_HOLDER, status=402), chosen=card)
    try:
        with sandbox.step(invoice_id):
            hosted.pay_invoice(sandbox.account, invoice_id, card, authenticated=answer == "complete")
    except AuthenticationRequired:
        invoice = sandbox.account.require("invoice", invoice_id)
        amount = written(invoice["amount_remaining"], invoice["currency"])
        kept = {"card": card}
        return page("authenticate.html", path=f"/invoice/{invoice_id}", kept=kept, what=f"{amount} go through")
    except StripeError as refusal:
        return _page(sandbox, invoice_id, refusal=refusal, chosen=card)
    return RedirectResponse(f"/invoice/{invoice_id}", status_code=303)


def _page(
    sandbox: Sandbox,
    invoice_id: str,
    *,
    template: str = "invoice.html",
    refusal: StripeError | None = None,
    chosen: str = "",
) -> Response:
    account = sandbox.account
    found = account.store.get("invoice", invoice_id)
    if found is None or found["status"] == "draft":
        return missing("There is no invoice at this address. Perhaps the sandbox was reset.")
    invoice, currency = public(account, found), found["currency"]
    saved, arrives = hosted.saved_method(account, found), hosted.debit_arrives(account, found)
    return page(
        template,
        status=refusal.status if refusal else 200,
        error=refusal.message if refusal else "",
        id=invoice_id,
        merchant=account.merchant,
        number=invoice["number"] or "",
        billed_to=[line for line in (invoice["customer_name"], invoice["customer_email"]) if line],
        date=day(invoice["effective_at"] or invoice["created"]),
        due=day(invoice["due_date"]) if invoice["due_date"] else "",
        paid_on=day(invoice["status_transitions"]["paid_at"]) if invoice["status"] == "paid" else "",
        state=invoice_state(invoice["status"]),
        description=invoice["description"] or "",
        lines=[_line(line, currency) for line in found["lines"]],
        sums=_sums(invoice),
        remaining=written(invoice["amount_remaining"], currency),
        arrives=day(arrives) if arrives else "",
        payable=invoice["status"] == "open" and not arrives,
        saved=(saved["id"], payment_method(saved)) if saved else None,
        cards=card_choices(hosted.offered_cards(), day(account.now + DEBIT_SETTLES_AFTER)),
        chosen=chosen or (saved["id"] if saved else USUAL[0]),
    )


def _line(line: Mapping[str, Any], currency: str) -> dict[str, Any]:
    period = line["period"]
    begin, end = day(period["start"]), day(period["end"])
    return {
        "what": line["description"] or "",
        "quantity": line["quantity"],
        "period": f"{begin} to {end}" if begin != end else begin,
        "amount": written(line["amount"], currency),
    }


def _sums(invoice: Mapping[str, Any]) -> list[tuple[str, str]]:
    """From the subtotal to what is still to be paid; what changes nothing is left out."""
    off = sum(taken["amount"] for taken in invoice["total_discount_amounts"] or [])
    balance = invoice["amount_due"] - invoice["total"]
    told = [
        ("Subtotal", invoice["subtotal"], off),
        ("Discount", -off, off),
        ("Total", invoice["total"], True),
        ("From the balance", balance, balance and invoice["total"] > 0),
        ("Paid", -invoice["amount_paid"], invoice["amount_paid"]),
        ("To pay", invoice["amount_remaining"], True),
    ]
    return [(word, written(amount, invoice["currency"])) for word, amount, counts in told if counts]
