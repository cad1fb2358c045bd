"""The life of a subscription: its states, what leads from one to the next, and what time brings. Pure."""

import calendar
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from tollhouse_sandbox.errors import StripeError

HOUR = 3600
DAY = 24 * HOUR

FINALISED_AFTER = HOUR
"""Seconds a renewal's draft invoice stays open for changes."""
FIRST_PAYMENT_WITHIN = 23 * HOUR
"""Seconds after which an incomplete subscription expires, and the resumption of a paused one."""
TRIAL_WARNING = 3 * DAY
"""Seconds before a trial's end at which `customer.subscription.trial_will_end` is sent."""

ANNOUNCED = 7 * DAY
"""Seconds before a renewal at which `invoice.upcoming` is sent; a period that is not longer is not announced."""


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
    """What can happen to a subscription. The pauses have the names of `status_details.paused.subscription.type`."""

    SUBSCRIBED = "subscribed"
    """It begins, and its first invoice is to be charged."""
    SUBSCRIBED_ON_TRIAL = "subscribed_on_trial"
    SUBSCRIBED_BY_INVOICE = "subscribed_by_invoice"
    """It begins, and its invoices are sent instead of charged."""
    PAID = "paid"
    """Its latest invoice was paid, or there was nothing to pay."""
    WRITTEN_OFF = "written_off"
    """Somebody marked its latest invoice uncollectible."""
    VOIDED = "voided"
    """Somebody voided its latest invoice, and no older one is waiting to be paid."""
    PAYMENT_FAILED = "payment_failed"
    """A charge was declined, or waits for the customer's bank."""
    OVERDUE = "overdue"
    """A bill that was sent is not paid on the day it is due."""
    FIRST_PAYMENT_MISSED = "first_payment_missed"
    """The first invoice was not paid within 23 hours."""
    LEFT_UNPAID = "left_unpaid"
    """Dunning is over, and the account's setting is to go on without collecting."""
    TRIAL_BEGUN = "trial_begun"
    """A subscription that runs is given a trial, or a trial is prolonged."""
    TRIAL_ENDED = "trial_ended"
    TRIAL_END_WITHOUT_PAYMENT_METHOD = "trial_end_without_payment_method"
    PAUSE_REQUESTED = "pause_requested"
    FIRST_PAYMENT_FAILURE = "first_payment_failure"
    FINAL_PAYMENT_FAILURE = "final_payment_failure"
    SYSTEM = "system"
    """Stripe itself paused it."""
    RESUMED = "resumed"
    RESUMED_UNPAID = "resumed_unpaid"
    """It was resumed on a payment attempt, and the attempt failed."""
    CANCELED = "canceled"
    """At once or on its day, by merchant or customer, by dunning, or with the customer's deletion."""


_TABLE = """
happens                           (new)       incomplete          trialing  active    past_due  unpaid    paused
subscribed                        incomplete  -                   -         -         -         -         -
subscribed_on_trial               trialing    -                   -         -         -         -         -
subscribed_by_invoice             active      -                   -         -         -         -         -
paid                              -           active              trialing  active    active    active    paused
written_off                       -           active              trialing  active    active    active    paused
voided                            -           incomplete_expired  trialing  active    active    active    paused
payment_failed                    -           incomplete          trialing  past_due  past_due  unpaid    paused
overdue                           -           -                   trialing  past_due  past_due  unpaid    -
first_payment_missed              -           incomplete_expired  -         -         -         -         -
left_unpaid                       -           -                   -         -         unpaid    -         -
trial_begun                       -           -                   trialing  trialing  -         -         -
trial_ended                       -           -                   active    -         -         -         -
trial_end_without_payment_method  -           -                   paused    -         -         -         -
pause_requested                   -           -                   -         paused    paused    -         -
first_payment_failure             -           -                   -         paused    -         -         -
final_payment_failure             -           -                   -         -         paused    -         -
system                            -           -                   paused    paused    paused    paused    -
resumed                           -           -                   -         -         -         -         active
resumed_unpaid                    -           -                   -         -         -         -         past_due
canceled                          -           canceled            canceled  canceled  canceled  canceled  canceled
"""
"""What happens, down; the state it happens to, across; the state that follows, or `-` where it cannot happen.

Nothing happens any more to a subscription that is canceled or incomplete_expired, so these are no columns.
"""


def _read(table: str) -> dict[tuple[Status | None, Cause], Status]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    states = [None if name == "(new)" else Status(name) for name in head[1:]]
    return {
        (state, Cause(cause)): Status(then)
        for cause, *cells in rows
        for state, then in zip(states, cells, strict=True)
        if then != "-"
    }


TRANSITIONS: Mapping[tuple[Status | None, Cause], Status] = _read(_TABLE)
"""Every change of state there is, by the state before (None: it does not exist yet) and what happens."""


def after(status: str | None, cause: Cause) -> Status:
    """The state that follows. Raises `StripeError` 400 for what cannot happen in this state."""
    state = None if status is None else Status(status)
    if (state, cause) not in TRANSITIONS:
        raise StripeError(f"This cannot happen to a subscription that is {status}: {cause.replace('_', ' ')}.")
    return TRANSITIONS[state, cause]


def can(status: str, cause: Cause) -> bool:
    """Whether this can happen to a subscription in that state."""
    return (Status(status), cause) in TRANSITIONS


def has_ended(status: str) -> bool:
    """Whether nothing can happen to the subscription any more."""
    return status in (Status.CANCELED, Status.INCOMPLETE_EXPIRED)


class Action(StrEnum):
    """What time does to a subscription, in the order in which simultaneous things happen."""

    CANCEL = "cancel"
    EXPIRE_INCOMPLETE = "expire_incomplete"
    EXPIRE_RESUMPTION = "expire_resumption"
    RESUME_COLLECTION = "resume_collection"
    ANNOUNCE = "announce"
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
    elif status == Status.PAUSED:
        resumption = subscription["_resumption"]
        moments.append((Action.EXPIRE_RESUMPTION, resumption["expires_at"] if resumption else None))
    else:
        moments.append((Action.RENEW, min(item["current_period_end"] for item in items)))
    moments.append((Action.ANNOUNCE, _announced_at(subscription, items)))
    order = list(Action)
    known = [(at, order.index(action)) for action, at in moments if at is not None]
    if not known:
        return None
    at, rank = min(known)
    return Due(at, order[rank])


def _announced_at(subscription: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> int | None:
    """When the next invoice is told of; None when there is none to come, or it was told already."""
    start, end = min(((item["current_period_start"], item["current_period_end"]) for item in items), key=lambda p: p[1])
    billed = subscription["status"] in (Status.TRIALING, Status.ACTIVE, Status.PAST_DUE)
    ends = subscription["cancel_at"] is not None and subscription["cancel_at"] <= end
    if not billed or ends or subscription["pause_collection"] or subscription["_announced"] == end:
        return None
    return end - ANNOUNCED if end - start > ANNOUNCED else None


def next_attempt(failed_attempts: int, at: int, retries_after: Sequence[int]) -> int | None:
    """When an invoice whose payment failed for the n-th time at `at` is tried again; None when dunning is exhausted.

    `retries_after` are the seconds from each failure to the next try.
    """
    if failed_attempts > len(retries_after):
        return None
    return at + retries_after[failed_attempts - 1]


def period_end(anchor: int, start: int, interval: str, count: int) -> int:
    """The end of the period that begins at `start`: the first multiple of the interval after it, counted from `anchor`.

    Months keep the anchor's day where the month has it, else its last day (31 January → 28 February → 31 March).
    """
    return period_around(anchor, start, interval, count)[1]


def period_around(anchor: int, at: int, interval: str, count: int) -> tuple[int, int]:
    """The last multiple of the interval that is not after `at`, and the next one, counted from `anchor`."""
    seconds = {"day": DAY, "week": 7 * DAY}.get(interval)
    if seconds is not None:
        step = seconds * count
        turns = (at - anchor) // step
        return anchor + turns * step, anchor + (turns + 1) * step
    months = count * (12 if interval == "year" else 1)
    first, begin = _moment(anchor), _moment(at)
    elapsed = (begin.year - first.year) * 12 + begin.month - first.month
    turns = elapsed // months - 1
    while (end := _months_later(first, months * turns)) <= begin:
        turns += 1
    return int(_months_later(first, months * (turns - 1)).timestamp()), int(end.timestamp())


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
