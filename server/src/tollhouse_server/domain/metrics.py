"""What a project earns: recurring revenue and its movements, counts, rates and cash, for each interval and currency.

The laws: currencies are never added up. In each interval and currency, exactly, MRR at the end is MRR at the start
plus new, reactivation and expansion, less contraction and churn. What is counted in an interval is the sum of what is
counted in its parts. The order of the facts does not matter.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Final

from .billing import State
from .worth import Stretch

DEFINITIONS: Final = 1
"""The version of what the figures mean; it grows when a meaning changes. docs/explanation/metrics.md tells them."""

ZERO: Final = Fraction(0)


class FactKind(StrEnum):
    """What happens at one instant."""

    SUBSCRIPTION_PAYMENT = "subscription_payment"
    PURCHASE_PAYMENT = "purchase_payment"
    REFUND = "refund"
    DISPUTE_LOST = "dispute_lost"
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_RECOVERED = "payment_recovered"
    TRIAL_STARTED = "trial_started"
    TRIAL_ENDED = "trial_ended"
    TRIAL_CONVERTED = "trial_converted"
    """Dated when the trial ended, not when it was paid for: so it lies in the interval of its cohort."""


@dataclass(frozen=True, slots=True)
class Fact:
    """`count` things that happened at one instant, of `amount` minor units together; `id` is Stripe's, of one."""

    kind: FactKind
    at: datetime
    currency: str
    amount: int = 0
    count: int = 1
    id: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A stretch of some customer's subscription."""

    customer: Hashable
    currency: str
    stretch: Stretch


@dataclass(slots=True)
class Figures:
    """One interval in one currency, in minor units; what is a month is an exact fraction. docs/explanation/metrics.md
    has the definitions.

    The states of subscriptions, and `past_due_mrr`, are those at the interval's end.
    """

    mrr_start: Fraction = ZERO
    new_mrr: Fraction = ZERO
    reactivation_mrr: Fraction = ZERO
    expansion_mrr: Fraction = ZERO
    contraction_mrr: Fraction = ZERO
    churned_mrr: Fraction = ZERO
    past_due_mrr: Fraction = ZERO
    customers_start: int = 0
    customers_new: int = 0
    customers_reactivated: int = 0
    customers_churned: int = 0
    active: int = 0
    trialing: int = 0
    past_due: int = 0
    paused: int = 0
    trials_started: int = 0
    trials_ended: int = 0
    trials_converted: int = 0
    subscription_revenue: int = 0
    purchase_revenue: int = 0
    refunds: int = 0
    refunded: int = 0
    disputes_lost: int = 0
    lost_to_disputes: int = 0
    payments_failed: int = 0
    failed: int = 0
    payments_recovered: int = 0
    recovered: int = 0

    @property
    def mrr_end(self) -> Fraction:
        grown = self.new_mrr + self.reactivation_mrr + self.expansion_mrr
        return self.mrr_start + grown - self.contraction_mrr - self.churned_mrr

    @property
    def customers_end(self) -> int:
        return self.customers_start + self.customers_new + self.customers_reactivated - self.customers_churned

    @property
    def gross_revenue(self) -> int:
        return self.subscription_revenue + self.purchase_revenue

    @property
    def net_revenue(self) -> int:
        return self.gross_revenue - self.refunded - self.lost_to_disputes

    @property
    def arpu(self) -> Fraction | None:
        return self.mrr_end / self.customers_end if self.customers_end else None

    @property
    def customer_churn_rate(self) -> Fraction | None:
        return Fraction(self.customers_churned, self.customers_start) if self.customers_start else None

    @property
    def revenue_churn_rate(self) -> Fraction | None:
        return (self.churned_mrr + self.contraction_mrr) / self.mrr_start if self.mrr_start else None

    @property
    def trial_conversion_rate(self) -> Fraction | None:
        return Fraction(self.trials_converted, self.trials_ended) if self.trials_ended else None


_COUNTED: Final[dict[FactKind, tuple[str | None, str | None]]] = {
    FactKind.SUBSCRIPTION_PAYMENT: (None, "subscription_revenue"),
    FactKind.PURCHASE_PAYMENT: (None, "purchase_revenue"),
    FactKind.REFUND: ("refunds", "refunded"),
    FactKind.DISPUTE_LOST: ("disputes_lost", "lost_to_disputes"),
    FactKind.PAYMENT_FAILED: ("payments_failed", "failed"),
    FactKind.PAYMENT_RECOVERED: ("payments_recovered", "recovered"),
    FactKind.TRIAL_STARTED: ("trials_started", None),
    FactKind.TRIAL_ENDED: ("trials_ended", None),
    FactKind.TRIAL_CONVERTED: ("trials_converted", None),
}
"""Kind → the figure that its count is added to, and the one that its amount is added to."""


def measure(
    held: Iterable[Held],
    facts: Iterable[Fact],
    edges: Sequence[datetime],
    at: datetime,
    returning: AbstractSet[tuple[Hashable, str]] = frozenset(),
) -> dict[str, list[Figures]]:
    """The figures of each interval between two edges, by currency, as known at `at`: nothing after it counts.

    `held` must have every stretch that does not end before the first edge. `returning` are the (customer, currency)
    who had MRR before all of that: who comes back is not new.
    """
    sheet = _Sheet(edges, at)
    changes: dict[tuple[Hashable, str], dict[datetime, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for one in held:
        sheet.count_state(one)
        period, monthly = one.stretch.period, one.stretch.monthly
        if one.stretch.state is not State.TRIALING and monthly:
            changes[one.customer, one.currency][period.start] += monthly
            if period.end is not None:
                changes[one.customer, one.currency][period.end] -= monthly
    for (customer, currency), steps in changes.items():
        sheet.follow(currency, steps, (customer, currency) in returning)
    for fact in facts:
        sheet.count_fact(fact)
    return sheet.told()


def together(parts: Iterable[Figures]) -> Figures:
    """Several projects' figures of one interval and currency as one."""
    whole = Figures()
    for part in parts:
        for name in _NAMES:
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
    return whole


_NAMES: Final = tuple(field.name for field in fields(Figures))


class _Sheet:
    """The intervals of each currency while they are filled in."""

    def __init__(self, edges: Sequence[datetime], at: datetime) -> None:
        self._edges, self._at = edges, at
        self._rows: dict[str, list[Figures]] = {}
        self._states: dict[tuple[str, str], list[Fraction | int]] = {}
        self._starting: dict[str, tuple[Fraction, int]] = defaultdict(lambda: (ZERO, 0))

    def _row(self, currency: str, place: int) -> Figures:
        if currency not in self._rows:
            self._rows[currency] = [Figures() for _ in self._edges[1:]]
        return self._rows[currency][place]

    def _place(self, instant: datetime) -> int | None:
        """The interval that an instant lies in: -1 before the first, None where it does not count."""
        if instant > self._at or instant >= self._edges[-1]:
            return None
        return bisect_right(self._edges, instant) - 1

    def count_fact(self, fact: Fact) -> None:
        place = self._place(fact.at)
        if place is None or place < 0:
            return
        row = self._row(fact.currency, place)
        for name, more in zip(_COUNTED[fact.kind], (fact.count, fact.amount), strict=True):
            if name is not None:
                setattr(row, name, getattr(row, name) + more)

    def count_state(self, one: Held) -> None:
        """Adds the stretch to its state, from the interval it begins in up to the one it ends in."""
        first = self._place(one.stretch.period.start)
        if first is None:
            return
        end = one.stretch.period.end
        last = self._place(end) if end is not None else None
        if last is not None and last < 0:
            return
        self._step(one.currency, one.stretch.state.value, max(0, first), last, 1)
        if one.stretch.state is State.PAST_DUE:
            self._step(one.currency, "past_due_mrr", max(0, first), last, one.stretch.monthly)

    def _step(self, currency: str, name: str, first: int, last: int | None, by: Fraction | int) -> None:
        self._row(currency, 0)
        steps = self._states.setdefault((currency, name), [0] * len(self._edges))
        steps[first] += by
        if last is not None:
            steps[last] -= by

    def follow(self, currency: str, steps: dict[datetime, Fraction], returning: bool) -> None:
        """What one customer's worth did, step by step."""
        worth = ZERO
        for instant in sorted(steps):
            place = self._place(instant)
            if place is None:
                break
            before, worth = worth, worth + steps[instant]
            if place < 0:
                self._start(currency, before, worth)
            else:
                self._move(self._row(currency, place), before, worth, returning)
            returning = returning or worth > 0

    def _start(self, currency: str, before: Fraction, worth: Fraction) -> None:
        self._row(currency, 0)
        mrr, customers = self._starting[currency]
        self._starting[currency] = mrr + worth - before, customers + (worth > 0) - (before > 0)

    @staticmethod
    def _move(row: Figures, before: Fraction, worth: Fraction, returning: bool) -> None:
        if worth == before:
            return
        if not before and returning:
            row.reactivation_mrr += worth
            row.customers_reactivated += 1
        elif not before:
            row.new_mrr += worth
            row.customers_new += 1
        elif not worth:
            row.churned_mrr += before
            row.customers_churned += 1
        elif worth > before:
            row.expansion_mrr += worth - before
        else:
            row.contraction_mrr += before - worth

    def told(self) -> dict[str, list[Figures]]:
        for (currency, name), steps in self._states.items():
            total: Fraction | int = 0
            for row, step in zip(self._rows[currency], steps, strict=False):
                total += step
                setattr(row, name, Fraction(total) if name == "past_due_mrr" else total)
        for currency, rows in self._rows.items():
            mrr, customers = self._starting[currency]
            for row in rows:
                row.mrr_start, row.customers_start = mrr, customers
                mrr, customers = row.mrr_end, row.customers_end
        return self._rows
