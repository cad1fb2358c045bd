"""Read-your-writes: answers about one customer say their version, and a read may ask for no older one."""

import time
import uuid

import httpx
import pytest
from redis import Redis

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.api.versions import no_older
from tollhouse_server.cache import Cell
from tollhouse_server.cache.local import LIVES_SECONDS
from tollhouse_server.catalogs import project_by_slug
from tollhouse_server.resources import Resources
from tollhouse_server.testing import NO_TLS, World, running_world

MONTHLY = "pdf-tool.pro.monthly"
READS = ("entitlements/premium_export", "entitlements", "snapshot", "")
"""What may be asked for with a version, under /v1/customers/ada."""


@pytest.fixture
def user() -> str:
    """Of this test's own: the world is shared."""
    return f"user-{uuid.uuid4()}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def give(world: World, user: str, **more: str) -> httpx.Response:
    wanted = {"project": "pdf-tool", "user_id": user, "feature": "premium_export", "reason": "a test"}
    return world.operator.post("/v1/admin/grants", json=wanted, headers=more)


def ask(http: httpx.Client, user: str, path: str, at_least: int | str | None = None, **more: str) -> httpx.Response:
    headers = {**more, **({} if at_least is None else {"Tollhouse-At-Least": str(at_least)})}
    return http.get(f"/v1/customers/{user}/{path}".rstrip("/"), headers=headers)


@pytest.mark.parametrize("path", READS)
def test_a_read_says_its_version(world: World, http: httpx.Client, user: str, path: str) -> None:
    """The one in its body; of a user of whom nothing is known it is 0. A 304 says it too."""
    assert ask(http, user, path).headers["Tollhouse-Version"] == "0"
    given = give(world, user)
    answer = ask(http, user, path)
    assert answer.headers["Tollhouse-Version"] == given.headers["Tollhouse-Version"] == "1"
    if "etag" in answer.headers:
        again = ask(http, user, path, **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["Tollhouse-Version"]) == (304, "1")


def test_what_changes_a_customer_says_the_version_it_made(
    world: World, pdf_tool: Tollhouse, http: httpx.Client, user: str
) -> None:
    """Grants given and taken back, syncs; also where the answer is one that was given before."""
    given = give(world, user, **{"Idempotency-Key": user})
    again = give(world, user, **{"Idempotency-Key": user})
    assert given.headers["Tollhouse-Version"] == again.headers["Tollhouse-Version"] == "1"
    revoked = world.operator.post(f"/v1/admin/grants/{given.json()['id']}/revoke", json={"reason": "a test"})
    assert revoked.headers["Tollhouse-Version"] == "2"
    checkout = world.customer(user, pdf_tool).buys(MONTHLY)
    for path in (f"/v1/checkouts/{checkout}/sync", f"/v1/customers/{user}/sync"):
        assert http.post(path).headers["Tollhouse-Version"] == "3"


@pytest.mark.parametrize("path", READS)
def test_a_version_that_is_not_there_is_said_to_be_so(world: World, http: httpx.Client, user: str, path: str) -> None:
    """After a moment of waiting, with what to do; one that is there is answered."""
    give(world, user)
    assert ask(http, user, path, 1).status_code == 200
    started = time.monotonic()
    refused = ask(http, user, path, 2)
    assert 0.2 < time.monotonic() - started < 5
    assert (refused.status_code, refused.json()["code"]) == (409, "not-yet-consistent")
    assert "at version 1" in refused.json()["detail"] and refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("wrong", ["", "seven", "-1", "1.5", str(2**63)])
def test_a_malformed_version_is_refused(http: httpx.Client, user: str, path: str, wrong: str) -> None:
    """It is told which header is meant."""
    refused = ask(http, user, path, wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation-failed")
    assert [one["pointer"] for one in refused.json()["errors"]] == ["Tollhouse-At-Least"]


@pytest.mark.anyio
async def test_a_version_that_comes_in_a_moment_is_waited_for() -> None:
    """Whoever was told of it sooner than PostgreSQL answers everybody so gets it; nobody reads once too often."""
    stored = iter((5, 5, 6, 7))

    async def read() -> int:
        return next(stored)

    assert await no_older(6, read, int) == 6
    assert await no_older(None, read, int) == 7


def test_what_is_cached_is_passed_over_where_it_is_older(
    sandbox: RunningSandbox, database_url: str, valkey_url: str, user: str
) -> None:
    """Whatever Redis says: here it forgot the floor and holds what was before the change."""
    catalog = {"project": "pdf-tool", "name": "PDF Tool", "features": {"premium_export": {}}, "products": {}}
    with running_world(sandbox, database_url, redis_url=valkey_url) as world, Redis.from_url(valkey_url) as valkey:
        world.publish(catalog)

        async def hold_version_0(resources: Resources) -> None:
            async with resources.database.transaction() as tx:
                owner = await project_by_slug(tx, "pdf-tool")
            assert owner is not None
            shared = resources.cache.shared
            cell = Cell(0, (), time.monotonic() + LIVES_SECONDS)
            assert await shared.fill(owner.id, user, cell, (await shared.get(owner.id, user))[1])

        headers = {"Authorization": f"Bearer {world.new_key('pdf-tool')}"}
        with httpx.Client(base_url=world.service.url, headers=headers, trust_env=False, verify=NO_TLS) as http:
            give(world, user)
            valkey.flushdb()
            world.service.run(hold_version_0)
            assert ask(http, user, "entitlements", 1).headers["Tollhouse-Version"] == "1"
