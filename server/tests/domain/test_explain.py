"""Why a feature is open or closed."""

from datetime import timedelta
from types import SimpleNamespace

from tollhouse_server.domain.catalog import Policy
from tollhouse_server.domain.evidence import DisputeStatus, Evidence, PaymentStatus, SubscriptionStatus
from tollhouse_server.domain.explain import Explanation, explain


def export(make: SimpleNamespace, at: float, *sources: object, feature: str = "export") -> Explanation:
    kinds = ("Subscription", "Purchase", "Grant")
    by_kind = [tuple(source for source in sources if type(source).__name__ == kind) for kind in kinds]
    catalog = make.catalog()
    return explain(catalog, Evidence(*by_kind), catalog.features[feature], make.day(at))


def test_open(make: SimpleNamespace) -> None:
    """The verdict names value, rule, policy and end, and the source with its ids at Stripe."""
    told = export(make, 1, make.subscription(), feature="pages")
    assert (told.feature, told.at, told.policy) == ("pages", make.day(1), Policy())
    assert (told.allowed, told.value, told.rule) == (True, 500, "subscription-active")
    assert (told.valid_until, told.next_change_at) == (make.day(33), make.day(33))
    assert told.sentence == (
        "Allowed (500) until 4 Dec 2026. Active: the period ends on 1 Dec 2026; "
        "access lasts until 4 Dec 2026, so that a renewal has time to arrive."
    )
    [source] = told.sources
    assert (source.kind, source.id, source.products) == ("subscription", "sub_1", ("pro",))
    assert source.stripe_ids == ("sub_1", "price_pro")
    assert source.counts


def test_in_grace_and_after(make: SimpleNamespace) -> None:
    """While the grace lasts it is the reason; afterwards the same source says that it is over."""
    unpaid = make.subscription(status=SubscriptionStatus.PAST_DUE, unpaid_since=make.day(2))
    grace = "Payment failed on 3 Nov 2026; access is kept in grace until 10 Nov 2026."
    assert export(make, 3, unpaid).sentence == f"Allowed until 10 Nov 2026. {grace}"
    over = export(make, 9, unpaid)
    assert (over.allowed, over.value, over.rule) == (False, False, "no-source")
    assert over.sentence == f"Not allowed. {grace} This is over."
    assert not over.sources[0].counts


def test_nothing_at_all(make: SimpleNamespace) -> None:
    """With no source, or only sources of other features, nothing opens it."""
    assert export(make, 0).sentence == "Not allowed. Nothing that was bought or granted opens it."
    told = export(make, 0, make.grant(feature="pages", value=3))
    assert told.sentence == "Not allowed. Nothing that was bought or granted opens it."
    assert [(source.rule, source.stripe_ids) for source in told.sources] == [("opens-other-features", ())]


def test_what_everybody_has(make: SimpleNamespace) -> None:
    """It is told last of what counts, is at no Stripe, and is the sentence where nothing else gives as much."""
    catalog = make.catalog(default="basic")
    pages = catalog.features["pages"]
    told = explain(catalog, Evidence(), pages, make.day(0))
    assert told.sentence == "Allowed (100) for ever. Everybody has Basic without buying it."
    [source] = told.sources
    assert (source.kind, source.id, source.products, source.stripe_ids) == ("default", "basic", ("basic",), ())
    more = explain(catalog, Evidence((make.subscription(),)), pages, make.day(0))
    assert [one.kind for one in more.sources] == ["subscription", "default"]
    none = explain(catalog, Evidence(), catalog.features["export"], make.day(0))
    assert none.sentence == "Not allowed. Nothing that was bought or granted opens it."


def test_the_policy_of_each_source(make: SimpleNamespace) -> None:
    """Each source tells by which policy it was judged: its product's. A subscription to two is told as two."""
    items = (make.item("patient"), make.item("basic"))
    told = export(make, 1, make.subscription(items=items), make.grant(product="basic"), feature="pages")
    assert {(one.kind, one.products): one.policy for one in told.sources} == {
        ("subscription", ("patient",)): Policy(grace=timedelta(days=20)),
        ("subscription", ("basic",)): Policy(),
        ("grant", ("basic",)): None,
    }


def test_yet_to_begin(make: SimpleNamespace) -> None:
    """A grant that begins later says when."""
    told = export(make, 0, make.grant(starts_at=make.day(4)))
    assert told.sentence == "Not allowed. It opens on 5 Nov 2026."
    assert told.sources[0].sentence == "Granted from 5 Nov 2026, for ever (a gift). This has not begun."
    assert (told.rule, told.valid_until, told.next_change_at) == ("not-yet", make.day(4), make.day(4))


def test_every_source_is_considered(make: SimpleNamespace) -> None:
    """Sources that do not count are listed with the reason: first those that count, then the last to end."""
    told = export(
        make, 20,
        make.grant(ends_at=make.day(5)),
        make.grant(id="gr_2", ends_at=make.day(9)),
        make.purchase("week", payment_status=PaymentStatus.UNPAID),
        make.purchase("lifetime", id="cs_2"),
        make.purchase("lifetime", id="cs_3",
                      payment=make.payment(dispute=DisputeStatus.NEEDS_RESPONSE, disputed_at=make.day(6))),
        make.subscription(items=(make.item("basic"),)),
        make.subscription(id="sub_2", items=(make.item(None),)),
    )  # fmt: skip
    assert [(source.id, source.rule) for source in told.sources] == [
        ("cs_2", "purchase-paid"),
        ("gr_2", "granted"),
        ("cs_3", "disputed"),
        ("gr_1", "granted"),
        ("cs_1", "purchase-unpaid"),
        ("sub_1", "opens-other-features"),
        ("sub_2", "product-unknown"),
    ]
    assert [source.id for source in told.sources if source.counts] == ["cs_2"]


def test_several_that_do_not_count(make: SimpleNamespace) -> None:
    """The verdict tells of the last to end and that there are others."""
    told = export(make, 20, make.grant(ends_at=make.day(5)), make.grant(id="gr_2", ends_at=make.day(9)))
    assert told.sentence == (
        "Not allowed. Granted from 1 Nov 2026, until 10 Nov 2026 (a gift). This is over. "
        "None of the 2 sources concerned counts."
    )


def test_a_sale_the_catalog_does_not_know_is_said(make: SimpleNamespace) -> None:
    """A buyer of an unknown price is not told that nothing was bought."""
    told = export(make, 0, make.subscription(items=(make.item(None),)))
    assert told.sentence.endswith("opens nothing: publish a catalog that has it.")
    assert (told.sources[0].products, told.sources[0].stripe_ids) == ((), ("sub_1", "price_None"))


def test_a_purchase_whose_products_last_differently_is_two_entries(make: SimpleNamespace) -> None:
    """Each entry has one period; products that stand alike share an entry."""
    told = export(make, 8, make.purchase("week", "lifetime", "pro"))
    assert [(source.products, source.counts) for source in told.sources] == [
        (("lifetime", "pro"), True),
        (("week",), False),
    ]


def test_next_change_is_that_of_the_reason(make: SimpleNamespace) -> None:
    """When one reason hands over to another the answer stays valid, and explain says when the reason changes."""
    told = export(make, 1, make.purchase("lifetime"), make.grant(ends_at=make.day(5)))
    assert (told.valid_until, told.next_change_at) == (None, make.day(5))


def test_a_grant_that_no_longer_fits(make: SimpleNamespace) -> None:
    """A grant of another kind than the feature's says what to do."""
    told = export(make, 1, make.grant(value=7))
    assert told.sources[0].rule == "value-does-not-fit"


def test_an_override_is_told_and_what_it_overrides(make: SimpleNamespace) -> None:
    """Closed by it until its end; the others say that they do not count, by which rule, and what they would be."""
    closing = make.grant(id="gr_2", value=False, override=True, ends_at=make.day(5), reason="fraud looked into")
    told = export(make, 1, make.purchase("lifetime"), closing, make.grant(ends_at=make.day(0.5)))
    assert (told.allowed, told.rule, told.valid_until, told.next_change_at) == (
        False, "overridden", make.day(5), make.day(5),
    )  # fmt: skip
    assert told.sentence == (
        "Not allowed: closed by an override until 6 Nov 2026. Set by an operator from 1 Nov 2026, until 6 Nov 2026 "
        "(fraud looked into): in that time nothing else counts."
    )
    assert [(one.id, one.counts, one.rule) for one in told.sources] == [
        ("gr_2", True, "overridden"), ("cs_1", False, "overridden"), ("gr_1", False, "granted"),
    ]  # fmt: skip
    assert told.sources[1].sentence == "Bought on 1 Nov 2026: access lasts for ever. Overridden by gr_2."
    over = export(make, 5, make.purchase("lifetime"), closing)
    assert (over.allowed, over.rule, over.valid_until) == (True, "purchase-paid", None)
    assert [(one.id, one.counts, one.rule) for one in over.sources] == [
        ("cs_1", True, "purchase-paid"), ("gr_2", False, "overridden"),
    ]  # fmt: skip


def test_a_disputed_payment_is_not_told_as_over(make: SimpleNamespace) -> None:
    """It is suspended: that may end."""
    disputed = make.payment(dispute=DisputeStatus.NEEDS_RESPONSE, disputed_at=make.day(6))
    told = export(make, 8, make.purchase("lifetime", payment=disputed))
    assert told.sources[0].sentence == (
        "The payment has been disputed since 7 Nov 2026: access is suspended until that is decided."
    )
