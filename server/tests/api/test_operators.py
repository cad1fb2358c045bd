"""Operators by name and password: who they are is proved, and the audit trail says it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher

from tollhouse import Tollhouse
from tollhouse_server.audit import Cause
from tollhouse_server.commands.add_operator import OperatorExists, OperatorInvalid, add_operator
from tollhouse_server.commands.change_operator import disable_operator, enable_operator, set_password
from tollhouse_server.db.engine import conninfo
from tollhouse_server.passwords import MOST_FAILURES
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
WHY = Cause("root", "a test")
PASSWORD = "a sentence that nobody guesses ü"
PROJECTS = "/v1/admin/projects"
KEYS = "/v1/admin/projects/pdf-tool/keys"


def change(world: World, what: Callable[..., Any], *arguments: str) -> Any:
    """One of the commands, as `tollhouse operators` does it."""

    async def run(resources: Resources) -> Any:
        async with resources.database.transaction() as tx:
            return await what(tx, *arguments, WHY, at=resources.clock.now())

    return world.service.run(run)


def row(world: World, name: str) -> tuple[Any, ...]:
    """The operator's hash and when they were last seen."""
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        found = db.execute("SELECT password_hash, last_seen_at FROM operator WHERE name = %s", (name,)).fetchone()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def grace(world: World, pdf_tool: Tollhouse) -> Iterator[httpx.Client]:
    """An operator of the name of grace, who is known by her password."""
    change(world, add_operator, "grace", PASSWORD)
    auth = httpx.BasicAuth("grace", PASSWORD)
    with httpx.Client(base_url=world.service.url, auth=auth, timeout=30, trust_env=False, verify=False) as client:
        yield client


def test_who_it_was_is_known_and_not_believed(world: World, grace: httpx.Client) -> None:
    """The actor is the operator's name: no header is needed, and none is listened to."""
    before = world.service.clock.now()
    assert grace.get(PROJECTS).status_code == 200
    issued = grace.post(KEYS, json={"name": "web"}, headers={"Tollhouse-Operator": "ada"})
    assert issued.status_code == 201
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        entry = db.execute("SELECT actor, cause FROM audit WHERE after->>'id' = %s", (issued.json()["id"],)).fetchone()
    assert entry == ("grace", f"POST {KEYS} by password")
    assert row(world, "grace")[1] == before
    capital = httpx.get(f"{world.service.url}{PROJECTS}", auth=("Grace", PASSWORD), verify=False)
    assert capital.status_code == 200


def test_every_wrong_login_gets_the_same_answer(
    world: World, grace: httpx.Client, stranger: httpx.Client, refused: Refused
) -> None:
    """A wrong password, an unknown or disabled name, no name, half a header: one answer, byte for byte."""
    change(world, add_operator, "gone", PASSWORD)
    change(world, disable_operator, "gone")
    tries = [
        httpx.BasicAuth("grace", "wrong"),
        httpx.BasicAuth("grace", ""),
        httpx.BasicAuth("gone", PASSWORD),
        httpx.BasicAuth("nobody", PASSWORD),
        httpx.BasicAuth("", ""),
        httpx.BasicAuth("gr\x00ace", PASSWORD),
        httpx.BasicAuth("x" * 3_000, PASSWORD),
    ]
    answers = {stranger.get(PROJECTS, auth=auth, headers={"X-Request-Id": "same"}).content for auth in tries}
    for header in ("Basic", "Basic %%%", "Basic Z3JhY2U=", "Basic /w==", "Bearer Z3JhY2U6", "Bearer x"):
        sent = {"X-Request-Id": "same", "Authorization": header}
        answer = stranger.get(PROJECTS, headers=sent)
        refused(answer, 401, "unauthenticated")
        answers.add(answer.content)
    assert len(answers) == 1
    assert refused(stranger.get("/v1/catalog", auth=httpx.BasicAuth("grace", PASSWORD)), 401, "unauthenticated")


def test_shut_out_and_let_in_at_once(world: World, grace: httpx.Client, stranger: httpx.Client) -> None:
    """Disabling and a new password count from the next request on, though the old one was right a moment ago."""
    change(world, add_operator, "ada", PASSWORD)

    def works(password: str) -> bool:
        return stranger.get(PROJECTS, auth=httpx.BasicAuth("ada", password)).status_code == 200

    assert works(PASSWORD)
    assert change(world, disable_operator, "ada") and not works(PASSWORD)
    assert not change(world, disable_operator, "ada")
    assert change(world, enable_operator, "ada") and works(PASSWORD)
    assert not change(world, enable_operator, "ada")
    assert change(world, set_password, "ada", PASSWORD + "2")
    assert not works(PASSWORD) and works(PASSWORD + "2")
    assert not change(world, set_password, "noone", PASSWORD)
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        found = db.execute(
            "SELECT action, actor FROM audit WHERE coalesce(before, after)->>'name' = 'ada' ORDER BY id"
        ).fetchall()
        everything = "".join(str(line) for line in db.execute("SELECT * FROM audit").fetchall())
    assert found == [(f"operator.{done}", "root") for done in ("added", "disabled", "enabled", "password_set")]
    assert "argon2" not in everything and PASSWORD not in everything


def test_guessing_is_refused_and_locks_nobody_out(world: World, grace: httpx.Client, refused: Refused) -> None:
    """Ten wrong ones, and the name is not tried again from there for a while; every other caller goes on."""
    with httpx.Client(base_url=world.service.url, trust_env=False, verify=False) as guesser:
        for number in range(MOST_FAILURES):
            guessed = guesser.get(PROJECTS, auth=httpx.BasicAuth("victim", f"guess {number}"))
            assert guessed.status_code == 401
        last = guesser.get(PROJECTS, auth=httpx.BasicAuth("victim", "guess"))
    refused(last, 429, "rate-limited")
    assert 0 < int(last.headers["Retry-After"]) <= 900
    assert grace.get(PROJECTS).status_code == 200


def test_behind_a_trusted_proxy_the_callers_are_told_apart(
    world: World, grace: httpx.Client, stranger: httpx.Client, refused: Refused
) -> None:
    """Who guesses from one address keeps nobody out who calls through the same proxy, not even the guessed name."""
    change(world, add_operator, "proxied", PASSWORD)

    def call(address: str, password: str) -> httpx.Response:
        auth = httpx.BasicAuth("proxied", password)
        return stranger.get(PROJECTS, auth=auth, headers={"X-Forwarded-For": address})

    for number in range(MOST_FAILURES):
        # One host has a whole /64 of IPv6 to call from.
        refused(call(f"2001:db8::{number}", f"guess {number}"), 401, "unauthenticated")
    refused(call("2001:db8::ffff", PASSWORD), 429, "rate-limited")
    assert call("192.0.2.7", PASSWORD).status_code == 200


def test_a_hash_of_older_costs_is_made_anew(world: World, grace: httpx.Client, stranger: httpx.Client) -> None:
    """At the next login, so that raising the costs reaches everybody; it is seen that they came."""
    change(world, add_operator, "old", PASSWORD)
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        db.execute("UPDATE operator SET password_hash = %s WHERE name = 'old'", (cheap,))
    for _ in range(2):
        assert stranger.get(PROJECTS, auth=httpx.BasicAuth("old", PASSWORD)).status_code == 200
    hashed, seen = row(world, "old")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and seen is not None


def test_a_name_is_one_persons(world: World, grace: httpx.Client, refused: Refused) -> None:
    """No second operator, no machine and none of the service's own actors has it, nor a machine a person's."""
    world.operator.post("/v1/admin/operator-keys", json={"name": "ci"}).raise_for_status()
    for taken in ("grace", "ci"):
        with pytest.raises(OperatorExists):
            change(world, add_operator, taken, PASSWORD)
    for unfit in ("stripe", "timetable", "admin", "Grace", "", "gr ace", "a:b", "x" * 65, "grace\n"):
        with pytest.raises(OperatorInvalid) as raised:
            change(world, add_operator, unfit, PASSWORD)
        assert raised.value.errors[0]["pointer"] == "/name"
    for name in ("Grace", "grace (ADMIN_API_KEY)", "a b"):
        answer = world.operator.post("/v1/admin/operator-keys", json={"name": name})
        refused(answer, 422, "key-invalid", "/name")


@pytest.mark.parametrize("password", ["", "fourteen chars", "my name is grace2", "aaaabbbbaaaabbbb", "x" * 1_001])
def test_a_password_must_be_long_and_not_silly(world: World, grace: httpx.Client, password: str) -> None:
    """Fifteen characters, more than a few different ones, not the name; the error does not repeat it."""
    with pytest.raises(OperatorInvalid) as raised:
        change(world, set_password, "grace", password)
    assert raised.value.errors[0]["pointer"] == "/password"
    assert len(password) < 2 or password not in f"{raised.value} {raised.value.errors}"
    assert grace.get(PROJECTS).status_code == 200
