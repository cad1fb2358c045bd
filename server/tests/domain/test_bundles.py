"""What a product brings of other projects'."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tollhouse_server.domain.bundles import brought, heights, leads_back, projects_brought
from tollhouse_server.domain.catalog import Catalog, Earlier, Feature, Opens, Policy, Product
from tollhouse_server.domain.catalog_file import parse_catalog
from tollhouse_server.domain.entitlements import answer, compute
from tollhouse_server.domain.errors import CatalogInvalid
from tollhouse_server.domain.evidence import (
    Evidence,
    PaymentStatus,
    PlannedItem,
    ScheduledChange,
    SubscriptionStatus,
    begun,
)
from tollhouse_server.domain.kept_openings import gives_less, holds
from tollhouse_server.domain.owning import holder
from tollhouse_server.domain.time import Period

EXPORT = Feature("export", "Export")


def hub(**more: object) -> Catalog:
    product = replace(Product("all", "All", {}, bundles=("app.pro",)), **more)
    return Catalog("hub", 1, {}, {"all": product, "nothing": Product("nothing", "Nothing", {})}, {})


def app(**more: object) -> Catalog:
    pro = replace(Product("pro", "Pro", {"export": Opens(True)}, "plan"), **more)
    return Catalog("app", 1, {"export": EXPORT}, {"pro": pro}, {})


def test_a_line_says_when_by_which_rule_and_no_more(make: SimpleNamespace) -> None:
    """The source as the project of its purchase judges it; of a grant the operator's words stay behind."""
    own = (make.subscription(items=(make.item("all", quantity=3), make.item("nothing"))),)
    given = make.grant(product="all", reason="a secret", ends_at=make.day(9))
    found = brought(hub(), Evidence(own, (make.purchase("all"), make.purchase(None, id="cs_2")), (given, make.grant())))
    [grant, purchase, subscription] = found["app"]
    assert (subscription.product, subscription.via, subscription.project) == ("pro", "all", "hub")
    assert (subscription.period, subscription.quantity) == (Period(make.day(0), make.day(33)), 3)
    assert (purchase.period, purchase.owned, grant.period) == (
        Period(make.day(0)), True, Period(make.day(0), make.day(9)),
    )  # fmt: skip
    assert not grant.owned and "secret" not in repr(found)
    assert brought(app(), Evidence(own)) == {}


def test_a_scheduled_change_is_heard_of_there(make: SimpleNamespace) -> None:
    """What it takes away ends at its instant, what it brings begins then."""
    planned = tuple(PlannedItem(f"price_{one}", one, None, 1) for one in ("more", "same"))
    items = (make.item("all"), make.item("same"))
    source = make.subscription(items=items, scheduled_change=ScheduledChange(make.day(20), planned))
    products = {code: Product(code, code, {}, bundles=("app.pro",)) for code in ("all", "more", "same")}
    found = brought(replace(hub(), products=products), Evidence((source,)))["app"]
    assert {line.via: line.period for line in found} == {
        "all": Period(make.day(0), make.day(20)),
        "more": Period(make.day(20), make.day(33)),
        "same": Period(make.day(0), make.day(33)),
    }


def test_what_is_brought_opens_and_ends_there(make: SimpleNamespace) -> None:
    """Exactly in its period, by the opening that its age has there."""
    evidence = Evidence(
        bundled=brought(hub(), Evidence(grants=(make.grant(product="all", ends_at=make.day(9)),)))["app"]
    )
    open_until = [
        answer(compute(app(), evidence, Policy(), make.day(n)), EXPORT, make.day(n)).allowed for n in (0, 8, 9)
    ]
    assert open_until == [True, True, False]
    kept = app(opens={}, earlier=(Earlier(make.day(5), {"export": Opens(True)}),))
    assert answer(compute(kept, evidence, Policy(), make.day(6)), EXPORT, make.day(6)).allowed
    assert not answer(compute(app(opens={}), evidence, Policy(), make.day(1)), EXPORT, make.day(1)).allowed
    without = replace(app(), products={})
    assert not answer(compute(without, evidence, Policy(), make.day(1)), EXPORT, make.day(1)).allowed


@pytest.mark.parametrize("turned", [False, True])
def test_bundles_of_bundles_are_told_once(make: SimpleNamespace, turned: bool) -> None:
    """What is brought here brings on, as of where it was bought; the same by two ways is one; order never matters."""
    sources = (make.grant(product="all"), make.grant(id="gr_2", product="all"))
    lines = brought(hub(), Evidence(grants=sources[::-1] if turned else sources))["app"]
    onward = brought(app(bundles=("far.x", "far.x", "other.y")), Evidence(bundled=lines + lines))
    assert {slug: [(one.source_id, one.product, one.via) for one in found] for slug, found in onward.items()} == {
        "far": [("gr_1", "x", "all"), ("gr_2", "x", "all")],
        "other": [("gr_1", "y", "all"), ("gr_2", "y", "all")],
    }


def test_who_was_let_keep_a_bundle_keeps_it(make: SimpleNamespace) -> None:
    """Of a product that brings nothing any more, sold or not."""
    kept = (Earlier(make.day(5), {}, None, ("app.pro",)),)
    for catalog in (
        hub(bundles=(), earlier=kept),
        replace(hub(), products={}, retired={"all": Product("all", "All", {}, earlier=kept)}),
    ):
        assert projects_brought(catalog) == {"app"}
        early, late = (Evidence(grants=(make.grant(product="all", starts_at=make.day(n)),)) for n in (4, 5))
        assert [*brought(catalog, early)] == ["app"] and brought(catalog, late) == {}


@pytest.mark.parametrize(
    ("source", "at", "owned"),
    [
        ({"status": SubscriptionStatus.UNPAID}, 90, True),
        ({"status": SubscriptionStatus.CANCELED}, 1, False),
        ({"payment_status": PaymentStatus.UNPAID, "settling": True}, 1, True),
        ({"payment_status": PaymentStatus.UNPAID}, 1, False),
        ({"since": 5}, 1, False),
        ({"since": 5}, 6, True),
    ],
    ids=str,
)
def test_who_has_it_by_a_bundle_does_not_pay_again(
    make: SimpleNamespace, source: dict[str, object], at: float, owned: bool
) -> None:
    """By the rules of one's own: a live subscription, a purchase for life that counts, money on its way."""
    if "since" in source:
        source = {"since": make.day(source["since"])}
    of = (make.subscription(items=(make.item("all"),), **source),) if "status" in source else ()
    bought = () if of else (make.purchase("all", **source),)
    evidence = Evidence(bundled=brought(hub(), Evidence(of, bought))["app"])
    found = holder(app(), evidence, app().products["pro"], make.day(at))
    assert (found is not None) is owned


def test_a_bundle_is_a_product_of_another_project() -> None:
    """Each mistake at its place; what can only be known of the other project is looked at when it is published."""
    document = {"project": "hub", "name": "Hub", "products": {"all": {"bundles": ["app.pro", 7, "a.b.c", "hub.x"]}}}
    with pytest.raises(CatalogInvalid) as refused:
        parse_catalog(document, 1)
    assert [(one["pointer"], one["code"]) for one in refused.value.errors] == [
        ("/products/all/bundles/1", "bad-bundle"),
        ("/products/all/bundles/2", "bad-bundle"),
        ("/products/all/bundles/3", "bundle-cycle"),
    ]
    document["products"]["all"]["bundles"] = ["app.pro"]  # type: ignore[index]
    assert parse_catalog(document, 1).products["all"].bundles == ("app.pro",)


def test_what_is_brought_is_had_and_to_bring_less_is_less(make: SimpleNamespace) -> None:
    """So that a publish asks, in the one project and in the other, and may be told to keep it."""
    before, after = hub().products["all"], hub(bundles=()).products["all"]
    assert gives_less(before, after, {}) and gives_less(before, None, {}) and not gives_less(after, before, {})
    [line] = brought(hub(), Evidence((make.subscription(items=(make.item("all"),)),)))["app"]
    assert holds(line, app().products["pro"], Policy(), make.day(90)) and begun(line) == make.day(0)
    [given] = brought(hub(), Evidence(grants=(make.grant(product="all", ends_at=make.day(9)),)))["app"]
    assert holds(given, before, Policy(), make.day(8)) and not holds(given, before, Policy(), make.day(9))


def test_the_order_of_projects() -> None:
    """By the longest row below each; a way back is found however long it is."""
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert heights(graph) == {"a": 3, "b": 2, "c": 1, "d": 0}
    assert leads_back("a", graph) == []
    assert leads_back("a", {**graph, "d": {"a"}}) == ["a", "d", "a"]
    assert leads_back("b", {**graph, "d": {"b"}}) == ["b", "c", "d", "b"]
