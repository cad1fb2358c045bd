"""The account's balance and its entries: /v1/balance, /v1/balance_transactions."""

from collections import Counter

from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import text
from tollhouse_sandbox.store import Json

_ENTRY = "balance_transaction"


def _balance(call: Call) -> Json:
    available: Counter[str] = Counter()
    for entry in call.account.store.oldest_first(_ENTRY):
        available[entry["currency"]] += entry["net"]
    amounts = [{"amount": amount, "currency": currency} for currency, amount in sorted(available.items())]
    return {
        "object": "balance",
        "available": amounts or [{"amount": 0, "currency": "eur"}],
        "livemode": False,
        "pending": [],
    }


def _list(call: Call) -> Page:
    return page(call, _ENTRY, lambda entry: fits(entry, call.params, "currency", "source", "type"))


OPERATIONS = [
    Operation("GET", "/v1/balance", _balance),
    Operation("GET", "/v1/balance_transactions", _list, {**DATED, "currency": text, "source": text, "type": text}),
    Operation("GET", "/v1/balance_transactions/{id}", lambda call: call.target(_ENTRY)),
]
