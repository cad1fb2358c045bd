"""What a subscription was worth when, and whether it counted: `standing` applied to how things stood at each instant.

The law: a subscription has MRR exactly while its standing counts and it is not on trial. Its past is put together from
what Stripe has an instant for, so it does not matter when we heard of it, in which order, or how often.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Final

from .billing import Bill, Billing, Seen, State, rates, value
from .catalog import Catalog
from .evidence import Payment, Subscription, SubscriptionStatus
from .owning import OVER
from .standing import standing
from .time import Period


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which a subscription counts, in one state and with one worth a month."""

    period: Period
    state: State
    monthly: Fraction
    """Minor units a month, after discounts; on trial what it would be."""


_FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)
_STATES = {
    SubscriptionStatus.TRIALING: State.TRIALING,
    SubscriptionStatus.PAST_DUE: State.PAST_DUE,
    SubscriptionStatus.PAUSED: State.PAUSED,
}


def stretches(
    one: Subscription, billing: Billing, seen: Sequence[Seen], catalog: Catalog, at: datetime
) -> tuple[Stretch, ...]:
    """All of the subscription's time that counts, as known at `at`: in order, disjoint, equal neighbours joined."""
    known = rates(billing, seen)
    edges = {edge for rate in known for edge in (rate.starts_at, rate.ends_at) if edge is not None}
    found: list[Stretch] = []
    for period, state in _counting(one, billing, seen, catalog, at):
        for piece in _cut(period, edges):
            following = Stretch(piece, state, value(known, piece.start))
            if found and _continues(found[-1], following):
                following = replace(following, period=Period(found.pop().period.start, piece.end))
            found.append(following)
    return tuple(found)


def _continues(before: Stretch, after: Stretch) -> bool:
    same = (before.state, before.monthly) == (after.state, after.monthly)
    return same and before.period.end == after.period.start


def _cut(period: Period, edges: set[datetime]) -> Iterator[Period]:
    inner = sorted(edge for edge in edges if edge > period.start and edge in period)
    starts = [period.start, *inner]
    for start, end in zip(starts, [*inner, period.end], strict=True):
        yield Period(start, end)


def _counting(
    one: Subscription, billing: Billing, seen: Sequence[Seen], catalog: Catalog, at: datetime
) -> Iterator[tuple[Period, State]]:
    """When the subscription counts: each stretch between two of Stripe's instants is judged as it stood then."""
    pauses = _pauses(billing, seen)
    marks = _marks(one, billing, pauses, at)
    for start, end in pairwise([*marks, one.ended_at]):
        assert start is not None
        if end is not None and end <= start:
            continue
        # How it stands now is known as it is; how it stood before is put together from what is left of it.
        now = end is None and one.status not in OVER
        then = one if now else _as_of(one, billing, pauses, start)
        counts = _counts(then, catalog)
        if counts is None:
            continue
        ends = [edge for edge in (counts.end, end) if edge is not None]
        period = Period.maybe(max(start, counts.start), min(ends, default=None))
        if period is not None:
            paused = then.collection_paused
            yield period, State.PAUSED if paused else _STATES.get(then.status, State.ACTIVE)


def _counts(one: Subscription, catalog: Catalog) -> Period | None:
    """When the subscription counts, by the policy of each of its products: as long as one of them does."""
    policies = {catalog.policy_of(item.product) for item in one.items} or {catalog.policy}
    periods = [period for policy in policies if (period := standing(one, policy).period) is not None]
    return max(periods, key=lambda period: period.end or _FOR_EVER, default=None)


def _marks(one: Subscription, billing: Billing, pauses: Sequence[Period], at: datetime) -> list[datetime]:
    """Every instant up to now at which the subscription may have come to stand otherwise; the first is its start."""
    certain = [
        edge
        for bill in billing.bills
        for edge in (bill.made_at, bill.failed_at, bill.charged_at, bill.paid_at, bill.given_up_at, *_losses(bill))
    ]
    certain += [pause.start for pause in pauses] + [pause.end for pause in pauses]
    if one.status is SubscriptionStatus.UNPAID:
        certain += [bill.last_failed_at for bill in billing.bills]
    past = [edge for edge in certain if edge is not None]
    # Stripe's clock may be ahead of ours: what it tells has happened.
    now = max([at, one.started_at, *past])
    dated = [edge for edge in (billing.trial_start, one.trial_end) if edge is not None and edge <= now]
    limit = one.ended_at or now
    return sorted({one.started_at, *(edge for edge in (*past, *dated) if one.started_at < edge <= limit)})


def _losses(bill: Bill) -> tuple[datetime | None, datetime | None]:
    return (bill.payment.refunded_at, bill.payment.disputed_at) if bill.payment else (None, None)


def _pauses(billing: Billing, seen: Sequence[Seen]) -> list[Period]:
    found: list[Period] = []
    since: datetime | None = None
    for entry in seen:
        if entry.paused:
            since = since or entry.at
        elif since is not None:
            found += [pause for pause in [Period.maybe(since, entry.at)] if pause]
            since = None
    starts = [instant for instant in (since, billing.paused_at) if instant is not None]
    return [*found, Period(min(starts))] if starts else found


def _as_of(one: Subscription, billing: Billing, pauses: Sequence[Period], at: datetime) -> Subscription:
    """The subscription as it stood at an instant of the past."""
    owed = [bill.made_at for bill in billing.bills if bill.owed(at)]
    paid = [
        rate.ends_at
        for bill in billing.bills
        if bill.paid(at)
        for rate in bill.rates
        if not rate.proration and rate.ends_at is not None
    ]
    return replace(
        one,
        status=_status(one, billing, pauses, at, owed=bool(owed)),
        cancel_at=None,
        cancel_at_period_end=False,
        collection_paused=False,
        paid_through=max(paid, default=None),
        unpaid_since=min(owed, default=None),
        payment=_payment(billing, at),
        ended_at=None,
    )


def _status(
    one: Subscription, billing: Billing, pauses: Sequence[Period], at: datetime, *, owed: bool
) -> SubscriptionStatus:
    if billing.trial_start and one.trial_end and billing.trial_start <= at < one.trial_end:
        return SubscriptionStatus.TRIALING
    begun = _begun(one, billing)
    if begun is None or at < begun:
        return SubscriptionStatus.INCOMPLETE
    if any(at in pause for pause in pauses):
        return SubscriptionStatus.PAUSED
    return SubscriptionStatus.PAST_DUE if owed else SubscriptionStatus.ACTIVE


def _begun(one: Subscription, billing: Billing) -> datetime | None:
    """When the subscription came into force: with its trial, or with its first payment; None where that never came."""
    first = next((bill for bill in billing.bills if bill.first), None)
    if first is None or not first.due:
        return one.started_at
    return first.charged_at or first.paid_at


def _payment(billing: Billing, at: datetime) -> Payment | None:
    """What paid for the period of that instant, and not disputed before it was. (A refund says itself when it was.)"""
    made = [bill for bill in billing.bills if bill.opens_period and bill.made_at <= at]
    payment = max(made, key=lambda bill: bill.made_at).payment if made else None
    if payment and payment.disputed_at and at < payment.disputed_at:
        payment = replace(payment, dispute=None, disputed_at=None)
    return payment
