"""Prices, intervals, dates and states in words, for the pages."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tollhouse_sandbox.money import written


def per(interval: str, count: int) -> str:
    """How often a price is charged: "month", 1 → "per month"; "month", 3 → "every 3 months"."""
    return f"per {interval}" if count == 1 else f"every {count} {interval}s"


def plural(count: int, noun: str) -> str:
    """ "1 time"; "3 times"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def days(count: int) -> str:
    return plural(count, "day")


def day(unix: float) -> str:
    """The UTC day of a Unix time in seconds: "6 December 2026"."""
    at = datetime.fromtimestamp(unix, UTC)
    return f"{at.day} {at:%B %Y}"


def moment(unix: float) -> str:
    """A Unix time in seconds, in UTC: "Sun 6 Dec 2026, 14:05:09"."""
    at = datetime.fromtimestamp(unix, UTC)
    return f"{at:%a} {at.day} {at:%b %Y, %H:%M:%S}"


def length(seconds: float) -> str:
    """A span of time, roughly: "40 minutes", "3 days 2 hours"."""
    hours, minutes = divmod(round(seconds / 60), 60)
    whole_days, hours = divmod(hours, 24)
    parts = [(whole_days, "day"), (hours, "hour"), (0 if whole_days else minutes, "minute")]
    return " ".join(plural(count, unit) for count, unit in parts if count)


def charge(lines: Sequence[Mapping[str, Any]]) -> str:
    """What these price lines cost each time, together: "€9.00 per month"; "€199.00" for a one-time price."""
    total = written(sum(line["unit_amount"] * line["quantity"] for line in lines), lines[0]["currency"])
    interval = lines[0]["interval"]
    return f"{total} {per(interval, lines[0]['interval_count'])}" if interval else total


def payment_method(method: Mapping[str, Any]) -> str:
    """ "Visa ending in 4242"; "Sepa debit ending in 3000"."""
    details = method[method["type"]]
    name = details.get("brand") or method["type"]
    return f"{name.replace('_', ' ').capitalize()} ending in {details['last4']}"


REASONS = {
    "too_expensive": "It is too expensive",
    "missing_features": "It lacks something I need",
    "switched_service": "I use something else now",
    "unused": "I do not use it enough",
    "customer_service": "The service was not good",
    "too_complex": "It is too complicated",
    "low_quality": "The quality was not good enough",
    "other": "Another reason",
}
"""Stripe's reasons for a cancellation, as customers say them."""


class State(NamedTuple):
    """A word for a state, its colour (a class of the style sheet, "" for neutral), and a sentence about it."""

    word: str
    tone: str
    sentence: str


def subscription_state(status: str, period_end: float, scheduled_end: float | None, ended_at: float | None) -> State:
    """What a subscriber wants to know first; times in Unix seconds."""
    if scheduled_end and status in {"active", "trialing", "past_due"}:
        return State("Cancelled", "warn", f"Ends on {day(scheduled_end)}.")
    match status:
        case "active":
            return State("Active", "good", f"Renews on {day(period_end)}.")
        case "trialing":
            return State("Free trial", "good", f"Free until {day(period_end)}, then it renews.")
        case "past_due":
            return State("Past due", "bad", "The last payment failed. Change the payment method to keep the plan.")
        case "unpaid":
            return State("Unpaid", "bad", "Every attempt to collect the payment failed.")
        case "paused":
            return State("Paused", "warn", "Paused: nothing is charged until it resumes.")
        case "incomplete":
            return State("Not started", "warn", "The first payment has not gone through yet.")
        case "canceled":
            return State("Ended", "", f"Ended on {day(ended_at)}." if ended_at else "Ended.")
        case _:
            return State(status.replace("_", " ").capitalize(), "", "")


def invoice_state(status: str) -> State:
    tone = {"paid": "good", "open": "warn", "uncollectible": "bad"}.get(status, "")
    return State(status.capitalize(), tone, "")
