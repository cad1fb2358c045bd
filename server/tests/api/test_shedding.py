"""More to do than can be done: what is over is refused at once, what was let in is answered, and nothing lasts."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.db.engine import CHECK_SECONDS, conninfo
from tollhouse_server.testing import ManualClock, RunningService, World

Refused = Callable[..., dict[str, Any]]
Deliver = Callable[..., httpx.Response]
SYNC = "/v1/customers/ada/sync"
CHECK = "/v1/customers/ada/entitlements/premium_export"


@contextmanager
def process(world: World, sandbox: RunningSandbox, **settings: object) -> Iterator[httpx.Client]:
    """Another process of the same service, with a key of the PDF tool's."""
    clock = ManualClock(sandbox.now())
    with (
        RunningService(world.service.settings.model_copy(update=settings), clock) as service,
        httpx.Client(
            base_url=service.url,
            headers={"Authorization": f"Bearer {world.new_key('pdf-tool')}"},
            timeout=30,
            limits=httpx.Limits(max_connections=50),
            trust_env=False,
            verify=False,
        ) as client,
    ):
        yield client


@contextmanager
def held(world: World, table: str) -> Iterator[psycopg.Connection]:
    """Somebody else has the table, so that whoever asks it waits; yields a connection that looks on."""
    where = conninfo(world.service.settings.database_url.get_secret_value())
    with psycopg.connect(where) as holder, psycopg.connect(where, autocommit=True) as onlooker:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")  # type: ignore[call-overload]
        yield onlooker


def wait_for_waiting(onlooker: psycopg.Connection, number: int) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while onlooker.execute(waiting).fetchone() != (number,):
        assert time.monotonic() < deadline, f"{number} never waited"
        time.sleep(0.005)


def test_a_full_lane_refuses_at_once_and_holds_up_no_other(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, deliver: Deliver, refused: Refused
) -> None:
    """Two changes may be in hand and are stuck in the database: the third is told so, while checks, events and health
    are answered. When the database is free, what was let in is done, and the next is let in."""
    with (
        process(world, sandbox, max_requests_in_flight=4) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        with held(world, "customer") as onlooker:
            stuck: list[Future[httpx.Response]] = [pool.submit(client.post, SYNC) for _ in range(2)]
            wait_for_waiting(onlooker, 2)
            begun = time.monotonic()
            answer = client.post(SYNC)
            assert time.monotonic() - begun < 1
            refused(answer, 503, "overloaded")
            assert answer.headers["Retry-After"] == "1"
            assert client.get(CHECK).status_code == 200
            event = deliver(b'{"id": "evt_shed", "type": "customer.updated", "data": {"object": {"id": "cus_shed"}}}')
            signed = {"Stripe-Signature": event.request.headers["Stripe-Signature"]}
            stored = client.post("/v1/stripe/webhook", content=event.request.content, headers=signed)
            assert (stored.status_code, stored.json()) == (200, {"outcome": "duplicate"})
            assert client.get("/healthz").status_code == 200
        assert [one.result(20).status_code for one in stuck] == [200, 200]
        assert client.post(SYNC).status_code == 200
        assert 'tollhouse_requests_shed_total{lane="changes"}' in client.get("/metrics").text


def test_changes_never_take_the_last_connection(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, refused: Refused
) -> None:
    """Eight changes, five connections, of which four wait for a lock: the other changes hear within about a second that
    the database is busy, and checks go on over the fifth."""
    with process(world, sandbox) as client, ThreadPoolExecutor(8) as pool:
        with held(world, "customer") as onlooker:
            changes = [pool.submit(client.post, SYNC) for _ in range(8)]
            wait_for_waiting(onlooker, 4)
            assert [client.get(CHECK).status_code for _ in range(5)] == [200] * 5
            shed = []
            while len(shed) < 4:
                shed = [one.result() for one in changes if one.done()]
            for one in shed:
                refused(one, 503, "overloaded")
        assert sorted(one.result(20).status_code for one in changes) == [200] * 4 + [503] * 4
        assert client.post(SYNC).status_code == 200


def test_a_check_is_given_up_after_two_seconds(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, refused: Refused
) -> None:
    """Whoever waits for a check has given up by then; the connection is free again as soon as the answer is given."""
    with process(world, sandbox, database_pool_size=1) as client:
        assert client.get("/v1/catalog").status_code == 200
        with held(world, "snapshot") as onlooker:
            begun = time.monotonic()
            refused(client.get("/v1/customers/nobody/entitlements/premium_export"), 503, "overloaded")
            assert CHECK_SECONDS <= time.monotonic() - begun < CHECK_SECONDS + 2
            wait_for_waiting(onlooker, 0)
            assert client.get("/v1/catalog").status_code == 200
        assert client.get("/v1/customers/nobody/entitlements/premium_export").status_code == 200
