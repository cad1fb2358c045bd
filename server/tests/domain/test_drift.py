"""What a difference between our books and Stripe's means, judged at one instant."""

from datetime import UTC, datetime, timedelta

import pytest

from tollhouse_server.domain.drift import EXISTS, Difference, Judgement, Verdict, differences, judge
from tollhouse_server.domain.entitlements import Entitlement, Reason
from tollhouse_server.domain.time import Period

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def open_(start: int, end: int | None, feature: str = "export", value: bool | int = True) -> Entitlement:
    """Open from `start` to `end` days from noon."""
    period = Period(NOON + start * DAY, None if end is None else NOON + end * DAY)
    return Entitlement(feature, value, period, (Reason("sub_1", "subscription", "active"),))


LOCKED_OUT, LET_IN = Verdict.PAID_BUT_LOCKED_OUT, Verdict.UNPAID_BUT_ALLOWED


@pytest.mark.parametrize(
    ("before", "after", "verdict", "since"),
    [
        ([], [open_(-3, 27)], LOCKED_OUT, -3),
        ([open_(-60, -2)], [open_(-60, 28)], LOCKED_OUT, -2),
        ([open_(-60, -30), open_(-20, -10)], [open_(-60, 28)], LOCKED_OUT, -10),
        ([open_(-60, 28)], [open_(-60, -2)], LET_IN, -2),
        ([open_(-3, None)], [], LET_IN, -3),
        ([open_(-3, 27)], [open_(-9, -5), open_(-3, -1), open_(-1, 3)], None, 0),
        ([open_(-3, 27)], [open_(-3, 5)], None, 0),
        ([open_(-3, 27, value=500)], [open_(-3, 27, value=5)], None, 0),
        ([open_(-3, 27, "pages")], [open_(-1, 27), open_(-2, 1, "seats")], LOCKED_OUT, -2),
        ([], [open_(-3, -1), open_(2, 9)], None, 0),
        ([], [open_(0, 9)], LOCKED_OUT, 0),
        ([], [open_(-9, 0)], None, 0),
        ([], [], None, 0),
    ],
)
def test_who_was_told_wrong_and_since_when(
    before: list[Entitlement], after: list[Entitlement], verdict: Verdict | None, since: int
) -> None:
    """At one instant: a feature open on one side only. Another value or end is none, being locked out weighs more."""
    expected = None if verdict is None else Judgement(verdict, NOON + since * DAY)
    assert judge(tuple(before), tuple(after), NOON) == expected


def test_time_passing_is_no_drift() -> None:
    """The same books are judged right at any instant, whatever opens or closes in them by itself."""
    books = (open_(-3, 1), open_(2, 5, "pages"))
    assert not any(judge(books, books, NOON + hours * timedelta(hours=1)) for hours in range(-100, 200, 7))


def test_fields_are_told_by_object() -> None:
    """Nested ones by their path, a list as one value, an object of one side only as such."""
    ours = {
        "sub_1": {"status": "active", "items": [{"price": "a"}], "payment": {"refunded": 0}},
        "cs_1": {"paid": True},
    }
    stripes = {"sub_1": {"status": "canceled", "items": [{"price": "b"}], "payment": {"refunded": 5}}, "cs_2": {}}
    assert differences(ours, stripes) == (
        Difference("cs_1", EXISTS, True, None),
        Difference("cs_2", EXISTS, None, True),
        Difference("sub_1", "items", [{"price": "a"}], [{"price": "b"}]),
        Difference("sub_1", "payment.refunded", 0, 5),
        Difference("sub_1", "status", "active", "canceled"),
    )


def test_a_value_that_was_null_or_becomes_null_is_told_whole() -> None:
    """A payment that was not known, and one that is none any more."""
    unpaid, paid = {"sub_1": {"payment": None}}, {"sub_1": {"payment": {"refunded": 0, "dispute": None}}}
    assert differences(unpaid, paid) == (Difference("sub_1", "payment.refunded", None, 0),)
    assert differences(paid, unpaid) == (Difference("sub_1", "payment.refunded", 0, None),)


def test_a_field_that_an_older_release_did_not_keep_is_no_difference() -> None:
    """It is there after the first read by a newer one, and nobody was told wrong by its absence."""
    assert differences({"sub_1": {"status": "active"}}, {"sub_1": {"status": "active", "seats": 3}}) == ()
