"""The figures as they are told: rounded once, and so that what adds up exactly adds up in whole cents too."""

from dataclasses import fields
from fractions import Fraction
from math import floor
from typing import Final

from .metrics import Figures

MOVEMENTS: Final = (
    ("new_mrr", 1),
    ("reactivation_mrr", 1),
    ("expansion_mrr", 1),
    ("contraction_mrr", -1),
    ("churned_mrr", -1),
)


def half_up(exact: Fraction) -> int:
    """To a whole number; a half goes up, so that adding a whole number before or after rounding is the same."""
    return floor(exact + Fraction(1, 2))


def rounded(figures: Figures) -> dict[str, int]:
    """MRR at start and end to whole minor units, and the movements so that the identity holds in whole units too.

    Each movement is less than one minor unit from what it is exactly; one that is whole stays as it is.
    """
    exact = {name: sign * getattr(figures, name) for name, sign in MOVEMENTS}
    start, end = half_up(figures.mrr_start), half_up(figures.mrr_end)
    whole = {name: floor(part) for name, part in exact.items()}
    rest = end - start - sum(whole.values())
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[:rest]:
        whole[name] += 1
    moved = {name: sign * whole[name] for name, sign in MOVEMENTS}
    return {"mrr_start": start, **moved, "mrr_end": end}


RATES: Final = ("customer_churn_rate", "revenue_churn_rate", "trial_conversion_rate")
_PLACES: Final = 6


def told(figures: Figures) -> dict[str, int | float | None]:
    """Every figure under its name, in the order in which it is written: whole minor units, rates as numbers."""
    counts = {name: getattr(figures, name) for name in _COUNTS}
    return {
        **rounded(figures),
        "past_due_mrr": half_up(figures.past_due_mrr),
        "arpu": None if figures.arpu is None else half_up(figures.arpu),
        **counts,
        "customers_end": figures.customers_end,
        "gross_revenue": figures.gross_revenue,
        "net_revenue": figures.net_revenue,
        **{name: _rate(getattr(figures, name)) for name in RATES},
    }


_COUNTS: Final = tuple(field.name for field in fields(Figures) if field.type is int)


def _rate(exact: Fraction | None) -> float | None:
    return None if exact is None else float(round(exact, _PLACES))
