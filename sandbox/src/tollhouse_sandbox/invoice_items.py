"""Invoice items: single charges and credits that wait for an invoice, or belong to a draft."""

from typing import Any

from tollhouse_sandbox import customers, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.store import Json


def make(
    account: Account,
    *,
    customer: str,
    amount: int,
    currency: str,
    description: str | None,
    pricing: Json,
    quantity: int = 1,
    period: tuple[int, int] | None = None,
    subscription: str | None = None,
    subscription_item: str | None = None,
    **more: Any,
) -> Json:
    """Stores an item; without a period it is of this moment."""
    now = account.now
    customers.deals_in(account, customer, currency)
    start, end = period or (now, now)
    generated = {"subscription": subscription, "subscription_item": subscription_item}
    return account.store.put(
        {
            "id": ids.new("invoiceitem"),
            "object": "invoiceitem",
            "amount": amount,
            "currency": currency,
            "customer": customer,
            "customer_account": None,
            "date": now,
            "description": description,
            "discountable": amount >= 0,
            "discounts": [],
            "invoice": None,
            "livemode": False,
            "metadata": {},
            "net_amount": None,
            "parent": {"type": "subscription_details", "subscription_details": generated} if subscription else None,
            "period": {"start": start, "end": end},
            "pricing": pricing,
            "proration": False,
            "proration_details": None,
            "quantity": quantity,
            "quantity_decimal": str(quantity),
            "tax_rates": [],
            "test_clock": None,
            **more,
        }
    )


def subscription_id(item: Json) -> str | None:
    """The subscription whose invoices alone may take an item."""
    return item["parent"]["subscription_details"]["subscription"] if item["parent"] else None


def waiting(account: Account, subscription: Json) -> list[Json]:
    """The items that a subscription's next invoice takes, oldest first: its own and those that name none."""
    named = (None, subscription["id"])
    return [
        item
        for item in _pending(account, subscription["customer"], subscription["currency"])
        if subscription_id(item) in named
    ]


def waiting_for_hand(account: Account, customer: Json, currency: str, subscription: str | None) -> list[Json]:
    """The items that an invoice made by hand takes, oldest first: one for a subscription takes that one's alone."""
    return [
        item for item in _pending(account, customer["id"], currency) if subscription in (None, subscription_id(item))
    ]


def _pending(account: Account, customer: str, currency: str) -> list[Json]:
    return [
        item
        for item in account.store.oldest_first("invoiceitem", customer=customer)
        if item["invoice"] is None and item["currency"] == currency
    ]
