"""A free plan that everybody has, before, during and after a subscription; and plans that forgive for longer."""

import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server import doctor
from tollhouse_server.doctor import Look
from tollhouse_server.doctor.evidence import EVIDENCE
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World

FREE: dict[str, Any] = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://app.test"],
    "default_product": "free",
    "policy": {"grace_days": 7},
    "features": {
        "premium_export": {},
        "pages_per_day": {"kind": "limit"},
        "credits": {"kind": "limit", "combine": "sum"},
    },
    "products": {
        "free": {"name": "PDF Tool Free", "plan_group": "plan", "opens": {"pages_per_day": 3, "credits": 10}},
        "pro": {
            "name": "PDF Tool Pro",
            "plan_group": "plan",
            "opens": {"premium_export": True, "pages_per_day": 500, "credits": 100},
            "prices": {"monthly": {"amount": 900, "currency": "eur", "interval": "month"}},
            "policy": {"grace_days": 14},
        },
        "pack": {"opens": {"credits": 8}, "prices": {"once": {"amount": 100, "currency": "eur"}}},
        "team": {
            "opens": {"pages_per_day": 900},
            "prices": {"monthly": {"amount": 1900, "currency": "eur", "interval": "month"}},
        },
    },
}  # fmt: skip
BEGINS = datetime(2027, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def pdf_tool(world: World) -> Tollhouse:
    """It sells from 1 Mar 2027."""
    world.passes_until(BEGINS)
    return world.publish(FREE)


def on(month: int, day: int, hour: int = 9) -> datetime:
    return datetime(2027, month, day, hour, tzinfo=UTC)


def all_is_well(world: World) -> bool:
    """Every snapshot is what the evidence and the audit trail say."""

    async def look(resources: Resources) -> bool:
        async with resources.database.transaction() as tx:
            found = await doctor.results(Look(tx, "", world.now, full=True), EVIDENCE)
            return all(one.well for one in found)

    return world.service.run(look)


def test_before_during_and_after_a_subscription(world: World, pdf_tool: Tollhouse) -> None:
    """1 Mar: nobody knows Ada. 2 Mar: she subscribes. 2 Apr: the renewal fails, and her plan forgives for 14 days.

    16 Apr: what everybody has is what is left, without a step that gives it back.
    """
    ada = world.customer("ada")
    unknown = ada.may("pages_per_day")
    assert (unknown.value, unknown.reason, unknown.source, unknown.valid_until) == (3, "default", "free", None)
    assert not ada.may("premium_export")
    assert ada.state().subscriptions == ()

    world.passes_until(on(3, 2))
    ada.buys("pdf-tool.pro.monthly")
    assert (ada.may("pages_per_day").value, ada.may("pages_per_day").reason) == (500, "subscription-active")
    assert ada.may("credits").value == 100  # not 110: what everybody has is the least, and is not added

    ada.card_declines()
    world.passes_until(on(4, 3))
    in_grace = ada.may("pages_per_day")
    assert (in_grace.value, in_grace.reason) == (500, "subscription-past-due-grace")
    assert in_grace.valid_until == on(4, 16)
    assert all_is_well(world)

    world.service.clock.set(on(4, 16) - timedelta(seconds=1))
    assert ada.may("premium_export")
    world.service.clock.set(on(4, 16))  # Stripe has said nothing: time alone ends it
    left = ada.may("pages_per_day")
    assert (left.value, left.reason, left.source, left.valid_until) == (3, "default", "free", None)
    assert (ada.may("credits").value, ada.may("premium_export").allowed) == (10, False)
    why = pdf_tool.explain("ada", "pages_per_day")
    assert why.sentence == "Allowed (3) for ever. Everybody has PDF Tool Free without buying it."

    world.passes_until(on(4, 17))
    ada.pays_with("pm_card_visa")
    ada.pays_invoice()
    assert ada.may("pages_per_day").value == 500
    assert all_is_well(world)


def test_each_product_forgives_as_it_says(world: World, pdf_tool: Tollhouse) -> None:
    """Of two subscriptions unpaid since 1 Apr, the one whose product says nothing has the project's seven days."""
    ends = {"pro": on(4, 15), "team": on(4, 8)}
    for product in ends:
        user = world.customer(product)
        user.buys(f"pdf-tool.{product}.monthly")
        user.card_declines()
    world.passes_until(on(4, 2))
    for product, end in ends.items():
        check = world.customer(product).may("pages_per_day")
        assert (check.reason, check.valid_until) == ("subscription-past-due-grace", end)


def test_what_is_bought_is_added_to_what_is_bought(world: World, pdf_tool: Tollhouse) -> None:
    """Of credits everybody has 10. One pack of 8 is less, so it stays 10; with a second it is 16, not 26."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pack.once")
    assert (ada.may("credits").value, ada.may("credits").reason) == (10, "default")
    given = {"project": "pdf-tool", "user_id": "ada", "feature": "credits", "value": 8, "reason": "sorry"}
    world.operator.post("/v1/admin/grants", json=given).raise_for_status()
    assert ada.may("credits").value == 16
    assert ada.may("credits").reason != "default"
    assert all_is_well(world)


def test_another_free_plan(world: World, pdf_tool: Tollhouse) -> None:
    """It holds at once for who is unknown; who is known hears of it; and who has more hears nothing."""
    grace = world.customer("grace")
    grace.buys("pdf-tool.pack.once")
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    known, more = grace.may("pages_per_day").version, ada.may("pages_per_day").version
    larger = copy.deepcopy(FREE)
    larger["products"]["free"]["opens"]["pages_per_day"] = 5
    world.publish(larger)
    assert world.customer("nobody").may("pages_per_day").value == 5
    assert all_is_well(world)
    world.service.work()
    assert (grace.may("pages_per_day").value, grace.may("pages_per_day").version) == (5, known + 1)
    assert (ada.may("pages_per_day").value, ada.may("pages_per_day").version) == (500, more)
    assert all_is_well(world)


def test_an_apps_copy_hears_of_another_free_plan(world: World, tmp_path: Path) -> None:
    """An app that follows the stream keeps what everybody has, and asks again when the catalog is another."""
    world.publish(FREE)
    with Tollhouse(world.service.url, world.new_key("pdf-tool"), check_wait=5, snapshot_file=tmp_path / "copy") as app:
        app.start(10)
        assert app.check("ada", "pages_per_day").value == 3
        _eventually(lambda: app.check("ada", "pages_per_day").freshness == "live")
        larger = copy.deepcopy(FREE)
        larger["products"]["free"]["opens"]["pages_per_day"] = 5
        world.publish(larger)
        _eventually(lambda: app.check("ada", "pages_per_day").value == 5)
        world.customer("ada").buys("pdf-tool.pro.monthly")
        _eventually(lambda: app.check("ada", "pages_per_day").value == 500)


def _eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)
