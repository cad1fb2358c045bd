"""Disputes: a bank asks about a payment or takes it back, and the case is decided later."""

from collections.abc import Mapping

from tollhouse_sandbox import balance, events, refunds
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.payment_methods import card_of
from tollhouse_sandbox.store import Json

RESPONSE_WITHIN = 7 * DAY
"""Seconds to answer in; a dispute that nobody answers is lost."""
INQUIRY_ENDS_AFTER = 120 * DAY
"""Seconds after which an inquiry that came to nothing is closed."""

BECOMES: Mapping[str, tuple[str, ...]] = {
    "warning_needs_response": ("warning_under_review", "warning_closed", "needs_response", "prevented"),
    "warning_under_review": ("warning_closed", "needs_response", "prevented"),
    "warning_closed": ("needs_response",),
    "needs_response": ("under_review", "won", "lost"),
    "under_review": ("won", "lost", "appeal_needs_response"),
    "appeal_needs_response": ("appeal_under_review", "won", "lost"),
    "appeal_under_review": ("won", "lost"),
    "lost": ("won",),
    "won": (),
    "prevented": (),
}
"""Every status, and those that may follow it."""

CLOSED = ("won", "lost", "warning_closed", "prevented")
_TAKES_NO_MONEY = ("warning_needs_response", "warning_under_review", "warning_closed", "prevented")
_CASES = {"warning_needs_response": "inquiry", "warning_under_review": "inquiry", "prevented": "resolution"}
_REFUNDABLE = ("warning_needs_response", "warning_under_review", "warning_closed", "won")
_ANSWERED = {
    "warning_needs_response": "warning_under_review",
    "needs_response": "under_review",
    "appeal_needs_response": "appeal_under_review",
}
"""Status → what it becomes when evidence is submitted."""
_VERDICTS = {
    "winning_evidence": {"warning_under_review": "warning_closed", "under_review": "won", "appeal_under_review": "won"},
    "losing_evidence": {
        "warning_under_review": "warning_closed",
        "under_review": "lost",
        "appeal_under_review": "lost",
    },
    "escalate_inquiry_evidence": {"warning_under_review": "needs_response"},
}
"""Stripe's magic words for `uncategorized_text` → how the case goes on, by its status."""

EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_tracking_number",
    "uncategorized_text",
)
EVIDENCE_FILES = (
    "cancellation_policy",
    "customer_communication",
    "customer_signature",
    "duplicate_charge_documentation",
    "receipt",
    "refund_policy",
    "service_documentation",
    "shipping_documentation",
    "uncategorized_file",
)


def open_dispute(
    account: Account,
    charge: Json,
    *,
    status: str = "needs_response",
    reason: str = "fraudulent",
    amount: int | None = None,
    closed_first: bool = False,
) -> Json:
    """The bank disputes a charge, or `amount` of it. Raises 400 when it has disputed that much already.

    An inquiry (`warning_…`) takes no money; a dispute may also be born `lost`. `closed_first` tells the end of one
    that is born closed before its beginning, as happens at Stripe.
    """
    known(status)
    left = charge["amount"] - sum(each["amount"] for each in _of_charge(account, charge))
    if not 0 < (amount or left) <= left:
        raise StripeError(f"The charge {charge['id']} is already disputed.", param="charge")
    account.store.change(charge, disputed=True)
    dispute = account.born(
        "dispute",
        amount=amount or left,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={**dict.fromkeys((*EVIDENCE, *EVIDENCE_FILES)), "enhanced_evidence": {}},
        evidence_details=_unanswered(account),
        is_charge_refundable=status in _REFUNDABLE,
        metadata={},
        network_reason_code="10.4",
        payment_intent=charge["payment_intent"],
        payment_method_details=_paid_with(charge, status),
        reason=reason,
        status=status,
        _verdict=None,
    )
    told = ["charge.dispute.created"]
    if status not in _TAKES_NO_MONEY:
        dispute = _withdraw(account, dispute)
        told.append("charge.dispute.funds_withdrawn")
    if status in CLOSED:
        told.insert(0 if closed_first else len(told), "charge.dispute.closed")
    for name in told:
        events.emit(account, name, dispute)
    return dispute


def _unanswered(account: Account) -> Json:
    return {
        "due_by": account.now + RESPONSE_WITHIN,
        "enhanced_eligibility": {},
        "has_evidence": False,
        "past_due": False,
        "submission_count": 0,
        "submission_method": "not_submitted",
    }


def known(status: object) -> str:
    """The status, if there is one of that name. Raises 400 otherwise."""
    if status not in BECOMES:
        raise StripeError(f"There is no dispute status {status}.", param="status")
    return str(status)


def _of_charge(account: Account, charge: Json) -> list[Json]:
    return [*account.store.newest_first("dispute", charge=charge["id"])]


def _paid_with(charge: Json, status: str) -> Json | None:
    card = charge["payment_method_details"].get("card")
    if card is None:
        return None
    return {
        "type": "card",
        "card": {
            "brand": card["brand"],
            "case_type": _CASES.get(status, "chargeback"),
            "network": card["network"],
            "network_reason_code": "10.4",
        },
    }


def open_for_card(account: Account, charge: Json) -> None:
    """Opens what the test card of a charge calls for."""
    card = card_of(account.require("payment_method", charge["payment_method"]))
    account.store.change(charge, _disputed_as=None)
    for nth in range(card.disputes, 0, -1):
        left = charge["amount"] - sum(each["amount"] for each in _of_charge(account, charge))
        open_dispute(account, charge, status=charge["_disputed_as"], reason=card.dispute_reason, amount=left // nth)


def _withdraw(account: Account, dispute: Json) -> Json:
    refunds.fail_pending(account, dispute["charge"])
    return _move_money(account, dispute, -dispute["amount"], "dispute", "Chargeback withdrawal")


def _move_money(account: Account, dispute: Json, amount: int, category: str, why: str) -> Json:
    entry = balance.enter(
        account, dispute, amount, "adjustment", category=category, description=f"{why} for {dispute['charge']}"
    )
    return account.store.change(dispute, balance_transactions=[*dispute["balance_transactions"], entry])


def decide(account: Account, dispute: Json, status: str) -> Json:
    """Changes a dispute's status: closed (`won`, `lost`, `warning_closed`, `prevented`) or merely further on.

    Money moves with it: an inquiry that becomes a dispute takes the payment, one that is won gives it back. Raises 400
    when the status cannot follow.
    """
    if known(status) not in BECOMES[dispute["status"]]:
        raise StripeError(f"A dispute that is {dispute['status']} cannot become {status}.", param="status")
    before = events.picture(account, dispute)
    takes = dispute["status"] in _TAKES_NO_MONEY and status not in _TAKES_NO_MONEY
    dispute = account.store.change(dispute, status=status, is_charge_refundable=status in _REFUNDABLE, _verdict=None)
    if status in _ANSWERED:
        dispute = account.store.change(dispute, evidence_details=_unanswered(account))
    if takes:
        charge = account.require("charge", dispute["charge"])
        dispute = account.store.change(dispute, payment_method_details=_paid_with(charge, status))
        dispute = _withdraw(account, dispute)
    if status == "won":
        dispute = _move_money(account, dispute, dispute["amount"], "dispute_reversal", "Chargeback reversal")
    events.updated(account, "charge.dispute.updated", dispute, before)
    if takes:
        events.emit(account, "charge.dispute.funds_withdrawn", dispute)
    if status in CLOSED:
        events.emit(account, "charge.dispute.closed", dispute)
    if status == "won":
        events.emit(account, "charge.dispute.funds_reinstated", dispute)
    return dispute


def answer(account: Account, dispute: Json, evidence: Json, *, submit: bool) -> Json:
    """Writes evidence down and, if `submit`, hands it to the bank, which can be done once. Emits nothing.

    Raises 400 when the bank waits for none.
    """
    if dispute["status"] not in _ANSWERED:
        raise StripeError(f"You cannot submit evidence for a dispute that is {dispute['status']}.", param="evidence")
    written = {**dispute["evidence"], **evidence}
    staged = any(value for name, value in written.items() if name != "enhanced_evidence")
    details = {**dispute["evidence_details"], "has_evidence": staged}
    if not submit:
        return account.store.change(dispute, evidence=written, evidence_details=details)
    details |= {
        "past_due": account.now > details["due_by"],
        "submission_count": details["submission_count"] + 1,
        "submission_method": "manual",
    }
    status = _ANSWERED[dispute["status"]]
    verdict = _VERDICTS.get(written["uncategorized_text"], {}).get(status)
    return account.store.change(dispute, evidence=written, evidence_details=details, status=status, _verdict=verdict)


def next_due(dispute: Json) -> tuple[int, str] | None:
    """When time alone decides a dispute, and what the status becomes; None when it waits for the bank or is over."""
    status = dispute["status"]
    if dispute["_verdict"]:
        return dispute["created"], dispute["_verdict"]
    if status in ("needs_response", "appeal_needs_response"):
        return dispute["evidence_details"]["due_by"], "lost"
    if status in ("warning_needs_response", "warning_under_review"):
        return dispute["created"] + INQUIRY_ENDS_AFTER, "warning_closed"
    return None
