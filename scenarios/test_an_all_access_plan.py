"""The fleet sells one plan that opens the apps' own: bought once, held in each while it counts where it was bought."""

import json
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import StoryError, World

EUR_20 = {"amount": 2000, "currency": "eur", "interval": "month"}
EUR_200 = {"amount": 20000, "currency": "eur"}
EXPORT = "premium_export"


def fleet(**all_access: Any) -> dict[str, Any]:
    product = {"bundles": ["pdf-tool.pro"], "prices": {"monthly": EUR_20, "once": EUR_200}, **all_access}
    return {
        "project": "fleet",
        "name": "The fleet",
        "redirect_origins": ["https://app.test"],
        "features": {},
        "products": {"all": product},
    }


@pytest.fixture
def hub(world: World, pdf_tool: Tollhouse) -> Tollhouse:
    """The fleet's own project, which sells `all`; it brings the PDF tool's `pro`."""
    world.passes_until(datetime(2027, 3, 3, 9, tzinfo=UTC))
    return world.publish(fleet())


def audited(world: World, user: str, project: str) -> list[dict[str, Any]]:
    exported = world.operator.get("/v1/admin/audit/export", params={"user_id": user, "project": project})
    return [json.loads(line) for line in exported.raise_for_status().text.splitlines()]


def test_bought_renewed_and_ended(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """3 March: bought in the fleet's project, at once open in the PDF tool, which knew no Ada. It renews, it ends."""
    ada = world.customer("ada", hub)
    assert not pdf_tool.check("ada", EXPORT).allowed
    ada.buys("fleet.all.monthly")
    subscription = ada.subscription().id
    check = pdf_tool.check("ada", EXPORT)
    assert (check.allowed, check.source, check.reason) == (True, subscription, "subscription-active")
    assert check.valid_until == datetime(2027, 4, 6, 9, tzinfo=UTC)  # by the fleet's leeway
    assert pdf_tool.check("ada", "pages_per_day").value == 500
    [source] = pdf_tool.explain("ada", EXPORT).sources
    assert "Through all of fleet." in source.sentence
    assert (source.kind, source.id, source.stripe_ids) == ("subscription", subscription, (subscription,))
    [entry] = audited(world, "ada", "pdf-tool")
    assert (entry["actor"], entry["action"]) == ("stripe", "entitlements.changed")
    assert entry["cause"].startswith("evt_") and entry["cause"].endswith(": bundled by fleet")

    world.passes(days=40)
    assert pdf_tool.check("ada", EXPORT).valid_until == datetime(2027, 5, 6, 9, tzinfo=UTC)
    ada.cancels(now=True)
    assert not pdf_tool.check("ada", EXPORT).allowed


def test_refunded(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """A purchase for life, given back: closed in both, and what was bought in the app itself stands."""
    ada = world.customer("ada", hub)
    ada.buys("fleet.all.once")
    assert pdf_tool.check("ada", EXPORT).valid_until is None
    ada.refunds()
    assert not pdf_tool.check("ada", EXPORT).allowed
    world.customer("ada", pdf_tool).buys("pdf-tool.pro.monthly")
    ada.buys("fleet.all.once")
    ada.refunds()
    assert pdf_tool.check("ada", EXPORT).allowed


def test_nobody_pays_twice(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """Who has the plan through the fleet's is told so by the app's checkout; afterwards they may buy."""
    ada = world.customer("ada", hub)
    ada.buys("fleet.all.monthly")
    pages = {"success_url": "https://app.test/", "cancel_url": "https://app.test/"}
    opened = pdf_tool.open_checkout("ada", "pdf-tool.pro.yearly", **pages)
    assert (opened.outcome, opened.url) == ("already_owned", None)
    ada.cancels(now=True)
    assert pdf_tool.open_checkout("ada", "pdf-tool.pro.yearly", **pages).outcome == "new"


def test_the_money_is_counted_where_it_was_paid(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """MRR is the fleet's; in the app the customer has access and no subscription."""
    world.customer("ada", hub).buys("fleet.all.monthly")
    mrr = {app: sum(row.mrr_end for row in app.metrics().rows) for app in (hub, pdf_tool)}
    assert mrr == {hub: 2000, pdf_tool: 0}
    assert pdf_tool.customer("ada").subscriptions == ()


def test_publishing_changes_who_has_what(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """Another product in the bundle opens it to those who hold it; without it they are asked about, and may keep it."""
    ada, bob = world.customer("ada", hub), world.customer("bob", hub)
    ada.buys("fleet.all.monthly")
    world.publish(fleet(bundles=["pdf-tool.pro", "pdf-tool.lifetime"]))
    world.arrive()
    assert pdf_tool.check("ada", "pages_per_day").value == inf
    world.passes(days=1)
    with pytest.raises(StoryError, match=r"no longer brings pdf-tool\.lifetime: 1 customer"):
        world.publish(fleet())
    world.publish(fleet(), existing="keep")
    world.arrive()
    bob.buys("fleet.all.monthly")
    assert [pdf_tool.check(user, "pages_per_day").value for user in ("ada", "bob")] == [inf, 500]
    world.publish(fleet(bundles=[]), existing="move")
    world.arrive()
    assert [pdf_tool.check(user, "pages_per_day").value for user in ("ada", "bob")] == [0, 0]


def test_bundles_of_bundles(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """A group above the fleet: one purchase there opens the fleet's plan and, through it, the app's."""
    group = fleet(bundles=["fleet.all", "pdf-tool.lifetime"])
    group |= {"project": "group", "name": "The group"}
    above = world.publish(group)
    world.customer("ada", above).buys("group.all.monthly")
    assert pdf_tool.check("ada", "pages_per_day").value == inf
    sentences = [source.sentence for source in pdf_tool.explain("ada", EXPORT).sources]
    assert len(sentences) == 1 or all("Through all of group." in sentence for sentence in sentences)
    versions = [entry["cause"] for entry in audited(world, "ada", "pdf-tool")]
    assert len(versions) == 1  # both ways in one change
    world.passes(days=1)
    world.customer("ada", above).cancels(now=True)
    assert not pdf_tool.check("ada", EXPORT).allowed


def test_a_grant_is_brought_without_its_words(world: World, hub: Tollhouse, pdf_tool: Tollhouse) -> None:
    """Given in the fleet's project until a day, open in the app until that day; the operator's reason stays there."""
    ends = world.now + timedelta(days=10)
    given = {"project": "fleet", "user_id": "ada", "product": "all", "reason": "a secret", "ends_at": ends.isoformat()}
    grant = world.operator.post("/v1/admin/grants", json=given).raise_for_status().json()
    check = pdf_tool.check("ada", EXPORT)
    assert (check.source, check.valid_until) == (grant["id"], ends)
    assert "secret" not in pdf_tool.explain("ada", EXPORT).sentence
    world.passes_until(ends)
    assert not pdf_tool.check("ada", EXPORT).allowed
