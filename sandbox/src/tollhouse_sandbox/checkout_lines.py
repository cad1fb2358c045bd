"""The lines of a payment page: what each costs, and what the customer may change about them."""

from tollhouse_sandbox import checkout_discounts, currency_options, ids, prices
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.store import Json

MOST = 99
"""The largest quantity a customer may choose, unless the app says otherwise."""


def line(account: Account, price: Json, quantity: int, *, adjustable: Json | None = None, **more: object) -> Json:
    """A new line of this many of a price. `adjustable` has `enabled`, `minimum` and `maximum`."""
    amount = prices.cost(price, quantity)
    return {
        "id": ids.new("item"),
        "object": "item",
        "adjustable_quantity": adjustable,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": account.require("product", price["product"])["name"],
        "discounts": [],
        "metadata": {},
        "price": price["id"],
        "quantity": quantity,
        "taxes": [],
        "_product": price["product"],
        "_optional": False,
        **more,
    }


def choose(account: Account, session: Json, item: str, quantity: int) -> Json:
    """The customer wants so many of a line (its id), or of an optional item (its price); none takes that off the page.

    Raises 400 with a sentence for the customer when that cannot be.
    """
    lines = session["_line_items"]
    found = next((each for each in lines if item in (each["id"], each["price"] if each["_optional"] else None)), None)
    if found is None:
        changed = [*lines, _added(account, session, item, quantity)]
    elif quantity == 0 and found["_optional"]:
        changed = [each for each in lines if each is not found]
    else:
        _check(found, quantity)
        amount = prices.cost(currency_options.charged(account, found["price"], found["currency"]), quantity)
        changed = [
            {**each, "quantity": quantity, "amount_subtotal": amount} if each is found else each for each in lines
        ]
    asked = {**session, "_line_items": changed}
    return checkout_discounts.reprice(account, asked, checkout_discounts.promotions(account, asked))


def _added(account: Account, session: Json, item: str, quantity: int) -> Json:
    offer = next((each for each in session["optional_items"] or [] if each["price"] == item), None)
    if offer is None:
        raise missing("line_item", item, param="item", status=400)
    price = currency_options.charged(account, item, session["currency"])
    added = line(account, price, offer["quantity"], adjustable=offer["adjustable_quantity"], _optional=True)
    if quantity == offer["quantity"]:
        return added
    _check(added, quantity)
    return {**added, "quantity": quantity, "amount_subtotal": prices.cost(price, quantity)}


def _check(line: Json, quantity: int) -> None:
    limits: Json = line["adjustable_quantity"] or {}
    if not limits.get("enabled"):
        raise StripeError(f"The quantity of {line['description']} cannot be changed.", param="quantity")
    least, most = max(1, limits["minimum"] or 0), limits["maximum"] or MOST
    if not least <= quantity <= most:
        raise StripeError(f"The quantity of {line['description']} must be from {least} to {most}.", param="quantity")
