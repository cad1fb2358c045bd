"""Nobody pays twice for one thing."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tollhouse_server.domain.evidence import Evidence, PaymentStatus, SubscriptionStatus
from tollhouse_server.domain.owning import holder


def holds(make: SimpleNamespace, wanted: str, *, at: float = 1, **evidence: object) -> str | None:
    """The id of what already is what is wanted; `pro` and `basic` exclude each other."""
    catalog = make.catalog()
    grouped = {code: replace(catalog.products[code], plan_group="plan") for code in ("pro", "basic")}
    catalog = replace(catalog, products=catalog.products | grouped)
    found = holder(catalog, Evidence(**evidence), catalog.products[wanted], make.day(at))  # type: ignore[arg-type]
    return found and found.id


@pytest.mark.parametrize("status", SubscriptionStatus)
def test_a_subscription_that_may_be_billed_holds_its_plan_group(
    make: SimpleNamespace, status: SubscriptionStatus
) -> None:
    """Only one that is over for good, canceled or never begun, leaves room for another of its group."""
    over = status in {SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED}
    assert holds(make, "basic", subscriptions=(make.subscription(status=status),)) == (None if over else "sub_1")


def test_products_outside_the_group_add_up(make: SimpleNamespace) -> None:
    """What excludes nothing can be bought beside anything but itself."""
    assert holds(make, "lifetime", subscriptions=(make.subscription(),)) is None
    assert holds(make, "week", purchases=(make.purchase("lifetime"),)) is None
    assert holds(make, "lifetime", purchases=(make.purchase("lifetime"),)) == "cs_1"


def test_a_purchase_for_some_days_may_be_made_again(make: SimpleNamespace) -> None:
    """A week's pass holds nothing, so that it can be renewed before it ends."""
    assert holds(make, "week", purchases=(make.purchase("week"),)) is None


def test_a_purchase_holds_while_it_counts(make: SimpleNamespace) -> None:
    """Who got all the money back may buy again, from then on."""
    refunded = make.payment(refunded=900, refunded_at=make.day(5))
    bought = make.purchase("lifetime", payment=refunded)
    assert holds(make, "lifetime", at=4, purchases=(bought,)) == "cs_1"
    assert holds(make, "lifetime", at=5, purchases=(bought,)) is None


def test_money_on_its_way_holds(make: SimpleNamespace) -> None:
    """While a bank debit settles nobody is asked to pay again; once it has failed they may be."""
    unpaid = replace(make.purchase("week"), payment_status=PaymentStatus.UNPAID)
    assert holds(make, "week", purchases=(replace(unpaid, settling=True),)) == "cs_1"
    assert holds(make, "week", purchases=(unpaid,)) is None
