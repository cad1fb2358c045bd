"""Whether a piece of evidence counts, from when and until when: the one place that turns a status into access.

The law: a source counts while it is live and what paid for it stands. Each source is judged alone; what a refund
or a dispute ends is what that payment paid for, never another source of the same feature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from .catalog import OnDispute, OnPause, OnRefund, Policy, Product
from .evidence import (
    Correction,
    DisputeStatus,
    Grant,
    Payment,
    PaymentStatus,
    Purchase,
    Source,
    Subscription,
    SubscriptionStatus,
)
from .rules import Rule
from .time import EVER, Period, day, earliest, later, until


@dataclass(frozen=True, slots=True)
class Standing:
    """How a piece of evidence stands: when it counts, by which rule, said in a sentence."""

    period: Period | None
    """None: it never counts."""
    rule: Rule
    sentence: str


def standing(
    source: Source, policy: Policy, lasts: timedelta | None = None, times: int = 1, *, after: datetime | None = None
) -> Standing:
    """How `source` stands under `policy`. The rest is for purchases only.

    `lasts` is the bought product's (None: for life), so many `times`; it begins no earlier than `after`.
    """
    if isinstance(source, Subscription):
        return _after_payment(_subscription(source, policy), source.payment, policy)
    if isinstance(source, Purchase):
        return _after_payment(_purchase(source, lasts, times, after), source.payment, policy)
    return _grant(source)


def standing_of_default(product: Product) -> Standing:
    """How the product that everybody has stands: it counts always."""
    return Standing(Period(EVER), Rule.DEFAULT, Rule.DEFAULT.sentence.format(product=product.name))


def scheduled_end(subscription: Subscription) -> datetime | None:
    """When the subscription will stop renewing, or None while it renews.

    A portal cancellation of a flexible subscription sets only `cancel_at`; of a classic one, `cancel_at_period_end`.
    """
    if subscription.cancel_at is None and subscription.cancel_at_period_end:
        return subscription.period_end
    return subscription.cancel_at


def _trialing(subscription: Subscription, _policy: Policy) -> Standing:
    trial_end = subscription.trial_end or subscription.period_end
    return _lasting(
        subscription.started_at, earliest(trial_end, scheduled_end(subscription)), Rule.SUBSCRIPTION_TRIALING
    )


def _active(subscription: Subscription, policy: Policy) -> Standing:
    renewal_due = subscription.period_end + policy.renewal_leeway
    ends = scheduled_end(subscription)
    # A later end does not lengthen anything: until then each period still has to be paid.
    if ends is not None and ends <= renewal_due:
        return _lasting(subscription.started_at, ends, Rule.SUBSCRIPTION_ENDS)
    return _lasting(
        subscription.started_at, renewal_due, Rule.SUBSCRIPTION_ACTIVE, period_end=day(subscription.period_end)
    )


def _past_due(subscription: Subscription, policy: Policy) -> Standing:
    # Not from the end of the current period: at a renewal the period has already turned, so that would be a free month.
    unpaid = subscription.unpaid_since or subscription.period_start
    ends = earliest(unpaid + policy.grace, scheduled_end(subscription))
    return _lasting(subscription.started_at, ends, Rule.SUBSCRIPTION_PAST_DUE_GRACE, unpaid=day(unpaid))


def _paused(subscription: Subscription, policy: Policy) -> Standing:
    paid = max(filter(None, (subscription.paid_through, subscription.trial_end)), default=None)
    if policy.on_pause is OnPause.END or paid is None:
        return _never(Rule.SUBSCRIPTION_PAUSED)
    return _lasting(subscription.started_at, earliest(paid, scheduled_end(subscription)), Rule.SUBSCRIPTION_PAUSED_PAID)


_CORRECTED: Final[Mapping[Correction, Rule]] = {
    Correction.DOUBLE: Rule.SUBSCRIPTION_DOUBLE,
    Correction.TRIAL_AGAIN: Rule.SUBSCRIPTION_TRIAL_AGAIN,
}


def _not_live(subscription: Subscription, _policy: Policy) -> Standing:
    if subscription.correction is not None and subscription.status is SubscriptionStatus.CANCELED:
        return _never(_CORRECTED[subscription.correction])
    return _never(Rule.SUBSCRIPTION_NOT_LIVE, status=subscription.status.replace("_", " "))


SUBSCRIPTION_RULES: Final[Mapping[SubscriptionStatus, Callable[[Subscription, Policy], Standing]]] = {
    SubscriptionStatus.TRIALING: _trialing,
    SubscriptionStatus.ACTIVE: _active,
    SubscriptionStatus.PAST_DUE: _past_due,
    SubscriptionStatus.PAUSED: _paused,
    SubscriptionStatus.INCOMPLETE: _not_live,
    SubscriptionStatus.INCOMPLETE_EXPIRED: _not_live,
    SubscriptionStatus.UNPAID: _not_live,
    SubscriptionStatus.CANCELED: _not_live,
}
"""What each status of Stripe's means. A status that is not here does not exist: `SubscriptionStatus.parse` raises."""


def _subscription(subscription: Subscription, policy: Policy) -> Standing:
    rule = SUBSCRIPTION_RULES[subscription.status]
    # Pausing the collection leaves the status as it was: `active` no longer says that anything is paid.
    if subscription.collection_paused and rule is not _not_live and policy.on_pause is not OnPause.KEEP:
        rule = _paused
    return rule(subscription, policy)


def _purchase(purchase: Purchase, lasts: timedelta | None, times: int, after: datetime | None) -> Standing:
    if purchase.payment_status is PaymentStatus.UNPAID:
        return _never(Rule.PURCHASE_UNPAID, since=day(purchase.since))
    if lasts is None:
        return _lasting(purchase.since, None, Rule.PURCHASE_PAID)
    begins = purchase.since if after is None else max(purchase.since, after)
    ends = later(begins, lasts, times)
    if begins == purchase.since:
        return _lasting(begins, ends, Rule.PURCHASE_PAID)
    said = {"since": day(purchase.since), "begins": day(begins), "until": until(ends)}
    return Standing(Period.maybe(begins, ends), Rule.PURCHASE_STACKED, Rule.PURCHASE_STACKED.sentence.format(**said))


def _grant(grant: Grant) -> Standing:
    rule = Rule.OVERRIDDEN if grant.override else Rule.GRANTED
    granted = _lasting(grant.starts_at, grant.ends_at, rule, reason=grant.reason)
    return granted if grant.revoked_at is None else _cut(granted, grant.revoked_at, Rule.GRANT_REVOKED)


_SUSPENDING: Final = frozenset({DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW})
"""The money is withheld. An inquiry (`warning_…`) withholds nothing, and a `prevented` dispute never came to be."""

LOST: Final = frozenset({DisputeStatus.LOST, DisputeStatus.APPEAL_NEEDS_RESPONSE, DisputeStatus.APPEAL_UNDER_REVIEW})
"""The money is gone. An appeal is made after a loss, and changes nothing before it is won."""


def _after_payment(base: Standing, payment: Payment | None, policy: Policy) -> Standing:
    """`base`, as far as what became of the payment lets it stand."""
    if payment is None or base.period is None:
        return base
    if payment.disputed_at is not None:
        if payment.dispute in _SUSPENDING and policy.on_dispute is OnDispute.SUSPEND:
            base = _cut(base, payment.disputed_at, Rule.DISPUTED)
        if payment.dispute in LOST:
            base = _cut(base, payment.disputed_at, Rule.DISPUTE_LOST)
    on_refund = policy.on_full_refund if payment.fully_refunded else policy.on_partial_refund
    if payment.refunded_at is not None and on_refund is OnRefund.END:
        base = _cut(base, payment.refunded_at, Rule.REFUNDED)
    return base


def before_change(base: Standing, at: datetime) -> Standing:
    """How a line stands that a scheduled change takes away at `at`: until exactly then."""
    return _cut(base, at, Rule.SUBSCRIPTION_CHANGES)


def after_change(base: Standing, at: datetime) -> Standing:
    """How a line stands that a scheduled change brings at `at`: from then on, as long as the subscription counts."""
    if base.period is None or base.period.start >= at:
        return base
    return replace(base, period=Period.maybe(at, base.period.end))


def _lasting(start: datetime, end: datetime | None, rule: Rule, **said: str) -> Standing:
    return Standing(Period.maybe(start, end), rule, rule.sentence.format(since=day(start), until=until(end), **said))


def _never(rule: Rule, **said: str) -> Standing:
    return Standing(None, rule, rule.sentence.format(**said))


def _cut(base: Standing, ended: datetime, rule: Rule) -> Standing:
    """`base` ended at `ended` by `rule`; unchanged where it had ended before that anyway."""
    if base.period is None or (base.period.end is not None and base.period.end <= ended):
        return base
    said = rule.sentence.format(since=day(base.period.start), ended=day(ended), until=until(ended))
    return Standing(Period.maybe(base.period.start, ended), rule, said)
