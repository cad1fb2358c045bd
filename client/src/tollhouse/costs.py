"""What a change of plan would cost; `answers` has them too."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of what a change costs; below zero where it is given back."""

    description: str
    amount: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a change of plan would cost, in minor units of `currency`."""

    currency: str
    due_now: int
    credit: int
    """What is given back, and set off against later bills."""
    lines: tuple[CostLine, ...]
    renewal: int
    """What the next renewal costs with the new plan."""
    renews_at: datetime
