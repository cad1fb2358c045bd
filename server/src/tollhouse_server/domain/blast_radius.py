"""Whom a change of the catalog touches, and how: each customer's entitlements before and after it, counted.

The law: both are computed of the same evidence at the same instant, so what differs comes of the catalog alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from .catalog import Value
from .changes import ChangeKind, diff
from .entitlements import Entitlement
from .money import Money
from .rounding import half_up


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to a feature of a customer's. None: closed, before or after."""

    feature: str
    kind: ChangeKind
    before: Value | None
    after: Value | None

    def __str__(self) -> str:
        match self.kind:
            case ChangeKind.OPENED if self.after is True:
                return f"gain {self.feature}"
            case ChangeKind.OPENED:
                return f"gain {self.feature}: {self.after}"
            case ChangeKind.CLOSED if self.before is True:
                return f"lose {self.feature}"
            case ChangeKind.CLOSED:
                return f"lose {self.feature}: {self.before}"
            case ChangeKind.VALUE:
                return f"{self.feature} {self.before} → {self.after}"
            case _:
                return f"{self.feature} as now, until another time"

    @property
    def takes(self) -> bool:
        """Whether it takes something away."""
        return _weight(self.after) < _weight(self.before)

    @property
    def gives(self) -> bool:
        return _weight(self.after) > _weight(self.before)


def _weight(value: Value | None) -> float:
    return float("inf") if isinstance(value, str) else value or 0


@dataclass(slots=True)
class Touched:
    """How many customers, how many of them pay, and what those pay a month: MRR, in minor units, by currency."""

    customers: int = 0
    paying: int = 0
    monthly: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))

    def add(self, monthly: Mapping[str, Fraction]) -> None:
        """One more customer, and what it pays."""
        self.customers += 1
        self.paying += any(monthly.values())
        for currency, amount in monthly.items():
            self.monthly[currency] += amount

    @property
    def mrr(self) -> tuple[Money, ...]:
        """By currency, whole minor units."""
        return tuple(Money(half_up(amount), currency) for currency, amount in sorted(self.monthly.items()) if amount)

    def __str__(self) -> str:
        who = f"{self.customers:,} customer{'' if self.customers == 1 else 's'}"
        worth = f", MRR {' + '.join(map(str, self.mrr))}" if self.mrr else ""
        return f"{who} ({self.paying:,} paying{worth})"


@dataclass(slots=True)
class BlastRadius:
    """What was counted so far."""

    looked_at: int = 0
    whole: Touched = field(default_factory=Touched)
    """Each customer once, whatever happens to how many features."""
    by_effect: dict[Effect, Touched] = field(default_factory=lambda: defaultdict(Touched))

    def add(
        self,
        before: Iterable[Entitlement],
        after: Iterable[Entitlement],
        at: datetime,
        monthly: Mapping[str, Fraction],
    ) -> None:
        """One customer: what they may do under either catalog, and what they pay a month, by currency."""
        self.looked_at += 1
        changes = diff(before, after, at)
        if changes:
            self.whole.add(monthly)
        for one in changes:
            self.by_effect[Effect(one.feature, one.kind, one.before, one.after)].add(monthly)

    @property
    def effects(self) -> list[tuple[Effect, Touched]]:
        """What takes something away first, then by how many it concerns."""
        return sorted(
            self.by_effect.items(), key=lambda one: (not one[0].takes, -one[1].customers, one[0].feature, str(one[0]))
        )
