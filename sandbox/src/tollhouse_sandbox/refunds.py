"""Refunds: money given back, whole or in part. A refund ends no subscription, and may fail days later."""

from collections.abc import Mapping

from tollhouse_sandbox import balance, events, ids, money
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.payment_methods import card_of
from tollhouse_sandbox.store import Json

DECIDED_AFTER = 5 * DAY
"""Seconds after which a bank says what became of a refund that it did not answer at once."""

BECOMES: Mapping[str, tuple[str, ...]] = {
    "pending": ("succeeded", "failed", "canceled", "requires_action"),
    "requires_action": ("succeeded", "failed", "canceled"),
    "succeeded": ("failed",),
    "failed": (),
    "canceled": (),
}
"""Every status, and those that may follow it."""


def refund(
    account: Account,
    charge: Json,
    *,
    amount: int | None = None,
    reason: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Gives back an amount of a charge, or all that is left of it. Raises 400 when that is more than there is.

    A card's refund has succeeded at once, unless its test card says otherwise; a debit's is pending for days.
    """
    _check_refundable(account, charge)
    amount = _amount(charge, amount)
    created = account.store.put(_refund(account, charge, amount, reason, metadata or {}))
    kind = "refund" if created["destination_details"] else "payment_refund"
    created = _enter(account, created, "balance_transaction", -amount, kind)
    before = events.picture(account, charge)
    refunded = charge["amount_refunded"] + amount
    reported = {"user_report": "fraudulent"} if reason == "fraudulent" else charge["fraud_details"]
    charge = account.store.change(
        charge, amount_refunded=refunded, fraud_details=reported, refunded=refunded == charge["amount"]
    )
    events.emit(account, "refund.created", created)
    events.emit(account, "charge.refunded", charge, before=before)
    if created["status"] == "succeeded":
        events.emit(account, "charge.refund.updated", created)
        events.emit(account, "refund.updated", created)
    return created


def _enter(account: Account, refund: Json, field: str, amount: int, kind: str) -> Json:
    category = "refund_failure" if kind == "refund_failure" else "refund"
    description = "REFUND FAILURE" if kind == "refund_failure" else "REFUND FOR CHARGE"
    entry = balance.enter(account, refund, amount, kind, category=category, description=description)
    return account.store.change(refund, **{field: entry["id"]})


def _refund(account: Account, charge: Json, amount: int, reason: str | None, metadata: Json) -> Json:
    card = card_of(account.require("payment_method", charge["payment_method"]))
    waits = card.refund == "late" or card.settles is not None
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
        "pending_reason": "processing" if waits else None,
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if waits else "succeeded",
        "transfer_reversal": None,
        "_comes_to": "succeeded" if waits else "failed" if card.refund == "fails" else None,
    }


def _check_refundable(account: Account, charge: Json) -> None:
    name = charge["id"]
    if charge["refunded"]:
        raise StripeError(f"Charge {name} has already been refunded.", code="charge_already_refunded", param="charge")
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise StripeError(f"Charge {name} cannot be refunded: it is {_state(charge)}.", param="charge")
    disputes = account.store.newest_first("dispute", charge=name)
    if any(not dispute["is_charge_refundable"] for dispute in disputes):
        raise StripeError(f"Charge {name} has been charged back; cannot issue a refund.", code="charge_disputed")


def _state(charge: Json) -> str:
    return str(charge["status"]) if charge["status"] != "succeeded" else "not captured"


def _amount(charge: Json, wanted: int | None) -> int:
    left = int(charge["amount"] - charge["amount_refunded"])
    if wanted == 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if wanted is not None and wanted > left:
        currency = charge["currency"]
        raise StripeError(
            f"Refund amount ({money.written(wanted, currency)}) is greater than unrefunded amount on charge "
            f"({money.written(left, currency)})",
            param="amount",
        )
    return left if wanted is None else wanted


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


def decide(account: Account, refund: Json, status: str, *, reason: str = "expired_or_canceled_card") -> Json:
    """Changes a refund's status. One that fails or is canceled leaves the money with the merchant again.

    `reason` is why it failed. Raises 400 when the status cannot follow.
    """
    if status not in BECOMES[refund["status"]]:
        raise StripeError(f"A refund that is {refund['status']} cannot become {status}.", param="status")
    before = events.picture(account, refund)
    refund = account.store.change(refund, pending_reason=None, status=status, _comes_to=None)
    charge = account.require("charge", refund["charge"])
    charge_before = events.picture(account, charge)
    if status in ("failed", "canceled"):
        refund = _enter(account, refund, "failure_balance_transaction", refund["amount"], "refund_failure")
        left = charge["amount_refunded"] - refund["amount"]
        charge = account.store.change(charge, amount_refunded=left, refunded=False)
    if status == "failed":
        refund = account.store.change(refund, failure_reason=reason)
    events.updated(account, "refund.updated", refund, before)
    events.updated(account, "charge.refund.updated", refund, before)
    if status == "failed":
        events.emit(account, "refund.failed", refund)
    events.updated(account, "charge.updated", charge, charge_before)
    return refund


def fail_pending(account: Account, charge: str) -> None:
    """Refunds under way come to nothing when the bank takes the payment back."""
    for refund in account.store.oldest_first("refund", charge=charge):
        if refund["status"] == "pending":
            decide(account, refund, "failed", reason="charge_for_pending_refund_disputed")
