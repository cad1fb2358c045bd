"""Products that bring products of other projects: what may be published, what the other project sees, and who waits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]


def catalog(slug: str, *bundles: Any, product: str = "pro") -> dict[str, Any]:
    prices = {"monthly": {"amount": 4321, "currency": "eur", "interval": "month"}}
    return {
        "project": slug,
        "name": slug,
        "redirect_origins": ["https://app.test"],
        "features": {"export": {}},
        "products": {product: {"opens": {"export": True}, "bundles": list(bundles), "prices": prices}},
    }


def put(world: World, document: dict[str, Any]) -> httpx.Response:
    return world.operator.put(f"/v1/admin/projects/{document['project']}/catalog", json=document)


def give(world: World, project: str, user: str, reason: str = "a gift") -> str:
    grant = {"project": project, "user_id": user, "product": "pro", "reason": reason}
    return str(world.operator.post("/v1/admin/grants", json=grant).raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def chain(world: World) -> dict[str, Any]:
    """`top` brings `middle` and `leaf`, `middle` brings `leaf`; the client of each."""
    return {
        slug: world.publish(catalog(slug, *bundles))
        for slug, bundles in {"leaf": (), "middle": ("leaf.pro",), "top": ("leaf.pro", "middle.pro")}.items()
    }


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("bundles", "codes"),
    [
        (["nobody.pro"], ["unknown-project"]),
        (["leaf.pro", "leaf.gone"], ["unknown-product"]),
        (["pro", 7, "a.b.c", "Leaf.pro"], ["bad-bundle"] * 4),
        (["fresh.pro"], ["bundle-cycle"]),
    ],
    ids=str,
)
def test_what_cannot_be_bundled_is_told_at_its_place(world: World, bundles: list[Any], codes: list[str]) -> None:
    """Each mistake with its pointer and code, and nothing is registered or made."""
    answer = put(world, catalog("fresh", *bundles))
    assert (answer.status_code, answer.json()["code"]) == (422, "catalog-invalid"), answer.text
    first = len(bundles) - len(codes)
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [
        (f"/products/pro/bundles/{first + place}", code) for place, code in enumerate(codes)
    ]
    assert world.operator.get("/v1/admin/projects/fresh").status_code == 404


@pytest.mark.usefixtures("chain")
def test_bundles_go_one_way(world: World, refused: Refused) -> None:
    """A way back over other projects is refused, and said."""
    answer = put(world, catalog("leaf", "top.pro"))
    body = refused(answer, 422, "catalog-invalid", "/products/pro/bundles/0")
    assert body["errors"][0]["code"] == "bundle-cycle"
    assert "leaf brings top brings leaf" in body["errors"][0]["detail"]


def test_the_other_project_sees_the_source_and_no_more(world: World, chain: dict[str, Any]) -> None:
    """By its own key: the id, the product, the rule with its dates; no price, amount, address or operator's word."""
    ada = world.customer("ada", "top")
    ada.buys("top.pro.monthly", email="canary@example.com")
    grant = give(world, "top", "ada", reason="canary")
    price = ada.subscription()["items"]["data"][0]["price"]["id"]
    with httpx.Client(base_url=world.service.url, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {world.new_key('leaf')}"
        for path in ("", "/entitlements", "/entitlements/export", "/snapshot", "/explain?feature=export"):
            told = http.get(f"/v1/customers/ada{path}").raise_for_status().text
            for secret in ("canary", "4321", price, ada.stripe_id):
                assert secret not in told, path
        explained = http.get("/v1/customers/ada/explain", params={"feature": "export"}).json()
    assert {source["id"] for source in explained["sources"] if source["counts"]} == {grant, ada.subscription().id}
    assert chain["leaf"].check("ada", "export").allowed and chain["middle"].check("ada", "export").allowed


def test_nobody_waits_for_another_for_ever(world: World, chain: dict[str, Any]) -> None:
    """Changes of one user in all three projects at once: each is done, none is cut off, and everything is open."""
    with ThreadPoolExecutor(9) as threads:
        jobs = [threads.submit(give, world, slug, "bob") for slug in ("leaf", "top", "middle") * 6]
        ids = {job.result() for job in jobs}
    assert len(ids) == 18
    sources = {one.id for one in chain["leaf"].explain("bob", "export").sources if one.counts}
    assert sources == ids


def test_what_is_revoked_closes_everywhere(world: World, chain: dict[str, Any]) -> None:
    """In the transaction of the revocation."""
    grant = give(world, "top", "eve")
    assert all(app.check("eve", "export").allowed for app in chain.values())
    revoked = world.operator.post(f"/v1/admin/grants/{grant}/revoke", json={"reason": "over"})
    revoked.raise_for_status()
    assert not any(app.check("eve", "export").allowed for app in chain.values())
