"""Idempotency keys: what was done is not done again, and its answer is given again to the letter."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import func, select, update

from tollhouse import Tollhouse
from tollhouse_server import idempotency
from tollhouse_server.api.once import _hash
from tollhouse_server.db.engine import conninfo
from tollhouse_server.db.tables import idempotency_key
from tollhouse_server.idempotency import Asked, Found
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World
from tollhouse_server.timetable import Timetable

Refused = Callable[..., dict[str, Any]]
Wish = Callable[..., dict[str, Any]]
CHECKOUTS = "/v1/checkouts"
GRANTS = "/v1/admin/grants"


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def gift(user_id: str = "ada", **other: Any) -> dict[str, Any]:
    return {"project": "pdf-tool", "user_id": user_id, "feature": "premium_export", "reason": "a test"} | other


def alike(first: httpx.Response, again: httpx.Response) -> None:
    """The second is the first, replayed."""
    assert again.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers.get("Content-Type") == first.headers.get("Content-Type")
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]


def grants_of(world: World, user_id: str) -> int:
    return len(world.operator.get(GRANTS, params={"user_id": user_id}).json()["data"])


def sql(world: World, query: Any) -> Any:
    async def run(resources: Resources) -> Any:
        async with resources.database.transaction() as tx:
            return (await tx.execute(query)).all() if query.is_select else await tx.execute(query)

    return world.service.run(run)


def test_what_was_done_is_answered_again(world: World, http: httpx.Client, wish: Wish) -> None:
    """The same status and bytes, on every call that takes a key; the new checkout stays `new` for who asked for it."""
    for client, path, body in (
        (http, CHECKOUTS, wish("ada")),
        (http, "/v1/portal-sessions", {"user_id": "ada", "return_url": "https://app.test/"}),
        (http, "/v1/customers/ada/sync", None),
        (world.operator, GRANTS, gift()),
    ):
        headers = keyed()
        first = client.post(path, json=body, headers=headers)
        assert first.is_success, first.text
        alike(first, client.post(path, json=body, headers=headers))
    assert grants_of(world, "ada") == 1


def test_a_key_is_for_one_request(http: httpx.Client, refused: Refused, wish: Wish) -> None:
    """Another body, path or query under the same key is a mistake, and is told so."""
    headers = keyed()
    first = http.post(CHECKOUTS, json=wish("one"), headers=headers)
    refused(http.post(CHECKOUTS, json=wish("other"), headers=headers), 422, "idempotency-key-reused")
    refused(http.post(f"{CHECKOUTS}?x=1", json=wish("one"), headers=headers), 422, "idempotency-key-reused")
    refused(http.post("/v1/customers/one/sync", headers=headers), 422, "idempotency-key-reused")
    alike(first, http.post(CHECKOUTS, json=wish("one"), headers=headers))


def test_a_key_is_its_callers_own(
    world: World, http: httpx.Client, guild_bot: Tollhouse, caller: Callable[[str], httpx.Client]
) -> None:
    """Two projects, and the operators, may use the same key without hearing of each other; a project's keys share."""
    headers = keyed("the-same")
    path = "/v1/customers/ada/sync"
    answers = [client.post(path, headers=headers) for client in (http, caller("guild-bot"))]
    answers.append(world.operator.post(GRANTS, json=gift("own"), headers=headers))
    assert all(answer.is_success and "Idempotent-Replayed" not in answer.headers for answer in answers)
    alike(answers[0], caller("pdf-tool").post(path, headers=headers))


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb"], ids=["empty", "too long", "not ASCII", "a tab"])
def test_a_key_that_is_none_is_refused(http: httpx.Client, refused: Refused, wish: Wish, key: str) -> None:
    """400, on every call: better than to think that one is protected."""
    headers = {"Idempotency-Key": key.encode("latin-1")}
    for path, body in ((CHECKOUTS, wish("ada")), ("/v1/customers/ada/sync", None)):
        answer = http.send(http.build_request("POST", path, json=body, headers=headers))  # type: ignore[arg-type]
        refused(answer, 400, "idempotency-key-required")


def test_money_needs_a_key(http: httpx.Client, refused: Refused, wish: Wish) -> None:
    """Without one a double click could be two purchases; two keys are none. Elsewhere a key is a choice."""

    def bare(path: str, body: object, *keys: str) -> httpx.Response:
        request = http.build_request("POST", path, json=body)
        bare_headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"idempotency-key"]
        request.headers = httpx.Headers([*bare_headers, *((b"Idempotency-Key", key.encode()) for key in keys)])
        with httpx.Client(trust_env=False, verify=False) as client:
            return client.send(request)

    refused(bare(CHECKOUTS, wish("ada")), 400, "idempotency-key-required")
    refused(bare(CHECKOUTS, wish("ada"), "one", "two"), 400, "idempotency-key-required")
    assert bare(CHECKOUTS, wish("ada"), "x" * 255).is_success
    assert bare("/v1/portal-sessions", {"user_id": "ada", "return_url": "https://app.test/"}).is_success


def test_what_was_refused_may_be_tried_again_with_its_key(
    world: World, http: httpx.Client, refused: Refused, wish: Wish
) -> None:
    """Nothing was done, so nothing is kept: mended, or later, the same key does it."""
    headers = keyed()
    refused(
        http.post(CHECKOUTS, json=wish("hasty", quantity=0), headers=headers), 422, "validation-failed", "/quantity"
    )
    refused(http.post(CHECKOUTS, json=wish("hasty", price="none"), headers=headers), 404, "price-not-found")
    world.sandbox.fail_next(429, path="/v1/checkout/sessions", method="POST")
    refused(http.post(CHECKOUTS, json=wish("hasty"), headers=headers), 503, "upstream-unavailable")
    first = http.post(CHECKOUTS, json=wish("hasty"), headers=headers)
    assert first.status_code == 201 and "Idempotent-Replayed" not in first.headers
    alike(first, http.post(CHECKOUTS, json=wish("hasty"), headers=headers))


def test_of_ten_at_once_one_is_carried_out(world: World) -> None:
    """The others are told to wait a second, or get the answer of the first; there is one grant."""
    headers = keyed()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: world.operator.post(GRANTS, json=gift("ten"), headers=headers), range(10)))
    given = [answer for answer in answers if answer.status_code == 201]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(given) + len(waiting) == 10 and len({answer.content for answer in given}) == 1
    assert all(answer.json()["code"] == "idempotency-in-progress" for answer in waiting)
    assert all(answer.headers["Retry-After"] == "1" for answer in waiting)
    assert [answer.headers.get("Idempotent-Replayed") for answer in given].count(None) == 1
    assert grants_of(world, "ten") == 1


def abandon(world: World, path: str, headers: dict[str, str], body: bytes, *, sealed: bool) -> None:
    """What a process leaves behind that is killed in the middle of a request, a lease ago."""

    async def leave(resources: Resources) -> None:
        asked = Asked(
            _hash(b"ADMIN_API_KEY", headers["Idempotency-Key"].encode()), _hash(b"POST", path.encode(), b"", body), None
        )
        async with resources.database.transaction() as tx:
            lease = await idempotency.begin(tx, asked)
            assert lease is not None
            if sealed:
                assert await idempotency.seal(tx, asked.key, lease)
            await tx.execute(
                update(idempotency_key)
                .where(idempotency_key.c.id == asked.key)
                .values(lease_until=func.now() - timedelta(seconds=1))
            )

    world.service.run(leave)


def test_a_killed_process_frees_its_keys(world: World, refused: Refused) -> None:
    """Killed before its change was committed: the next one does it. Killed after: nobody does it again."""
    body = world.operator.build_request("POST", GRANTS, json=gift("killed")).content
    request = {"content": body, "headers": {"Content-Type": "application/json"}}
    before, after = keyed(), keyed()
    abandon(world, GRANTS, before, body, sealed=False)
    abandon(world, GRANTS, after, body, sealed=True)
    done = world.operator.post(GRANTS, content=body, headers={**request["headers"], **before})
    assert done.status_code == 201
    lost = world.operator.post(GRANTS, content=body, headers={**request["headers"], **after})
    assert "lost" in refused(lost, 409, "idempotency-answer-not-kept")["detail"]
    assert grants_of(world, "killed") == 1


def test_a_change_is_not_made_by_who_lost_the_key(world: World) -> None:
    """A process that slept longer than its lease finds the key in another's hand, and changes nothing."""
    asked = Asked(uuid.uuid4().bytes, b"request", None)

    async def overtaken(resources: Resources) -> tuple[bool, bool]:
        async with resources.database.transaction() as tx:
            slow = await idempotency.begin(tx, asked)
            assert slow is not None and await idempotency.begin(tx, asked) is None
            assert await idempotency.look(tx, asked) == (Found.IN_PROGRESS, None)
            await tx.execute(update(idempotency_key).values(lease_until=func.now() - timedelta(seconds=1)))
            next_one = await idempotency.begin(tx, asked)
            assert next_one is not None
            return await idempotency.seal(tx, asked.key, slow), await idempotency.seal(tx, asked.key, next_one)

    assert world.service.run(overtaken) == (False, True)


def test_a_secret_is_not_kept(world: World, refused: Refused) -> None:
    """A new key is shown once. Asked again, its answer is that it was: no second key, and no secret in the table."""
    path, body, headers = "/v1/admin/projects/pdf-tool/keys", {"name": "web"}, keyed()
    issued = world.operator.post(path, json=body, headers=headers)
    secret = issued.json()["key"]
    keys = len(world.operator.get(path).json()["data"])
    again = refused(world.operator.post(path, json=body, headers=headers), 409, "idempotency-answer-not-kept")
    assert "secret" in again["detail"] and secret not in str(again)
    assert len(world.operator.get(path).json()["data"]) == keys
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value())) as db:
        rows = db.execute("SELECT idempotency_key::text, convert_from(body, 'UTF8') FROM idempotency_key").fetchall()
    assert rows and secret not in str(rows) and headers["Idempotency-Key"] not in str(rows)


def test_an_answer_is_kept_for_72_hours(world: World) -> None:
    """Then its key is as good as new, whether the row has been pruned by then or not."""
    headers = keyed()
    world.operator.post(GRANTS, json=gift("later"), headers=headers)

    def age(hours: float) -> None:
        sql(world, update(idempotency_key).values(created_at=func.now() - timedelta(hours=hours)))

    async def prune(resources: Resources) -> None:
        await Timetable(resources.database, resources.clock, resources.refresh).prune()

    age(71.9)
    world.service.run(prune)
    assert "Idempotent-Replayed" in world.operator.post(GRANTS, json=gift("later"), headers=headers).headers
    age(72.1)
    assert "Idempotent-Replayed" not in world.operator.post(GRANTS, json=gift("later"), headers=headers).headers
    age(72.1)
    world.service.run(prune)
    assert sql(world, select(func.count()).select_from(idempotency_key))[0][0] == 0
    assert grants_of(world, "later") == 2


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(world: World, refused: Refused) -> None:
    """The grant stands, so its giver hears so; the key stays used up, for good: the grant was sealed with it."""
    headers = keyed()
    with psycopg.connect(conninfo(world.service.settings.database_url.get_secret_value()), autocommit=True) as db:
        db.execute("ALTER TABLE idempotency_key ADD CONSTRAINT broken CHECK (status IS NULL) NOT VALID")
        try:
            assert world.operator.post(GRANTS, json=gift("unkept"), headers=headers).status_code == 201
        finally:
            db.execute("ALTER TABLE idempotency_key DROP CONSTRAINT broken")
    sql(world, update(idempotency_key).values(lease_until=func.now() - timedelta(seconds=1)))
    refused(world.operator.post(GRANTS, json=gift("unkept"), headers=headers), 409, "idempotency-answer-not-kept")
    assert grants_of(world, "unkept") == 1
