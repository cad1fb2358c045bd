"""The desk's clock: where each fast-forward button leads, and what is due on the way."""

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.sandbox import Sandbox

STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
FARTHEST = timedelta(days=3653)
"""How far one press may lead: what falls due on the way is done, and somebody waits for it."""


async def move(sandbox: Sandbox, fields: Mapping[str, str]) -> None:
    """Does what a button of the clock says. Raises 400 when it leads back, too far, or nowhere."""
    match fields.get("to", ""):
        case "freeze":
            sandbox.freeze(True)
        case "run":
            sandbox.freeze(False)
        case step:
            now = sandbox.account.clock.now()
            target = _target(sandbox, step, fields.get("date", ""), datetime.fromtimestamp(now, UTC))
            # What was due when the page was drawn may have been done since: then there is nowhere to go.
            await sandbox.advance(max(target - now, 0))


def _target(sandbox: Sandbox, step: str, date: str, at: datetime) -> float:
    """Where a button leads, in Unix seconds."""
    if step in STEPS:
        return (at + STEPS[step]).timestamp()
    match step:
        case "month":
            return _a_month_after(at).timestamp()
        case "next":
            return (due(sandbox) or (at.timestamp(), ""))[0]
        case "date":
            return _date(date, at).timestamp()
        case _:
            raise StripeError("This button leads nowhere.", param="to")


def _date(written: str, at: datetime) -> datetime:
    try:
        target = datetime.fromisoformat(written).replace(tzinfo=UTC)
    except ValueError:
        raise StripeError("Write the date as 2027-01-31T12:00; it is read as UTC.", param="date") from None
    if target < at:
        raise StripeError("The clock goes only forward.", param="date")
    if target - at > FARTHEST:
        raise StripeError("Go ten years at a time at most.", param="date")
    return target


def date_field(now: float) -> str:
    """The next midnight, as a date field of a form has it."""
    return f"{datetime.fromtimestamp(now, UTC) + timedelta(days=1):%Y-%m-%dT00:00}"


def _a_month_after(at: datetime) -> datetime:
    """The same day of the next month, or its last day: 31 January → 28 February."""
    year, month = divmod(at.year * 12 + at.month, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return at.replace(year=year, month=month + 1, day=min(at.day, last))


def due(sandbox: Sandbox) -> tuple[float, str] | None:
    """What time brings next: when, in Unix seconds, and what it is ("subscription: renew")."""
    noted, delivery_at = sandbox.timetable.next(), sandbox.deliveries.next_due()
    found = [(float(delivery_at), "delivery: try again")] if delivery_at is not None else []
    if noted:
        at, body, action = noted
        found.append((float(at), f"{body['object']}: {action}".replace("_", " ").replace(".", " ")))
    return min(found, default=None)
