"""Somebody writes: "on Tuesday it did not let me in". What was served then, why, and what happened, is all there."""

from datetime import datetime, timedelta
from typing import Any

import httpx

from tollhouse import Tollhouse
from tollhouse_server.testing import World

MONTHLY = "pdf-tool.pro.monthly"


def story(world: World, user: str = "ada", **query: Any) -> dict[str, Any]:
    answer: httpx.Response = world.operator.get(f"/v1/admin/customers/pdf-tool/{user}/timeline", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_served_then_and_known_now(world: World, pdf_tool: Tollhouse) -> None:
    """Paid on Monday, but Stripe's news came on Wednesday: for Tuesday it is told what was served, and why."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.lifetime.once")
    ada.refunds()
    world.passes(days=1)
    world.hold_webhooks()
    opened = pdf_tool.open_checkout("ada", MONTHLY, success_url="https://app.test/", cancel_url="https://app.test/")
    world.sandbox.pay(str(opened.url))
    world.service.clock.set(world.service.clock.now() + timedelta(days=1))
    tuesday = world.service.clock.now()
    assert not ada.may("premium_export")
    world.service.clock.set(tuesday + timedelta(days=1))
    synced = pdf_tool.sync_checkout(str(opened.id))
    assert synced.checkout.paid and ada.may("premium_export")

    told = pdf_tool.explain("ada", "premium_export", at=tuesday)
    assert told.allowed, "by what is known now she had paid"
    assert told.served is not None
    assert (told.served.allowed, told.served.differs) == (False, True), "and this is what she was told"
    assert told.served.rule == "no-source" and told.served.changed_at < tuesday
    assert told.served.actor == "stripe" and told.served.cause.startswith("evt_"), "it was the refund"

    now = pdf_tool.explain("ada", "premium_export", at=world.service.clock.now())
    assert now.allowed and now.served is None, "of now there is nothing else to tell"


def test_what_was_served_ends_by_itself_too(world: World, pdf_tool: Tollhouse) -> None:
    """At each instant of a month the trail says what was served, the end of a cancelled plan included."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    begun = world.service.clock.now()
    ada.cancels()
    ends = ada.state().subscriptions[0].ends_at
    assert ends is not None
    world.passes(days=40)
    for at, allowed in ((begun, True), (ends - timedelta(seconds=1), True), (ends, False)):
        told = pdf_tool.explain("ada", "premium_export", at=at)
        assert told.served is not None and told.served.allowed is allowed, at
        # What is known now of a plan that is over says nothing of when it ran.
        assert (told.allowed, told.served.differs) == (False, allowed)
    assert pdf_tool.explain("ada", "premium_export", at=begun - timedelta(days=1)).served is None


def test_the_events_that_told_of_a_source(world: World, pdf_tool: Tollhouse) -> None:
    """Each source names the events of Stripe that last changed what it gives, and the policy it was judged by."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    [source] = [one for one in pdf_tool.explain("ada", "premium_export").sources if one.kind == "subscription"]
    assert source.event_ids and all(one.startswith("evt_") for one in source.event_ids)
    types = {world.stripe.v1.events.retrieve(one).type for one in source.event_ids}
    assert types & {"customer.subscription.created", "checkout.session.completed", "invoice.paid"}
    assert source.policy is not None and source.policy["grace_days"] == 7


def test_a_customers_story(world: World, pdf_tool: Tollhouse) -> None:
    """A month of one customer, newest first: what was opened, paid, refunded and given, who did it and why."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    given = {"project": "pdf-tool", "user_id": "ada", "feature": "premium_export", "reason": "case 4711"}
    assert world.operator.post("/v1/admin/grants", json=given).is_success
    ada.refunds()
    entries = story(world, limit=200)["data"]
    times = [datetime.fromisoformat(one["at"]) for one in entries]
    assert times == sorted(times, reverse=True)
    kinds = ("change", "checkout", "money", "event")
    by_kind = {kind: [one for one in entries if one["kind"] == kind] for kind in kinds}
    assert [one["said"]["price"] for one in by_kind["checkout"]] == [MONTHLY]
    grant = next(one for one in by_kind["change"] if one["what"] == "grant.given")
    assert grant["said"]["reason"] == "case 4711"
    caused = [one["said"]["cause"] for one in by_kind["change"] if one["what"] == "entitlements.changed"]
    events = {one["id"] for one in by_kind["event"]}
    assert events & {event for cause in caused for event in cause.split(", ")}
    assert any("refund" in one["what"] for one in by_kind["money"])

    pages, cursor = [], None
    while True:
        page = story(world, limit=3, **({"cursor": cursor} if cursor else {}))
        pages += page["data"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert pages == entries, "page by page it is the same"


def test_of_a_stranger_there_is_no_story(world: World, pdf_tool: Tollhouse) -> None:
    """Empty, and no error; a project that is not registered is one."""
    assert story(world, "nobody") == {"data": [], "next_cursor": None}
    assert world.operator.get("/v1/admin/customers/no-such/ada/timeline").status_code == 404
    assert world.operator.get("/v1/admin/customers/pdf-tool/ada/timeline", params={"cursor": "x"}).status_code == 422
