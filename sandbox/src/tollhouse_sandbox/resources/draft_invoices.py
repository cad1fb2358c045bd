"""Invoices made by hand, and every draft as long as it is one: /v1/invoices, its lines added and removed."""

from tollhouse_sandbox import (
    automatic_tax,
    customers,
    drafts,
    events,
    invoice_items,
    invoices,
    payment_methods,
    redemption,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import DAY, FINALISED_AFTER
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import (
    choice,
    clearable,
    flag,
    list_of,
    merged,
    metadata,
    moment,
    positive,
    shape,
    text,
)
from tollhouse_sandbox.redemption import Purchase
from tollhouse_sandbox.resources.discounts import DISCOUNTS
from tollhouse_sandbox.resources.invoiceitems import CHARGE, charge, discount
from tollhouse_sandbox.store import Json

DEFAULT_CURRENCY = "eur"
"""What an invoice of nothing is in, for a customer who never bought anything."""

_FIELDS = {
    "auto_advance": flag,
    "automatic_tax": automatic_tax.PARAMETER,
    "automatically_finalizes_at": moment,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "custom_fields": clearable(list_of(shape({"name": text, "value": text}, ("name", "value")), at_most=4)),
    "days_until_due": positive,
    "default_payment_method": text,
    "description": clearable(text),
    "discounts": DISCOUNTS,
    "due_date": moment,
    "footer": clearable(text),
    "metadata": metadata,
    "number": text,
    "statement_descriptor": text,
}
_CREATE = {
    **_FIELDS,
    "currency": text,
    "customer": text,
    "pending_invoice_items_behavior": choice("exclude", "include"),
    "subscription": text,
}
_PLAIN = ("collection_method", "custom_fields", "description", "footer", "number", "statement_descriptor")
_ALWAYS_CHANGEABLE = frozenset(("auto_advance", "default_payment_method", "metadata", "expand"))


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    customer = account.require("customer", customers.existing(account, given["customer"])["id"])
    subscription = None
    if "subscription" in given:
        subscription = account.require("subscription", given["subscription"], param="subscription")
        if subscription["customer"] != customer["id"]:
            raise missing("subscription", subscription["id"], param="subscription", status=400)
    bills = subscription["currency"] if subscription else None
    currency = (given.get("currency") or bills or customer["currency"] or DEFAULT_CURRENCY).lower()
    if len(currency) != 3 or not currency.isalpha() or bills not in (None, currency):
        raise StripeError(f"Invalid currency: {currency}.", param="currency")
    items: list[Json] = []
    if given.get("pending_invoice_items_behavior") == "include":
        items = invoice_items.waiting_for_hand(account, customer, currency, given.get("subscription"))
    fields = _changes(account, customer, {"collection_method": "charge_automatically", "created": account.now}, given)
    invoice = drafts.by_hand(account, customer, subscription, items, currency=currency, **fields)
    invoice = _discounted(account, invoice, given)
    events.emit(account, "invoice.created", invoice)
    return invoice


def _discounted(account: Account, invoice: Json, given: Json) -> Json:
    """The draft with the discounts that a request names."""
    if "discounts" not in given:
        return invoice
    purchase = Purchase(invoice["currency"], invoice["subtotal"], invoice["customer"])
    holder = {"customer": invoice["customer"], "invoice": invoice["id"]}
    chosen = redemption.chosen(account, invoice["discounts"], given["discounts"], purchase, "discounts", **holder)
    return drafts.rewritten(account, account.store.change(invoice, discounts=chosen), invoice["lines"])


def _changes(account: Account, customer: Json, invoice: Json, given: Json) -> Json:
    """The fields of a draft that a request sets."""
    changes: Json = {name: given[name] for name in _PLAIN if name in given}
    changes |= _due(given, {**invoice, **changes})
    if "default_payment_method" in given:
        owned = payment_methods.owned(
            account, given["default_payment_method"], customer, param="default_payment_method"
        )
        changes["default_payment_method"] = owned["id"]
    if "automatic_tax" in given:
        changes["automatic_tax"] = automatic_tax.of_invoice(enabled=automatic_tax.asked(given))
    if "metadata" in given:
        changes["metadata"] = merged(invoice.get("metadata", {}), given["metadata"])
    if "automatically_finalizes_at" in given:
        if given["automatically_finalizes_at"] <= account.now:
            raise StripeError("The time must be in the future.", param="automatically_finalizes_at")
        changes |= {"auto_advance": True, "automatically_finalizes_at": given["automatically_finalizes_at"]}
    elif "auto_advance" in given:
        at = account.now + FINALISED_AFTER if given["auto_advance"] else None
        changes |= {"auto_advance": given["auto_advance"], "automatically_finalizes_at": at}
    return changes


def _due(given: Json, invoice: Json) -> Json:
    """The day by which a bill that is sent is to be paid; no other bill has one."""
    named = [name for name in ("days_until_due", "due_date") if name in given]
    if invoice["collection_method"] != "send_invoice":
        if named:
            raise StripeError(f"You can only set `{named[0]}` if collection_method is `send_invoice`.", param=named[0])
        return {"due_date": None}
    if len(named) > 1:
        raise StripeError("You may only specify one of these parameters: days_until_due, due_date.", param="due_date")
    if not named:
        if invoice.get("due_date"):
            return {}
        raise StripeError(
            "If collection_method is `send_invoice`, you must specify `days_until_due` or `due_date`.",
            param="days_until_due",
        )
    days = given.get("days_until_due", 0)
    return {"due_date": given.get("due_date", invoice["created"] + days * DAY)}


def _update(call: Call) -> Json:
    account, given, invoice = call.account, call.params, call.target("invoice")
    before = events.picture(account, invoice)
    fixed = sorted(set(given) - _ALWAYS_CHANGEABLE)
    if invoice["status"] != "draft" and fixed:
        raise StripeError(
            "Finalized invoices can't be updated in this way. "
            f"The following fields can't be updated: {', '.join(fixed)}.",
            param=fixed[0],
        )
    customer = account.require("customer", invoice["customer"])
    changes = _changes(account, customer, invoice, given)
    if invoice["status"] != "draft":
        changes.pop("due_date", None)
        changes.pop("automatically_finalizes_at", None)
    invoice = _discounted(account, account.store.change(invoice, **changes), given)
    if invoice["status"] == "open" and "auto_advance" in given:
        invoice = account.store.change(invoice, next_payment_attempt=invoices.first_attempt(account, invoice))
    events.updated(account, "invoice.updated", invoice, before)
    return invoice


def _delete(call: Call) -> Json:
    invoice = call.target("invoice")
    drafts.discard(call.account, invoice)
    events.emit(call.account, "invoice.deleted", invoice)
    return {**invoice, "deleted": True}


_LINE = shape({**CHARGE, "invoice_item": text})


def _add_lines(call: Call) -> Json:
    """Adds items that wait, or makes new ones; each line is the line of an invoice item."""
    account, given = call.account, call.params
    invoice = drafts.editable(account, call.path["id"])
    before = events.picture(account, invoice)
    items = [_line_item(call, invoice, line, f"lines[{place}]") for place, line in enumerate(given["lines"])]
    invoice = drafts.take(account, invoice, items)
    return _told(call, invoice, before)


def _line_item(call: Call, invoice: Json, given: Json, param: str) -> Json:
    account = call.account
    if "invoice_item" in given:
        item = account.require("invoiceitem", given["invoice_item"], param=f"{param}[invoice_item]")
        if item["invoice"] or item["customer"] != invoice["customer"] or item["currency"] != invoice["currency"]:
            raise StripeError(
                "An invoice takes items of its customer and currency that are not on another one.",
                param=f"{param}[invoice_item]",
            )
        return item
    fields = charge(account, given, invoice["currency"], param=param)
    if fields["currency"] != invoice["currency"]:
        raise StripeError(f"The price must be in {invoice['currency']}, as the invoice is.", param=param)
    period = given.get("period")
    item = invoice_items.make(
        account,
        customer=invoice["customer"],
        subscription=invoices.subscription_id(invoice),
        period=(period["start"], period["end"]) if period else None,
        metadata=merged({}, given.get("metadata") or {}),
        **fields,
    )
    item = discount(account, item, given, f"{param}[discounts]")
    events.emit(account, "invoiceitem.created", item)
    return item


def _remove_lines(call: Call) -> Json:
    """Takes lines off, and deletes their items or lets them wait for another invoice."""
    account, given = call.account, call.params
    invoice = drafts.editable(account, call.path["id"])
    before, known = events.picture(account, invoice), drafts.lines_of(invoice)
    for place, line in enumerate(given["lines"]):
        if line["id"] not in known:
            raise missing("line_item", line["id"], param=f"lines[{place}][id]", status=400)
        item = account.require("invoiceitem", known[line["id"]])
        if line["behavior"] == "unassign":
            account.store.change(item, invoice=None)
        else:
            account.store.remove(item)
            events.emit(account, "invoiceitem.deleted", item)
    invoice = drafts.leave_out(account, invoice, [known[line["id"]] for line in given["lines"]])
    return _told(call, invoice, before)


def _told(call: Call, invoice: Json, before: Json) -> Json:
    if "invoice_metadata" in call.params:
        changed = merged(invoice["metadata"], call.params["invoice_metadata"])
        invoice = call.account.store.change(invoice, metadata=changed)
    events.updated(call.account, "invoice.updated", invoice, before)
    return invoice


_PATH = "/v1/invoices"
_ADDED = {"invoice_metadata": metadata, "lines": list_of(_LINE)}
_REMOVED = shape({"id": text, "behavior": choice("delete", "unassign")}, ("id", "behavior"))
OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATE, ("customer",)),
    Operation("POST", _PATH + "/{id}", _update, _FIELDS),
    Operation("DELETE", _PATH + "/{id}", _delete),
    Operation(
        "POST",
        _PATH + "/{id}/add_lines",
        _add_lines,
        {"invoice_metadata": metadata, "lines": list_of(_LINE)},
        ("lines",),
    ),
    Operation(
        "POST",
        _PATH + "/{id}/remove_lines",
        _remove_lines,
        {"invoice_metadata": metadata, "lines": list_of(_REMOVED)},
        ("lines",),
    ),
]
