"""Automatic tax: it may be asked for and is always complete, but comes to nothing, as nothing is taxed here."""

from tollhouse_sandbox.params import choice, flag, shape
from tollhouse_sandbox.store import Json

PARAMETER = shape({"enabled": flag, "liability": shape({"type": choice("self")}, ("type",))}, ("enabled",))


def asked(given: Json) -> bool:
    """Whether a request asks for it."""
    return bool(given.get("automatic_tax", {}).get("enabled", False))


def of_subscription(*, enabled: bool) -> Json:
    return {"disabled_reason": None, "enabled": enabled, "liability": {"type": "self"} if enabled else None}


def of_invoice(*, enabled: bool) -> Json:
    return {**of_subscription(enabled=enabled), **_worked_out(enabled)}


def of_session(*, enabled: bool, complete: bool) -> Json:
    """Before a page is complete, nobody knows where the customer lives."""
    worked_out = _worked_out(enabled)
    if enabled and not complete:
        worked_out["status"] = "requires_location_inputs"
    return {"enabled": enabled, "liability": {"type": "self"} if enabled else None, **worked_out}


def _worked_out(enabled: bool) -> Json:
    return {"provider": "stripe" if enabled else None, "status": "complete" if enabled else None}
