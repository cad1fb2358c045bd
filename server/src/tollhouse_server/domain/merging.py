"""What several sources of one feature come to: switches unite, limits take the feature's `combine`.

Both ways of combining are commutative and associative, so neither order nor grouping of the sources matters, and a
further source never takes anything away. Nor does what everybody has anyway, which is not added: it is the least.
"""

from collections.abc import Iterable
from math import inf

from .catalog import UNLIMITED, Combine, Feature, Kind, Opens, Value


def closed(feature: Feature) -> Value:
    """The value of the feature while nothing opens it: False for a switch, 0 for a limit."""
    return False if feature.kind is Kind.SWITCH else 0


def fits(feature: Feature, value: Value) -> bool:
    """Whether a value is of the feature's kind; the kind may have been changed since the value was given."""
    if feature.kind is Kind.SWITCH:
        return isinstance(value, bool)
    return value == UNLIMITED or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def for_quantity(opens: Opens, quantity: int) -> Value:
    """What `quantity` of a product opens: only a limit given per seat is multiplied."""
    if opens.per_seat and not isinstance(opens.value, (bool, str)):
        return opens.value * quantity
    return opens.value


def weight(value: Value) -> float:
    """By which the values of one feature compare: unlimited is more than any number."""
    return inf if isinstance(value, str) else value


def merge(feature: Feature, values: Iterable[Value], least: Value = 0) -> Value:
    """What the values come to, each being of the feature's kind. Unlimited wins; no values at all are `closed`.

    `least` is what everybody has: what this comes to where the values come to less.
    """
    merged = _merged(feature, values)
    return merged if weight(least) <= weight(merged) else least


def _merged(feature: Feature, values: Iterable[Value]) -> Value:
    given = list(values)
    if feature.kind is Kind.SWITCH:
        return any(given)
    if UNLIMITED in given:
        return UNLIMITED
    limits = [value for value in given if isinstance(value, int)]
    return sum(limits) if feature.combine is Combine.SUM else max(limits, default=0)
