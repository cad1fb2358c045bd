"""What the hosted pages tell of test cards, of prices, and of a checkout; and what they do with an invoice."""

from tollhouse_sandbox import (
    cards,
    checkout,
    checkout_answers,
    checkout_discounts,
    currency_options,
    invoices,
    money,
    payment_methods,
    subscriptions,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.payments import DEBIT_SETTLES_AFTER
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.store import Json


def offered_cards() -> list[Json]:
    """The test cards, as a page offers them."""
    listed = (card for card in cards.CARDS.values() if card.label)
    return [{"card": card.name, "type": card.type, "number": card.number, "label": card.label} for card in listed]


def priced(account: Account, price_id: str, quantity: int, currency: str) -> Json:
    """A price with its product's name, as a page in this currency tells of it."""
    price = currency_options.charged(account, price_id, currency)
    product = account.require("product", price["product"])
    recurring = price["recurring"] or {"interval": None, "interval_count": None}
    return {
        "name": product["name"],
        "description": product["description"],
        "quantity": quantity,
        "unit_amount": price["unit_amount"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
    }


def checkout_view(account: Account, session_id: str) -> Json:
    session = account.require("checkout.session", session_id)
    ends = checkout.trial_ends(account, session) if session["mode"] == "subscription" else None
    days = -(-(ends - account.now) // DAY) if ends else None
    customer = account.store.get("customer", session["customer"] or "")
    return {
        "session": public(account, session),
        "status": session["status"],
        "mode": session["mode"],
        "merchant": account.merchant,
        "currency": session["currency"],
        "amount_total": session["amount_total"],
        "amount_due_today": checkout.due_today(account, session),
        "email": session["customer_email"] or (customer or {}).get("email"),
        "lines": [
            {
                **priced(account, line["price"], line["quantity"], line["currency"]),
                "id": line["id"],
                "amount": line["amount_total"],
                "adjustable": line["adjustable_quantity"],
                "optional": line["_optional"],
            }
            for line in session["_line_items"]
        ],
        "optional": _optional(account, session),
        "questions": checkout_answers.shown(session),
        **checkout_discounts.shown(account, session),
        "trial_days": days,
        "trial_text": _trial_text(session, days),
        "cards": [each for each in offered_cards() if each["type"] in session["payment_method_types"]],
        "debit_arrives": account.now + DEBIT_SETTLES_AFTER,
        "needs_card": checkout.needs_card(account, session),
    }


def _optional(account: Account, session: Json) -> list[Json]:
    """What the customer may add and has not."""
    added = {line["price"] for line in session["_line_items"]}
    return [
        {**priced(account, offer["price"], offer["quantity"], session["currency"]), "price": offer["price"]}
        for offer in session["optional_items"] or []
        if offer["price"] not in added
    ]


def _trial_text(session: Json, days: int | None) -> str | None:
    if days is None:
        return None
    then = money.written(session["amount_total"], session["currency"])
    return f"{days} day{'' if days == 1 else 's'} free, then {then}"


def saved_method(account: Account, invoice: Json) -> Json | None:
    """What an invoice would be paid with if nobody chose anything else."""
    customer = account.require("customer", invoice["customer"])
    return payment_methods.default_for(account, customer, invoices.subscription_of(account, invoice))


def debit_arrives(account: Account, invoice: Json) -> int | None:
    """When the bank debit arrives that pays an invoice; None when none is under way."""
    intent = account.store.get("payment_intent", invoice["_intent"] or "")
    return intent["_settles_at"] if intent and invoice["status"] == "open" else None


def pay_invoice(account: Account, invoice_id: str, method: str, *, authenticated: bool) -> None:
    """Pays an open invoice as its customer does on its page: with a test card, or with their saved method.

    Raises 402 when it is refused, `AuthenticationRequired` when the bank asks who it is: both are remembered.
    """
    invoice = account.require("invoice", invoice_id)
    if invoice["status"] != "open" or debit_arrives(account, invoice):
        raise StripeError("This invoice cannot be paid (any more).")
    saved = account.store.get("payment_method", method)
    if saved and saved["customer"] != invoice["customer"]:
        raise missing("PaymentMethod", method, param="card", status=400)
    chosen = saved or payment_methods.resolve(account, method, param="card")
    payment = subscriptions.pay_invoice(account, invoice, chosen, off_session=False, authenticated=authenticated)
    if payment.error:
        raise payment.error.keeping()
