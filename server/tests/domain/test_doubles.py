"""Of two subscriptions of one plan one is kept, and it is told when the other may go without asking a person."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.catalog import Catalog
from tollhouse_server.domain.doubles import Double, doubles, may_be_cancelled
from tollhouse_server.domain.evidence import Evidence, Subscription, SubscriptionStatus

NEW = frozenset({"sub_2"})


@pytest.fixture
def catalog(make: SimpleNamespace) -> Catalog:
    """`pro` and `basic` exclude each other."""
    sold: Catalog = make.catalog()
    grouped = {code: replace(sold.products[code], plan_group="plan") for code in ("pro", "basic")}
    return replace(sold, products={**sold.products, **grouped})


@pytest.fixture
def older(make: SimpleNamespace) -> Subscription:
    return make.subscription()  # type: ignore[no-any-return]


@pytest.fixture
def newer(make: SimpleNamespace) -> Subscription:
    return make.subscription(id="sub_2", started_at=make.day(3), items=(make.item("basic"),))  # type: ignore[no-any-return]


def test_the_one_that_began_first_is_kept(catalog: Catalog, older: Subscription, newer: Subscription) -> None:
    """Whatever the order in which they are known; each further one is a double of the first."""
    third = replace(newer, id="sub_3", started_at=newer.period_end)
    expected = (Double("group plan", older, newer), Double("group plan", older, third))
    for told in ((older, newer, third), (third, newer, older)):
        assert doubles(catalog, Evidence(told)) == expected


def test_of_two_that_began_together_the_new_one_is_newer(catalog: Catalog, older: Subscription) -> None:
    """Stripe's instants are whole seconds: what we knew before is not ended for what has just appeared."""
    same = replace(older, id="sub_0")
    assert [one.newer.id for one in doubles(catalog, Evidence((same, older)), {"sub_0"})] == ["sub_0"]
    assert [one.newer.id for one in doubles(catalog, Evidence((same, older)), {"sub_1"})] == ["sub_1"]


def test_what_is_over_or_of_another_plan_is_no_double(
    make: SimpleNamespace, catalog: Catalog, older: Subscription, newer: Subscription
) -> None:
    """Products in no group exclude only themselves, and what the catalog does not know excludes nothing."""
    over = replace(newer, status=SubscriptionStatus.CANCELED)
    week, again = (replace(newer, id=f"sub_{n}", items=(make.item("week"),)) for n in (3, 4))
    unknown = replace(newer, id="sub_5", items=(make.item(None),))
    assert doubles(catalog, Evidence((older, over, week, unknown))) == ()
    assert doubles(catalog, Evidence((week, again))) == (Double("product week", week, again),)


def acts(make: SimpleNamespace, catalog: Catalog, older: Subscription, newer: Subscription, at: float = 4) -> bool:
    return may_be_cancelled(catalog, Double("group plan", older, newer), NEW, make.day(at))


def test_the_newer_may_go_where_the_older_stands(
    make: SimpleNamespace, catalog: Catalog, older: Subscription, newer: Subscription
) -> None:
    """Whatever the status of the newer, and both on trial too."""
    for status in SubscriptionStatus:
        assert acts(make, catalog, older, replace(newer, status=status))
    on_trial = {"status": SubscriptionStatus.TRIALING, "trial_end": make.day(14)}
    assert acts(make, catalog, replace(older, **on_trial), replace(newer, **on_trial))


@pytest.mark.parametrize(
    "trouble",
    [
        {"cancel_at_period_end": True},
        {"cancel_at": 40},
        {"unpaid_since": 2},
        {"collection_paused": True},
        {"status": SubscriptionStatus.PAST_DUE},
        {"status": SubscriptionStatus.INCOMPLETE},
        {"status": SubscriptionStatus.PAUSED, "paid_through": 30},
        {"status": SubscriptionStatus.UNPAID},
        {"status": SubscriptionStatus.TRIALING, "trial_end": 14},
        {"payment": "refunded"},
    ],
    ids=str,
)
def test_a_person_decides_where_the_older_does_not(
    make: SimpleNamespace, catalog: Catalog, older: Subscription, newer: Subscription, trouble: dict[str, Any]
) -> None:
    """It ends, owes, is paused, has not begun, was refunded, or is a trial beside what is paid for."""
    said = {name: make.day(value) if type(value) is int else value for name, value in trouble.items()}
    if "payment" in said:
        said["payment"] = make.payment(refunded=900, refunded_at=make.day(2))
    assert not acts(make, catalog, replace(older, **said), newer)


def test_only_what_is_new_and_all_of_the_plan_may_go(
    make: SimpleNamespace, catalog: Catalog, older: Subscription, newer: Subscription
) -> None:
    """What we knew stays; so does what has a product of another plan in it, or one we do not know."""
    assert not may_be_cancelled(catalog, Double("group plan", older, newer), frozenset(), make.day(4))
    for product in ("week", None):
        assert not acts(make, catalog, older, replace(newer, items=(*newer.items, make.item(product))))
    assert not acts(make, catalog, older, newer, at=34)
