"""Every change leaves its entry: who, what made them, from what, to what; and nothing that is nobody's business."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import structlog

from tollhouse_server.resources import Resources
from tollhouse_server.testing import World
from tollhouse_server.worker import Worker

MONTHLY = "pdf-tool.pro.monthly"


def trail(world: World, **query: str) -> list[dict[str, Any]]:
    """All entries, oldest first within a chain."""
    exported = world.operator.get("/v1/admin/audit/export", params=query).raise_for_status()
    return [json.loads(line) for line in exported.text.splitlines()]


def test_each_change_says_who_and_what_made_them(world: World, pdf_tool_catalog: dict[str, Any]) -> None:
    """Stripe's events, the app's checkout, time, an operator: each by its name, with before and after."""
    app = world.publish(pdf_tool_catalog)
    [price] = list(world.stripe.v1.prices.list({"lookup_keys": [MONTHLY]}).data)
    ada = world.customer("ada", app)
    ada.buys(MONTHLY)
    stripe_id = ada.stripe_id
    world.stripe.v1.prices.update(price.id, {"active": False})
    world.arrive()
    world.stripe.v1.customers.delete(stripe_id)
    world.arrive()

    entries = trail(world, project="pdf-tool")
    assert [one["position"] for one in entries] == list(range(1, len(entries) + 1))
    told = {one["action"]: one for one in entries}
    assert (told["prices.changed"]["actor"], told["prices.changed"]["cause"][:4]) == ("stripe", "evt_")
    assert told["prices.changed"]["before"]["on_sale"] == [MONTHLY] and told["prices.changed"]["after"]["on_sale"] == []
    linked, unlinked = told["customer.linked"], told["customer.unlinked"]
    assert (linked["actor"], linked["user_id"], linked["after"]) == ("app", "ada", {"stripe_customer": stripe_id})
    assert (unlinked["actor"], unlinked["before"]) == ("stripe", {"stripe_customer": stripe_id})
    first_sale = next(one for one in entries if one["action"] == "prices.changed")
    assert first_sale["actor"].startswith("grace") and first_sale["after"]["on_sale"][MONTHLY] == price.id
    changed = [one for one in entries if one["action"] == "entitlements.changed"]
    assert len(changed) == app.check("ada", "premium_export").version
    assert all(one["actor"] == "stripe" and "evt_" in one["cause"] for one in changed)


def test_time_and_a_new_catalog_are_told_apart(world: World, pdf_tool_catalog: dict[str, Any]) -> None:
    """What the timetable does says why it was due."""
    app = world.publish(pdf_tool_catalog)
    ends = world.service.clock.now() + timedelta(days=2)
    grant = {"project": "pdf-tool", "user_id": "ada", "product": "pro", "reason": "x", "ends_at": ends.isoformat()}
    world.operator.post("/v1/admin/grants", json=grant).raise_for_status()
    opens = {**pdf_tool_catalog["products"]["pro"], "opens": {"premium_export": True, "pages_per_day": 900}}
    world.publish({**pdf_tool_catalog, "products": {**pdf_tool_catalog["products"], "pro": opens}})
    world.service.work()
    world.service.clock.set(ends)
    world.service.work()
    causes = [one["cause"] for one in trail(world, user_id="ada", actor="timetable")]
    assert causes == ["catalog version 2", "time passed"]
    assert app.check("ada", "premium_export").version == 3


def test_a_worker_says_where_the_chains_end(world: World, pdf_tool_catalog: dict[str, Any]) -> None:
    """As it starts and from then on: in its log, where whoever rewrites the database cannot take it back."""
    world.publish(pdf_tool_catalog)
    [chain] = {(one["chain"], one["project"]) for one in trail(world)}
    last = trail(world)[-1]

    async def until_said(resources: Resources) -> Any:
        worker = Worker(resources)
        with structlog.testing.capture_logs() as said:
            working = asyncio.create_task(worker.run())
            while not (anchors := [one for one in said if one["event"] == "audit anchor"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            worker.stop()
            await working
        return anchors[0]

    anchor = world.service.run(until_said)
    assert (anchor["chain"], anchor["project"]) == chain
    assert (anchor["position"], anchor["hash"]) == (last["position"], last["hash"])


def test_no_secret_and_nobodys_address_is_in_the_trail(world: World, pdf_tool_catalog: dict[str, Any]) -> None:
    """The app's own id of its user, and no more of a person; of a key its public id."""
    app = world.publish(pdf_tool_catalog)
    key = world.new_key("pdf-tool")
    opened = app.open_checkout(
        user_id="ada",
        price=MONTHLY,
        success_url="https://app.test/ok",
        cancel_url="https://app.test/",
        email="ada.lovelace@example.test",
    )
    assert opened.url
    world.arrive()
    written = json.dumps(trail(world))
    assert "key.issued" in written and key.split("_")[1] in written
    assert "lovelace" not in written and key.rsplit("_", 1)[1] not in written
    assert world.service.settings.stripe_secret_key.get_secret_value() not in written
