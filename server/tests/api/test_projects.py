"""Projects and their catalogs, as operators make them."""

import copy
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
PROJECTS = "/v1/admin/projects"


def document(slug: str, amount: int = 900, **other: Any) -> dict[str, Any]:
    prices = {"monthly": {"amount": amount, "currency": "eur", "interval": "month"}}
    opens = {"export": True, "pages": {"limit": 10, "per_seat": True}}
    return {
        "project": slug,
        "name": slug.title(),
        "redirect_origins": ["https://app.test"],
        "features": {"export": {"name": "Export"}, "pages": {"kind": "limit", "combine": "sum"}},
        "products": {"pro": {"name": "Pro", "plan_group": "plan", "opens": opens, "prices": prices}},
    } | other


def test_a_project_is_registered_once(world: World, refused: Refused) -> None:
    """It is there under its slug, in the list, sells nothing yet, and its slug is taken."""
    new = {"slug": "fresh", "name": "Fresh", "redirect_origins": ["http://127.0.0.1:8903"]}
    made = world.operator.post(PROJECTS, json=new)
    assert made.status_code == 201
    assert made.json() == {**new, "catalog_version": 0, "created_at": made.json()["created_at"]}
    assert made.json() in world.operator.get(PROJECTS).json()["data"]
    assert world.operator.get(f"{PROJECTS}/fresh").json() == made.json()
    refused(world.operator.get(f"{PROJECTS}/fresh/catalog"), 404, "not-found")
    refused(world.operator.post(PROJECTS, json=new), 409, "project-exists")
    for path in ("nobody", "nobody/keys", "nobody/catalog"):
        refused(world.operator.get(f"{PROJECTS}/{path}"), 404, "not-found")
    refused(world.operator.post(f"{PROJECTS}/nobody/keys", json={"name": "web"}), 404, "not-found")


@pytest.mark.parametrize(
    ("changed", "pointers"),
    [
        ({"slug": "Not A Slug"}, ["/slug"]),
        ({"slug": "x_y-Z"}, ["/slug"]),
        (
            {"redirect_origins": ["https://app.test/path", "https://ok.test", "app.test"]},
            ["/redirect_origins/0", "/redirect_origins/2"],
        ),
        ({"redirect_origins": ["javascript:alert(1)"]}, ["/redirect_origins/0"]),
        ({"redirect_origins": ["*"]}, ["/redirect_origins/0"]),
    ],
    ids=str,
)
def test_a_project_that_cannot_be_is_refused(
    world: World, refused: Refused, changed: dict[str, Any], pointers: list[str]
) -> None:
    """422, naming what to change; nothing is registered."""
    before = world.operator.get(PROJECTS).json()
    refused(
        world.operator.post(PROJECTS, json={"slug": "bad", "name": "x", **changed}), 422, "project-invalid", *pointers
    )
    refused(world.operator.post(PROJECTS, json={"slug": "bad", "name": ""}), 422, "validation-failed", "/name")
    assert world.operator.get(PROJECTS).json() == before


def test_publishing_registers_makes_and_is_repeatable(world: World, caller: Callable[[str], httpx.Client]) -> None:
    """The first publish makes everything, the same again nothing, a changed price a new one; apps see it at once."""
    put = f"{PROJECTS}/shop/catalog"
    first = world.operator.put(put, json=document("shop"))
    assert first.status_code == 200 and first.json()["version"] == 1
    assert "created price shop.pro.monthly" in first.json()["changes"]
    assert world.operator.put(put, json=document("shop")).json() == {"project": "shop", "version": 1, "changes": []}
    assert world.operator.get(put).json() == document("shop")

    app = caller("shop")
    catalog = app.get("/v1/catalog").json()
    assert catalog == {
        "project": "shop",
        "version": 1,
        "default_product": None,
        "features": [
            {"code": "export", "name": "Export", "kind": "switch", "combine": "max"},
            {"code": "pages", "name": "pages", "kind": "limit", "combine": "sum"},
        ],
        "products": [
            {
                "code": "pro",
                "name": "Pro",
                "plan_group": "plan",
                "opens": {"export": True, "pages": 10},
                "per_seat": ["pages"],
                "lasts_days": None,
                "prices": [
                    {
                        "lookup_key": "shop.pro.monthly",
                        "amount": 900,
                        "currency": "eur",
                        "currency_options": {},
                        "tax_behavior": None,
                        "interval": "month",
                        "interval_count": 1,
                        "trial_days": None,
                        "trial_card": True,
                    }
                ],
            }
        ],
    }
    second = world.operator.put(put, json=document("shop", amount=1000)).json()
    assert second["version"] == 2 and any("shop.pro.monthly" in change for change in second["changes"])
    assert app.get("/v1/catalog").json()["products"][0]["prices"][0]["amount"] == 1000
    keyed = world.stripe.v1.prices.list({"lookup_keys": ["shop.pro.monthly"]})
    assert [one.unit_amount for one in keyed.data] == [1000]


def test_a_wrong_catalog_names_every_place_and_changes_nothing(world: World, refused: Refused) -> None:
    """422 with a pointer for each mistake; neither Stripe nor the project hears of any of it."""
    wrong = copy.deepcopy(document("wrong", policy={"grace_dayz": 3}))
    wrong["products"]["pro"]["prices"]["monthly"]["amount"] = "9.00"
    wrong["products"]["pro"]["opens"]["exports"] = True
    answer = world.operator.put(f"{PROJECTS}/wrong/catalog", json=wrong)
    pointers = ("/policy/grace_dayz", "/products/pro/prices/monthly/amount", "/products/pro/opens/exports")
    refused(answer, 422, "catalog-invalid", *pointers)
    refused(world.operator.get(f"{PROJECTS}/wrong"), 404, "not-found")
    assert world.stripe.v1.prices.list({"lookup_keys": ["wrong.pro.monthly"]}).data == []


def test_a_catalog_goes_to_its_own_project_only(world: World, refused: Refused) -> None:
    """The path and the document must name the same project."""
    answer = world.operator.put(f"{PROJECTS}/one/catalog", json=document("other"))
    refused(answer, 422, "catalog-invalid", "/project")


def test_a_failed_publish_is_finished_by_the_next(world: World, refused: Refused) -> None:
    """Stripe away halfway: 503, nothing is sold yet, and the same document again brings all to the end once."""
    put = f"{PROJECTS}/late/catalog"
    world.sandbox.fail_next(429, path="/v1/prices", method="POST")
    answer = world.operator.put(put, json=document("late"))
    refused(answer, 503, "upstream-unavailable")
    assert answer.headers["Retry-After"]
    refused(world.operator.get(put), 404, "not-found")
    assert world.operator.put(put, json=document("late")).json()["version"] == 1
    products = [
        one for one in world.stripe.v1.products.list({"limit": 100}).data if one.metadata["tollhouse_project"] == "late"
    ]
    prices = [one for one in world.stripe.v1.prices.list({"limit": 100}).data if one.nickname == "late.pro.monthly"]
    assert (len(products), len(prices)) == (1, 1)


def test_before_a_catalog_there_is_an_empty_one(
    world: World, caller: Callable[[str], httpx.Client], refused: Refused
) -> None:
    """An app may be deployed before its catalog: it is told that nothing is sold and no feature known, not an error."""
    world.operator.post(PROJECTS, json={"slug": "empty", "name": "Empty"})
    app = caller("empty")
    assert app.get("/v1/catalog").json() == {
        "project": "empty",
        "version": 0,
        "default_product": None,
        "features": [],
        "products": [],
    }
    assert app.get("/v1/customers/ada/entitlements").json()["features"] == {}
    refused(app.get("/v1/customers/ada/entitlements/export"), 404, "feature-not-found")


def test_a_catalog_that_is_read_may_be_published(world: World, pdf_tool: Tollhouse) -> None:
    """What GET answers, PUT takes."""
    path = f"{PROJECTS}/pdf-tool/catalog"
    assert world.operator.put(path, json=world.operator.get(path).json()).json()["changes"] == []


def test_what_a_crash_left_on_sale_is_archived_by_the_next(world: World, caller: Callable[[str], httpx.Client]) -> None:
    """Published, but Stripe away before the old price was archived: the same document again finishes it, once."""
    put = f"{PROJECTS}/kiosk/catalog"
    world.operator.put(put, json=document("kiosk"))
    [old] = world.stripe.v1.prices.list({"lookup_keys": ["kiosk.pro.monthly"]}).data
    world.sandbox.fail_next(429, path=f"/v1/prices/{old.id}", method="POST")
    assert world.operator.put(put, json=document("kiosk", amount=1000)).status_code == 503
    catalog = caller("kiosk").get("/v1/catalog").json()
    assert catalog["version"] == 2 and world.stripe.v1.prices.retrieve(old.id).active
    again = world.operator.put(put, json=document("kiosk", amount=1000)).json()
    assert again == {
        "project": "kiosk",
        "version": 2,
        "changes": [f"archived price {old.id}: it is sold no longer"],
    }
    assert not world.stripe.v1.prices.retrieve(old.id).active
    assert world.operator.put(put, json=document("kiosk", amount=1000)).json()["changes"] == []


def test_a_feature_takes_its_new_name_to_stripe(world: World) -> None:
    """Whoever looks at Stripe's own entitlements reads the name that the catalog says."""
    put, named = f"{PROJECTS}/kiosk/catalog", document("kiosk")
    world.operator.put(put, json=named)
    named["features"]["export"]["name"] = "Export everything"
    assert "updated feature kiosk.export" in world.operator.put(put, json=named).json()["changes"]
    [feature] = world.stripe.v1.entitlements.features.list({"lookup_key": "kiosk.export"}).data
    assert feature.name == "Export everything"
