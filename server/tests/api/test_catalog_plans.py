"""What publishing a catalog would do, and that it does exactly that or nothing."""

from collections.abc import Callable
from typing import Any

from tollhouse_server.testing import App, World

Refused = Callable[..., dict[str, Any]]


def path(slug: str) -> str:
    return f"/v1/admin/projects/{slug}/catalog"


def document(slug: str = "shop", amount: int = 900, pages: int = 500, **other: Any) -> dict[str, Any]:
    prices = {
        "monthly": {"amount": amount, "currency": "eur", "interval": "month"},
        "trial": {"amount": 1200, "currency": "eur", "interval": "month", "trial_days": 14},
        "once": {"amount": 5000, "currency": "eur"},
    }
    return {
        "project": slug,
        "name": "Shop",
        "redirect_origins": ["https://app.test"],
        "features": {"export": {}, "pages": {"kind": "limit"}},
        "products": {"pro": {"name": "Pro", "opens": {"export": True, "pages": pages}, "prices": prices}},
    } | other


def plan(world: World, wanted: dict[str, Any], **said: str) -> dict[str, Any]:
    answer = world.operator.post(f"{path(wanted['project'])}/plan", json=wanted, params=said)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def at_stripe(world: World) -> list[Any]:
    """Everything of a catalog that Stripe has."""
    v1, everything = world.stripe.v1, {"limit": 100}
    lists = (v1.products.list(everything), v1.prices.list(everything), v1.entitlements.features.list(everything))  # type: ignore[arg-type]
    return [one.to_dict() for listed in lists for one in listed.data]


def test_a_plan_says_what_publishing_does_and_writes_nothing(world: World, refused: Refused) -> None:
    """Of a new project all is made; Stripe and ours stay as they are; publishing by its id does just those steps."""
    before = at_stripe(world)
    told = plan(world, document("shop"))
    assert (told["project"], told["version"], told["nothing_to_do"]) == ("shop", 0, False)
    assert [(one["do"], one["kind"], one["name"]) for one in told["stripe"]] == [
        ("create", "feature", "shop.export"),
        ("create", "feature", "shop.pages"),
        ("create", "product", "tollhouse_shop_pro"),
        ("create", "attachment", "shop.export"),
        ("create", "attachment", "shop.pages"),
        ("create", "price", "shop.pro.monthly"),
        ("create", "price", "shop.pro.trial"),
        ("create", "price", "shop.pro.once"),
    ]
    assert "New product pro: Pro opens export on, pages 500." in told["changes"]
    assert told["blast_radius"] == {"looked_at": 0, "customers": 0, "paying": 0, "mrr": {}, "effects": []}
    assert at_stripe(world) == before
    refused(world.operator.get("/v1/admin/projects/shop"), 404, "not-found")
    assert plan(world, document("shop"))["id"] == told["id"]

    done = world.operator.put(path("shop"), json=document("shop"), params={"plan": told["id"]}).json()
    assert done["version"] == 1
    again = plan(world, document("shop"))
    assert (again["nothing_to_do"], again["stripe"], again["changes"], again["version"]) == (True, [], [], 1)


def test_the_blast_radius(world: World) -> None:
    """Who gains and loses what, how many of them pay, and the MRR: of payers, trials, buyers and the policy."""
    app: App = world.publish(document("radius"))
    for user in ("ada", "bob"):
        world.customer(user, app).buys("radius.pro.monthly")
    world.customer("tess", app).buys("radius.pro.trial")
    world.customer("lisa", app).buys("radius.pro.once")
    grant = {"project": "radius", "user_id": "gil", "feature": "pages", "value": 50, "reason": "a gift"}
    assert world.operator.post("/v1/admin/grants", json=grant).is_success
    told = plan(world, document("radius", pages=100))["blast_radius"]
    assert (told["looked_at"], told["customers"], told["paying"], told["mrr"]) == (5, 4, 2, {"eur": 1800})
    [effect] = told["effects"]
    assert effect == {
        "feature": "pages",
        "kind": "value",
        "before": 500,
        "after": 100,
        "says": "pages 500 → 100",
        "customers": 4,
        "paying": 2,
        "mrr": {"eur": 1800},
    }
    dearer = plan(world, document("radius", amount=1000))
    assert dearer["blast_radius"]["looked_at"] == 0 and dearer["stripe"][0]["before"]["unit_amount"] == 900

    sooner = plan(world, document("radius", policy={"renewal_leeway_days": 0}))["blast_radius"]
    assert {one["says"]: one["customers"] for one in sooner["effects"]} == {
        "export as now, until another time": 2,
        "pages as now, until another time": 2,
    }
    gone = plan(world, {**document("radius"), "products": {}})
    assert [one["says"] for one in gone["blast_radius"]["effects"]] == ["lose export", "lose pages: 500"]
    assert {one["do"] for one in gone["stripe"]} == {"archive"} and len(gone["stripe"]) == 3


def test_a_plan_is_done_only_while_the_world_is_as_it_was(world: World, refused: Refused) -> None:
    """Another catalog, another document, or another Stripe since: 409, and nothing of it is done."""
    world.operator.put(path("moved"), json=document("moved"))
    wanted = document("moved", amount=1000)
    planned = {"plan": plan(world, wanted)["id"]}
    refused(
        world.operator.put(path("moved"), json=document("moved", amount=1100), params=planned), 409, "plan-outdated"
    )
    refused(world.operator.put(path("moved"), json=wanted, params={"plan": "plan_x"}), 409, "plan-outdated")

    world.stripe.v1.products.update("tollhouse_moved_pro", {"name": "Renamed by hand"})
    before = at_stripe(world)
    refused(world.operator.put(path("moved"), json=wanted, params=planned), 409, "plan-outdated")
    assert at_stripe(world) == before
    assert world.operator.get("/v1/admin/projects/moved").json()["catalog_version"] == 1
    anew = plan(world, wanted)
    [renamed] = [one for one in anew["stripe"] if one["kind"] == "product"]
    assert (renamed["before"], renamed["after"]) == ({"name": "Renamed by hand"}, {"name": "Pro"})

    assert world.operator.put(path("moved"), json=document("moved", pages=7)).json()["version"] == 2
    refused(world.operator.put(path("moved"), json=wanted, params={"plan": anew["id"]}), 409, "plan-outdated")
    assert (
        world.operator.put(path("moved"), json=wanted, params={"plan": plan(world, wanted)["id"]}).json()["version"]
        == 3
    )


def test_more_customers_do_not_outdate_a_plan(world: World, refused: Refused) -> None:
    """Evidence moves all the time; but by then somebody would have less, so that a word on them is due first."""
    app: App = world.publish(document("busy"))
    more, less = document("busy", pages=900), document("busy", pages=100)
    planned, answered = plan(world, more), plan(world, less, existing="move")
    world.customer("ada", app).buys("busy.pro.monthly")
    unanswered = plan(world, less)
    assert unanswered["blast_radius"]["customers"] == 1 and unanswered["id"] != answered["id"]
    assert unanswered["undecided"] == [
        {"product": "pro", "changes": ["pages 500 becomes 100"], "customers": 1},
    ]
    refused(
        world.operator.put(path("busy"), json=less, params={"plan": unanswered["id"]}),
        409,
        "existing-customers-undecided",
        "/products/pro",
    )
    done = world.operator.put(path("busy"), json=less, params={"plan": answered["id"], "existing": "move"}).json()
    assert (answered["undecided"], answered["existing"], done["version"]) == ([], "move", 2)
    refused(world.operator.put(path("busy"), json=more, params={"plan": planned["id"]}), 409, "plan-outdated")


def test_who_keeps_what_they_have_is_in_no_blast_radius(world: World) -> None:
    """Planned with `keep`, the cut touches nobody who is there."""
    world.customer("ada", world.publish(document("kept"))).buys("kept.pro.monthly")
    world.passes(days=1)
    kept = plan(world, document("kept", pages=100), existing="keep")
    assert (kept["blast_radius"]["customers"], kept["undecided"]) == (0, [])


def test_a_wrong_catalog_has_no_plan(world: World, refused: Refused) -> None:
    """The same refusals as publishing has."""
    refused(
        world.operator.post(f"{path('wrong')}/plan", json=document("wrong", name="")), 422, "catalog-invalid", "/name"
    )
    refused(
        world.operator.post(f"{path('wrong')}/plan", json={**document("wrong"), "project": "other"}),
        422,
        "catalog-invalid",
        "/project",
    )


def test_stripe_prices_that_cannot_count(world: World, refused: Refused) -> None:
    """Unknown at Stripe, sold by the catalog as well, or another project's: each with its code, and nothing is done."""

    def counting(slug: str, *prices: object) -> dict[str, Any]:
        wanted = document(slug)
        wanted["products"]["pro"]["stripe_prices"] = list(prices)
        return wanted

    assert world.operator.put(path("counts"), json=document("counts")).is_success
    [sold] = world.stripe.v1.prices.list({"lookup_keys": ["counts.pro.once"]}).data
    where = "/products/pro/stripe_prices"
    wrong = world.operator.put(path("counts"), json=counting("counts", "price_none", sold.id))
    told = refused(wrong, 422, "catalog-invalid", f"{where}/0", f"{where}/1")
    assert [one["code"] for one in told["errors"]] == ["unknown-stripe-price", "stripe-price-twice"]
    others = world.operator.put(path("others"), json=counting("others", sold.id))
    assert sold.id in refused(others, 409, "stripe-price-taken")["detail"]
    refused(world.operator.get("/v1/admin/projects/others"), 404, "not-found")
