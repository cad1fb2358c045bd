"""The life of a subscription: its states, what leads from one to the next, and what time brings. Pure."""

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

HOUR = 3600
DAY = 24 * HOUR

FINALISED_AFTER = HOUR
"""Seconds a renewal's draft invoice stays open for changes."""
FIRST_PAYMENT_WITHIN = 23 * HOUR
"""Seconds after which an incomplete subscription expires."""
TRIAL_WARNING = 3 * DAY
"""Seconds before a trial's end at which `customer.subscription.trial_will_end` is sent."""
RETRIES_AFTER = (3 * DAY, 5 * DAY, 7 * DAY)
"""Seconds from one failed payment of an invoice to the next try; when they are used up, dunning is exhausted."""


class Status(StrEnum):
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    PAUSED = "paused"
    CANCELED = "canceled"


class Cause(StrEnum):
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    TRIAL_ENDED = "trial_ended"
    FIRST_PAYMENT_MISSED = "first_payment_missed"
    LEFT_UNPAID = "left_unpaid"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELED = "canceled"


_LIVING = (Status.INCOMPLETE, Status.TRIALING, Status.ACTIVE, Status.PAST_DUE, Status.UNPAID, Status.PAUSED)

TRANSITIONS: Mapping[tuple[Status, Cause], Status] = {
    (Status.INCOMPLETE, Cause.PAID): Status.ACTIVE,
    (Status.INCOMPLETE, Cause.PAYMENT_FAILED): Status.INCOMPLETE,
    (Status.INCOMPLETE, Cause.FIRST_PAYMENT_MISSED): Status.INCOMPLETE_EXPIRED,
    (Status.TRIALING, Cause.PAID): Status.TRIALING,
    (Status.TRIALING, Cause.PAYMENT_FAILED): Status.TRIALING,
    (Status.TRIALING, Cause.TRIAL_ENDED): Status.ACTIVE,
    (Status.TRIALING, Cause.PAUSED): Status.PAUSED,
    (Status.ACTIVE, Cause.PAID): Status.ACTIVE,
    (Status.ACTIVE, Cause.PAYMENT_FAILED): Status.PAST_DUE,
    (Status.ACTIVE, Cause.PAUSED): Status.PAUSED,
    (Status.PAST_DUE, Cause.PAID): Status.ACTIVE,
    (Status.PAST_DUE, Cause.PAYMENT_FAILED): Status.PAST_DUE,
    (Status.PAST_DUE, Cause.LEFT_UNPAID): Status.UNPAID,
    (Status.PAST_DUE, Cause.PAUSED): Status.PAUSED,
    (Status.UNPAID, Cause.PAID): Status.ACTIVE,
    (Status.UNPAID, Cause.PAYMENT_FAILED): Status.UNPAID,
    (Status.PAUSED, Cause.RESUMED): Status.ACTIVE,
    **{(status, Cause.CANCELED): Status.CANCELED for status in _LIVING},
}
"""Every change of state there is; a pair that is absent cannot happen."""


def after(status: str, cause: Cause) -> Status:
    """The state that follows. A change the table does not know raises `KeyError`."""
    return TRANSITIONS[Status(status), cause]


def has_ended(status: str) -> bool:
    """Whether nothing can happen to the subscription any more."""
    return status in (Status.CANCELED, Status.INCOMPLETE_EXPIRED)


class Action(StrEnum):
    """What time does to a subscription, in the order in which simultaneous things happen."""

    CANCEL = "cancel"
    EXPIRE_INCOMPLETE = "expire_incomplete"
    RESUME_COLLECTION = "resume_collection"
    WARN_OF_TRIAL_END = "warn_of_trial_end"
    END_TRIAL = "end_trial"
    RENEW = "renew"


@dataclass(frozen=True)
class Due:
    """An action and the Unix second it is due at."""

    at: int
    action: str


def next_due(subscription: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Due | None:
    """The next thing that time alone does to this subscription; None when it waits for nothing."""
    status = subscription["status"]
    if has_ended(status):
        return None
    collection = subscription["pause_collection"]
    moments: list[tuple[Action, int | None]] = [
        (Action.CANCEL, subscription["cancel_at"]),
        (Action.RESUME_COLLECTION, collection["resumes_at"] if collection else None),
    ]
    if status == Status.INCOMPLETE:
        moments.append((Action.EXPIRE_INCOMPLETE, subscription["created"] + FIRST_PAYMENT_WITHIN))
    elif status == Status.TRIALING:
        trial_end = subscription["trial_end"]
        if not subscription["_trial_warned"]:
            moments.append((Action.WARN_OF_TRIAL_END, trial_end - TRIAL_WARNING))
        moments.append((Action.END_TRIAL, trial_end))
    elif status != Status.PAUSED:
        moments.append((Action.RENEW, min(item["current_period_end"] for item in items)))
    order = list(Action)
    known = [(at, order.index(action)) for action, at in moments if at is not None]
    if not known:
        return None
    at, rank = min(known)
    return Due(at, order[rank])


def next_attempt(failed_attempts: int, at: int) -> int | None:
    """When an invoice whose payment failed for the n-th time at `at` is tried again; None when dunning is exhausted."""
    if failed_attempts > len(RETRIES_AFTER):
        return None
    return at + RETRIES_AFTER[failed_attempts - 1]


def period_end(anchor: int, start: int, interval: str, count: int) -> int:
    """The end of the period that begins at `start`: the first multiple of the interval after it, counted from `anchor`.

    Months keep the anchor's day where the month has it, else its last day (31 January → 28 February → 31 March).
    """
    seconds = {"day": DAY, "week": 7 * DAY}.get(interval)
    if seconds is not None:
        step = seconds * count
        return anchor + ((start - anchor) // step + 1) * step
    months = count * (12 if interval == "year" else 1)
    first, begin = _moment(anchor), _moment(start)
    elapsed = (begin.year - first.year) * 12 + begin.month - first.month
    turns = elapsed // months - 1
    while (end := _months_later(first, months * turns)) <= begin:
        turns += 1
    return int(end.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _months_later(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def months_later(seconds: int, months: int) -> int:
    """The same day so many months later, or the last day of a month that does not have it."""
    return int(_months_later(_moment(seconds), months).timestamp())


def trial_end(start: int, days: int) -> int:
    return int((_moment(start) + timedelta(days=days)).timestamp())
