"""The account's balance: /v1/balance, which monitoring reads to see whether Stripe answers."""

from collections import Counter

from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.store import Json


def _balance(call: Call) -> Json:
    available: Counter[str] = Counter()
    for charge in call.account.store.oldest_first("charge"):
        available[charge["currency"]] += charge["amount_captured"] - charge["amount_refunded"]
    amounts = [{"amount": amount, "currency": currency} for currency, amount in sorted(available.items())]
    return {
        "object": "balance",
        "available": amounts or [{"amount": 0, "currency": "eur"}],
        "livemode": False,
        "pending": [],
    }


OPERATIONS = [Operation("GET", "/v1/balance", _balance)]
