"""Credit notes: /v1/credit_notes."""

from tollhouse_sandbox import credit_notes, events
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, paged
from tollhouse_sandbox.params import Parser, choice, clearable, list_of, merged, metadata, moment, positive, shape, text
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.store import Json


def _create(call: Call) -> Json:
    account = call.account
    invoice = account.require("invoice", call.params["invoice"], param="invoice")
    given = {**call.params, "metadata": merged({}, call.params.get("metadata", {}))}
    return credit_notes.create(account, invoice, _lines(call, invoice), given)


def _lines(call: Call, invoice: Json) -> list[Json]:
    given = call.params
    if ("amount" in given) == ("lines" in given):
        raise StripeError("One of `amount` or `lines` must be provided.", param="amount")
    if "lines" in given:
        lines = [_line(invoice, one, f"lines[{place}]") for place, one in enumerate(given["lines"])]
    else:
        lines = [credit_notes.line("custom_line_item", given["amount"], 1, description="Credit")]
    if sum(line["amount"] for line in lines) <= 0:
        raise StripeError("A credit note must be over a positive amount.", param="amount")
    return lines


def _line(invoice: Json, given: Json, param: str) -> Json:
    """A part of a line of the invoice (`amount`, or `quantity` of its units), or one of its own words and price."""
    more: Json = {"metadata": merged({}, given.get("metadata", {}))}
    if given["type"] == "custom_line_item":
        if "unit_amount" not in given or "description" not in given:
            raise StripeError(
                "A custom line item needs a description and a unit_amount.", param=f"{param}[unit_amount]"
            )
        quantity, unit = given.get("quantity", 1), given["unit_amount"]
        more |= {"description": given["description"], "unit_amount": unit, "unit_amount_decimal": str(unit)}
        return credit_notes.line("custom_line_item", quantity * unit, quantity, **more)
    wanted = given.get("invoice_line_item", "")
    billed = next((line for line in invoice["lines"] if line["id"] == wanted), None)
    if billed is None:
        raise missing("invoice line item", wanted, param=f"{param}[invoice_line_item]", status=400)
    whole = billed["amount"] - sum(taken["amount"] for taken in billed["discount_amounts"])
    quantity = given.get("quantity")
    amount = given.get("amount", whole if quantity is None else whole * quantity // (billed["quantity"] or 1))
    if amount > whole:
        raise StripeError(f"The line {wanted} was billed with {whole}.", param=f"{param}[amount]")
    more |= {"description": billed["description"], "invoice_line_item": wanted}
    return credit_notes.line("invoice_line_item", amount, quantity, **more)


def _preview(call: Call) -> Json:
    with call.account.supposing():
        return _create(call)


def _update(call: Call) -> Json:
    account, given, note = call.account, call.params, call.target("credit_note")
    before = events.picture(account, note)
    changes = {name: given[name] for name in ("memo",) if name in given}
    if "metadata" in given:
        changes["metadata"] = merged(note["metadata"], given["metadata"])
    note = account.store.change(note, **changes)
    events.updated(account, "credit_note.updated", note, before)
    return note


def _listed_lines(call: Call) -> Page:
    return paged(call, "credit_note_line_item", iter(call.target("credit_note")["lines"]))


_LINE = shape(
    {
        "amount": positive,
        "description": text,
        "invoice_line_item": text,
        "metadata": metadata,
        "quantity": positive,
        "type": choice("custom_line_item", "invoice_line_item"),
        "unit_amount": positive,
    },
    ("type",),
)
_CREATED: dict[str, Parser] = {
    "amount": positive,
    "credit_amount": positive,
    "effective_at": moment,
    "email_type": choice("credit_note", "none"),
    "invoice": text,
    "lines": list_of(_LINE),
    "memo": text,
    "metadata": metadata,
    "out_of_band_amount": positive,
    "reason": choice("duplicate", "fraudulent", "order_change", "product_unsatisfactory"),
    "refund_amount": positive,
    "refunds": list_of(shape({"amount_refunded": positive, "refund": text, "type": choice("refund")}, ("refund",))),
}
_PATH = "/v1/credit_notes"

OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATED, ("invoice",)),
    usual.list_of("credit_note", "customer", "invoice"),
    Operation("GET", _PATH + "/preview", _preview, _CREATED, ("invoice",)),
    usual.one("credit_note"),
    Operation("POST", _PATH + "/{id}", _update, {"memo": clearable(text), "metadata": metadata}),
    Operation("POST", _PATH + "/{id}/void", lambda call: credit_notes.void(call.account, call.target("credit_note"))),
    Operation("GET", _PATH + "/{id}/lines", _listed_lines, PAGING),
]
