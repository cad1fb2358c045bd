"""Snapshots: what somebody who keeps a copy is told, and whether it says the same as the checks."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tollhouse import Tollhouse
from tollhouse.offline import KeyUnknown, SnapshotExpired, SnapshotInvalid, verify
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.testing import ManualClock, RunningService, World

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


JWT = {"Accept": "application/jwt"}
KEYS = "/.well-known/jwks.json"


def test_a_signed_snapshot_says_the_same_and_is_verified_without_asking(
    world: World, http: httpx.Client, stranger: httpx.Client
) -> None:
    """By anybody who has the published keys, for its project alone, until it expires."""
    now = world.service.clock.now()
    give(world, "sol", feature="pages_per_day", value=5, ends_at=written(now + timedelta(days=30)))
    signed = http.get("/v1/customers/sol/snapshot", headers=JWT)
    assert (signed.headers["Content-Type"], signed.headers["Cache-Control"]) == ("application/jwt", "no-store")
    keys = stranger.get(KEYS)
    assert keys.headers["Cache-Control"] == "public, max-age=3600"
    snapshot = verify(signed.text, keys.json(), project="pdf-tool", now=now)
    plain = http.get("/v1/customers/sol/snapshot").json()
    assert (snapshot.user_id, snapshot.version) == ("sol", plain["version"])
    assert signed.headers["Tollhouse-Version"] == str(snapshot.version)
    assert list(snapshot.snapshot.features) == list(plain["features"])
    check = snapshot.check("pages_per_day", now=now)
    asked = http.get("/v1/customers/sol/entitlements/pages_per_day").json()
    assert (check.value, written(check.valid_until or now)) == (5, asked["valid_until"])
    assert not snapshot.check("premium_export", now=now)
    day = timedelta(days=1)
    assert snapshot.check("pages_per_day", now=now + day - timedelta(seconds=1))
    with pytest.raises(SnapshotExpired):
        snapshot.check("pages_per_day", now=now + day)
    with pytest.raises(SnapshotInvalid):
        verify(signed.text, keys.json(), project="guild-bot", now=now)


def test_a_new_secret_key_signs_and_the_old_ones_snapshots_stay_good(
    world: World, http: httpx.Client, sandbox: RunningSandbox, refused: Refused
) -> None:
    """While SECRET_KEY_PREVIOUS is set both keys are published. Without SECRET_KEY nothing is signed, and the answer
    says what to set."""
    now, key = world.service.clock.now(), world.new_key("pdf-tool")
    old = http.get("/v1/customers/ada/snapshot", headers=JWT).text
    settings = world.service.settings

    def served(**secrets: SecretStr | None) -> tuple[httpx.Response, dict[str, Any]]:
        changed = settings.model_copy(update=secrets)
        with RunningService(changed, ManualClock(now)) as other:
            base, bearer = other.url, {"Authorization": f"Bearer {key}"}
            told = httpx.get(f"{base}/v1/customers/ada/snapshot", headers=JWT | bearer, trust_env=False)
            return told, httpx.get(f"{base}{KEYS}", trust_env=False).json()

    new, keys = served(secret_key=SecretStr("another secret key, long enough"), secret_key_previous=settings.secret_key)
    assert len(keys["keys"]) == 2
    for token in (old, new.text):
        assert verify(token, keys, project="pdf-tool", now=now).user_id == "ada"
    with pytest.raises(KeyUnknown):
        verify(new.text, http.get(KEYS).json(), project="pdf-tool", now=now)
    told, none = served(secret_key=None)
    assert "SECRET_KEY" in refused(told, 409, "secret-key-missing")["detail"]
    assert none == {"keys": []}
