"""2025-03-31.basil: periods moved to the items; what an invoice is for and how it is paid moved off it.

The smaller changes of basil's later months are told here too.
"""

from collections.abc import Callable
from decimal import Decimal

from tollhouse_sandbox.api_versions.steps import Around, Ask, Change, Step, without
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.form import Nested
from tollhouse_sandbox.rendering import plan
from tollhouse_sandbox.store import Json


def _periods(subscription: Json, _around: Around) -> None:
    items = subscription["items"]["data"]
    for name in ("current_period_start", "current_period_end"):
        subscription[name] = items[0].get(name) if items else None


def _first_discount(body: Json, around: Around) -> None:
    first = body["discounts"][0] if body.get("discounts") else None
    body["discount"] = first if isinstance(first, dict) else around.object("discount", first)


def _subscription(invoice: Json, _around: Around) -> None:
    parent = invoice.pop("parent", None) or {}
    details = parent.get("subscription_details")
    invoice["subscription"] = details["subscription"] if details else None
    invoice["subscription_details"] = {"metadata": details["metadata"] if details else None}


def _payment(invoice: Json, around: Around) -> None:
    intent = around.intent_of(invoice["id"]) if "id" in invoice else None
    invoice["payment_intent"] = intent["id"] if intent else None
    invoice["charge"] = intent["latest_charge"] if intent else None
    invoice["paid"] = invoice["status"] == "paid"
    invoice["paid_out_of_band"] = invoice["paid"] and intent is not None and intent["status"] != "succeeded"


def _taxes(since: str, before: str) -> Callable[[Json, Around], None]:
    """The list of taxes had another name and shape; the sandbox computes none, so it is empty in both."""

    def back(body: Json, _around: Around) -> None:
        body[before] = body.pop(since, [])

    return back


def _nothing(*names: str) -> Callable[[Json, Around], None]:
    """Fields that would tell of what the sandbox does not have."""

    def back(body: Json, _around: Around) -> None:
        body.update(dict.fromkeys(names))

    return back


def _refund(note: Json, _around: Around) -> None:
    refunds = note.pop("refunds", [])
    note["refund"] = refunds[0]["refund"] if refunds else None


def _line(line: Json, around: Around) -> None:
    parent = line.pop("parent", None) or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    _priced(line, around)
    line["invoice_item"] = details.get("invoice_item")
    line["type"] = "invoiceitem" if line["invoice_item"] else "subscription"
    line["proration"] = bool(details.get("proration"))
    line["proration_details"] = details.get("proration_details") or {"credited_items": None}
    line["subscription"] = details.get("subscription")
    line["subscription_item"] = details.get("subscription_item")
    line["amount_excluding_tax"] = line["amount"]
    line["tax_rates"] = []


def _invoice_item(item: Json, around: Around) -> None:
    details = (item.pop("parent", None) or {}).get("subscription_details") or {}
    item["subscription"] = details.get("subscription")
    item["subscription_item"] = details.get("subscription_item")
    amount = (item["pricing"] or {}).get("unit_amount_decimal")
    item["unit_amount_decimal"] = amount
    item["unit_amount"] = int(Decimal(amount)) if amount is not None and Decimal(amount) % 1 == 0 else None
    _priced(item, around)


def _priced(body: Json, around: Around) -> None:
    """The price was embedded, and a plan beside it."""
    pricing = body.pop("pricing", None) or {}
    named = (pricing.get("price_details") or {}).get("price")
    price = named if isinstance(named, dict) else around.object("price", named)
    body["price"] = price
    body["plan"] = plan(price) if price and price["recurring"] else None


def _invoice_of_charge(charge: Json, around: Around) -> None:
    intent = charge.get("payment_intent")
    charge["invoice"] = around.invoice_of(intent["id"] if isinstance(intent, dict) else intent)


def _invoice_of_intent(intent: Json, around: Around) -> None:
    intent["invoice"] = around.invoice_of(intent["id"])


def _discounts(given: Nested) -> None:
    for name in ("coupon", "promotion_code"):
        if name in given:
            if "discounts" in given:
                raise StripeError(f"You may only specify one of these parameters: discounts, {name}.", param=name)
            given["discounts"] = "" if given[name] == "" else {"0": {name: given[name]}}
            del given[name]


STEP = Step(
    "2025-03-31.basil",
    (
        Change("subscription", "current_period_start and current_period_end moved to the items", _periods),
        Change("subscription", "discount became discounts", _first_discount),
        Change("subscription", "billing_mode came (2025-06-30)", without("billing_mode")),
        Change(
            "subscription_item",
            "current_period_start and current_period_end came from the subscription",
            without("current_period_start", "current_period_end"),
        ),
        Change("invoice", "subscription moved to parent.subscription_details", _subscription),
        Change("invoice", "charge, payment_intent and paid became payments", _payment),
        Change("invoice", "discount became discounts", _first_discount),
        Change("invoice", "quote and tax left", _nothing("quote", "tax")),
        Change("invoice", "total_tax_amounts became total_taxes", _taxes("total_taxes", "total_tax_amounts")),
        Change("invoice", "payments and confirmation_secret came", without("payments", "confirmation_secret")),
        Change("line_item", "price, plan, type and proration moved to pricing and parent", _line),
        Change("line_item", "tax_amounts became taxes", _taxes("taxes", "tax_amounts")),
        Change("credit_note", "refund became refunds", _refund),
        Change("credit_note", "tax_amounts became total_taxes", _taxes("total_taxes", "tax_amounts")),
        Change("credit_note_line_item", "tax_amounts became taxes", _taxes("taxes", "tax_amounts")),
        Change("invoiceitem", "price, plan and subscription moved to pricing and parent", _invoice_item),
        Change("charge", "invoice became an invoice_payment", _invoice_of_charge),
        Change("payment_intent", "invoice became an invoice_payment", _invoice_of_intent),
    ),
    (
        Ask("POST", "/v1/subscriptions", "coupon and promotion_code became discounts", _discounts),
        Ask("POST", "/v1/subscriptions/{id}", "coupon and promotion_code became discounts", _discounts),
    ),
    {
        "invoice": {"charge": "charge", "payment_intent": "payment_intent", "subscription": "subscription"},
        "charge": {"invoice": "invoice"},
        "payment_intent": {"invoice": "invoice"},
        "invoiceitem": {"subscription": "subscription"},
    },
)
