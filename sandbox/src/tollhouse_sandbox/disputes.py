"""Disputes: a bank takes a payment back, and the case is decided later."""

from tollhouse_sandbox import events
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.store import Json

OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
CLOSED = ("won", "lost", "warning_closed", "prevented")

_EVIDENCE = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
]


def open_dispute(
    account: Account, charge: Json, *, status: str = "needs_response", reason: str = "fraudulent", amount: int | None
) -> Json:
    """The bank disputes a charge. An inquiry (`warning_…`) takes no money; a dispute may also be born `lost`."""
    if charge["disputed"]:
        raise StripeError(f"The charge {charge['id']} is already disputed.", param="charge")
    account.store.change(charge, disputed=True)
    dispute = account.born(
        "dispute",
        amount=amount or charge["amount"],
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        evidence_details={
            "due_by": account.now + 7 * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=status.startswith("warning"),
        metadata={},
        network_reason_code="10.4",
        payment_intent=charge["payment_intent"],
        payment_method_details=_paid_with(charge),
        reason=reason,
        status=status,
    )
    events.emit(account, "charge.dispute.created", dispute)
    if not status.startswith("warning"):
        events.emit(account, "charge.dispute.funds_withdrawn", dispute)
    if status in CLOSED:
        events.emit(account, "charge.dispute.closed", dispute)
    return dispute


def _paid_with(charge: Json) -> Json | None:
    card = charge["payment_method_details"].get("card")
    if card is None:
        return None
    return {
        "type": "card",
        "card": {
            "brand": card["brand"],
            "case_type": "chargeback",
            "network": card["network"],
            "network_reason_code": "10.4",
        },
    }


def decide(account: Account, dispute: Json, status: str) -> Json:
    """Changes a dispute's status: closed for good (`won`, `lost`, `warning_closed`) or merely further on."""
    before = events.picture(account, dispute)
    dispute = account.store.change(dispute, status=status)
    events.updated(account, "charge.dispute.updated", dispute, before)
    if status in CLOSED:
        events.emit(account, "charge.dispute.closed", dispute)
    if status == "won":
        events.emit(account, "charge.dispute.funds_reinstated", dispute)
    return dispute
