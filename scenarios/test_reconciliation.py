"""Nobody told Tollhouse. It finds out by itself, within the time that docs/explanation/reconciliation.md promises."""

from datetime import datetime, timedelta

import pytest

from tollhouse import Tollhouse
from tollhouse_server.reconcile import Kind
from tollhouse_server.testing import World

STEP = timedelta(seconds=15)
CATCH_UP_EVERY = timedelta(seconds=300)
"""The default of RECONCILE_CATCH_UP_SECONDS."""
SWEEP_EVERY = timedelta(hours=6)
"""The default of RECONCILE_SWEEP_SECONDS."""


def until_allowed(world: World, app: Tollhouse, allowed: bool, *, longest: timedelta, step: timedelta) -> timedelta:
    """How long it takes, by the clock that decides access, until Ada is answered so."""
    began = world.service.clock.now()
    while bool(app.check("ada", "premium_export")) is not allowed:
        assert world.service.clock.now() - began < longest, "it was not noticed in time"
        world.passes(seconds=step.total_seconds())
        world.service.reconcile_if_due()
        world.service.work()
    return world.service.clock.now() - began


@pytest.fixture(autouse=True)
def morning(world: World) -> None:
    """Each story begins at nine: the daily sweep is far, whatever time it is where the tests run."""
    world.passes_until((world.now + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0))


def test_a_sale_whose_webhook_never_came_is_open_within_one_catch_up(world: World, pdf_tool: Tollhouse) -> None:
    """09:00 the worker catches up; 09:02 Ada pays and Stripe delivers nothing; by 09:05 what she bought is open."""
    assert set(world.service.reconcile_if_due()) == set(Kind)
    world.passes(minutes=2)
    world.hold_webhooks()
    paid_at = world.service.clock.now()
    world.customer("ada").buys("pdf-tool.pro.monthly")
    took = until_allowed(world, pdf_tool, True, longest=CATCH_UP_EVERY + STEP, step=STEP)
    assert took == CATCH_UP_EVERY - timedelta(minutes=2)
    [run] = world.operator.get("/v1/admin/reconciliations", params={"kind": "catch-up", "limit": 1}).json()["data"]
    path = f"/v1/admin/reconciliations/{run['id']}/drift"
    drift = world.operator.get(path, params={"verdict": "paid_but_locked_out"}).json()["data"]
    assert {(row["project"], row["user_id"], row["repaired"]) for row in drift} == {("pdf-tool", "ada", True)}
    assert {datetime.fromisoformat(row["since"]) for row in drift} == {paid_at}
    assert {"checkout.session.completed", "invoice.paid"} <= {
        row["stripes"] for row in drift if row["field"] == "event"
    }


def test_an_end_that_stripe_never_told_is_found_by_the_sweep(world: World, pdf_tool: Tollhouse) -> None:
    """Canceled at once, and no event was ever generated: the catch-ups cannot know, the next sweep does."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.pro.monthly")
    world.service.reconcile_if_due()
    world.passes(hours=1)
    world.sandbox.lose_events()
    world.stripe.v1.subscriptions.cancel(ada.state().subscriptions[0].id)
    took = until_allowed(world, pdf_tool, False, longest=SWEEP_EVERY, step=timedelta(minutes=30))
    assert took <= SWEEP_EVERY - timedelta(hours=1)
    [run] = world.operator.get("/v1/admin/reconciliations", params={"kind": "sweep", "limit": 1}).json()["data"]
    drift = world.operator.get(f"/v1/admin/reconciliations/{run['id']}/drift").json()["data"]
    told = {row["field"]: (row["ours"], row["stripes"], row["event_id"], row["verdict"]) for row in drift}
    assert told["status"] == ("active", "canceled", None, "unpaid_but_allowed")
    assert ada.state().subscriptions[0].status == "canceled"
    world.passes(hours=6)
    world.service.reconcile_if_due()
    [after] = world.operator.get("/v1/admin/reconciliations", params={"kind": "sweep", "limit": 1}).json()["data"]
    assert after["id"] != run["id"] and after["counts"]["customers"]["to_read"] == 0
