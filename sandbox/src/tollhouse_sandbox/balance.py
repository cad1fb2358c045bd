"""The account's balance: what comes in and goes out. The sandbox takes no fees and pays out at once."""

from tollhouse_sandbox import ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.store import Json


def enter(account: Account, source: Json, amount: int, kind: str, *, category: str, description: str = "") -> Json:
    """Stores what an object does to the balance: `amount` is in minor units and negative for what goes out.

    `kind` is the transaction's `type`, `category` its `reporting_category`.
    """
    return account.store.put(
        {
            "id": ids.new("balance_transaction"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": account.now,
            "balance_type": "payments",
            "created": account.now,
            "currency": source["currency"],
            "description": description or None,
            "exchange_rate": None,
            "fee": 0,
            "fee_details": [],
            "net": amount,
            "reporting_category": category,
            "source": source["id"],
            "status": "available",
            "type": kind,
        }
    )


def take_in(account: Account, charge: Json) -> Json:
    """Enters a charge that was paid, and writes the entry on it."""
    kind = "charge" if charge["payment_method_details"]["type"] == "card" else "payment"
    entry = enter(account, charge, charge["amount_captured"], kind, category="charge")
    return account.store.change(charge, balance_transaction=entry["id"])
