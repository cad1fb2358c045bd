"""Invoice items: /v1/invoiceitems."""

from decimal import Decimal

from tollhouse_sandbox import (
    currency_options,
    customers,
    drafts,
    events,
    invoice_items,
    invoices,
    invoicing,
    money,
    prices,
    redemption,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import has_ended
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    choice,
    clearable,
    decimal,
    flag,
    integer,
    merged,
    metadata,
    moment,
    positive,
    shape,
    signed_decimal,
    text,
)
from tollhouse_sandbox.redemption import Purchase
from tollhouse_sandbox.resources.discounts import DISCOUNTS
from tollhouse_sandbox.store import Json

PRICE_DATA = shape(
    {
        "currency": text,
        "product": text,
        "tax_behavior": choice("inclusive", "exclusive", "unspecified"),
        "unit_amount": positive,
        "unit_amount_decimal": decimal,
    },
    ("currency", "product"),
)
CHARGE = {
    "amount": integer,
    "description": clearable(text),
    "discountable": flag,
    "discounts": DISCOUNTS,
    "metadata": metadata,
    "period": shape({"start": moment, "end": moment}, ("start", "end")),
    "price_data": PRICE_DATA,
    "pricing": shape({"price": text}),
    "quantity": positive,
}
"""What one charge or credit may say, here and as a line of a draft."""
_UPDATE = {**CHARGE, "unit_amount_decimal": signed_decimal}
_CREATE = {**_UPDATE, "currency": text, "customer": text, "invoice": text, "subscription": text}
_VALUES = ("amount", "price_data", "pricing", "unit_amount_decimal")


def charge(account: Account, given: Json, currency: str, old: Json | None = None, param: str = "") -> Json:
    """What an item costs, as its fields. `currency` is that of an amount without a price; `old` what it was before."""
    named = [name for name in _VALUES if name in given]
    if len(named) > 1 or ("amount" in given and "quantity" in given):
        both = [*named, "quantity"][:2]
        message = f"You may only specify one of these parameters: {', '.join(both)}."
        raise StripeError(message, param=_within(param, both[1]))
    price = _price(account, given, param, currency)
    description = None
    if price:
        pricing, currency = invoicing.pricing(price), price["currency"]
        description = account.require("product", price["product"])["name"]
    elif named or old is None:
        each = given.get("amount", given.get("unit_amount_decimal", 0))
        pricing = {"type": "price_details", "price_details": None, "unit_amount_decimal": str(each)}
    else:
        pricing, description = old["pricing"], old["description"]
    quantity = 1 if old is None or "amount" in given else old["quantity"]
    if "quantity" in given:
        quantity = given["quantity"]
    amount = money.rounded(Decimal(pricing["unit_amount_decimal"]) * quantity)
    return {
        "amount": amount,
        "currency": currency,
        "description": given.get("description", description),
        "discountable": given.get("discountable", amount >= 0 if named or old is None else old["discountable"]),
        "pricing": pricing,
        "quantity": quantity,
    }


def _within(param: str, name: str) -> str:
    return f"{param}[{name}]" if param else name


def _price(account: Account, given: Json, param: str, currency: str) -> Json | None:
    """The one-time price an item names or describes."""
    if "price_data" in given:
        return prices.create(account, given["price_data"])
    if "price" not in given.get("pricing", {}):
        return None
    path = f"{_within(param, 'pricing')}[price]"
    price = account.require("price", given["pricing"]["price"], param=path)
    if price["recurring"]:
        raise StripeError(
            "The price specified is set to `type=recurring` but this field only accepts prices with `type=one_time`.",
            param=path,
        )
    return (
        currency_options.in_currency(price, currency, param=path)
        if currency_options.charges_in(price, currency)
        else price
    )


def _period(given: Json) -> tuple[int, int]:
    if given["end"] < given["start"]:
        raise StripeError("The period's end must not be before its start.", param="period[end]")
    return given["start"], given["end"]


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    customer = customers.existing(account, given["customer"])
    invoice = drafts.editable(account, given["invoice"], "invoice") if "invoice" in given else None
    subscription = _subscription(account, given)
    holders = [holder for holder in (invoice, subscription) if holder]
    for holder in holders:
        if holder["customer"] != customer["id"]:
            raise missing(holder["object"], holder["id"], param=holder["object"], status=400)
    if not any(name in given for name in _VALUES):
        raise StripeError("Missing required param: amount.", code="parameter_missing", param="amount")
    if "currency" not in given and not ("price_data" in given or "pricing" in given):
        raise StripeError("Missing required param: currency.", code="parameter_missing", param="currency")
    fields = charge(account, given, given.get("currency", "").lower())
    _check_currency(fields["currency"], [given.get("currency", ""), *(holder["currency"] for holder in holders)])
    if "period" in given:
        fields["period"] = _period(given["period"])
    item = invoice_items.make(
        account,
        customer=customer["id"],
        subscription=given.get("subscription") or (invoices.subscription_id(invoice) if invoice else None),
        metadata=merged({}, given.get("metadata") or {}),
        **fields,
    )
    item = discount(account, item, given)
    events.emit(account, "invoiceitem.created", item)
    if invoice:
        before = events.picture(account, invoice)
        events.updated(account, "invoice.updated", drafts.take(account, invoice, [item]), before)
    return account.require("invoiceitem", item["id"])


def discount(account: Account, item: Json, given: Json, param: str = "discounts") -> Json:
    """The item with the discounts of its own that a request names."""
    if "discounts" not in given:
        return item
    purchase = Purchase(item["currency"], item["amount"], item["customer"])
    holder = {"customer": item["customer"], "invoice_item": item["id"]}
    chosen = redemption.chosen(account, item["discounts"], given["discounts"], purchase, param, **holder)
    return account.store.change(item, discounts=chosen)


def _subscription(account: Account, given: Json) -> Json | None:
    if "subscription" not in given:
        return None
    subscription = account.require("subscription", given["subscription"], param="subscription")
    if has_ended(subscription["status"]):
        raise StripeError("You cannot add an invoice item to a subscription that has ended.", param="subscription")
    return subscription


def _check_currency(currency: str, others: list[str]) -> None:
    if len(currency) != 3 or not currency.isalpha():
        raise StripeError(f"Invalid currency: {currency}.", param="currency")
    for other in others:
        if other and other.lower() != currency:
            raise StripeError(
                f"The currency of an invoice item must be that of its price and invoice: {currency} is not {other}.",
                param="currency",
            )


def _open_item(call: Call) -> tuple[Json, Json | None]:
    """The item and the draft that holds it, if one does. Raises 400 when its invoice is past changing."""
    item = call.target("invoiceitem")
    return item, drafts.editable(call.account, item["invoice"]) if item["invoice"] else None


def _update(call: Call) -> Json:
    account, given = call.account, call.params
    item, invoice = _open_item(call)
    if item["proration"] and (given.get("discountable") or set(given) & {*_VALUES, "quantity"}):
        raise StripeError("You cannot change what a proration costs, nor discount it.")
    fields = charge(account, given, item["currency"], item)
    _check_currency(fields["currency"], [item["currency"]])
    if "metadata" in given:
        fields["metadata"] = merged(item["metadata"], given["metadata"])
    if "period" in given:
        start, end = _period(given["period"])
        fields["period"] = {"start": start, "end": end}
    item = discount(account, account.store.change(item, **fields, quantity_decimal=str(fields["quantity"])), given)
    if invoice:
        before = events.picture(account, invoice)
        events.updated(account, "invoice.updated", drafts.follow(account, invoice, item), before)
    return item


def _delete(call: Call) -> Json:
    account = call.account
    item, invoice = _open_item(call)
    if invoice:
        before = events.picture(account, invoice)
        events.updated(account, "invoice.updated", drafts.leave_out(account, invoice, [item["id"]]), before)
    account.store.remove(item)
    events.emit(account, "invoiceitem.deleted", item)
    return {**item, "deleted": True}


def _list(call: Call) -> Page:
    wanted = call.params

    def keep(item: Json) -> bool:
        pending = item["invoice"] is None
        return fits(item, wanted, "customer", "invoice") and bool(wanted.get("pending", pending) == pending)

    return page(call, "invoiceitem", keep)


_PATH = "/v1/invoiceitems"
OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATE, ("customer",)),
    Operation("GET", _PATH, _list, {**DATED, "customer": text, "invoice": text, "pending": flag}),
    Operation("GET", _PATH + "/{id}", lambda call: call.target("invoiceitem")),
    Operation("POST", _PATH + "/{id}", _update, _UPDATE),
    Operation("DELETE", _PATH + "/{id}", _delete),
]
