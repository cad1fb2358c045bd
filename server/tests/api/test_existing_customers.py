"""A publish that gives customers less asks what becomes of them, before it does anything."""

import itertools
from datetime import timedelta
from typing import Any

import pytest

from tollhouse_server.testing import World

_numbers = itertools.count(1)


def path(slug: str) -> str:
    return f"/v1/admin/projects/{slug}/catalog"


def document(slug: str, pages: Any = 500, *, seats: bool = False, **products: Any) -> dict[str, Any]:
    prices = {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}}
    opens = {"pages": {"limit": pages, "per_seat": seats}}
    return {
        "project": slug,
        "name": "Plans",
        "redirect_origins": ["https://app.test"],
        "features": {"pages": {"kind": "limit"}},
        "products": {"pro": {"opens": opens, "prices": prices}, **products},
    }


def give(world: World, slug: str, user: str, product: str, **more: Any) -> None:
    grant = {"project": slug, "user_id": user, "product": product, "reason": "a gift", **more}
    world.operator.post("/v1/admin/grants", json=grant).raise_for_status()


@pytest.fixture
def plans(world: World) -> str:
    """A project of the test's own, which sells `pro` and a `week`."""
    slug = f"plans-{next(_numbers)}"
    world.publish(document(slug, week={"opens": {"pages": 5}}))
    return slug


def refusal(world: World, new: dict[str, Any]) -> dict[str, Any]:
    answer = world.operator.put(path(new["project"]), json=new)
    assert (answer.status_code, answer.json()["code"]) == (409, "existing-customers-undecided"), answer.text
    return {one["pointer"]: one["detail"] for one in answer.json()["errors"]}


def test_the_question_names_products_changes_and_customers(world: World, plans: str) -> None:
    """Each product of which somebody would have less, with how many; nothing is made before it is answered."""
    world.customer("ada", plans).buys(f"{plans}.pro.monthly")
    give(world, plans, "bob", "pro")
    give(world, plans, "bob", "pro")
    give(world, plans, "eve", "week")
    before = world.operator.get(path(plans))
    new = document(plans, pages=100, seats=False)
    new["name"] = "Plans anew"
    new["products"]["pro"]["prices"]["yearly"] = {"amount": 9000, "currency": "eur", "interval": "year"}
    assert refusal(world, new) == {
        "/products/pro": "pages 500 becomes 100: 2 customers would have less by it.",
        "/products/week": "it is removed: 1 customer would have less by it.",
    }
    after = world.operator.get(path(plans))
    assert (after.headers["ETag"], after.json()) == (before.headers["ETag"], before.json())
    assert world.operator.get(f"/v1/admin/projects/{plans}").json()["name"] == "Plans"
    assert not world.stripe.v1.prices.list({"lookup_keys": [f"{plans}.pro.yearly"]}).data


def test_nobody_is_asked_about_who_would_have_no_less(world: World, plans: str) -> None:
    """Seats that were bought make up for a limit per seat; who has nothing any more has nothing to lose."""
    week = {"opens": {"pages": 5}}
    world.publish(document(plans, 400, week=week, day=week), existing="move")
    world.customer("seats", plans).buys(f"{plans}.pro.monthly", quantity=5)
    ends = world.now + timedelta(days=1)
    give(world, plans, "one", "pro")
    give(world, plans, "gone", "day", ends_at=ends.isoformat())
    new = document(plans, 100, seats=True, week=week)
    assert refusal(world, new) == {
        "/products/day": "it is removed: 1 customer would have less by it.",
        "/products/pro": "pages 400 becomes 100 per seat: 1 customer would have less by it.",  # not the one with seats
    }
    world.passes_until(ends)
    assert [*refusal(world, new)] == ["/products/pro"]


def test_what_is_kept_can_be_read_and_the_file_stays_as_it_is(world: World, plans: str) -> None:
    """The catalog is answered as it was published; what is kept stands beside it, and is in the audit trail."""
    give(world, plans, "ada", "pro")
    new = document(plans, pages=7, week={"opens": {"pages": 5}})
    published = world.operator.put(path(plans), json=new, params={"existing": "keep"}).raise_for_status().json()
    [kept] = [one for one in published["changes"] if "keeps" in one]
    assert kept.startswith("Product pro: who has it from before ") and kept.endswith("keeps pages 500.")
    assert world.operator.get(path(plans)).json() == new
    read = world.operator.get(f"{path(plans)}/kept").raise_for_status().json()
    assert read["version"] == published["version"]
    [product] = read["products"]
    assert (product["code"], product["sold"]) == ("pro", True)
    [earlier] = product["earlier"]
    assert (earlier["opens"], earlier["per_seat"], earlier["lasts_days"]) == ({"pages": 500}, [], None)
    again = world.operator.put(path(plans), json=new, params={"existing": "keep"}).raise_for_status().json()
    assert (again["version"], again["changes"]) == (published["version"], [])
    moved = world.operator.put(path(plans), json=new, params={"existing": "move"}).raise_for_status().json()
    assert moved["version"] == published["version"] + 1
    assert world.operator.get(f"{path(plans)}/kept").json()["products"] == []


def test_a_word_that_is_neither_is_refused(world: World, plans: str) -> None:
    """`existing` is keep or move."""
    answer = world.operator.put(path(plans), json=document(plans), params={"existing": "both"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
