"""Nobody pays twice for one thing."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tollhouse_server.domain.catalog import Catalog, OnRefund, Price
from tollhouse_server.domain.evidence import Evidence, PaymentStatus, SubscriptionStatus
from tollhouse_server.domain.money import Money
from tollhouse_server.domain.owning import changes_to, groups_held, holder, seats_after


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


def test_a_refund_is_judged_by_the_products_policy(make: SimpleNamespace) -> None:
    """Where a product keeps access after a full refund, it is still had, and not sold again."""
    refunded = make.payment(refunded=900, refunded_at=make.day(5))
    bought = Evidence(purchases=(make.purchase("lifetime", payment=refunded),))
    catalog = make.catalog()
    kept = replace(catalog.products["lifetime"], policy={"on_full_refund": OnRefund.KEEP})
    kind = replace(catalog, products=catalog.products | {"lifetime": kept})
    assert holder(catalog, bought, kept, make.day(6)) is None
    assert holder(kind, bought, kept, make.day(6)) is bought.purchases[0]


def test_what_everybody_has_holds_nothing(make: SimpleNamespace) -> None:
    """Neither itself, should it be sold for nothing, nor the plan group it is in."""
    catalog = make.catalog(default="basic")
    grouped = {code: replace(catalog.products[code], plan_group="plan") for code in ("pro", "basic")}
    catalog = replace(catalog, products=catalog.products | grouped)
    assert [holder(catalog, Evidence(), catalog.products[code], make.day(1)) for code in grouped] == [None, None]


def test_money_on_its_way_holds(make: SimpleNamespace) -> None:
    """While a bank debit settles nobody is asked to pay again; once it has failed they may be."""
    unpaid = replace(make.purchase("week"), payment_status=PaymentStatus.UNPAID)
    assert holds(make, "week", purchases=(replace(unpaid, settling=True),)) == "cs_1"
    assert holds(make, "week", purchases=(unpaid,)) is None


def grouped(make: SimpleNamespace) -> Catalog:
    catalog = make.catalog()
    plans = {code: replace(catalog.products[code], plan_group="plan") for code in ("pro", "basic", "lifetime")}
    return replace(catalog, products=catalog.products | plans)


def changed(make: SimpleNamespace, wanted: str, interval: str | None = "month", **evidence: object) -> str | None:
    """The id of the subscription that is changed to the price `wanted`."""
    code = wanted.split(".")[1]
    price = Price(wanted, code, Money(900, "eur"), interval)  # type: ignore[arg-type]
    found = changes_to(grouped(make), Evidence(**evidence), price, make.day(1))  # type: ignore[arg-type]
    return found and found.id


@pytest.mark.parametrize("status", SubscriptionStatus)
def test_only_what_runs_well_is_changed(make: SimpleNamespace, status: SubscriptionStatus) -> None:
    """Of a subscription that owes, pauses or has not begun the customer decides first."""
    runs = status in {SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING}
    subscriptions = (make.subscription(status=status),)
    assert changed(make, "app.basic.monthly", subscriptions=subscriptions) == ("sub_1" if runs else None)


def test_another_price_of_the_group_is_a_change(make: SimpleNamespace) -> None:
    """Of the same product too; the same price is none, nor is one that is paid once."""
    subscriptions = (make.subscription(),)
    assert changed(make, "app.pro.yearly", "year", subscriptions=subscriptions) == "sub_1"
    assert changed(make, "app.pro.monthly", subscriptions=subscriptions) is None
    assert changed(make, "app.lifetime.once", None, subscriptions=subscriptions) is None
    assert changed(make, "app.week.monthly", subscriptions=subscriptions) is None, "of no group with it"


@pytest.mark.parametrize("change", [{"cancel_at": 30}, {"cancel_at_period_end": True}, {"collection_paused": True}])
def test_what_ends_or_pauses_is_not_changed(make: SimpleNamespace, change: dict[str, object]) -> None:
    """It is resumed first: the portal changes no plan that ends."""
    at = {"cancel_at": make.day(30)} if "cancel_at" in change else change
    assert changed(make, "app.basic.monthly", subscriptions=(make.subscription(**at),)) is None


def test_which_one_is_changed_is_never_a_guess(make: SimpleNamespace) -> None:
    """Two subscriptions of the group, two items in one, or a purchase that holds it: no change is offered."""
    one, two = make.subscription(), make.subscription(id="sub_2")
    assert changed(make, "app.basic.monthly", subscriptions=(one, two)) is None
    both = make.subscription(items=(make.item("pro"), make.item("week")))
    assert changed(make, "app.basic.monthly", subscriptions=(both,)) is None
    bought = (make.purchase("lifetime"),)
    assert changed(make, "app.basic.monthly", subscriptions=(one,), purchases=bought) is None


def test_seats(make: SimpleNamespace) -> None:
    """Nobody loses seats by asking for another plan, and nobody buys a flat plan five times."""
    seated, flat = make.catalog().products["pro"], make.catalog().products["basic"]
    assert [seats_after(seated, *pair) for pair in ((1, 5), (3, 5), (1, 1))] == [5, 3, 1]
    assert [seats_after(flat, *pair) for pair in ((1, 5), (5, 5), (1, 1))] == [None, 5, 1]


def test_the_groups_that_are_held(make: SimpleNamespace) -> None:
    """Each product of no group is its own; what the catalog does not know, or what is over, is of none."""
    over = make.subscription(id="sub_2", status=SubscriptionStatus.CANCELED, items=(make.item("old"),))
    unknown = make.subscription(id="sub_3", items=(make.item(None), make.item("week")))
    evidence = Evidence(subscriptions=(make.subscription(), over, unknown))
    assert groups_held(grouped(make), evidence) == {"group plan", "product week"}
