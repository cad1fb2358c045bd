"""Operators ask for a reconciliation, watch it, and read what it found."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.reconcile import Kind
from tollhouse_server.resources import Resources
from tollhouse_server.testing import FAST, World

Refused = Callable[..., dict[str, Any]]
RECONCILIATIONS = "/v1/admin/reconciliations"


@pytest.fixture(scope="module", autouse=True)
def unheard(world: World, pdf_tool: Tollhouse) -> None:
    """Two sales that nobody told of."""
    world.hold_webhooks()
    world.customer("ada", pdf_tool).buys("pdf-tool.pro.monthly")
    world.customer("grace", pdf_tool).buys("pdf-tool.lifetime.once")
    world.passes(minutes=5)


def started(world: World, **asked: Any) -> httpx.Response:
    return world.operator.post(RECONCILIATIONS, json=asked)


def worked(world: World, kind: Kind = Kind.SWEEP) -> None:
    """A worker's turn, in which nothing is due by itself."""

    async def turn(resources: Resources) -> None:
        await replace(resources.reconciler, requests_per_second=FAST).go_on(kind)

    world.service.run(turn)


def pages(world: World, path: str, **parameters: Any) -> Iterator[list[dict[str, Any]]]:
    cursor: dict[str, Any] = {}
    while True:
        page = world.operator.get(path, params={**parameters, **cursor}).raise_for_status().json()
        yield page["data"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def test_asked_for_watched_and_read(world: World, pdf_tool: Tollhouse, refused: Refused) -> None:
    """202 and a place to look; a second is refused meanwhile; a worker does it; the report is paged."""
    answer = started(world, project="pdf-tool", dry_run=True)
    assert answer.status_code == 202
    asked = answer.json()
    assert (asked["state"], asked["kind"], asked["project"]) == ("waiting", "sweep", "pdf-tool")
    assert asked["actor"].startswith("grace")
    place = f"{RECONCILIATIONS}/{asked['id']}"
    problem = refused(started(world), 409, "reconciliation-running")
    assert asked["id"] in problem["detail"]
    worked(world)
    done = world.operator.get(place).json()
    assert (done["state"], done["stage"], done["error"]) == ("finished", "done", None)
    assert done["counts"]["customers"] == {"listed": 2, "ours": 2, "differ": 0, "to_read": 2, "read": 2, "differed": 2}
    assert (done["found"]["customers"], done["found"]["paid_but_locked_out"], done["found"]["repaired"]) == (2, 2, 0)
    assert not pdf_tool.check("ada", "premium_export")
    whole = [row for page in pages(world, f"{place}/drift") for row in page]
    assert whole == [row for page in pages(world, f"{place}/drift", limit=1) for row in page]
    assert len(whole) == done["found"]["differences"] > 3
    assert {(row["user_id"], row["project"], row["verdict"]) for row in whole} == {
        ("ada", "pdf-tool", "paid_but_locked_out"),
        ("grace", "pdf-tool", "paid_but_locked_out"),
    }
    assert list(pages(world, f"{place}/drift", verdict="unpaid_but_allowed")) == [[]]


def test_both_kinds_are_listed_newest_first(world: World, pdf_tool: Tollhouse) -> None:
    """One of each kind may run at a time; the list is paged, by kind or of all."""
    ids = [started(world, kind=kind).json()["id"] for kind in ("catch-up", "sweep")]
    worked(world, Kind.CATCH_UP)
    worked(world)
    world.service.work()
    assert pdf_tool.check("ada", "premium_export") and pdf_tool.check("grace", "premium_export")
    every = [one["id"] for page in pages(world, RECONCILIATIONS, limit=1) for one in page]
    assert every[:2] == ids[::-1]
    assert [one["id"] for page in pages(world, RECONCILIATIONS, kind="catch-up") for one in page] == ids[:1]
    assert every == [one["id"] for page in pages(world, RECONCILIATIONS) for one in page]


def test_what_cannot_be_asked(world: World, stranger: httpx.Client, refused: Refused) -> None:
    """A kind there is not, a project there is not, a run there is not, a call without the operators' key."""
    refused(started(world, kind="all"), 422, "validation-failed", "/kind")
    refused(started(world, kinds="sweep"), 422, "validation-failed", "/kinds")
    refused(started(world, project="no-such"), 404, "not-found")
    nowhere = f"{RECONCILIATIONS}/rec_1"
    refused(world.operator.get(nowhere), 404, "not-found")
    refused(world.operator.get(f"{nowhere}/drift"), 404, "not-found")
    refused(world.operator.get(f"{nowhere}/drift", params={"cursor": "x"}), 422, "validation-failed", "cursor")
    refused(stranger.get(RECONCILIATIONS), 401, "unauthenticated")
    unnamed = {"Authorization": world.operator.headers["Authorization"]}
    refused(stranger.post(RECONCILIATIONS, json={}, headers=unnamed), 400, "operator-required")
