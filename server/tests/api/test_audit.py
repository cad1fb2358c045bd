"""Who changed what, as operators read it: a page, one entry, everything."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

AUDIT = "/v1/admin/audit"


@pytest.fixture(scope="module")
def given(world: World, pdf_tool: Tollhouse, guild_bot: Tollhouse) -> list[dict[str, Any]]:
    """Three grants of three users, an hour apart, the second of them revoked."""
    grants = []
    for user, project in (("ada", "pdf-tool"), ("bob", "pdf-tool"), ("ada", "guild-bot")):
        asked = {"project": project, "user_id": user, "feature": "premium_export", "reason": f"for {user}"}
        grants.append(world.operator.post("/v1/admin/grants", json=asked).raise_for_status().json())
        world.service.clock.set(world.service.clock.now() + timedelta(hours=1))
    revoked = world.operator.post(f"/v1/admin/grants/{grants[1]['id']}/revoke", json={"reason": "a mistake"})
    revoked.raise_for_status()
    return grants


def listed(world: World, **query: Any) -> list[dict[str, Any]]:
    answer = world.operator.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def test_an_entry_says_who_why_from_what_and_to_what(world: World, given: list[dict[str, Any]]) -> None:
    """The whole of it, with its place in the chain of its project; the same by its id."""
    revoked, *_ = listed(world, action="grant.revoked")
    grant = {name: given[1][name] for name in ("id", "feature", "value", "product", "ends_at", "reason", "operator")}
    assert {name: revoked["before"][name] for name in grant} == grant
    assert set(revoked["after"].items()) - set(revoked["before"].items()) == {("revoked_at", given_at(revoked))}
    assert (revoked["project"], revoked["user_id"], revoked["reason"]) == ("pdf-tool", "bob", "a mistake")
    assert revoked["actor"].startswith("grace") and revoked["cause"].startswith("POST /v1/admin/grants/")
    assert revoked["position"] > 1 and len(revoked["hash"]) == 64
    assert world.operator.get(f"{AUDIT}/{revoked['id']}").json() == revoked


def given_at(entry: dict[str, Any]) -> str:
    return str(entry["at"].replace("Z", "+00:00"))


def test_entries_are_found_by_everything_one_knows(world: World, given: list[dict[str, Any]]) -> None:
    """Project, user, action, actor, time: each restricts, and together they restrict further; newest first."""
    everything = listed(world, limit=200)
    assert [one["id"] for one in everything] == sorted((one["id"] for one in everything), reverse=True)
    for query, holds in (
        ({"project": "pdf-tool"}, lambda one: one["project"] == "pdf-tool"),
        ({"user_id": "ada"}, lambda one: one["user_id"] == "ada"),
        (
            {"user_id": "ada", "project": "guild-bot"},
            lambda one: (one["user_id"], one["project"]) == ("ada", "guild-bot"),
        ),
        ({"action": "grant.given"}, lambda one: one["action"] == "grant.given"),
        ({"actor": everything[0]["actor"]}, lambda one: one["actor"] == everything[0]["actor"]),
        ({"from": given[1]["created_at"]}, lambda one: one["at"] >= given[1]["created_at"]),
        ({"to": given[1]["created_at"]}, lambda one: one["at"] < given[1]["created_at"]),
    ):
        expected = [one for one in everything if holds(one)]
        assert expected and listed(world, limit=200, **query) == expected, query
    assert listed(world, actor="nobody") == []


def test_pages_follow_on_each_other(world: World, given: list[dict[str, Any]]) -> None:
    """However small: together they are the whole, and the last one says so."""
    whole, cursor, pages = listed(world, limit=200), None, 0
    paged: list[dict[str, Any]] = []
    while pages == 0 or cursor is not None:
        page = world.operator.get(AUDIT, params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        paged, cursor, pages = paged + page["data"], page["next_cursor"], pages + 1
    assert paged == whole and pages == -(-len(whole) // 3)


def test_the_export_is_everything_chain_by_chain(world: World, given: list[dict[str, Any]]) -> None:
    """One JSON line an entry, the same as in the list; each chain whole and oldest first; a filter restricts it too."""
    answer = world.operator.get(f"{AUDIT}/export")
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(lines, key=lambda one: -one["id"]) == listed(world, limit=200)
    for chain in {one["chain"] for one in lines}:
        places = [one["position"] for one in lines if one["chain"] == chain]
        assert places == list(range(1, len(places) + 1))
    asked = {"project": "pdf-tool", "user_id": "bob"}
    only = world.operator.get(f"{AUDIT}/export", params=asked, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in only.text.splitlines()] == listed(world, **asked)[::-1]


def test_what_is_not_there_is_told(world: World, stranger: httpx.Client, refused: Any) -> None:
    """An unknown project is not an empty trail; nobody reads it without an operator's key."""
    for path in (AUDIT, f"{AUDIT}/export"):
        refused(world.operator.get(path, params={"project": "nothing"}), 404, "not-found")
        refused(world.operator.get(path, params={"from": "yesterday"}), 422, "validation-failed", "from")
        refused(stranger.get(path), 401, "unauthenticated")
    refused(world.operator.get(f"{AUDIT}/999999"), 404, "not-found")
    refused(world.operator.get(f"{AUDIT}/first"), 422, "validation-failed", "id")
