"""The stream: who listens hears every change of its project's users, once, and knows when it may have missed one."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tollhouse import Tollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.api.fan_out import Limits
from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import project_by_slug
from tollhouse_server.commands.give_grant import GrantRequest, give_grant
from tollhouse_server.db.engine import conninfo
from tollhouse_server.resources import Resources
from tollhouse_server.testing import ManualClock, RunningService, World

Refused = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Event:
    kind: str
    id: str
    data: dict[str, Any]
    retry: int | None = None


class Listener:
    """One open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer, self._lines = answer, answer.iter_lines()
        self.hello = self.next()
        assert self.hello.kind == "hello"

    def next(self) -> Event:
        """The next event that is no heartbeat, unless there is none other within the timeout; raises at the end."""
        fields: dict[str, str] = {}
        while True:
            line = next(self._lines)
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields["event"] == "heartbeat" and not self.heartbeats:
                fields = {}
            else:
                retry = int(fields["retry"]) if "retry" in fields else None
                return Event(fields["event"], fields["id"], json.loads(fields["data"]), retry)

    heartbeats = False
    """Whether `next` tells of those, too."""

    def end(self) -> None:
        """Waits for the end of the stream, which must be one in form."""
        for _ in self._lines:
            pass


@contextmanager
def listening(http: httpx.Client, last: str | None = None, **headers: str) -> Iterator[Listener]:
    if last is not None:
        headers["Last-Event-ID"] = last
    with http.stream("GET", "/v1/stream", headers=headers, timeout=10) as answer:
        assert answer.status_code == 200, answer.read()
        yield Listener(answer)


@contextmanager
def process(world: World, sandbox: RunningSandbox, **settings: object) -> Iterator[RunningService]:
    """Another process of the same service."""
    settings = {"stream_heartbeat_seconds": 0.05, **settings}
    with RunningService(world.service.settings.model_copy(update=settings), ManualClock(sandbox.now())) as service:
        yield service


@contextmanager
def client(service: RunningService, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=10, trust_env=False, verify=False) as opened:
        yield opened


def give(world: World, user_id: str, **more: Any) -> None:
    asked = {"project": "pdf-tool", "user_id": user_id, "reason": "test", "feature": "premium_export", **more}
    answer = world.operator.post("/v1/admin/grants", json=asked)
    assert answer.status_code == 201, answer.text


def test_a_stream_tells_each_change_of_its_own_project(
    world: World, pdf_tool: Tollhouse, guild_bot: Tollhouse, http: httpx.Client, sandbox: RunningSandbox
) -> None:
    """As the snapshot that a request for it would answer. The change is made in one process and told by another."""
    with process(world, sandbox) as other, client(other, world.new_key("pdf-tool")) as elsewhere:
        with listening(elsewhere) as listener:
            assert listener.hello.data == {
                "project": "pdf-tool",
                "catalog_version": 1,
                "resumed": False,
                "heartbeat_seconds": 0.05,
            }
            assert listener.hello.retry is not None and 1000 <= listener.hello.retry <= 5000
            headers = listener.answer.headers
            assert headers["Content-Type"].startswith("text/event-stream")
            assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
            assert headers["X-Request-Id"]
            give(world, "elsewhere", project="guild-bot")
            give(world, "ada")
            told = listener.next()
            assert told.kind == "customer"
            snapshot = http.get("/v1/customers/ada/snapshot").json()
            assert {**told.data, "issued_at": None} == {**snapshot, "issued_at": None}
            listener.heartbeats = True
            beat = listener.next()
            assert (beat.kind, beat.data) == ("heartbeat", {})
        metrics = elsewhere.get("/metrics").text
        assert re.search(r'^tollhouse_stream_events_total\{kind="customer"\} [1-9]', metrics, re.MULTILINE)
        assert re.search(r"^tollhouse_stream_lag_seconds_count [1-9]", metrics, re.MULTILINE)


def test_a_stream_goes_on_from_where_it_was(world: World, http: httpx.Client) -> None:
    """What changed while it was away comes first, and each customer once; then what changes."""
    with listening(http) as listener:
        give(world, "bea")
        seen = listener.next()
    for user in ("cal", "dan"):
        give(world, user)
    give(world, "cal", feature="pages_per_day", value=3)
    with listening(http, seen.id) as again:
        assert again.hello.data["resumed"] is True
        again.heartbeats = True
        missed = [again.next(), again.next()]
        assert again.next().kind == "heartbeat", "which says that this was all"
        assert {one.data["user_id"]: one.data["version"] for one in missed} == {"cal": 2, "dan": 1}
        give(world, "eve")
        assert again.next().data["user_id"] == "eve"
    # Cut off between the two, it would be told of both again.
    assert missed[0].id == seen.id and missed[1].id not in (seen.id, missed[0].id)
    with listening(http, missed[1].id) as last:
        assert last.hello.data["resumed"] is True
        assert last.next().data["user_id"] == "eve"


@pytest.mark.parametrize("last", ["", "nonsense", "0123456789abcdef-12", "another project's", "of the future"])
def test_who_cannot_say_where_it_was_is_told_so(
    world: World, http: httpx.Client, guild_bot: Tollhouse, last: str
) -> None:
    """A position of another database, of another project, or of none: nothing is sent that could pass for all."""
    if last == "another project's":
        with client(world.service, world.new_key("guild-bot")) as guild, listening(guild) as listener:
            last = listener.hello.id
    if last == "of the future":
        with listening(http) as listener:
            last = listener.hello.id + "000"
    with listening(http, last) as listener:
        assert listener.hello.data["resumed"] is False
        give(world, "fay")
        assert listener.next().data["user_id"] == "fay"


def test_a_commit_that_was_long_under_way_is_not_missed(world: World, http: httpx.Client) -> None:
    """By who listens, nor by who comes back later: it began before, and committed after, one that was told."""
    begun, commit = threading.Event(), threading.Event()

    async def slowly(resources: Resources) -> None:
        async with resources.database.transaction() as tx:
            project = await project_by_slug(tx, "pdf-tool")
            assert project is not None
            wanted = GrantRequest("gus", "test", feature="premium_export")
            at = resources.clock.now()
            await give_grant(tx, resources.refresh, project, wanted, Cause("grace", "test"), at=at)
            begun.set()
            await asyncio.to_thread(commit.wait, 20)

    thread = threading.Thread(target=lambda: world.service.run(slowly))
    with listening(http) as listener:
        thread.start()
        assert begun.wait(10)
        give(world, "hal")
        told = listener.next()
        assert told.data["user_id"] == "hal"
        commit.set()
        assert listener.next().data["user_id"] == "gus"
    thread.join(10)
    with listening(http, told.id) as again:
        assert "gus" in {again.next().data["user_id"], again.next().data["user_id"]}


def test_a_new_catalog_is_told(world: World) -> None:
    """So that copies learn of features that they do not list."""
    document = {"project": "news", "name": "News", "redirect_origins": [], "features": {"a": {}}, "products": {}}
    world.publish(document)
    with client(world.service, world.new_key("news")) as http, listening(http) as listener:
        assert listener.hello.data["catalog_version"] == 1
        world.publish({**document, "features": {"a": {}, "b": {}}})
        told = listener.next()
        assert (told.kind, told.data) == ("catalog", {"catalog_version": 2})


def test_a_stream_ends_with_its_key(world: World, pdf_tool: Tollhouse, stranger: httpx.Client) -> None:
    """Revoked or expired, within about a second; another key's stream goes on."""
    keys = "/v1/admin/projects/pdf-tool/keys"
    expires = (world.service.clock.now() + timedelta(hours=1)).isoformat()
    revoked, expiring = (
        world.operator.post(keys, json={"name": "test", "scopes": ["check"], **more}).raise_for_status().json()
        for more in ({}, {"expires_at": expires})
    )
    with (
        client(world.service, revoked["key"]) as first,
        client(world.service, expiring["key"]) as second,
        client(world.service, world.new_key("pdf-tool")) as third,
        listening(first) as one,
        listening(second) as two,
        listening(third) as three,
    ):
        begun = time.monotonic()
        world.operator.delete(f"{keys}/{revoked['id']}").raise_for_status()
        one.end()
        assert time.monotonic() - begun < 2
        world.service.clock.set(world.service.clock.now() + timedelta(hours=1))
        two.end()
        give(world, "ida")
        assert three.next().data["user_id"] == "ida"


def test_a_stream_needs_a_key_that_may_check(
    world: World, pdf_tool: Tollhouse, stranger: httpx.Client, refused: Refused
) -> None:
    refused(stranger.get("/v1/stream"), 401, "unauthenticated")
    keys = "/v1/admin/projects/pdf-tool/keys"
    key = world.operator.post(keys, json={"name": "no checks", "scopes": ["checkout"]}).json()["key"]
    refused(stranger.get("/v1/stream", headers={"Authorization": f"Bearer {key}"}), 403, "insufficient-scope")


def test_a_head_request_is_answered_at_once(http: httpx.Client) -> None:
    answer = http.head("/v1/stream")
    assert (answer.status_code, answer.content) == (200, b"")


def test_streams_have_places_of_their_own(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, refused: Refused
) -> None:
    """One too many is refused at once; reads are answered however many streams there are; who leaves makes place."""
    key = world.new_key("pdf-tool")
    with process(world, sandbox, max_streams=1, max_requests_in_flight=4) as service, client(service, key) as http:
        with listening(http) as listener:
            refused(http.get("/v1/stream"), 503, "overloaded")
            for _ in range(5):
                assert http.get("/v1/customers/ada/snapshot").status_code == 200
            assert "tollhouse_streams_open 1.0" in http.get("/metrics").text
            give(world, "kim")
            assert listener.next().data["user_id"] == "kim"
        deadline = time.monotonic() + 5
        while (answer := http.send(http.build_request("GET", "/v1/stream"), stream=True)).status_code == 503:
            answer.close()
            assert time.monotonic() < deadline
        answer.close()


def test_who_takes_nothing_is_cut_off(world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox) -> None:
    """Once too much waits for it; those who take what comes hear of all that, and of what follows."""
    give(world, "jo")
    database = conninfo(world.service.settings.database_url.get_secret_value())
    key = world.new_key("pdf-tool")
    with (
        psycopg.connect(database, autocommit=True) as db,
        process(world, sandbox) as service,
        client(service, key) as http,
        listening(http) as listener,
        socket.socket() as stuck,
    ):
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
        stuck.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        stuck.recv(1)
        [(kept,)] = db.execute("SELECT entitlements::text FROM snapshot WHERE user_id = 'jo'").fetchall()
        third = Limits().waiting // 3
        for letter in "abcdefghijkl":
            large = json.dumps([{**one, "reasons": [{**one["reasons"][0], "source_id": letter * third}]}
                                for one in json.loads(kept)])  # fmt: skip
            db.execute("UPDATE snapshot SET entitlements = %s WHERE user_id = 'jo'", [large])
            source = listener.next().data["features"]["premium_export"]["stretches"][0]["source"]
            assert source == letter * third
        db.execute("UPDATE snapshot SET entitlements = %s WHERE user_id = 'jo'", [kept])
        assert listener.next().data["user_id"] == "jo"
        stuck.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while stuck.recv(1 << 20):
                pass
        assert 'tollhouse_stream_ends_total{why="slow"} 1.0' in http.get("/metrics").text


def test_the_end_of_the_server_ends_its_streams_at_once(
    world: World, pdf_tool: Tollhouse, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """In form, so that its reader knows the connection did not just break; and the log tells how long it lasted."""
    caplog.set_level(logging.INFO)
    with (
        process(world, sandbox) as service,
        client(service, world.new_key("pdf-tool")) as http,
        listening(http) as listener,
    ):
        begun = time.monotonic()
        service.stop()
        listener.end()
        assert time.monotonic() - begun < 1
    assert time.monotonic() - begun < 1.5
    [line] = [one.message for one in caplog.records if "/v1/stream" in one.message and "milliseconds" in one.message]
    assert "200" in line
