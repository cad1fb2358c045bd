"""Operators see every event, what became of it, and can try it again."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
EVENTS = "/v1/admin/events"


@pytest.fixture(scope="module", autouse=True)
def bought(world: World, pdf_tool: Tollhouse) -> None:
    """Some events to look at."""
    world.customer("ada", pdf_tool).buys("pdf-tool.pro.monthly")


def test_pages_are_whole_and_in_order(world: World) -> None:
    """Page by page one sees every event once, as in one long list; what arrives next comes first."""
    everything = world.operator.get(EVENTS, params={"limit": 200}).json()
    assert everything["next_cursor"] is None
    assert len(everything["data"]) > 5
    paged: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = world.operator.get(EVENTS, params={"limit": 3, **cursor}).json()
        paged += page["data"]
        if page["next_cursor"] is None:
            break
        assert len(page["data"]) == 3
        cursor = {"cursor": page["next_cursor"]}
    assert paged == everything["data"]
    assert all("body" not in one for one in paged)
    world.stripe.v1.products.create({"name": "the newest"})
    world.arrive()
    newest = world.operator.get(EVENTS, params={"limit": 1}).json()["data"]
    assert newest[0]["type"] == "product.created" and newest[0] not in paged


def test_events_are_filtered(world: World) -> None:
    """By state and type, and by both."""
    paid = world.operator.get(EVENTS, params={"type": "invoice.paid"}).json()["data"]
    assert [(one["type"], one["state"], one["outcome"]) for one in paid] == [("invoice.paid", "settled", "applied")]
    both = {"type": "invoice.paid", "state": "settled"}
    assert world.operator.get(EVENTS, params=both).json()["data"] == paid
    assert world.operator.get(EVENTS, params={"state": "buried"}).json() == {"data": [], "next_cursor": None}
    assert world.operator.get(EVENTS, params={"type": "no.such"}).json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"state": "lost"}, "state"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": 0}, "cursor"),
        ({"cursor": -1}, "cursor"),
        ({"cursor": 2**63}, "cursor"),
        ({"cursor": "9" * 3_900}, "cursor"),
        ({"cursor": "abc"}, "cursor"),
        ({"type": "a\0b"}, "type"),
        ({"type": "x" * 101}, "type"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_parameter_is_named(world: World, refused: Refused, parameters: dict[str, Any], name: str) -> None:
    """422, also for a cursor larger than any number that PostgreSQL has."""
    refused(world.operator.get(EVENTS, params=parameters), 422, "validation-failed", name)
    assert world.operator.get(EVENTS, params={"cursor": 2**63 - 1}).is_success


def test_an_event_is_shown_with_its_body(world: World, refused: Refused) -> None:
    """As Stripe sent it."""
    [paid] = world.operator.get(EVENTS, params={"type": "invoice.paid"}).json()["data"]
    shown = world.operator.get(f"{EVENTS}/{paid['id']}").json()
    body = shown.pop("body")
    assert shown == paid
    assert (body["id"], body["type"], body["object"]) == (paid["id"], "invoice.paid", "event")
    refused(world.operator.get(f"{EVENTS}/evt_none"), 404, "not-found")


def test_a_replay_changes_nothing_but_the_event(world: World, http: httpx.Client, refused: Refused) -> None:
    """Pending again, worked on again, and the customer is as before: an event only says whom to read again."""
    before = http.get("/v1/customers/ada").json()
    [paid] = world.operator.get(EVENTS, params={"type": "invoice.paid"}).json()["data"]
    replayed = world.operator.post(f"{EVENTS}/{paid['id']}/replay")
    assert replayed.status_code == 200
    assert (replayed.json()["state"], replayed.json()["outcome"], replayed.json()["attempts"]) == ("received", None, 0)
    assert world.service.work() == 1
    done = world.operator.get(f"{EVENTS}/{paid['id']}").json()
    assert (done["state"], done["outcome"]) == ("settled", "applied")
    assert http.get("/v1/customers/ada").json() == before
    refused(world.operator.post(f"{EVENTS}/evt_none/replay"), 404, "not-found")


def test_an_event_that_changes_nothing_cannot_be_replayed(world: World, refused: Refused) -> None:
    """There is nothing it could do."""
    listed = world.operator.get(EVENTS, params={"limit": 200}).json()["data"]
    idle = next(one for one in listed if one["outcome"] == "not-handled")
    refused(world.operator.post(f"{EVENTS}/{idle['id']}/replay"), 404, "not-found")
