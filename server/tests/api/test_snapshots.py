"""Snapshots: what somebody who keeps a copy is told, and whether it says the same as the checks."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]


def written(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def give(world: World, user_id: str, **what: Any) -> dict[str, Any]:
    asked = {"project": "pdf-tool", "user_id": user_id, "reason": "test", **what}
    answer = world.operator.post("/v1/admin/grants", json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_snapshot_of_a_user_nobody_knows_is_empty(world: World, http: httpx.Client) -> None:
    """No error: version 0, and every feature of the catalog without a stretch."""
    answer = http.get("/v1/customers/nobody/snapshot")
    assert answer.json() == {
        "project": "pdf-tool",
        "user_id": "nobody",
        "version": 0,
        "catalog_version": 1,
        "issued_at": written(world.service.clock.now()),
        "features": {
            "premium_export": {"kind": "switch", "stretches": []},
            "pages_per_day": {"kind": "limit", "stretches": []},
        },
    }
    assert answer.headers["Tollhouse-Version"] == "0"


def test_a_snapshot_tells_every_stretch_that_is_not_over(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """What is open, what is yet to begin, and which of several reasons it is told by; later, without what is over."""
    now = world.service.clock.now()
    day = timedelta(days=1)
    soon = give(world, "sid", feature="pages_per_day", value=5, ends_at=written(now + day))
    later = give(
        world, "sid", feature="pages_per_day", value=9, starts_at=written(now + 2 * day), ends_at=written(now + 3 * day)
    )
    always = give(world, "sid", feature="premium_export")

    def stretches() -> list[dict[str, Any]]:
        told = http.get("/v1/customers/sid/snapshot").json()
        assert told["features"]["premium_export"]["stretches"] == [
            {"value": True, "from": written(now), "until": None, "reason": "granted", "source": always["id"]}
        ]
        found: list[dict[str, Any]] = told["features"]["pages_per_day"]["stretches"]
        return found

    first, second = (
        {
            "value": grant["value"],
            "from": grant["starts_at"],
            "until": grant["ends_at"],
            "reason": "granted",
            "source": grant["id"],
        }
        for grant in (soon, later)
    )
    assert stretches() == [first, second]
    world.service.clock.set(now + day)
    assert stretches() == [second]


def test_a_snapshots_etag_stands_until_something_changes(world: World, http: httpx.Client) -> None:
    """Whoever polls has 304, with the version, however much time passed; after a change a 200 with a greater one."""
    path = "/v1/customers/etta/snapshot"
    first = http.get(path)
    again = http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Tollhouse-Version"] == first.headers["Tollhouse-Version"]
    give(world, "etta", feature="premium_export")
    changed = http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.headers["Tollhouse-Version"]) == (200, str(changed.json()["version"]))
    assert changed.json()["version"] > first.json()["version"]
    assert http.get(path, headers={"If-None-Match": changed.headers["ETag"]}).status_code == 304


def test_a_snapshot_needs_a_key_that_may_check(
    world: World, http: httpx.Client, stranger: httpx.Client, refused: Refused
) -> None:
    """As every check does: without a key 401, with one that may only open checkouts 403."""
    refused(stranger.get("/v1/customers/ada/snapshot"), 401, "unauthenticated")
    issued = world.operator.post(
        "/v1/admin/projects/pdf-tool/keys", json={"name": "no checks", "scopes": ["checkout"]}
    ).json()
    headers = {"Authorization": f"Bearer {issued['key']}"}
    refused(stranger.get("/v1/customers/ada/snapshot", headers=headers), 403, "insufficient-scope")


def test_a_snapshot_is_of_the_projects_own_customer(world: World, pdf_tool: Tollhouse, guild_bot: Tollhouse) -> None:
    """The same user id in another project is another customer."""
    give(world, "shared", feature="premium_export")
    key = world.new_key("guild-bot")
    answer = httpx.get(
        f"{world.service.url}/v1/customers/shared/snapshot", headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ).json()
    assert (answer["project"], answer["version"]) == ("guild-bot", 0)
    assert answer["features"]["premium_export"]["stretches"] == []
