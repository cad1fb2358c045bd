"""Passes that are bought again: where each begins and ends, whatever became of those before it."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.catalog import Catalog, Earlier, Feature, Kind, Opens, Policy, Product
from tollhouse_server.domain.entitlements import answer, compute
from tollhouse_server.domain.evidence import DisputeStatus, Evidence, PaymentStatus
from tollhouse_server.domain.rules import Rule
from tollhouse_server.domain.stacking import stacked
from tollhouse_server.domain.time import LAST

UNDER_REVIEW, WON, LOST = DisputeStatus.UNDER_REVIEW, DisputeStatus.WON, DisputeStatus.LOST


def rows(make: SimpleNamespace, *bought: tuple[float, dict[str, Any]], product: str = "week") -> list[Any]:
    """From which day to which day each of these purchases counts; None: at no time."""
    purchases = tuple(
        make.purchase(product, id=f"cs_{number}", since=make.day(day), **more)
        for number, (day, more) in enumerate(bought)
    )
    passes = stacked(make.catalog(), reversed(purchases), Policy())
    return [_days(make, passes[one.id, 0].period) for one in purchases]


def _days(make: SimpleNamespace, period: Any) -> Any:
    return period and ((period.start - make.day(0)).days, period.end and (period.end - make.day(0)).days)


def refunded(make: SimpleNamespace, day: float) -> dict[str, Any]:
    return {"payment": make.payment(refunded=900, refunded_at=make.day(day))}


def disputed(make: SimpleNamespace, day: float, status: DisputeStatus) -> dict[str, Any]:
    return {"payment": make.payment(dispute=status, disputed_at=make.day(day))}


def test_a_pass_begins_where_the_one_before_it_ends(make: SimpleNamespace) -> None:
    """Bought while one runs it waits; bought after, it begins at once; the order of evidence does not matter."""
    assert rows(make, (0, {}), (3, {}), (5, {}), (40, {})) == [(0, 7), (7, 14), (14, 21), (40, 47)]


def test_passes_of_one_instant_go_by_their_id(make: SimpleNamespace) -> None:
    """However equal they are, all of their time is had."""
    assert rows(make, (0, {}), (0, {})) == [(0, 7), (7, 14)]


def test_a_quantity_is_so_many_passes(make: SimpleNamespace) -> None:
    """Of one purchase, in one line or in several."""
    assert rows(make, (0, {"quantity": 3}), (1, {})) == [(0, 21), (21, 28)]
    assert rows(make, (0, {"quantity": 0}), (1, {})) == [None, (1, 8)]
    twice = stacked(make.catalog(), [make.purchase("week", "week")], Policy())
    assert sorted(_days(make, one.period) for one in twice.values()) == [(0, 7), (7, 14)]


def test_a_refund_frees_the_place(make: SimpleNamespace) -> None:
    """It cuts its own pass; those after it begin sooner, and none before it was bought."""
    assert rows(make, (0, refunded(make, 4)), (3, {})) == [(0, 4), (4, 11)]
    assert rows(make, (0, refunded(make, 1)), (3, {})) == [(0, 1), (3, 10)]
    # Refunded before it began, it never counts.
    assert rows(make, (0, {}), (3, refunded(make, 5)), (4, {})) == [(0, 7), None, (7, 14)]
    # Refunded while it runs.
    assert rows(make, (0, {}), (3, refunded(make, 9)), (4, {})) == [(0, 7), (7, 9), (9, 16)]


def test_a_dispute_frees_the_place_and_takes_it_again_when_it_is_won(make: SimpleNamespace) -> None:
    """Suspended and lost are the same for the others, so that a decision against us moves nothing."""
    for status in (UNDER_REVIEW, LOST):
        assert rows(make, (0, disputed(make, 4, status)), (3, {})) == [(0, 4), (4, 11)]
    assert rows(make, (0, disputed(make, 4, WON)), (3, {})) == [(0, 7), (7, 14)]


def test_an_unpaid_pass_takes_no_place(make: SimpleNamespace) -> None:
    """A bank debit that is on its way delays nothing that is paid."""
    assert rows(make, (0, {"payment_status": PaymentStatus.UNPAID}), (3, {})) == [None, (3, 10)]


def test_other_products_and_those_for_life_run_beside_it(make: SimpleNamespace) -> None:
    """Only what is the same lengthens it."""
    bought = (make.purchase("week", "lifetime"), make.purchase("week", "pro", None, id="cs_2", since=make.day(2)))
    assert {line: _days(make, one.period) for line, one in stacked(make.catalog(), bought, Policy()).items()} == {
        ("cs_1", 0): (0, 7), ("cs_2", 0): (7, 14),
    }  # fmt: skip


def test_a_stacked_pass_says_so(make: SimpleNamespace) -> None:
    """The sentence tells when it was bought, when it begins and when it ends."""
    bought = (make.purchase("week"), make.purchase("week", id="cs_2", since=make.day(2)))
    later = stacked(make.catalog(), bought, Policy())["cs_2", 0]
    assert later.rule is Rule.PURCHASE_STACKED
    assert later.sentence == (
        "Bought on 3 Nov 2026 while an earlier one ran: it begins on 8 Nov 2026, where that ends; access lasts until "
        "15 Nov 2026."
    )


def test_more_passes_than_there_is_time(make: SimpleNamespace) -> None:
    """A hundred years, a million times, last as long as time can be told."""
    product = Product("century", "A century", {"export": Opens(True)}, lasts=timedelta(days=36_500))
    catalog = Catalog("app", 1, {"export": Feature("export", "Export")}, {"century": product}, {})
    bought = (make.purchase("century", quantity=999_999), make.purchase("century", id="cs_2"))
    computed = compute(catalog, Evidence(purchases=bought), Policy(), make.day(0))
    assert answer(computed, catalog.features["export"], make.day(9)).valid_until == LAST


@pytest.mark.parametrize(("first", "then"), [(3, 5), (5, 3)])
def test_seats_run_side_by_side(make: SimpleNamespace, first: int, then: int) -> None:
    """Of a product with a limit per seat the quantity is seats: the larger one counts from its own purchase."""
    team = Product("team", "A team", {"seats": Opens(1, per_seat=True)}, lasts=timedelta(days=30))
    catalog = Catalog("app", 1, {"seats": Feature("seats", "Seats", Kind.LIMIT)}, {"team": team}, {})
    bought = tuple(
        make.purchase("team", id=f"cs_{day}", since=make.day(day), quantity=seats)
        for day, seats in ((0, first), (10, then))
    )
    assert stacked(catalog, bought, Policy()) == {}
    computed = compute(catalog, Evidence(purchases=bought), Policy(), make.day(0))
    values = [answer(computed, catalog.features["seats"], make.day(day)).value for day in (0, 10, 30, 40)]
    assert values == [first, max(first, then), then, 0]


def test_passes_of_an_earlier_opening_do_not_delay_those_of_today(make: SimpleNamespace) -> None:
    """What somebody was let keep may give less than today's: bought later, today's counts from its own purchase."""
    month = timedelta(days=30)
    earlier = Earlier(make.day(5), {"pages": Opens(100)}, month)
    product = Product("month", "A month", {"pages": Opens(500)}, lasts=month, earlier=(earlier,))
    catalog = Catalog("app", 1, {"pages": Feature("pages", "Pages", Kind.LIMIT)}, {"month": product}, {})
    bought = (make.purchase("month"), make.purchase("month", id="cs_2", since=make.day(10)))
    computed = compute(catalog, Evidence(purchases=bought), Policy(), make.day(0))
    assert [answer(computed, catalog.features["pages"], make.day(day)).value for day in (0, 10, 40)] == [100, 500, 0]
