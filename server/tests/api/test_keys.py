"""Who may call: projects by their keys, operators by theirs."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tollhouse import Tollhouse
from tollhouse_server.commands.issue_key import MOST_IN_USE
from tollhouse_server.db.engine import conninfo
from tollhouse_server.domain.scopes import OF_PROJECTS
from tollhouse_server.testing import OPERATOR_KEY, World

Refused = Callable[..., dict[str, Any]]
Caller = Callable[[str], httpx.Client]
KEYS = "/v1/admin/projects/pdf-tool/keys"


def test_every_bad_key_gets_the_same_answer(
    world: World, pdf_tool: Tollhouse, stranger: httpx.Client, refused: Refused
) -> None:
    """Absent, garbled, unknown, revoked, expired, an operator's: one answer to the byte, to help no guessing."""
    issued = world.operator.post(KEYS, json={"name": "revoked"}).json()
    assert world.operator.delete(f"{KEYS}/{issued['id']}").status_code == 204
    key: str = issued["key"]
    soon = world.service.clock.now() + timedelta(hours=1)
    expired = world.operator.post(KEYS, json={"name": "expired", "expires_at": soon.isoformat()}).json()["key"]
    machine = world.operator.post("/v1/admin/operator-keys", json={"name": "ci"}).json()["key"]
    world.passes(hours=1)
    unknown = "tollhouse_AAAAAAAAAAAA_" + "B" * 32
    credentials = [
        None,
        "",
        "Bearer",
        "Basic YTpi",
        key,
        f"Bearer {key}",
        f"Bearer {key[:-1]}",
        f"Bearer {key[:-1]}x",
        f"Bearer {key}0",
        f"Bearer {unknown}00000000",
        f"Bearer {expired}",
        f"Bearer {machine}",
        f"Bearer {OPERATOR_KEY}",
        "Bearer é",
        "Bearer " + "x" * 5_000,
    ]
    answers = []
    for credential in credentials:
        headers = {"X-Request-Id": "same"} | ({} if credential is None else {"Authorization": credential.encode()})
        answer = stranger.get("/v1/catalog", headers=headers)  # type: ignore[arg-type]
        refused(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        answers.append(answer.content)
    assert set(answers) == {answers[0]}


def test_a_key_works_from_its_issue_to_its_revocation(
    world: World, pdf_tool: Tollhouse, stranger: httpx.Client, refused: Refused
) -> None:
    """Shown once, used, seen to be used, and dead the moment it is revoked; the project's other keys live on."""
    before = pdf_tool.catalog()
    answer = world.operator.post(KEYS, json={"name": "web"})
    assert answer.status_code == 201
    issued = answer.json()
    assert set(issued) == {"id", "name", "scopes", "key", "created_at", "expires_at"}
    assert issued["key"].startswith(f"tollhouse_{issued['id']}_")
    listed = {one["id"]: one for one in world.operator.get(KEYS).json()["data"]}
    assert listed[issued["id"]] == {
        **{name: value for name, value in issued.items() if name != "key"},
        "state": "in_use",
        "last_used_at": None,
        "revoked_at": None,
    }
    assert issued["key"] not in world.operator.get(KEYS).text

    lower = {"Authorization": f"bearer {issued['key']}"}  # the scheme's case does not matter (RFC 9110)
    assert stranger.get("/v1/catalog", headers=lower).status_code == 200
    listed = {one["id"]: one for one in world.operator.get(KEYS).json()["data"]}
    assert listed[issued["id"]]["last_used_at"] is not None

    assert world.operator.delete(f"{KEYS}/{issued['id']}").status_code == 204
    refused(stranger.get("/v1/catalog", headers=lower), 401, "unauthenticated")
    listed = {one["id"]: one for one in world.operator.get(KEYS).json()["data"]}
    assert listed[issued["id"]]["revoked_at"] is not None and listed[issued["id"]]["state"] == "revoked"
    refused(world.operator.delete(f"{KEYS}/{issued['id']}"), 404, "not-found")
    assert pdf_tool.catalog() == before


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def audited(world: World, action: str, id_: str) -> list[tuple[Any, ...]]:
    """Actor, cause, before and after of what the audit trail has of a key."""
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        found = (
            "SELECT actor, cause, before, after FROM audit WHERE action = %s AND %s IN (before->>'id', after->>'id')"
        )
        return db.execute(found, (action, id_)).fetchall()


def test_a_key_opens_the_calls_of_its_scopes(world: World, pdf_tool: Tollhouse, stranger: httpx.Client) -> None:
    """Each call of a project is refused to a key that has every scope but the needed one, and told which that is."""
    keys = {
        scope: {
            True: world.operator.post(KEYS, json={"name": "one", "scopes": [scope]}).json()["key"],
            False: world.operator.post(
                KEYS, json={"name": "rest", "scopes": [one for one in OF_PROJECTS if one != scope]}
            ).json()["key"],
        }
        for scope in OF_PROJECTS
    }
    asked = 0
    for path, methods in stranger.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            for scope in [one for each in operation.get("security", []) for one in each.get("ProjectKey", [])]:
                address = re.sub(r"{\w+}", "x-nobody-x", path)
                answer = stranger.request(method, address, headers=bearer(keys[scope][False]))
                assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope"), f"{method} {path}"
                assert f"the scope {scope}," in answer.json()["detail"]
                with stranger.stream(method, address, headers=bearer(keys[scope][True])) as answer:
                    assert answer.status_code not in (401, 403), f"{method} {path}"
                asked += 1
    assert asked >= 9


def test_the_scopes_are_chosen_at_issue(world: World, pdf_tool: Tollhouse, refused: Refused) -> None:
    """To ask and to sell where nothing is said; a project's key is never an operator's."""
    assert world.operator.post(KEYS, json={"name": "web"}).json()["scopes"] == ["check", "checkout"]
    all_three = world.operator.post(KEYS, json={"name": "web", "scopes": ["manage", "check", "manage"]}).json()
    assert all_three["scopes"] == ["check", "manage"]
    for wrong, pointer in ((["operator"], "/scopes/0"), ([], "/scopes"), (["admin"], "/scopes/0")):
        refused(world.operator.post(KEYS, json={"name": "x", "scopes": wrong}), 422, "validation-failed", pointer)


def test_a_key_from_before_there_were_scopes_goes_on(world: World, pdf_tool: Tollhouse) -> None:
    """What the code before this one inserts, and what it inserted, may do all that a project may."""
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        row = db.execute(
            "INSERT INTO api_key (id, project_id, name, hash) SELECT 'old', id, 'old', '' FROM project"
            " WHERE slug = 'pdf-tool' RETURNING scopes, expires_at"
        ).fetchone()
    assert row == (list(OF_PROJECTS), None)


def test_a_key_ends_by_itself(world: World, pdf_tool: Tollhouse, stranger: httpx.Client, refused: Refused) -> None:
    """At its instant, by the clock that decides access; the list says so before and after."""
    ends = world.service.clock.now() + timedelta(days=90)
    issued = world.operator.post(KEYS, json={"name": "short", "expires_at": ends.isoformat()}).json()
    world.passes_until(ends - timedelta(seconds=1))
    assert stranger.get("/v1/catalog", headers=bearer(issued["key"])).status_code == 200
    assert state(world, issued["id"]) == "expires"
    world.passes_until(ends)
    refused(stranger.get("/v1/catalog", headers=bearer(issued["key"])), 401, "unauthenticated")
    assert state(world, issued["id"]) == "expired"
    past = world.operator.post(KEYS, json={"name": "past", "expires_at": ends.isoformat()})
    refused(past, 422, "key-invalid", "/expires_at")


def state(world: World, id_: str) -> str:
    return str({one["id"]: one["state"] for one in world.operator.get(KEYS).json()["data"]}[id_])


def test_a_rotated_key_and_its_successor_overlap(
    world: World, pdf_tool: Tollhouse, stranger: httpx.Client, refused: Refused
) -> None:
    """Both work for as long as was said, then the successor alone: an app is never without a key."""
    old = world.operator.post(KEYS, json={"name": "web", "scopes": ["check"]}).json()
    answer = world.operator.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_hours": 48})
    assert answer.status_code == 201
    new = answer.json()
    assert (new["name"], new["scopes"], new["expires_at"]) == ("web", ["check"], None) and new["key"] != old["key"]
    ends = world.service.clock.now() + timedelta(hours=48)
    [(actor, cause, before, after)] = audited(world, "key.rotated", old["id"])
    assert actor == "grace (ADMIN_API_KEY)" and cause.endswith("/rotate by ADMIN_API_KEY")
    assert before == {"id": old["id"], "expires_at": None}
    assert after == {
        "expires_at": ends.isoformat(),
        "successor": {"id": new["id"], "name": "web", "scopes": ["check"], "expires_at": None},
    }

    def works(key: str) -> bool:
        return stranger.get("/v1/catalog", headers=bearer(key)).status_code == 200

    world.passes_until(ends - timedelta(seconds=1))
    assert works(old["key"]) and works(new["key"])
    world.passes_until(ends)
    assert not works(old["key"]) and works(new["key"])
    refused(world.operator.post(f"{KEYS}/{old['id']}/rotate", json={}), 404, "not-found")
    refused(world.operator.post(f"/v1/admin/projects/guild-bot/keys/{new['id']}/rotate", json={}), 404, "not-found")
    soon = {"expires_at": (ends + timedelta(hours=1)).isoformat()}
    refused(world.operator.post(f"{KEYS}/{new['id']}/rotate", json=soon), 422, "key-invalid", "/expires_at")
    last = world.operator.post(f"{KEYS}/{new['id']}/rotate", json={"overlap_hours": 0}).json()
    assert not works(new["key"]) and works(last["key"])


def test_a_rotation_never_lengthens_a_life(world: World, pdf_tool: Tollhouse) -> None:
    """The old key's own end stands where it is sooner than the overlap's."""
    soon = world.service.clock.now() + timedelta(hours=2)
    old = world.operator.post(KEYS, json={"name": "web", "expires_at": soon.isoformat()}).json()
    assert world.operator.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_hours": 24}).status_code == 201
    [listed] = [one for one in world.operator.get(KEYS).json()["data"] if one["id"] == old["id"]]
    assert listed["expires_at"] == old["expires_at"]


def test_keys_in_use_are_counted(world: World, refused: Refused) -> None:
    """A loop that issues keys comes to an end; one that ended makes room."""
    world.operator.post("/v1/admin/projects", json={"slug": "many", "name": "Many"}).raise_for_status()
    path = "/v1/admin/projects/many/keys"
    ids = [world.operator.post(path, json={"name": "x"}).json()["id"] for _ in range(MOST_IN_USE)]
    refused(world.operator.post(path, json={"name": "x"}), 409, "too-many-keys")
    refused(world.operator.post(f"{path}/{ids[0]}/rotate", json={}), 409, "too-many-keys")
    assert world.operator.post(f"{path}/{ids[0]}/rotate", json={"overlap_hours": 0}).status_code == 201
    assert world.operator.delete(f"{path}/{ids[1]}").status_code == 204
    assert world.operator.post(path, json={"name": "x"}).status_code == 201


def test_a_machine_has_an_operator_key(world: World, stranger: httpx.Client, refused: Refused) -> None:
    """It may do what an operator may, acts under its own name whatever it says, and ends like any key."""
    path = "/v1/admin/operator-keys"
    made = world.operator.post(path, json={"name": "deploy-bot"})
    assert made.status_code == 201 and made.json()["scopes"] == ["operator"]
    id_, key = made.json()["id"], made.json()["key"]
    assert key.startswith(f"tollhouse_operator_{id_}_")
    said = bearer(key) | {"Tollhouse-Operator": "grace"}
    new = stranger.post("/v1/admin/projects/pdf-tool/keys", json={"name": "by a machine"}, headers=said).json()
    [(actor, cause, *_)] = audited(world, "key.issued", new["id"])
    assert actor == "deploy-bot"
    assert cause == f"POST /v1/admin/projects/pdf-tool/keys by operator key {id_}"
    successor = stranger.post(f"{path}/{id_}/rotate", json={}, headers=bearer(key)).json()
    listed = {one["id"]: one for one in world.operator.get(path).json()["data"]}
    assert listed[id_]["last_used_at"] is not None and listed[id_]["state"] == "expires"
    assert listed[successor["id"]]["name"] == "deploy-bot"
    assert world.operator.delete(f"{path}/{id_}").status_code == 204
    refused(stranger.get("/v1/admin/projects", headers=bearer(key)), 401, "unauthenticated")
    refused(world.operator.delete(f"{path}/{id_}"), 404, "not-found")
    refused(world.operator.post(f"{path}/{id_}/rotate", json={}), 404, "not-found")
    theirs = world.operator.get(KEYS).json()["data"][0]["id"]
    refused(world.operator.delete(f"{path}/{theirs}"), 404, "not-found")


def test_a_key_is_revoked_through_its_own_project_only(
    world: World, pdf_tool: Tollhouse, guild_bot: Tollhouse, refused: Refused
) -> None:
    """A slip in the path revokes nothing."""
    issued = world.operator.post(KEYS, json={"name": "web"}).json()
    refused(world.operator.delete(f"/v1/admin/projects/guild-bot/keys/{issued['id']}"), 404, "not-found")
    refused(world.operator.delete(f"/v1/admin/projects/nobody/keys/{issued['id']}"), 404, "not-found")
    assert world.operator.delete(f"{KEYS}/{issued['id']}").status_code == 204


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer é", "Basic eDp5"])
def test_operators_need_their_key(stranger: httpx.Client, refused: Refused, given: str | None) -> None:
    """Under /v1/admin nothing is shown or done without it."""
    headers = {"Tollhouse-Operator": b"grace"} | ({"Authorization": given.encode()} if given else {})
    for method, path in (("GET", "/v1/admin/projects"), ("POST", "/v1/admin/grants"), ("GET", "/v1/admin/events")):
        refused(stranger.request(method, path, headers=headers), 401, "unauthenticated")  # type: ignore[arg-type]


def test_a_projects_key_is_not_an_operators(http: httpx.Client, refused: Refused) -> None:
    """An app cannot give itself access."""
    refused(http.get("/v1/admin/projects", headers={"Tollhouse-Operator": "grace"}), 401, "unauthenticated")


def test_a_change_says_who_makes_it(world: World, stranger: httpx.Client, refused: Refused) -> None:
    """Reading needs no name; every change does, and the audit trail would be worthless without."""
    shared = bearer(OPERATOR_KEY)
    assert stranger.get("/v1/admin/projects", headers=shared).status_code == 200
    new = {"slug": "named", "name": "Named"}
    for name in ({}, {"Tollhouse-Operator": ""}):
        answer = stranger.post("/v1/admin/projects", json=new, headers=shared | name)
        assert "Tollhouse-Operator" in refused(answer, 400, "operator-required")["detail"]
    long = stranger.post("/v1/admin/projects", json=new, headers={**shared, "Tollhouse-Operator": "x" * 81})
    refused(long, 422, "validation-failed", "Tollhouse-Operator")
    utf8: Any = {**shared, "Tollhouse-Operator": "Gräce".encode()}
    assert stranger.post("/v1/admin/projects", json=new, headers=utf8).status_code == 201
    given = {"project": "named", "user_id": "ada", "product": "none", "reason": "x"}
    refused(stranger.post("/v1/admin/grants", json=given, headers=utf8), 422, "unknown-product", "/product")
