"""Who may call: projects by their keys, operators by theirs."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import OPERATOR_KEY, World

Refused = Callable[..., dict[str, Any]]
Caller = Callable[[str], httpx.Client]
KEYS = "/v1/admin/projects/pdf-tool/keys"


def test_every_bad_key_gets_the_same_answer(
    world: World, pdf_tool: Tollhouse, stranger: httpx.Client, refused: Refused
) -> None:
    """Absent, garbled, unknown, revoked, the operators' own: byte for byte one answer, which helps nobody to guess."""
    issued = world.operator.post(KEYS, json={"name": "revoked"}).json()
    assert world.operator.delete(f"{KEYS}/{issued['id']}").status_code == 204
    key: str = issued["key"]
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
    assert set(issued) == {"id", "name", "key", "created_at"}
    assert issued["key"].startswith(f"tollhouse_{issued['id']}_")
    listed = {one["id"]: one for one in world.operator.get(KEYS).json()["data"]}
    assert listed[issued["id"]] == {**listed[issued["id"]], "name": "web", "last_used_at": None, "revoked_at": None}
    assert issued["key"] not in world.operator.get(KEYS).text

    bearer = {"Authorization": f"bearer {issued['key']}"}  # the scheme's case does not matter (RFC 9110)
    assert stranger.get("/v1/catalog", headers=bearer).status_code == 200
    listed = {one["id"]: one for one in world.operator.get(KEYS).json()["data"]}
    assert listed[issued["id"]]["last_used_at"] is not None

    assert world.operator.delete(f"{KEYS}/{issued['id']}").status_code == 204
    refused(stranger.get("/v1/catalog", headers=bearer), 401, "unauthenticated")
    listed = {one["id"]: one for one in world.operator.get(KEYS).json()["data"]}
    assert listed[issued["id"]]["revoked_at"] is not None
    refused(world.operator.delete(f"{KEYS}/{issued['id']}"), 404, "not-found")
    assert pdf_tool.catalog() == before


def test_a_key_is_revoked_through_its_own_project_only(
    world: World, pdf_tool: Tollhouse, guild_bot: Tollhouse, refused: Refused
) -> None:
    """A slip in the path revokes nothing."""
    issued = world.operator.post(KEYS, json={"name": "web"}).json()
    refused(world.operator.delete(f"/v1/admin/projects/guild-bot/keys/{issued['id']}"), 404, "not-found")
    refused(world.operator.delete(f"/v1/admin/projects/nobody/keys/{issued['id']}"), 404, "not-found")
    assert world.operator.delete(f"{KEYS}/{issued['id']}").status_code == 204


@pytest.mark.parametrize("bearer", [None, "Bearer wrong", "Bearer é", "Basic eDp5"])
def test_operators_need_their_key(stranger: httpx.Client, refused: Refused, bearer: str | None) -> None:
    """Under /v1/admin nothing is shown or done without it."""
    headers = {"Tollhouse-Operator": b"grace"} | ({"Authorization": bearer.encode()} if bearer else {})
    for method, path in (("GET", "/v1/admin/projects"), ("POST", "/v1/admin/grants"), ("GET", "/v1/admin/events")):
        refused(stranger.request(method, path, headers=headers), 401, "unauthenticated")  # type: ignore[arg-type]


def test_a_projects_key_is_not_an_operators(http: httpx.Client, refused: Refused) -> None:
    """An app cannot give itself access."""
    refused(http.get("/v1/admin/projects", headers={"Tollhouse-Operator": "grace"}), 401, "unauthenticated")


def test_a_change_says_who_makes_it(world: World, stranger: httpx.Client, refused: Refused) -> None:
    """Reading needs no name; every change does, and the audit trail would be worthless without."""
    bearer = {"Authorization": f"Bearer {OPERATOR_KEY}"}
    assert stranger.get("/v1/admin/projects", headers=bearer).status_code == 200
    new = {"slug": "named", "name": "Named"}
    for name in ({}, {"Tollhouse-Operator": ""}):
        answer = stranger.post("/v1/admin/projects", json=new, headers=bearer | name)
        assert "Tollhouse-Operator" in refused(answer, 400, "operator-required")["detail"]
    long = stranger.post("/v1/admin/projects", json=new, headers={**bearer, "Tollhouse-Operator": "x" * 81})
    refused(long, 422, "validation-failed", "Tollhouse-Operator")
    utf8: Any = {**bearer, "Tollhouse-Operator": "Gräce".encode()}
    assert stranger.post("/v1/admin/projects", json=new, headers=utf8).status_code == 201
    given = {"project": "named", "user_id": "ada", "product": "none", "reason": "x"}
    refused(stranger.post("/v1/admin/grants", json=given, headers=utf8), 422, "grant-invalid", "/product")
