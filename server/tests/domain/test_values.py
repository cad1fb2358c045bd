"""The values everything is told in: instants, periods, money, evidence, origins, problems."""

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.errors import CatalogInvalid, Problem
from tollhouse_server.domain.evidence import DisputeStatus, Payment
from tollhouse_server.domain.money import Money
from tollhouse_server.domain.origins import origin_of
from tollhouse_server.domain.time import Period, boundaries, day, from_timestamp, utc, written

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
PARIS = timezone(timedelta(hours=1))


def test_a_naive_datetime_names_no_instant() -> None:
    """Without a time zone nothing is compared, stored or written."""
    naive = NOON.replace(tzinfo=None)
    for use in (utc, Period, written, day):
        with pytest.raises(ValueError, match="naive"):
            use(naive)


def test_periods_are_half_open_and_never_empty() -> None:
    """A period holds its start and not its end; an empty one cannot be made."""
    period = Period(NOON, NOON + timedelta(hours=1))
    assert NOON in period
    assert NOON + timedelta(minutes=59) in period
    assert period.end not in period
    assert NOON - timedelta(seconds=1) not in period
    assert NOON + timedelta(days=9999) in Period(NOON)
    with pytest.raises(ValueError, match="must end after"):
        Period(NOON, NOON)
    assert Period.maybe(NOON, NOON) is None
    assert Period.maybe(NOON, None) == Period(NOON)
    assert Period.days(NOON, 2) == Period(NOON, NOON + timedelta(days=2))


def test_periods_are_kept_in_utc() -> None:
    """The same instant in another zone makes the same period."""
    assert Period(NOON.astimezone(PARIS)) == Period(NOON)
    assert Period(NOON.astimezone(PARIS)).start.utcoffset() == timedelta(0)


def test_boundaries_are_ordered_and_each_once() -> None:
    """Edges that several periods share are one edge, and no end is no edge."""
    hours = [NOON + timedelta(hours=n) for n in range(3)]
    assert boundaries([Period(hours[1]), Period(hours[0], hours[1]), Period(hours[1], hours[2])]) == hours


def test_instants_as_text() -> None:
    """People read days, programs RFC 3339; both are UTC."""
    late = datetime(2026, 11, 4, 0, 30, tzinfo=PARIS)
    assert day(late) == "3 Nov 2026"
    assert written(late) == "2026-11-03T23:30:00Z"
    assert from_timestamp(1_793_707_200) == NOON


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (900, "eur", "9.00 EUR"),
        (5, "usd", "0.05 USD"),
        (-1234, "eur", "-12.34 EUR"),
        (500, "jpy", "500 JPY"),
        (1234, "kwd", "1.234 KWD"),
    ],
)
def test_money_as_text(amount: int, currency: str, text: str) -> None:
    """Amounts are shown in the major unit, with as many decimals as the currency has."""
    assert str(Money(amount, currency)) == text


@pytest.mark.parametrize("currency", ["EUR", "eu", "euro", "e1r"])
def test_a_currency_is_three_lower_case_letters(currency: str) -> None:
    """Money in anything else cannot be made."""
    with pytest.raises(ValueError, match="three lower-case letters"):
        Money(1, currency)


@pytest.mark.parametrize(
    "changes",
    [
        {"refunded": 5},
        {"refunded_at": NOON},
        {"dispute": DisputeStatus.LOST},
        {"disputed_at": NOON},
    ],
)
def test_a_payment_says_both_what_and_when(make: SimpleNamespace, changes: dict[str, Any]) -> None:
    """A refund or dispute without its instant could end nothing, so it cannot be made."""
    with pytest.raises(ValueError, match="or neither"):
        make.payment(**changes)


def test_only_all_of_the_money_is_a_full_refund(make: SimpleNamespace) -> None:
    """A refund is full when nothing is left, and nothing can be refunded of nothing."""
    assert make.payment(refunded=900, refunded_at=NOON).fully_refunded
    assert not make.payment(refunded=899, refunded_at=NOON).fully_refunded
    assert not make.payment().fully_refunded
    assert not Payment(Money(0, "eur")).fully_refunded


@pytest.mark.parametrize(
    "changes",
    [
        {"feature": None, "value": None},
        {"feature": "export", "value": None},
        {"feature": "export", "value": False},
        {"feature": "pages", "value": 0},
        {"product": "pro", "feature": "export", "value": True},
        {"product": "pro", "value": True},
        {"product": "pro", "override": True},
    ],
)
def test_a_grant_gives_one_thing(make: SimpleNamespace, changes: dict[str, Any]) -> None:
    """A grant is of a feature with its value or of a product, never of both, neither, or half."""
    with pytest.raises(ValueError, match=r"either a feature with its value, or a product|only an override closes"):
        make.grant(**changes)


def test_a_subscription_without_items_has_no_period(make: SimpleNamespace) -> None:
    """It begins and ends when it started, and so gives nothing."""
    empty = make.subscription(items=())
    assert empty.period_start == empty.period_end == empty.started_at


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example/thanks?x=1#top", "https://app.example"),
        ("https://APP.example:443", "https://app.example"),
        ("http://127.0.0.1:8903/", "http://127.0.0.1:8903"),
        ("http://[::1]:80/", "http://[::1]"),
        ("https://app.example@evil.example/", None),
        ("https://app.example:https/", None),
        ("https://[::1/", None),
        ("javascript:alert(1)", None),
        ("//app.example/", None),
        ("https:///path", None),
        ("", None),
    ],
)
def test_origin_of(url: str, origin: str | None) -> None:
    """An origin is what a browser would compare; what only looks like a web address has none."""
    assert origin_of(url) == origin


def test_the_title_of_a_problem_is_its_docstring() -> None:
    """A problem says what happened in its docstring's first line, without the full stop."""

    class Undocumented(Problem):
        pass

    Undocumented.__doc__ = None
    assert CatalogInvalid.title() == "The catalog breaks a rule; each entry of `errors` names the place and the rule"
    assert Undocumented.title() == "problem"
    assert Undocumented("Do something else.").errors == []
