"""What a subscription's bills say of its worth a month, as plain values; parsed in stripe_gateway/parse_billing.py.

Amounts a month are fractions of minor units, exact: they are rounded once, when somebody is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Final

from .catalog import Interval
from .evidence import Payment, Subscription, SubscriptionStatus

MONTHS: Final[Mapping[Interval, Fraction]] = {
    "day": Fraction(12, 365),
    "week": Fraction(84, 365),
    "month": Fraction(1),
    "year": Fraction(12),
}
"""How many months an interval has: a year is 12 months and 365 days."""


def monthly(amount: Fraction | int, interval: Interval, count: int = 1) -> Fraction:
    """What `amount` every `count` intervals is a month."""
    return Fraction(amount) / (MONTHS[interval] * count)


@dataclass(frozen=True, slots=True)
class Rate:
    """One line of a bill: what it adds to the subscription's worth while its period lasts.

    A line that gives back the unused rest of a period takes away: its `gross` is negative. So the lines that cover an
    instant add up to what the subscription is worth then, however often it was changed, and in whatever order they are.
    """

    item: str
    """The subscription item (`si_…`)."""
    starts_at: datetime
    ends_at: datetime | None
    gross: Fraction
    """A month, before discounts."""
    proration: bool = False
    keep: Fraction = Fraction(1)
    """The share that discounts by percent leave; of a proration that of the period it changes, see `rates`."""
    off: Fraction = Fraction(0)
    """What discounts by amount take off, a month."""

    @property
    def net(self) -> Fraction:
        return self.gross * self.keep - self.off

    def covers(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True, slots=True)
class Bill:
    """One invoice of a subscription (`in_…`)."""

    id: str
    made_at: datetime
    opens_period: bool
    """It is the subscription's first bill, or that of a renewal."""
    first: bool
    due: int
    """Minor units."""
    failed_at: datetime | None = None
    """When it was first tried in vain."""
    last_failed_at: datetime | None = None
    charged_at: datetime | None = None
    """When the payment that paid it was begun: of a bank debit days before `paid_at`."""
    paid_at: datetime | None = None
    given_up_at: datetime | None = None
    """When it was voided."""
    payment: Payment | None = None
    rates: tuple[Rate, ...] = ()

    def owed(self, at: datetime) -> bool:
        """Whether at that instant it had been tried in vain and neither been paid nor given up."""
        settled = self.paid_at or self.given_up_at
        return self.failed_at is not None and self.failed_at <= at and (settled is None or at < settled)

    def paid(self, at: datetime) -> bool:
        return self.paid_at is not None and self.paid_at <= at


@dataclass(frozen=True, slots=True)
class Billing:
    """A subscription's money, as last read. `subscription` is Stripe's id (`sub_…`)."""

    subscription: str
    currency: str
    worth: Fraction
    """What its items are worth a month as they are now, before discounts."""
    bills: tuple[Bill, ...] = ()
    pending: tuple[Rate, ...] = ()
    """Changes that wait for the next bill."""
    trial_start: datetime | None = None
    paused_at: datetime | None = None
    """When it was paused, where Stripe says so."""

    @property
    def all_rates(self) -> tuple[Rate, ...]:
        return (*(rate for bill in self.bills for rate in bill.rates), *self.pending)


@dataclass(frozen=True, slots=True)
class Seen:
    """What leaves no trace with an instant at Stripe, as it was first seen: an entry of the ledger, never altered.

    A change of items without proration, and a pause of the collection.
    """

    at: datetime
    worth: Fraction
    """A month, before discounts."""
    paused: bool


def rates(billing: Billing, seen: Sequence[Seen]) -> tuple[Rate, ...]:
    """Every rate, with what was seen and no bill explains; each item's last one open-ended: its standing ends it."""
    billed = [_with_discounts(rate, billing.all_rates) for rate in billing.all_rates]
    last = {item: max(rate.ends_at for rate in billed if rate.item == item) for item in {rate.item for rate in billed}}  # type: ignore[type-var]
    known = tuple(replace(rate, ends_at=None) if rate.ends_at == last[rate.item] else rate for rate in billed)
    return (*known, *_unexplained(known, seen))


def worth(rates: Iterable[Rate], at: datetime) -> Fraction:
    """What the rates add up to at an instant, before discounts."""
    return sum((rate.gross for rate in rates if rate.covers(at)), Fraction(0))


def value(rates: Iterable[Rate], at: datetime) -> Fraction:
    """The same after discounts; never less than nothing."""
    return max(Fraction(0), sum((rate.net for rate in rates if rate.covers(at)), Fraction(0)))


def to_be_noted(one: Subscription, billing: Billing, seen: Sequence[Seen], at: datetime) -> Seen | None:
    """What must be entered in the ledger of `seen` because only its being seen tells when; None: nothing."""
    if one.ended_at is not None or one.status is SubscriptionStatus.INCOMPLETE_EXPIRED:
        return None
    known = rates(billing, seen)
    # Stripe's clock may be ahead of ours: what it has billed has begun.
    at = max([at, *(rate.starts_at for rate in known)])
    paused = one.collection_paused or one.status is SubscriptionStatus.PAUSED
    was_paused = seen[-1].paused if seen else False
    changed = at < one.period_end and billing.worth != worth(known, at)
    return Seen(at, billing.worth, paused) if changed or paused != was_paused else None


def _with_discounts(rate: Rate, among: Sequence[Rate]) -> Rate:
    """A proration is discounted as the period is that it changes: of the same item, or else of the subscription."""
    if not rate.proration:
        return rate
    before = [one for one in among if not one.proration and one.starts_at <= rate.starts_at]
    if not before:
        return rate
    return replace(rate, keep=max(before, key=lambda one: (one.item == rate.item, one.starts_at)).keep)


def _unexplained(known: Sequence[Rate], seen: Sequence[Seen]) -> Iterable[Rate]:
    """The rates that must be added for the worth to be as seen: until it is seen otherwise, or a period is billed."""
    for place, one in enumerate(seen):
        missing = one.worth - worth(known, one.at)
        periods = [rate for rate in known if not rate.proration]
        ends = [rate.starts_at for rate in periods if rate.starts_at > one.at]
        ends += [later.at for later in seen[place + 1 : place + 2]]
        if missing and (not ends or min(ends) > one.at):
            begun = [rate for rate in periods if rate.starts_at <= one.at]
            keep = max(begun, key=lambda rate: rate.starts_at).keep if begun else Fraction(1)
            yield Rate("", one.at, min(ends, default=None), missing, True, keep)


class State(StrEnum):
    """How a subscription that counts stands; each has MRR but one on trial."""

    ACTIVE = "active"
    TRIALING = "trialing"
    PAST_DUE = "past_due"
    PAUSED = "paused"
