"""From evidence to stretches of access, and reading them at an instant."""

from types import SimpleNamespace

import pytest

from tollhouse_server.domain.catalog import Feature, Policy
from tollhouse_server.domain.entitlements import (
    Answer,
    Entitlement,
    Reason,
    answer,
    compute,
    dump,
    load,
    next_change,
    of_everybody,
)
from tollhouse_server.domain.evidence import Evidence, Grant, SubscriptionStatus
from tollhouse_server.domain.time import EVER, Period

ACTIVE = Reason("sub_1", "subscription", "subscription-active")
BOUGHT = Reason("cs_1", "purchase", "purchase-paid")
GRANTED = Reason("gr_1", "grant", "granted")


def only(entitlements: tuple[Entitlement, ...], feature: str) -> list[Entitlement]:
    return [entitlement for entitlement in entitlements if entitlement.feature == feature]


def test_one_subscription(make: SimpleNamespace) -> None:
    """Each feature of the product is open for as long as the subscription stands, seats multiplied."""
    evidence = Evidence(subscriptions=(make.subscription(items=(make.item(quantity=3),)),))
    lasting = Period(make.day(0), make.day(33))
    assert compute(make.catalog(), evidence, Policy(), make.day(1)) == (
        Entitlement("credits", 30, lasting, (ACTIVE,)),
        Entitlement("export", True, lasting, (ACTIVE,)),
        Entitlement("pages", 500, lasting, (ACTIVE,)),
    )


def test_overlapping_sources_cut_time_into_stretches(make: SimpleNamespace) -> None:
    """While two sources overlap the larger limit counts and its source is named first; afterwards the other remains."""
    more = make.grant(feature="pages", value=900, starts_at=make.day(10), ends_at=make.day(20))
    computed = compute(make.catalog(), Evidence((make.subscription(),), (), (more,)), Policy(), make.day(0))
    assert only(computed, "pages") == [
        Entitlement("pages", 500, Period(make.day(0), make.day(10)), (ACTIVE,)),
        Entitlement("pages", 900, Period(make.day(10), make.day(20)), (GRANTED, ACTIVE)),
        Entitlement("pages", 500, Period(make.day(20), make.day(33)), (ACTIVE,)),
    ]


def test_the_reason_that_gives_most_is_named_first(make: SimpleNamespace) -> None:
    """The larger limit names the source, whatever its kind; of equals the first by kind and id does."""
    less = (make.grant(id="gr_2", feature="pages", value=3), make.grant(id="gr_1", feature="pages", value=3))
    computed = compute(make.catalog(), Evidence((make.subscription(),), (), less), Policy(), make.day(40))
    [stretch] = only(computed, "pages")
    assert [reason.source_id for reason in stretch.reasons] == ["gr_1", "gr_2"]
    computed = compute(make.catalog(), Evidence((make.subscription(),), (), less), Policy(), make.day(0))
    assert [reason.source_id for reason in only(computed, "pages")[0].reasons] == ["sub_1", "gr_1", "gr_2"]


EVERYBODYS = Reason("basic", "default", "default")


def test_what_everybody_has_is_there_before_and_after(make: SimpleNamespace) -> None:
    """It is what is left when a subscription ends; while more is given, it decides nothing."""
    catalog = make.catalog(default="basic")
    assert of_everybody(catalog) == (
        Entitlement("credits", 5, Period(EVER), (EVERYBODYS,)),
        Entitlement("pages", 100, Period(EVER), (EVERYBODYS,)),
    )
    computed = compute(catalog, Evidence((make.subscription(),)), Policy(), make.day(-1))
    assert only(computed, "pages") == [
        Entitlement("pages", 100, Period(EVER, make.day(0)), (EVERYBODYS,)),
        Entitlement("pages", 500, Period(make.day(0), make.day(33)), (ACTIVE, EVERYBODYS)),
        Entitlement("pages", 100, Period(make.day(33)), (EVERYBODYS,)),
    ]
    assert only(computed, "export") == [Entitlement("export", True, Period(make.day(0), make.day(33)), (ACTIVE,))]


def test_what_everybody_has_is_not_added_but_the_least(make: SimpleNamespace) -> None:
    """Of a limit that sums up others are added to each other only, and it decides where they come to less."""
    catalog, small = make.catalog(default="basic"), {"feature": "credits", "value": 2}
    one, two, three = (make.grant(id=f"gr_{number}", **small) for number in (1, 2, 3))

    def of(*grants: Grant) -> Entitlement:
        [stretch] = compute(catalog, Evidence(grants=grants), Policy(), make.day(1))[-2:-1]
        return stretch

    reasons = [Reason(f"gr_{number}", "grant", "granted") for number in (1, 2, 3)]
    assert (of(one, two).value, of(one, two).reasons) == (5, (EVERYBODYS, *reasons[:2]))
    assert (of(one, two, three).value, of(one, two, three).reasons) == (6, (*reasons, EVERYBODYS))


def test_what_gives_as_much_as_everybody_has_is_the_reason(make: SimpleNamespace) -> None:
    """So a customer is told of what they bought, not of what they would have anyway."""
    bought = Evidence((make.subscription(items=(make.item("basic"),)),))
    for stretch in compute(make.catalog(default="basic"), bought, Policy(), make.day(1)):
        assert stretch.reasons[0] == (ACTIVE if stretch.period.end else EVERYBODYS)


def test_each_item_is_judged_by_its_products_policy(make: SimpleNamespace) -> None:
    """One subscription, unpaid: what its patient product opens lasts 20 days, the rest as long as the project says."""
    items = (make.item("patient"), make.item("basic"))
    unpaid = make.subscription(status=SubscriptionStatus.PAST_DUE, unpaid_since=make.day(1), items=items)
    computed = compute(make.catalog(), Evidence((unpaid,)), Policy(), make.day(1))
    assert [(one.value, one.period.end) for one in only(computed, "pages")] == [
        (100, make.day(8)), (20, make.day(21)),
    ]  # fmt: skip
    assert [one.period.end for one in only(computed, "credits")] == [make.day(8)]


def test_a_gap_stays_a_gap(make: SimpleNamespace) -> None:
    """Between two grants the feature is closed, and the answer says when it opens."""
    grants = (
        make.grant(ends_at=make.day(5)),
        make.grant(id="gr_2", starts_at=make.day(8), ends_at=make.day(9)),
    )
    catalog = make.catalog()
    computed = compute(catalog, Evidence(grants=grants), Policy(), make.day(0))
    read = [answer(computed, catalog.features["export"], make.day(at)) for at in (-1, 0, 5, 8, 9)]
    assert read == [
        Answer("export", False, False, make.day(0), "not-yet", None),
        Answer("export", True, True, make.day(5), "granted", "gr_1"),
        Answer("export", False, False, make.day(8), "not-yet", None),
        Answer("export", True, True, make.day(9), "granted", "gr_2"),
        Answer("export", False, False, None, "no-source", None),
    ]


def test_valid_until_is_the_end_of_the_value_not_of_a_source(make: SimpleNamespace) -> None:
    """A feature that one source hands over to the next without a gap stays valid until the last of them ends."""
    grants = tuple(make.grant(id=f"gr_{n}", starts_at=make.day(n), ends_at=make.day(n + 1)) for n in range(3))
    catalog = make.catalog()
    computed = compute(catalog, Evidence(grants=grants), Policy(), make.day(0))
    read = answer(computed, catalog.features["export"], make.day(0))
    assert (read.valid_until, read.source) == (make.day(3), "gr_0")
    assert next_change(computed, make.day(0)) == make.day(1)


def test_valid_until_stops_where_the_value_changes(make: SimpleNamespace) -> None:
    """A limit that goes down is valid until it does, although the feature stays open."""
    catalog = make.catalog()
    evidence = Evidence((make.subscription(),), (), (make.grant(product="lifetime", ends_at=make.day(9)),))
    computed = compute(catalog, evidence, Policy(), make.day(1))
    read = answer(computed, catalog.features["pages"], make.day(1))
    assert (read.value, read.valid_until, read.source) == ("unlimited", make.day(9), "gr_1")
    assert answer(computed, catalog.features["pages"], make.day(9)).value == 500


def test_what_is_over_is_left_out(make: SimpleNamespace) -> None:
    """Computing later keeps the stretches that remain, unchanged, and drops those that are over."""
    grants = (make.grant(ends_at=make.day(5)), make.grant(id="gr_2", starts_at=make.day(8), ends_at=make.day(9)))
    evidence = Evidence(grants=grants)
    early = compute(make.catalog(), evidence, Policy(), make.day(0))
    assert compute(make.catalog(), evidence, Policy(), make.day(3)) == early
    assert compute(make.catalog(), evidence, Policy(), make.day(5)) == early[1:]
    assert compute(make.catalog(), evidence, Policy(), make.day(9)) == ()


def test_equal_neighbours_are_one(make: SimpleNamespace) -> None:
    """An edge at which neither value nor reasons change cuts nothing, as with two items of one subscription."""
    items = (make.item("week"), make.item("lifetime"))
    evidence = Evidence(purchases=(make.purchase("week", "lifetime"),), subscriptions=(make.subscription(items=items),))
    computed = compute(make.catalog(), evidence, Policy(), make.day(0))
    assert only(computed, "export") == [
        Entitlement("export", True, Period(make.day(0), make.day(33)), (BOUGHT, ACTIVE)),
        Entitlement("export", True, Period(make.day(33)), (BOUGHT,)),
    ]


def test_lines_of_one_source_add_up_where_the_feature_does(make: SimpleNamespace) -> None:
    """A bundle gives the sum of a limit that adds up and the largest of one that does not."""
    bundle = make.subscription(items=(make.item("pro", quantity=2), make.item("basic")))
    catalog = make.catalog()
    computed = compute(catalog, Evidence(subscriptions=(bundle,)), Policy(), make.day(0))
    assert answer(computed, catalog.features["credits"], make.day(0)).value == 25
    assert answer(computed, catalog.features["pages"], make.day(0)).value == 500


def test_each_product_of_a_purchase_lasts_its_own_time(make: SimpleNamespace) -> None:
    """Bought together, a week ends after a week and a lifetime does not."""
    catalog = make.catalog()
    computed = compute(catalog, Evidence(purchases=(make.purchase("week", "lifetime"),)), Policy(), make.day(0))
    assert answer(computed, catalog.features["credits"], make.day(0)).valid_until == make.day(7)
    assert answer(computed, catalog.features["export"], make.day(0)).valid_until is None


@pytest.mark.parametrize("product", [None, "never-in-the-catalog", "old"])
def test_what_the_catalog_does_not_sell_opens_nothing(make: SimpleNamespace, product: str | None) -> None:
    """A price without a product, a product that is gone, and one whose features are gone or off: nothing opens."""
    evidence = Evidence(
        (make.subscription(items=(make.item(product),)),),
        (make.purchase(product),),
        (make.grant(product=product),) if product else (),
    )
    assert compute(make.catalog(), evidence, Policy(), make.day(0)) == ()


def test_a_grant_whose_feature_changed_its_kind_opens_nothing(make: SimpleNamespace) -> None:
    """A number granted for what has become a switch is not taken for true."""
    evidence = Evidence(grants=(make.grant(feature="export", value=5), make.grant(id="gr_2", feature="gone", value=1)))
    assert compute(make.catalog(), evidence, Policy(), make.day(0)) == ()


def test_a_refund_takes_only_what_it_paid_for(make: SimpleNamespace) -> None:
    """A refunded purchase ends; the grant of the same feature stands."""
    refunded = make.purchase("lifetime", payment=make.payment(refunded=900, refunded_at=make.day(3)))
    catalog = make.catalog()
    computed = compute(catalog, Evidence((), (refunded,), (make.grant(),)), Policy(), make.day(4))
    assert answer(computed, catalog.features["export"], make.day(4)).source == "gr_1"
    assert not answer(computed, catalog.features["pages"], make.day(4)).allowed


def test_the_policy_given_is_the_policy_used(make: SimpleNamespace) -> None:
    """A preview with another policy needs no other catalog."""
    unpaid = Evidence(subscriptions=(make.subscription(status=SubscriptionStatus.PAST_DUE),))
    no_grace = Policy(grace=make.day(0) - make.day(0))
    assert compute(make.catalog(), unpaid, no_grace, make.day(0)) == ()
    assert compute(make.catalog(), unpaid, Policy(), make.day(0)) != ()


def test_next_change_is_strictly_later(make: SimpleNamespace) -> None:
    """The next change after an edge is the following edge; where none follows there is none."""
    computed = compute(make.catalog(), Evidence(grants=(make.grant(ends_at=make.day(5)),)), Policy(), make.day(-1))
    assert [next_change(computed, make.day(at)) for at in (-1, 0, 5)] == [make.day(0), make.day(5), None]


def test_an_empty_snapshot_denies_everything(make: SimpleNamespace) -> None:
    """Nobody has anything before we know of anything."""
    denied = Answer("export", False, False, None, "no-source", None)
    assert answer((), Feature("export", "Export"), make.day(0)) == denied


def test_the_stored_form_is_plain_json(make: SimpleNamespace) -> None:
    """A snapshot is stored in a form that other programs can read, and read back as it was."""
    computed = compute(make.catalog(), Evidence(grants=(make.grant(ends_at=make.day(5)),)), Policy(), make.day(0))
    assert dump(computed) == [
        {
            "feature": "export",
            "value": True,
            "from": "2026-11-01T00:00:00Z",
            "until": "2026-11-06T00:00:00Z",
            "reasons": [{"source_id": "gr_1", "kind": "grant", "rule": "granted"}],
        }
    ]
    assert load(dump(computed)) == computed
