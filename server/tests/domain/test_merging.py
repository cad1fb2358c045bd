"""What several sources of one feature come to."""

import pytest

from tollhouse_server.domain.catalog import Combine, Feature, Kind, Opens, Value
from tollhouse_server.domain.merging import closed, fits, for_quantity, merge

SWITCH = Feature("export", "Export")
MAX = Feature("pages", "Pages", Kind.LIMIT)
SUM = Feature("credits", "Credits", Kind.LIMIT, Combine.SUM)


@pytest.mark.parametrize(
    ("feature", "values", "merged"),
    [
        (SWITCH, [], False),
        (SWITCH, [True, False], True),
        (SWITCH, [False], False),
        (MAX, [], 0),
        (MAX, [5, 7, 2], 7),
        (MAX, [5, "unlimited"], "unlimited"),
        (SUM, [], 0),
        (SUM, [5, 7, 2], 14),
        (SUM, ["unlimited", 5], "unlimited"),
    ],
)
def test_merge(feature: Feature, values: list[Value], merged: Value) -> None:
    """Switches unite, limits give the largest or the sum, and unlimited wins."""
    assert merge(feature, values) == merged
    assert type(merge(feature, values)) is type(merged)


@pytest.mark.parametrize(
    ("opens", "quantity", "value"),
    [
        (Opens(10), 3, 10),
        (Opens(10, per_seat=True), 3, 30),
        (Opens(10, per_seat=True), 0, 0),
        (Opens("unlimited", per_seat=True), 3, "unlimited"),
        (Opens(True), 3, True),
    ],
)
def test_quantity_multiplies_only_what_is_per_seat(opens: Opens, quantity: int, value: Value) -> None:
    """Three seats give three times a limit per seat, and nothing more of anything else."""
    assert for_quantity(opens, quantity) == value


def test_a_value_fits_its_kind() -> None:
    """A switch takes true and false, a limit whole numbers from 0 and unlimited; true is not the number 1."""
    assert [fits(SWITCH, value) for value in (True, False, 1, "unlimited")] == [True, True, False, False]
    assert [fits(MAX, value) for value in (0, 5, "unlimited", True, -1)] == [True, True, True, False, False]


def test_closed() -> None:
    """A feature that nothing opens is false, or 0."""
    assert closed(SWITCH) is False
    assert closed(MAX) == 0
