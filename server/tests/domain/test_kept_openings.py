"""Those who have a product keep what it opened when they got it, where the operator says so."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.catalog import Catalog, Feature, Kind, Opens, Policy, Product
from tollhouse_server.domain.entitlements import answer, compute
from tollhouse_server.domain.evidence import Evidence, Grant, SubscriptionStatus
from tollhouse_server.domain.explain import explain
from tollhouse_server.domain.kept_openings import Existing, changed, dump, gives_less, holds, kept_through, with_kept
from tollhouse_server.domain.owning import holder

KEEP, MOVE = Existing.KEEP, Existing.MOVE
PAGES = Feature("pages", "Pages", Kind.LIMIT)
FEATURES = {"pages": PAGES}


def day(number: float) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number)


def edition(*products: Product) -> Catalog:
    """A catalog of these products, as its document alone says it."""
    return Catalog("app", 1, FEATURES, {one.code: one for one in products}, {})


def pro(pages: Any, lasts: timedelta | None = None, **more: Any) -> Product:
    return Product("pro", "Pro", {"pages": Opens(pages)}, lasts=lasts, **more)


def pages(of: Catalog, began: float) -> Any:
    """What a grant of pro that began on that day gives on day 29."""
    evidence = Evidence(grants=(Grant("gr_1", day(began), "a gift", "Ada", product="pro"),))
    return answer(compute(of, evidence, Policy(), day(29)), of.features["pages"], day(29)).value


def published(*editions: tuple[Product | None, Existing | None]) -> Catalog:
    """These published one after the other, on day 0, 10, 20 …"""
    standing = edition()
    for number, (product, existing) in enumerate(editions):
        new = edition(product) if product else edition()
        standing = kept_through(standing, new, existing, day(10 * number))
        standing = with_kept(new, json.loads(json.dumps(dump(standing))))
    return standing


def test_who_was_there_before_keeps_what_it_opened() -> None:
    """Evidence that began before the publish keeps the opening of then; at the very instant it is the new one."""
    cut = published((pro(500), None), (pro(100), KEEP))
    assert [pages(cut, began) for began in (0, 9.999, 10, 15)] == [500, 500, 100, 100]


def test_each_publish_carries_on_what_was_kept() -> None:
    """Kept twice, three generations of customers have three openings; a change of other products touches none."""
    twice = published((pro(500), None), (pro(100), KEEP), (pro(50), KEEP), (pro(50), None))
    assert [pages(twice, began) for began in (5, 15, 25)] == [500, 100, 50]


def test_move_is_for_everybody() -> None:
    """All earlier openings of the product are forgotten."""
    moved = published((pro(500), None), (pro(100), KEEP), (pro(50), MOVE))
    assert [pages(moved, began) for began in (5, 15, 25)] == [50, 50, 50]


def test_more_is_for_everybody_unless_said_otherwise() -> None:
    """A mere addition reaches those who kept less than that; with `keep` they stay as they are."""
    first, cut, more = (pro(500), None), (pro(100), KEEP), pro(300)
    assert [pages(published(first, cut, (more, None)), began) for began in (5, 15, 25)] == [500, 300, 300]
    assert [pages(published(first, cut, (pro(900), None)), began) for began in (5, 15, 25)] == [900, 900, 900]
    assert [pages(published(first, cut, (more, KEEP)), began) for began in (5, 15, 25)] == [500, 100, 300]


def test_a_removed_product_goes_on_for_those_who_kept_it(make: SimpleNamespace) -> None:
    """Sold no longer, it opens what it did, holds its plan group, and comes back with what was kept."""
    plan = pro(500, plan_group="plan")
    removed = published((plan, None), (None, KEEP))
    assert [pages(removed, began) for began in (5, 15)] == [500, 0]
    assert removed.products == {} and [*removed.retired] == ["pro"]
    evidence = Evidence((make.subscription(),))
    basic = Product("basic", "Basic", {}, "plan")
    assert holder(removed, evidence, basic, day(5)) is evidence.subscriptions[0]
    assert pages(published((plan, None), (None, KEEP), (None, None)), 5) == 500
    assert pages(published((plan, None), (None, KEEP), (pro(7), None)), 5) == 500
    assert pages(published((plan, None), (None, MOVE)), 5) == 0
    assert pages(published((plan, None), (None, None)), 5) == 0
    assert published((plan, None), (None, MOVE)).retired == {}


def test_a_purchase_keeps_how_long_it_lasts(make: SimpleNamespace) -> None:
    """Also where the checkout guard asks whether it is owned for life."""
    cut = published((pro(500), None), (pro(500, timedelta(days=7)), KEEP))
    bought = Evidence(purchases=(make.purchase(since=day(1)),))
    later = Evidence(purchases=(make.purchase(since=day(11)),))
    feature = cut.features["pages"]
    assert answer(compute(cut, bought, Policy(), day(40)), feature, day(40)).value == 500
    assert answer(compute(cut, later, Policy(), day(18)), feature, day(18)).value == 0
    assert holder(cut, bought, cut.products["pro"], day(40)) is bought.purchases[0]
    assert holder(cut, later, cut.products["pro"], day(12)) is None


def test_a_feature_that_is_gone_is_kept_by_nobody() -> None:
    """Nor one that has become of another kind: there is nothing to ask for, and no error."""
    cut = published((pro(500), None), (pro(100), KEEP))
    without = Catalog("app", 2, {"pages": Feature("pages", "Pages")}, cut.products, {})
    assert pages(without, 5) is False
    assert not gives_less(pro(500), Product("pro", "Pro", {}), {})
    assert not gives_less(pro(500), Product("pro", "Pro", {}), without.features)


@pytest.mark.parametrize(
    ("before", "after", "less"),
    [
        (Opens(500), Opens(500), False),
        (Opens(500), Opens(499), True),
        (Opens(500), Opens("unlimited"), False),
        (Opens("unlimited"), Opens(10**9), True),
        (Opens(5), Opens(5, per_seat=True), False),
        (Opens(5, per_seat=True), Opens(100), True),
        (Opens(5, per_seat=True), Opens("unlimited"), False),
        (Opens(5), None, True),
        (Opens(0), None, False),
        (Opens(5), Opens(True), True),
    ],
)
def test_what_is_less(before: Opens, after: Opens | None, less: bool) -> None:
    """By whatever quantity somebody may have bought."""
    new = Product("pro", "Pro", {} if after is None else {"pages": after})
    assert gives_less(Product("pro", "Pro", {"pages": before}), new, FEATURES) is less


def test_what_changes() -> None:
    """What is opened or how long it lasts: not a name, nor a product that is new."""
    old = edition(pro(500), Product("basic", "Basic", {}))
    new = edition(pro(500, timedelta(days=7)), Product("more", "More", {}))
    assert [*changed(old, new)] == [(old.products["pro"], new.products["pro"]), (old.products["basic"], None)]
    assert [*changed(edition(pro(500)), edition(pro(500, plan_group="plan")))] == []


def test_a_shorter_time_is_less_and_so_is_no_product() -> None:
    """A longer one is not."""
    week, life = pro(500, timedelta(days=7)), pro(500)
    assert gives_less(life, week, FEATURES) and gives_less(life, None, FEATURES)
    assert not gives_less(week, life, FEATURES)


def test_who_holds_a_product(make: SimpleNamespace) -> None:
    """Whoever Stripe may still bill, and whose purchase or grant opens something now or later."""
    week = pro(500, timedelta(days=7))
    assert holds(make.subscription(status=SubscriptionStatus.UNPAID), week, Policy(), day(90))
    assert not holds(make.subscription(status=SubscriptionStatus.CANCELED), week, Policy(), day(1))
    assert holds(make.purchase(), week, Policy(), day(6)) and not holds(make.purchase(), week, Policy(), day(7))
    assert holds(make.grant(product="pro", starts_at=day(50)), week, Policy(), day(1))
    assert not holds(make.grant(product="pro", revoked_at=day(2)), week, Policy(), day(2))


def test_the_explanation_says_by_which_opening(make: SimpleNamespace) -> None:
    """Of a source that has an earlier one, and of no other."""
    cut = published((pro(500), None), (pro(100), KEEP))
    sources = (make.grant(product="pro"), make.grant(id="gr_2", product="pro", starts_at=day(12)))
    explained = explain(cut, Evidence(grants=sources), cut.features["pages"], day(15))
    assert explained.sentence.endswith("By the opening before 11 Nov 2026.")
    assert "opening" not in explained.sources[1].sentence
