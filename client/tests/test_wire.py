"""Reading and writing the API's JSON."""

from typing import Any

import pytest

from tollhouse import (
    Catalog,
    Check,
    Checkout,
    CheckoutStatus,
    Customer,
    Entitlements,
    Explanation,
    Metrics,
    Portal,
    Synced,
)
from tollhouse.wire import Unreadable, decode, encode

SHAPES = {
    "check": Check,
    "entitlements": Entitlements,
    "customer": Customer,
    "checkout": Checkout,
    "status": CheckoutStatus,
    "synced": Synced,
    "portal": Portal,
    "explanation": Explanation,
    "catalog": Catalog,
    "metrics": Metrics,
}


def without_repetition(answer: Any) -> Any:
    """The API says version and time once for all features; a Check on its own repeats them."""
    if isinstance(answer, dict):
        if "features" in answer and isinstance(answer["features"], dict):
            repeated = ("feature", "version", "checked_at")
            checks = {
                code: {name: value for name, value in check.items() if name not in repeated}
                for code, check in answer["features"].items()
            }
            answer = answer | {"features": checks}
        return {name: without_repetition(value) for name, value in answer.items()}
    return answer


@pytest.mark.parametrize("name", SHAPES)
def test_answers_survive_the_round_trip(examples: Any, name: str) -> None:
    """Nothing of an answer is lost or renamed, and what the fake writes is what the API would."""
    answer = decode(SHAPES[name], examples[name])
    assert without_repetition(encode(answer)) == examples[name]
    assert decode(SHAPES[name], encode(answer)) == answer


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"allowed": None}, "Check.allowed"),
        ({"allowed": 1}, "Check.allowed should be bool, not int"),
        ({"version": True}, "Check.version should be int, not bool"),
        ({"version": "7"}, "Check.version"),
        ({"value": "lots"}, "Check.value"),
        ({"value": 1.5}, "Check.value"),
        ({"checked_at": "yesterday"}, "Check.checked_at is not an RFC 3339 time"),
        ({"checked_at": "2026-11-22T10:00:00"}, "Check.checked_at has no time zone"),
        ({"source": 3}, "Check.source"),
    ],
)
def test_a_wrong_field_is_named(examples: Any, change: Any, place: str) -> None:
    """No default stands in for what cannot be read: a doubtful answer must not open anything."""
    with pytest.raises(Unreadable, match=place):
        decode(Check, examples["check"] | change)


@pytest.mark.parametrize("missing", ["feature", "allowed", "value", "valid_until", "reason", "version", "checked_at"])
def test_a_missing_field_is_named(examples: Any, missing: str) -> None:
    """Absent is not the same as null: a field that moved must be noticed."""
    with pytest.raises(Unreadable, match=f"Check.{missing} is missing"):
        decode(Check, {name: value for name, value in examples["check"].items() if name != missing})


def test_a_field_with_a_default_may_be_missing(examples: Any) -> None:
    """A switch need not say how limits combine."""
    features = [{"code": "premium_export", "name": "Premium export", "kind": "switch"}]
    assert decode(Catalog, examples["catalog"] | {"features": features}).features[0].combine is None


def test_the_place_is_found_at_depth(examples: Any) -> None:
    """The path leads through lists and mappings."""
    broken = examples["synced"] | {"customer": examples["customer"] | {"grants": [{}]}}
    with pytest.raises(Unreadable, match=r"Synced.customer.grants\[0\].id is missing"):
        decode(Synced, broken)
    with pytest.raises(Unreadable, match=r"Entitlements.features should be dict, not NoneType"):
        decode(Entitlements, {"user_id": "ada", "version": 1})
