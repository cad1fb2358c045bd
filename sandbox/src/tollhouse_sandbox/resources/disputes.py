"""Disputes: /v1/disputes."""

from typing import Any

from tollhouse_sandbox import disputes, events
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import clearable, flag, merged, metadata, shape, text
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.store import Json


def _file(raw: Any, path: str) -> str:
    """Files cannot be uploaded here, so there is none to name."""
    raise missing("file upload", raw, param=path, status=400)


def _update(call: Call) -> Json:
    """Evidence is submitted unless `submit` is false; what was staged before is submitted with it."""
    account, given, dispute = call.account, call.params, call.target("dispute")
    before = events.picture(account, dispute)
    if "metadata" in given:
        dispute = account.store.change(dispute, metadata=merged(dispute["metadata"], given["metadata"]))
    if "evidence" in given or given.get("submit"):
        dispute = disputes.answer(account, dispute, given.get("evidence", {}), submit=given.get("submit", True))
    events.updated(account, "charge.dispute.updated", dispute, before)
    return dispute


def _close(call: Call) -> Json:
    """Giving in: the dispute is lost."""
    dispute = call.target("dispute")
    if dispute["status"] in disputes.CLOSED:
        raise StripeError("This dispute is already closed.")
    inquiry = "lost" not in disputes.BECOMES[dispute["status"]]
    return disputes.decide(call.account, dispute, "warning_closed" if inquiry else "lost")


_EVIDENCE = shape(
    {
        **dict.fromkeys(disputes.EVIDENCE, clearable(text)),
        **dict.fromkeys(disputes.EVIDENCE_FILES, clearable(_file)),
    }
)

OPERATIONS = [
    usual.list_of("dispute", "charge", "payment_intent"),
    usual.one("dispute"),
    Operation("POST", "/v1/disputes/{id}", _update, {"evidence": _EVIDENCE, "metadata": metadata, "submit": flag}),
    Operation("POST", "/v1/disputes/{id}/close", _close),
]
