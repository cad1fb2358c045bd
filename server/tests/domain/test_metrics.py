"""The figures: the identity of MRR, that intervals add up, that currencies never mix, that no order matters."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse_server.domain.billing import State
from tollhouse_server.domain.intervals import IntervalsInvalid, cut
from tollhouse_server.domain.metrics import Fact, FactKind, Figures, Held, measure, together
from tollhouse_server.domain.rounding import MOVEMENTS, half_up, rounded, told
from tollhouse_server.domain.time import Period
from tollhouse_server.domain.worth import Stretch

LAW = settings(max_examples=120, deadline=None)


def day(number: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number)


# Few days, customers and amounts, so that edges meet: that is where the mistakes are.
days = st.integers(0, 12)
amounts = st.sampled_from([Fraction(0), Fraction(900), Fraction(2500, 3), Fraction(365, 7)])
currencies = st.sampled_from(["eur", "usd"])


@st.composite
def holdings(draw: st.DrawFn) -> Held:
    start = draw(days)
    end = draw(st.none() | st.integers(start + 1, 14))
    period = Period(day(start), None if end is None else day(end))
    stretch = Stretch(period, draw(st.sampled_from(State)), draw(amounts))
    return Held(draw(st.sampled_from(["ada", "grace"])), draw(currencies), stretch)


held_lists = st.lists(holdings(), max_size=8)
fact_lists = st.lists(
    st.builds(Fact, st.sampled_from(FactKind), days.map(day), currencies, st.integers(0, 999), st.integers(1, 3)),
    max_size=8,
)
edge_lists = st.lists(days, min_size=2, max_size=5, unique=True).map(
    lambda chosen: [day(one) for one in sorted(chosen)]
)
instants = st.integers(0, 14).map(day)

STATES = ("active", "trialing", "past_due", "paused", "past_due_mrr")
STARTS = ("mrr_start", "customers_start")
SUMMED = [name for name in Figures.__dataclass_fields__ if name not in (*STATES, *STARTS)]


def directly(held: Sequence[Held], currency: str, before: datetime, at: datetime) -> tuple[Fraction, dict[str, int]]:
    """MRR and the states just before an instant, read off the stretches one by one."""

    def holds(one: Held) -> bool:
        period = one.stretch.period
        begun = period.start < before and period.start <= at
        return begun and (period.end is None or period.end >= before or period.end > at)

    mine = [one.stretch for one in held if one.currency == currency and holds(one)]
    mrr = sum((one.monthly for one in mine if one.state is not State.TRIALING), Fraction(0))
    return mrr, {state.value: sum(one.state is state for one in mine) for state in State}


@LAW
@given(held_lists, fact_lists, edge_lists, instants)
def test_the_identity_holds_and_says_what_was_held(
    held: list[Held], facts: list[Fact], edges: list[datetime], at: datetime
) -> None:
    """MRR at each edge is what the stretches say there; the movements between explain it, rounded too."""
    for currency, rows in measure(held, facts, edges, at).items():
        for row, (start, end) in zip(rows, pairwise(edges), strict=True):
            assert row.mrr_start == directly(held, currency, start, at)[0]
            mrr, states = directly(held, currency, end, at)
            assert (row.mrr_end, row.active, row.trialing, row.past_due, row.paused) == (mrr, *states.values())
            assert 0 <= row.past_due_mrr <= row.mrr_end
            whole = rounded(row)
            assert whole["mrr_end"] - whole["mrr_start"] == sum(sign * whole[name] for name, sign in MOVEMENTS)
            assert all(whole[name] >= 0 and abs(whole[name] - getattr(row, name)) < 1 for name, _ in MOVEMENTS)
            assert abs(whole["mrr_start"] - row.mrr_start) <= Fraction(1, 2)
        for before, after in pairwise(rows):
            assert (before.mrr_end, before.customers_end) == (after.mrr_start, after.customers_start)


@LAW
@given(held_lists, fact_lists, edge_lists, instants)
def test_an_interval_is_the_sum_of_its_parts(
    held: list[Held], facts: list[Fact], edges: list[datetime], at: datetime
) -> None:
    """Splitting gives the same movements, counts and cash; the states are those of the last part."""
    parts, whole = measure(held, facts, edges, at), measure(held, facts, [edges[0], edges[-1]], at)
    assert set(parts) == set(whole)
    for currency, rows in parts.items():
        (one,) = whole[currency]
        for name in SUMMED:
            assert sum(getattr(row, name) for row in rows) == getattr(one, name), name
        assert [getattr(rows[-1], name) for name in STATES] == [getattr(one, name) for name in STATES]
        assert [getattr(rows[0], name) for name in STARTS] == [getattr(one, name) for name in STARTS]


@LAW
@given(st.data(), held_lists, fact_lists, edge_lists, instants)
def test_order_and_other_currencies_do_not_matter(
    data: st.DataObject, held: list[Held], facts: list[Fact], edges: list[datetime], at: datetime
) -> None:
    """Shuffled facts give the same figures; so do a currency's facts alone."""
    figures = measure(held, facts, edges, at)
    assert measure(data.draw(st.permutations(held)), data.draw(st.permutations(facts)), edges, at) == figures
    for currency in ("eur", "usd"):
        alone = measure(
            [one for one in held if one.currency == currency],
            [one for one in facts if one.currency == currency],
            edges,
            at,
        )
        assert alone.get(currency) == figures.get(currency) and set(alone) <= {currency}


@LAW
@given(held_lists, fact_lists, edge_lists, instants)
def test_the_fleet_is_the_sum_of_its_projects(
    held: list[Held], facts: list[Fact], edges: list[datetime], at: datetime
) -> None:
    """Two projects with different customers, measured apart and put together, are measured as one."""
    other = [Held(f"{one.customer} of the other", one.currency, one.stretch) for one in held]
    whole = measure([*held, *other], [*facts, *facts], edges, at)
    apart = measure(held, facts, edges, at), measure(other, facts, edges, at)
    for currency, rows in whole.items():
        assert rows == [together(pair) for pair in zip(*(one[currency] for one in apart), strict=True)]


def stretch(start: int, end: int | None, monthly: int = 900, state: State = State.ACTIVE) -> Stretch:
    return Stretch(Period(day(start), None if end is None else day(end)), state, Fraction(monthly))


def one_interval(*stretches: Stretch, returning: bool = False, facts: Sequence[Fact] = ()) -> Figures:
    """Days 0 to 10, as known on day 20."""
    held = [Held("ada", "eur", one) for one in stretches]
    known = frozenset({("ada", "eur")} if returning else ())
    return measure(held, facts, [day(0), day(10)], day(20), known)["eur"][0]


def test_each_movement_has_its_name() -> None:
    """New the first time, reactivated later; more and less while it lasts; churned when nothing is left."""
    assert one_interval(stretch(1, None)).new_mrr == 900
    assert one_interval(stretch(1, None), returning=True).reactivation_mrr == 900
    back = one_interval(stretch(1, 3), stretch(5, None, 400))
    assert (back.new_mrr, back.churned_mrr, back.reactivation_mrr, back.mrr_end) == (900, 900, 400, 400)
    assert (back.customers_new, back.customers_churned, back.customers_reactivated, back.customers_end) == (1, 1, 1, 1)
    assert one_interval(stretch(-5, 3), stretch(3, None, 1900)).expansion_mrr == 1000
    assert one_interval(stretch(-5, 3), stretch(3, None, 400)).contraction_mrr == 500
    assert one_interval(stretch(-5, 3), stretch(3, 9, 900, State.PAST_DUE)).churned_mrr == 900
    second = one_interval(stretch(-5, None), stretch(3, None, 100))
    assert (second.expansion_mrr, second.customers_new, second.customers_start) == (100, 0, 1)
    trial = one_interval(stretch(-5, 3, state=State.TRIALING), stretch(3, None))
    assert (trial.mrr_start, trial.new_mrr, trial.customers_new) == (0, 900, 1)


def test_an_instant_belongs_to_the_interval_it_begins() -> None:
    """What happens at `from` is in it, what happens at `to` is not."""
    assert one_interval(stretch(-5, 0)).churned_mrr == 900
    assert one_interval(stretch(0, None)).new_mrr == 900
    assert one_interval(stretch(-5, 10)).mrr_end == 900
    assert one_interval(stretch(-5, None), stretch(10, None)).mrr_end == 900
    gone = measure([Held("ada", "eur", stretch(-9, -5))], [], [day(0), day(10)], day(20))
    assert gone.get("eur", [Figures()]) == [Figures()]


def test_rates_and_revenue() -> None:
    """By hand: of two customers one left; 900 of 1800 a month; what was paid less what was given back."""
    held = [Held("ada", "eur", stretch(-5, None)), Held("grace", "eur", stretch(-5, 3))]
    facts = [
        Fact(FactKind.SUBSCRIPTION_PAYMENT, day(1), "eur", 900),
        Fact(FactKind.PURCHASE_PAYMENT, day(1), "eur", 19_900),
        Fact(FactKind.REFUND, day(2), "eur", 5_000),
        Fact(FactKind.DISPUTE_LOST, day(2), "eur", 100),
        Fact(FactKind.PAYMENT_FAILED, day(3), "eur", 900),
        Fact(FactKind.PAYMENT_RECOVERED, day(4), "eur", 900),
        Fact(FactKind.TRIAL_STARTED, day(0), "eur"),
        Fact(FactKind.TRIAL_ENDED, day(5), "eur", count=3),
        Fact(FactKind.TRIAL_CONVERTED, day(5), "eur"),
        Fact(FactKind.REFUND, day(-1), "eur", 77),
        Fact(FactKind.REFUND, day(10), "eur", 77),
    ]
    row = measure(held, facts, [day(0), day(10)], day(20))["eur"][0]
    assert (row.customer_churn_rate, row.revenue_churn_rate, row.arpu) == (Fraction(1, 2), Fraction(1, 2), 900)
    assert (row.gross_revenue, row.net_revenue, row.subscription_revenue) == (20_800, 15_700, 900)
    assert (row.refunds, row.refunded, row.disputes_lost, row.lost_to_disputes) == (1, 5_000, 1, 100)
    assert (row.payments_failed, row.failed, row.payments_recovered, row.recovered) == (1, 900, 1, 900)
    assert (row.trials_started, row.trials_ended, row.trials_converted) == (1, 3, 1)
    assert row.trial_conversion_rate == Fraction(1, 3)
    shown = told(row)
    assert set(shown) >= {*Figures.__dataclass_fields__, "mrr_end", "customers_end", "gross_revenue", "net_revenue"}
    assert (shown["arpu"], shown["net_revenue"], shown["trial_conversion_rate"]) == (900, 15_700, 0.333333)
    nothing = Figures()
    assert (nothing.arpu, nothing.customer_churn_rate, nothing.revenue_churn_rate) == (None, None, None)
    assert nothing.trial_conversion_rate is None
    assert (told(nothing)["arpu"], told(nothing)["customer_churn_rate"]) == (None, None)


def test_rounding_is_done_once() -> None:
    """Three yearly plans of 100.00 are 25.00 a month, not three times 8.33."""
    three = measure(
        [Held(name, "eur", Stretch(Period(day(1)), State.ACTIVE, Fraction(2500, 3))) for name in "abc"],
        [],
        [day(0), day(10)],
        day(20),
    )["eur"][0]
    assert rounded(three)["mrr_end"] == 2500
    assert [half_up(Fraction(one, 2)) for one in (-1, 1, 3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("every", "edges"),
    [
        ("day", ["2026-12-31T12", "2027-01-01T00", "2027-01-01T06"]),
        ("week", ["2026-12-31T12", "2027-01-01T06"]),
        ("month", ["2026-12-31T12", "2027-01-01T00", "2027-01-01T06"]),
        ("year", ["2026-12-31T12", "2027-01-01T00", "2027-01-01T06"]),
        ("total", ["2026-12-31T12", "2027-01-01T06"]),
    ],
)
def test_intervals_follow_the_calendar(every: Any, edges: list[str]) -> None:
    """In UTC; the first and the last are cut short by what was asked for."""
    wanted = [datetime.fromisoformat(f"{edge}:00:00+00:00") for edge in edges]
    assert cut(wanted[0], wanted[-1], every) == wanted


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    """27 Oct 2026 is a Tuesday."""
    start, end = datetime(2026, 10, 27, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    assert [(one.month, one.day) for one in cut(start, end, "week")] == [
        (10, 27), (11, 2), (11, 9), (11, 16), (11, 23), (11, 30), (12, 1),
    ]  # fmt: skip
    assert [(one.month, one.day) for one in cut(start, end, "month")] == [(10, 27), (11, 1), (12, 1)]


def test_intervals_are_bounded() -> None:
    """400 are told, one more is refused; so is a time that ends before it begins. The last year has no next one."""
    assert len(cut(day(0), day(400), "day")) == 401
    with pytest.raises(IntervalsInvalid, match="400"):
        cut(day(0), day(401), "day")
    with pytest.raises(IntervalsInvalid, match="before"):
        cut(day(1), day(1), "total")
    last = datetime(9999, 12, 31, tzinfo=UTC)
    for every in ("day", "week", "month", "year"):
        assert len(cut(last, last + timedelta(hours=1), every)) == 2  # type: ignore[arg-type]
