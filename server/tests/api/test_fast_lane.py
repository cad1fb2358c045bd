"""The short way of checks answers as the routes do, byte for byte, or not at all."""

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from tollhouse import Tollhouse
from tollhouse_server.api.fast_lane import HOT, plainly_said
from tollhouse_server.db.engine import conninfo
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.logs import configure_logs
from tollhouse_server.testing import World

from .conftest import PDF_TOOL

CHECK = b"/v1/customers/lena/entitlements/premium_export"
ALL = b"/v1/customers/lena/entitlements"
DETOUR = b"X-Detour: 1\r\nX-Detour: 2\r\n"
"""The routes do not look at it; the short way is not for who says something twice."""
Said = tuple[bytes, dict[bytes, bytes], bytes]


class Wire:
    """A connection that sends what it is given, and reads whole answers."""

    def __init__(self, world: World) -> None:
        url = httpx.URL(world.service.url)
        self.socket = socket.create_connection((url.host, url.port or 0), timeout=20)
        self.before = b""

    def ask(self, request: bytes) -> Said:
        self.socket.sendall(request)
        return self.read()

    def read(self, *, body: bool = True) -> Said:
        """The status line, the headers, and the body by its length; to HEAD there is none."""
        while b"\r\n\r\n" not in self.before:
            self._more()
        head, _, self.before = self.before.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert len(headers) == len(lines), "a header twice"
        length = int(headers.get(b"content-length", b"0")) if body else 0
        while len(self.before) < length:
            self._more()
        said, self.before = self.before[:length], self.before[length:]
        return status, headers, said

    def is_closed(self) -> bool:
        return self.before == b"" and self.socket.recv(1) == b""

    def _more(self) -> None:
        piece = self.socket.recv(65_536)
        if not piece:
            raise ConnectionError(f"closed after {self.before!r}")
        self.before += piece

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def key(world: World, pdf_tool: Tollhouse) -> bytes:
    """A key of the PDF tool, whose catalog sells something to Lena."""
    grant = {"project": "pdf-tool", "user_id": "lena", "feature": "premium_export", "reason": "test"}
    world.operator.post("/v1/admin/grants", json=grant).raise_for_status()
    return world.new_key("pdf-tool").encode()


@pytest.fixture
def wire(world: World) -> Iterator[Wire]:
    with closing(Wire(world)) as opened:
        yield opened


def request(path: bytes, key: bytes, more: bytes = b"", method: bytes = b"GET") -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n" % (method, path, key, more)


def comparable(answer: Said) -> Any:
    """An answer without what differs between any two: ids, the rate that is left, instants."""
    status, headers, body = answer
    left = {name: value for name, value in headers.items() if name not in (b"x-request-id", b"date", b"ratelimit")}
    ids = {headers[b"x-request-id"]: b"ID"}
    body = re.sub(rb'"checked_at":"[^"]*"', b"", body)
    for one, name in ids.items():
        body = body.replace(one, name)
    left.pop(b"content-length", None)
    return status.split()[1], left, body, set(headers)


def taken(world: World, path: bytes, key: bytes, headers: bytes = b"") -> bytes | None:
    """What the short way itself says: None where it leaves the request to the routes."""
    sent = [tuple(line.split(b": ", 1)) for line in headers.split(b"\r\n") if line]
    said = plainly_said([(b"authorization", b"Bearer " + key), *((name.lower(), value) for name, value in sent)])  # type: ignore[misc]
    answer = said and world.service._server.lifespan.state["fast_lane"].answer(path, said, [])
    return answer if isinstance(answer, bytes) else None


HEADERS = [
    b"",
    b"Accept: */*\r\n",
    b"Accept: application/json\r\n",
    b"Accept: text/html\r\n",
    b"Accept: application/json, text/plain\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"X-Request-Id: mine-1\r\n",
    b"X-Request-Id: not well formed\r\n",
    b"X-Request-Id: \xff\r\n",
    b'If-None-Match: "other"\r\n',
    b"If-None-Match: *\r\n",
    b"If-None-Match: \xe9\r\n",
    b"X-Forwarded-For: 192.0.2.1\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Type: application/json\r\n",
    b"Origin: https://app.test\r\n",
    b"Tollhouse-At-Least: 0\r\n",
    b"X-Long: %s\r\n" % (b"x" * 8 * 1024),
]
PATHS = [
    CHECK,
    ALL,
    b"/v1/customers/lena/entitlements/pages_per_day",
    b"/v1/customers/nobody/entitlements/premium_export",
    b"/v1/customers/a%2Fb/entitlements/premium_export",
    b"/v1/customers/%F0%9F%A6%8A/entitlements",
    b"/v1/customers/%FF/entitlements",
    b"/v1/customers/%00/entitlements",
    b"/v1/customers/100%/entitlements",
    b"/v1/customers/a+b/entitlements",
    b"/v1/customers/%s/entitlements" % (b"x" * 255),
    b"/v1/customers/%s/entitlements" % (b"x" * 256),
    b"/v1/customers/lena/entitlements/",
    b"/v1/customers//entitlements",
    b"/v1/customers/lena/entitlements/premium%5Fexport",
    b"/v1/customers/lena/entitlements/unknown",
    b"/v1/customers/lena/entitlements/premium_export?x=1",
    b"/v1/customers/lena/entitlements#x",
    b"/v1/customers/lena/entitlement",
    b"/v1/customers/lena/entitlements/premium_export/more",
    b"/v1//customers/lena/entitlements",
    b"http://x/v1/customers/lena/entitlements",
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
def test_every_request_is_answered_as_by_its_route(world: World, key: bytes, method: bytes) -> None:
    """Whatever is asked and said: first when nothing is known of the customer, then when it is."""
    different = []
    for path, headers in [*((path, b"") for path in PATHS), *((path, one) for path in (CHECK, ALL) for one in HEADERS)]:
        answers = []
        for more in (b"", b"", DETOUR):
            with closing(Wire(world)) as wire:
                wire.socket.sendall(request(path, key, headers + more, method))
                answers.append(comparable(wire.read(body=method != b"HEAD")))
        if not answers[0] == answers[1] == answers[2]:
            different.append((path, headers, answers))
    assert different == []


@pytest.mark.parametrize("path", [CHECK, ALL])
def test_what_is_plain_goes_the_short_way(world: World, key: bytes, wire: Wire, path: bytes) -> None:
    """And what has to be refused, or asked of PostgreSQL, does not."""
    wire.ask(request(path, key))
    said = taken(world, path, key)
    assert said is not None and said.startswith(b"HTTP/1.1 200 OK\r\n")
    for headers in HEADERS[:3] + HEADERS[5:6] + HEADERS[7:8] + HEADERS[10:14] + HEADERS[15:17]:
        assert taken(world, path, key, headers) is not None, headers
    for headers in HEADERS[3:5] + HEADERS[6:7] + HEADERS[8:10] + HEADERS[14:15] + HEADERS[17:]:
        assert taken(world, path, key, headers) is None, headers
    assert taken(world, path, key[:-8] + b"00000000") is None
    assert taken(world, b"/v1/customers/not-asked-before/entitlements", key) is None


def test_the_answer_is_the_routes_own(world: World, key: bytes, wire: Wire) -> None:
    """Every header and the body, also for who has the answer already."""
    for path in (CHECK, ALL):
        etag = wire.ask(request(path, key))[1][b"etag"]
        for more in (b"", b"If-None-Match: %s\r\n" % etag, b'If-None-Match: "other", %s\r\n' % etag):
            short, long = wire.ask(request(path, key, more)), wire.ask(request(path, key, more + DETOUR))
            assert comparable(short) == comparable(long)
            assert short[0] == (b"HTTP/1.1 304 Not Modified" if more else b"HTTP/1.1 200 OK")
            assert short[2] == long[2], "the clock stands still here"
            assert re.fullmatch(rb"req_[0-9a-f]{24}", short[1][b"x-request-id"])
    assert wire.ask(request(CHECK, key, b"X-Request-Id: mine-1\r\n"))[1][b"x-request-id"] == b"mine-1"


NAMES = st.sampled_from([b"Accept", b"If-None-Match", b"X-Request-Id", b"Connection", b"User-Agent", b"Cookie", b"TE"])
VALUES = st.sampled_from([b"", b"*/*", b"keep-alive", b"a", b'"a"', b"json", b"application/json;q=0.1", b"close, x"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=4), path=st.sampled_from(PATHS[:6]))
def test_any_headers_are_answered_as_by_the_route(
    world: World, key: bytes, headers: list[tuple[bytes, bytes]], path: bytes
) -> None:
    """In any number and combination."""
    more = b"".join(b"%s: %s\r\n" % one for one in headers)
    answers = []
    for detour in (b"", DETOUR):
        with closing(Wire(world)) as wire:
            answers.append(comparable(wire.ask(request(path, key, more + detour))))
    assert answers[0] == answers[1]


def test_time_alone_ends_an_answer(world: World, key: bytes, wire: Wire) -> None:
    """At the instant the stored answer is made anew, within the life of a cell; and also when a clock goes back."""
    begins = world.service.clock.now()
    grant = {"project": "pdf-tool", "user_id": "tim", "feature": "pages_per_day", "value": 5, "reason": "test"}
    ends = begins + timedelta(hours=1)
    world.operator.post("/v1/admin/grants", json={**grant, "ends_at": ends.isoformat()}).raise_for_status()
    path = b"/v1/customers/tim/entitlements/pages_per_day"
    wire.ask(request(path, key))
    for at, allowed in ((ends - timedelta(microseconds=1), True), (ends, False), (begins, True)):
        world.service.clock.set(at)
        _, _, body = wire.ask(request(path, key))
        assert (b'"allowed":true' in body) is allowed
    world.service.clock.set(begins)


def test_a_key_that_ends_or_is_revoked_is_refused(world: World, key: bytes, wire: Wire) -> None:
    """At its instant, though it was read before; and as soon as it is revoked."""
    begins = world.service.clock.now()
    asked = {"name": "short", "expires_at": (begins + timedelta(minutes=1)).isoformat()}
    issued = world.operator.post("/v1/admin/projects/pdf-tool/keys", json=asked).raise_for_status().json()
    short = issued["key"].encode()
    assert wire.ask(request(CHECK, short))[0] == wire.ask(request(CHECK, short))[0] == b"HTTP/1.1 200 OK"
    world.service.clock.set(begins + timedelta(minutes=1))
    assert wire.ask(request(CHECK, short))[0].split()[1] == b"401"
    world.service.clock.set(begins)
    assert wire.ask(request(CHECK, short))[0] == b"HTTP/1.1 200 OK"
    world.operator.delete(f"/v1/admin/projects/pdf-tool/keys/{issued['id']}").raise_for_status()
    assert wire.ask(request(CHECK, short))[0].split()[1] == b"401"


def test_a_key_without_the_scope_is_refused(world: World, pdf_tool: Tollhouse, wire: Wire) -> None:
    """However often it asks."""
    asked = {"name": "shop", "scopes": ["checkout"]}
    issued = world.operator.post("/v1/admin/projects/pdf-tool/keys", json=asked).raise_for_status().json()
    for _ in range(3):
        assert wire.ask(request(CHECK, issued["key"].encode()))[0].split()[1] == b"403"


def test_a_new_catalog_is_told_by_at_once(world: World, wire: Wire) -> None:
    """A feature that it adds is known to the next check, and one that it takes away no longer."""
    slug = "changing"
    document = {**PDF_TOOL, "project": slug, "products": {}}
    world.publish(document)
    key = world.new_key(slug).encode()
    path = b"/v1/customers/lena/entitlements/more"
    assert wire.ask(request(path, key))[0].split()[1] == b"404"
    world.publish({**document, "features": {**document["features"], "more": {"name": "More"}}})
    assert wire.ask(request(path, key))[0].split()[1] == b"200"
    assert taken(world, path, key) is not None


def test_a_connection_is_kept_and_its_requests_are_answered_in_order(world: World, key: bytes, wire: Wire) -> None:
    """Sent one after another without waiting: short ways, long ways, and what is refused among them."""
    slow = request(b"/v1/customers/lena", key)
    fast, other, wrong = request(CHECK, key), request(ALL, key), request(CHECK, b"no-key")
    asked = [fast, other, slow, fast, wrong, other, fast, slow, slow, fast]
    expected = [wire.ask(one)[2] for one in asked]
    wire.socket.sendall(b"".join(asked))
    told = [wire.read()[2] for _ in asked]
    ids = re.compile(rb"req_[0-9a-f]{24}")
    assert [ids.sub(b"", one) for one in told] == [ids.sub(b"", one) for one in expected]


def test_a_request_in_pieces_is_answered_once(world: World, key: bytes, wire: Wire) -> None:
    """The same bytes, however they arrive."""
    asked = request(CHECK, key)
    whole = comparable(wire.ask(asked))
    for at in (1, 10, len(asked) - 3, len(asked) - 1):
        wire.socket.sendall(asked[:at])
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert comparable(wire.ask(asked[at:])) == whole
    assert comparable(wire.ask(asked)) == whole


def test_who_wants_the_connection_closed_is_answered_first(world: World, key: bytes, wire: Wire) -> None:
    """As is who speaks HTTP/1.0."""
    wire.ask(request(CHECK, key))
    status, headers, _ = wire.ask(request(CHECK, key, b"Connection: close\r\n"))
    assert (status, headers[b"connection"]) == (b"HTTP/1.1 200 OK", b"close") and wire.is_closed()
    with closing(Wire(world)) as old:
        assert old.ask(request(CHECK, key).replace(b"HTTP/1.1", b"HTTP/1.0"))[0] == b"HTTP/1.1 200 OK"
        assert old.is_closed()


def test_requests_are_counted_as_the_routes_count_them(world: World, key: bytes, wire: Wire) -> None:
    """By route and status, with their time; whichever way they were answered."""
    etag = wire.ask(request(CHECK, key))[1][b"etag"]

    def counted(status: int) -> float:
        text = httpx.get(f"{world.service.url}/metrics", verify=False).text
        route = HOT[b"entitlements/"].path
        line = f'tollhouse_requests_total{{method="GET",route="{route}",status="{status}"}} '
        return sum(float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line))

    before = counted(200), counted(304)
    for _ in range(3):
        wire.ask(request(CHECK, key))
        wire.ask(request(CHECK, key, DETOUR))
        wire.ask(request(CHECK, key, b"If-None-Match: %s\r\n" % etag))
    assert (counted(200), counted(304)) == (before[0] + 6, before[1] + 3)


@pytest.mark.parametrize(
    ("breaks", "mends", "status"),
    [
        ("RENAME COLUMN entitlements TO elsewhere", "RENAME COLUMN elsewhere TO entitlements", b"500"),
        ("ADD CONSTRAINT broken CHECK (true)", "DROP CONSTRAINT broken", b"200"),
    ],
)
def test_what_fails_while_it_is_read_is_told_as_by_the_route(
    world: World, key: bytes, wire: Wire, own_logs: logging.Logger, breaks: str, mends: str, status: bytes
) -> None:
    """A bug of ours, here a column that is not as the code believes; once that is mended nothing of it is left."""
    configure_logs(level="INFO", fmt="json", role="server")
    where = conninfo(world.service.settings.database_url.get_secret_value())
    path = b"/v1/customers/failing-%s/entitlements" % status
    with psycopg.connect(where, autocommit=True) as db:
        wire.ask(request(CHECK, key))
        db.execute(f"ALTER TABLE snapshot {breaks}")  # type: ignore[call-overload]
        try:
            lane = world.service._server.lifespan.state["fast_lane"]
            said = plainly_said([(b"authorization", b"Bearer " + key)])
            assert callable(lane.answer(path, said, [])), "it is read on the short way"
            answers = [comparable(wire.ask(request(path, key, more))) for more in (b"", DETOUR)]
        finally:
            db.execute(f"ALTER TABLE snapshot {mends}")  # type: ignore[call-overload]
    assert answers[0] == answers[1] and answers[0][0] == status
    assert wire.ask(request(path, key))[0] == b"HTTP/1.1 200 OK"


def test_a_database_that_is_away_is_told_as_by_the_route(
    world: World, key: bytes, wire: Wire, postgres_server: PostgresServer
) -> None:
    """503, to be tried again; who asks when it is back is answered."""
    name = make_url(world.service.settings.database_url.get_secret_value()).database
    path = b"/v1/customers/away/entitlements"
    with psycopg.connect(conninfo(postgres_server.url("postgres")), autocommit=True) as db:
        wire.ask(request(CHECK, key))
        db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # type: ignore[call-overload]
        try:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            answers = [comparable(wire.ask(request(path, key, more))) for more in (b"", DETOUR)]
        finally:
            db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')  # type: ignore[call-overload]
    assert answers[0] == answers[1] and answers[0][:2] == (b"503", {**answers[0][1], b"retry-after": b"1"})
    assert wire.ask(request(path, key))[0] == b"HTTP/1.1 200 OK"


def test_the_rate_is_one_for_both_ways(world: World, key: bytes, wire: Wire) -> None:
    """What is left goes down by one with each request."""

    def left(more: bytes = b"") -> int:
        found = re.search(rb";r=(\d+);", wire.ask(request(CHECK, key, more))[1][b"ratelimit"])
        assert found
        return int(found[1])

    first = left()
    assert first - left() <= 1 and first - left(DETOUR) <= 2
    policy = wire.ask(request(CHECK, key))[1][b"ratelimit-policy"]
    assert policy == wire.ask(request(CHECK, key, DETOUR))[1][b"ratelimit-policy"]
