"""Refunds: money given back, whole or in part. A refund ends no subscription."""

from tollhouse_sandbox import events, ids, money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.store import Json


def refund(
    account: Account,
    charge: Json,
    *,
    amount: int | None = None,
    reason: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Gives back an amount of a charge, or all that is left of it. Raises 400 when that is more than there is."""
    left = _refundable(charge, amount)
    created = account.store.put(_refund(account, charge, left, reason, metadata or {}))
    before = events.picture(account, charge)
    refunded = charge["amount_refunded"] + left
    charge = account.store.change(charge, amount_refunded=refunded, refunded=refunded == charge["amount"])
    events.emit(account, "refund.created", created)
    events.emit(account, "charge.refunded", charge, before=before)
    events.emit(account, "charge.refund.updated", created)
    events.emit(account, "refund.updated", created)
    return created


def _refund(account: Account, charge: Json, amount: int, reason: str | None, metadata: Json) -> Json:
    return {
        "id": ids.new("refund"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "destination_details": _destination(charge),
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _refundable(charge: Json, amount: int | None) -> int:
    left = int(charge["amount_captured"] - charge["amount_refunded"])
    if charge["refunded"]:
        raise StripeError(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded", param="charge"
        )
    if charge["status"] != "succeeded":
        raise StripeError(f"Charge {charge['id']} cannot be refunded: it is {charge['status']}.", param="charge")
    if amount is not None and amount > left:
        currency = charge["currency"]
        raise StripeError(
            f"Refund amount ({money.written(amount, currency)}) is greater than unrefunded amount on charge "
            f"({money.written(left, currency)})",
            param="amount",
        )
    return left if amount is None else amount


def _destination(charge: Json) -> Json | None:
    if charge["payment_method_details"]["type"] != "card":
        return None
    return {
        "type": "card",
        "card": {
            "reference": None,
            "reference_status": "pending",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        },
    }
