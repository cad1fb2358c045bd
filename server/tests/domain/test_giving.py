"""Which grants can be given, and what is said of the others."""

from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.giving import GrantInvalid, GrantRequest, checked_value


def check(make: SimpleNamespace, **what: Any) -> object:
    return checked_value(make.catalog(), GrantRequest("ada", "a gift", **what), make.day(10))


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ({"feature": "export"}, True),
        ({"feature": "export", "value": True}, True),
        ({"feature": "pages", "value": 5}, 5),
        ({"feature": "pages", "value": "unlimited"}, "unlimited"),
        ({"product": "pro"}, None),
        ({"feature": "export", "value": False, "override": True}, False),
        ({"feature": "pages", "value": 0, "override": True}, 0),
    ],
    ids=str,
)
def test_what_fits_is_given(make: SimpleNamespace, what: dict[str, Any], value: object) -> None:
    """A switch needs no value, a limit does, a product brings its own."""
    assert check(make, **what) == value
    assert check(make, **what, starts_at=make.day(0), ends_at=make.day(11)) == value


@pytest.mark.parametrize(
    ("what", "code", "errors"),
    [
        ({}, "grant-invalid", ["missing"]),
        ({"feature": "nothing"}, "unknown-feature", ["unknown-feature"]),
        ({"product": "nothing"}, "unknown-product", ["unknown-product"]),
        ({"product": "pro", "value": 5}, "grant-invalid", ["useless"]),
        ({"product": "pro", "override": True}, "grant-invalid", ["useless"]),
        ({"feature": "export", "override": True}, "grant-invalid", ["missing"]),
        ({"feature": "pages", "value": False, "override": True}, "value-does-not-fit", ["value-does-not-fit"]),
        ({"feature": "export", "value": 0, "override": True}, "value-does-not-fit", ["value-does-not-fit"]),
        ({"feature": "pages"}, "grant-invalid", ["missing"]),
        ({"feature": "pages", "value": -1}, "limit-below-zero", ["limit-below-zero"]),
        ({"feature": "pages", "value": 2**53}, "grant-invalid", ["out-of-range"]),
        ({"feature": "pages", "value": 0}, "value-does-not-fit", ["value-does-not-fit"]),
        ({"feature": "pages", "value": True}, "value-does-not-fit", ["value-does-not-fit"]),
        ({"feature": "export", "value": False}, "value-does-not-fit", ["value-does-not-fit"]),
        ({"feature": "export", "ends": 10}, "grant-in-the-past", ["grant-in-the-past"]),
        ({"feature": "export", "starts": 12, "ends": 12}, "grant-invalid", ["out-of-range"]),
        ({"feature": "gone", "product": "gone"}, "grant-invalid", ["missing", "unknown-product", "unknown-feature"]),
        ({"feature": "gone", "ends": 1}, "grant-invalid", ["unknown-feature", "grant-in-the-past"]),
    ],
    ids=str,
)
def test_each_mistake_has_its_code(make: SimpleNamespace, what: dict[str, Any], code: str, errors: list[str]) -> None:
    """One kind of mistake gives the problem its own code; several are all listed, each with its own."""
    dates = {f"{name}_at": make.day(what.pop(name)) for name in ("starts", "ends") if name in what}
    with pytest.raises(GrantInvalid) as caught:
        check(make, **what, **dates)
    assert (caught.value.code, [one["code"] for one in caught.value.errors]) == (code, errors)
