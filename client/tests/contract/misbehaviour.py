"""A service that does what it should not: each case is a function of a Stage, named for what then holds."""

import gzip
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tollhouse import InsufficientScope, ServerError, Unauthenticated, Unreachable, allow

from .service import Exchange, Play, refuse, tell_snapshot
from .stage import Stage

Case = Callable[[Stage], None]
CASES: list[Any] = []


def case(function: Case) -> Case:
    CASES.append(pytest.param(function, id=function.__name__))
    return function


def each(**arguments: Any) -> Callable[[Callable[..., None]], None]:
    """One case for each of these, given to the function as its second argument."""

    def add(function: Callable[..., None]) -> None:
        for name, argument in arguments.items():

            def played(on: Stage, argument: Any = argument) -> None:
                function(on, argument)

            CASES.append(pytest.param(played, id=f"{function.__name__}[{name}]"))

    return add


def raw(data: bytes) -> Play:
    """Send this, whatever it is, and hang up."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(data)
        raise ConnectionAbortedError

    return play


def body(data: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Play:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(data, status, kind, **headers)

    return play


def saying(**otherwise: Any) -> Play:
    """A snapshot that says some things otherwise."""

    async def play(exchange: Exchange) -> None:
        user_id = exchange.path.split("/")[-2]
        await exchange.answer(json.dumps(exchange.service.snapshot(user_id, **otherwise)).encode())

    return play


async def silence(exchange: Exchange) -> None:
    await exchange.reader.read()
    raise ConnectionAbortedError


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await exchange.send(b" ")
        await wait(0.01)


async def wait(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


def late(seconds: float) -> Play:
    """The answer, but not at once."""

    async def play(exchange: Exchange) -> None:
        await wait(seconds)
        await tell_snapshot(exchange)

    return play


def stream_of(*parts: bytes, kind: str = "text/event-stream") -> Play:
    """A stream that says this and ends."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    return raw(head + b"".join(parts))


# --- what is asked --------------------------------------------------------------------------------------------------

BROKEN: dict[str, Play] = {
    "silence": silence,
    "a drip": drip,
    "cut before the answer": raw(b""),
    "cut in the head": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "cut in the body": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"),
    "not http": raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "500": refuse(500, "internal"),
    "502": body(b"<h1>Bad gateway</h1>", 502, "text/html"),
    "503": refuse(503, "store-unavailable"),
    "504": body(b"", 504),
    "429": refuse(429, "rate-limited", Retry_After="7"),
    "401": refuse(401, "unauthenticated"),
    "403": refuse(403, "insufficient-scope"),
    "a redirect": body(b"", 302, Location="/elsewhere"),
    "a page": body(b"<html>Welcome</html>", 200, "text/html"),
    "nothing": body(b""),
    "half an answer": body(b'{"project": "pdf-tool", "user_id": "ada"'),
    "a list": body(b"[]"),
    "deep nesting": body(b"[" * 100_000),
    "not utf-8": body(b"\xff\xfe"),
    "broken gzip": body(b"not gzip", Content_Encoding="gzip"),
    "a gzip bomb": body(gzip.compress(b" " * 40_000_000), Content_Encoding="gzip"),
    "a field missing": saying(features={"premium_export": {"kind": "switch"}}),
    "a version that is text": saying(version="7"),
    "a time without a zone": saying(issued_at="2026-11-22T10:00:00"),
    "another user": saying(user_id="bob"),
}


@each(**BROKEN, not_modified_since_never=body(b"", 304))
def a_first_question_that_fails_opens_nothing_and_raises_nothing(on: Stage, play: Play) -> None:
    on.allow("ada", "premium_export")
    on.service.always("snapshot", play)
    client = on.open(check_timeout=0.3 if play in (silence, drip) else 5, stream=False)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.freshness) == (False, "fallback")


@each(**BROKEN)
def a_later_question_that_fails_leaves_what_is_known(on: Stage, play: Play) -> None:
    on.allow("ada", "premium_export")
    client = on.open(check_timeout=0.3 if play in (silence, drip) else 5, stream=False)
    on.eventually(lambda: client.check("ada", "premium_export"))
    on.service.always("snapshot", play)
    on.pass_time(100)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.version, check.freshness) == (True, 1, "stale")
    on.service.always("snapshot", None)
    on.pass_time(301)
    on.eventually(lambda: client.check("ada", "premium_export").freshness == "live")


@case
def the_key_was_refused_and_is_good_again(on: Stage) -> None:
    on.allow("ada", "premium_export")
    on.service.next("snapshot", refuse(401, "unauthenticated"))
    client = on.open(stream=False)
    assert client.check("ada", "premium_export").reason == "unauthenticated"
    on.pass_time(2)
    assert client.check("ada", "premium_export")


@case
def a_refused_key_lets_in_whom_the_policy_lets_in(on: Stage) -> None:
    on.service.always("snapshot", refuse(401, "unauthenticated"))
    check = on.open(stream=False, outage=allow).check("ada", "premium_export")
    assert (check.allowed, check.reason) == (True, "outage-allow")


@case
def one_user_who_cannot_be_read_stops_nobody(on: Stage) -> None:
    on.allow("bob", "premium_export")
    on.service.next("snapshot", refuse(500, "internal"), refuse(422, "validation-failed"))
    client = on.open(stream=False)
    assert client.check("ada", "premium_export").freshness == "fallback"
    assert client.check("carol", "premium_export").freshness == "fallback"
    assert client.check("bob", "premium_export").freshness == "live"


@case
def a_service_that_is_away_is_not_asked_at_each_check(on: Stage) -> None:
    on.service.always("snapshot", refuse(503, "store-unavailable"))
    client = on.open(stream=False)
    for _ in range(50):
        client.check("ada", "premium_export")
        client.check("bob", "premium_export")
    assert len(on.service.asked("snapshot")) == 1


@case
def retry_after_is_kept_to(on: Stage) -> None:
    on.service.always("snapshot", refuse(429, "rate-limited", Retry_After="90"))
    client = on.open(stream=False)
    for _ in range(8):
        client.check("ada", "premium_export")
        on.pass_time(10)
    assert len(on.service.asked("snapshot")) == 1
    on.pass_time(11)
    client.check("ada", "premium_export")
    assert len(on.service.asked("snapshot")) == 2


@case
def a_first_check_waits_no_longer_than_check_timeout(on: Stage) -> None:
    on.service.always("snapshot", silence)
    client = on.open(check_timeout=0.2, check_wait=0.05)
    began = time.monotonic()
    client.check("ada", "premium_export")
    assert 0.15 < time.monotonic() - began < 2


@case
def a_later_check_waits_no_longer_than_check_wait(on: Stage) -> None:
    client = on.open(check_timeout=5, check_wait=0.05)
    assert not client.check("ada", "premium_export")
    on.service.always("snapshot", silence)
    began = time.monotonic()
    for user_id in ("bob", "carol", "dave"):
        client.check(user_id, "premium_export")
    assert time.monotonic() - began < 3 * 0.05 + 0.3


@case
def nobody_waits_twice_for_one_question(on: Stage) -> None:
    client = on.open(check_timeout=5, check_wait=0.05)
    client.check("ada", "premium_export")
    on.service.always("snapshot", silence)
    client.check("bob", "premium_export")
    began = time.monotonic()
    for _ in range(20):
        client.check("bob", "premium_export")
    assert time.monotonic() - began < 0.4


@case
def an_answer_that_comes_late_is_known_to_the_next_check(on: Stage) -> None:
    on.allow("bob", "premium_export")
    client = on.open(check_timeout=5, check_wait=0.02)
    client.check("ada", "premium_export")
    on.service.next("snapshot", late(0.2))
    assert client.check("bob", "premium_export").freshness == "fallback"
    on.eventually(lambda: client.check("bob", "premium_export"))
    assert len([one for one in on.service.asked("snapshot") if "/bob/" in one.path]) <= 2


@case
def many_who_ask_at_once_are_one_question(on: Stage) -> None:
    on.allow("ada", "premium_export")
    on.service.next("snapshot", late(0.1))
    client = on.open()
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.check("ada", "premium_export").allowed))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, len(on.service.asked("snapshot"))) == ([True] * 12, 1)


@case
def an_older_version_is_not_believed(on: Stage) -> None:
    on.allow("ada", "premium_export")
    on.deny("ada", "premium_export")
    client = on.open(stream=False)
    assert client.check("ada", "premium_export").version == 2
    open_again = {"premium_export": {"kind": "switch", "stretches": [_stretch()]}}
    on.service.always("snapshot", saying(version=1, features=open_again))
    on.pass_time(40)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.version) == (False, 2)


@case
def of_one_version_the_later_answer_counts(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.open(stream=False)
    assert client.check("ada", "pages_per_day").value == 0
    more = {"pages_per_day": {"kind": "limit", "stretches": [_stretch(value=9)]}}
    on.service.always("snapshot", saying(features=more))
    on.pass_time(40)
    assert client.check("ada", "pages_per_day").value == 9


@case
def another_projects_answer_is_not_believed(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.open(stream=False)
    assert client.check("ada", "premium_export")
    on.service.project = "chess-bot"
    on.allow("bob", "premium_export")
    assert not client.check("bob", "premium_export")


@case
def what_a_newer_service_adds_is_ignored(on: Stage) -> None:
    on.service.always("snapshot", saying(loyalty={"points": 3}))
    on.allow("ada", "premium_export")
    assert on.open(stream=False).check("ada", "premium_export")


@case
def an_older_service_without_snapshots_is_asked_for_entitlements(on: Stage) -> None:
    on.service.always("snapshot", refuse(404, "not-found"))

    async def entitlements(exchange: Exchange) -> None:
        from .service import tell_customer

        await tell_customer(exchange)

    on.service.always("entitlements", entitlements)
    on.service.streams = False
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export").freshness == "live"
    assert not client.check("ada", "pages_per_day")


@case
def the_services_clock_counts_not_this_machines(on: Stage) -> None:
    on.service.ahead = timedelta(hours=3)
    on.allow("ada", "premium_export", until=on.now() + timedelta(minutes=10))
    client = on.open()
    assert client.check("ada", "premium_export")
    on.pass_time(601)
    assert not client.check("ada", "premium_export")


@case
def a_copy_is_asked_about_again_when_it_is_half_a_minute_old(on: Stage) -> None:
    on.service.streams = False
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    for _ in range(5):
        assert client.check("ada", "premium_export").freshness == "cached"
    on.pass_time(23)
    client.check("ada", "premium_export")
    assert len(on.service.asked("snapshot")) == 1
    on.pass_time(14)
    assert client.check("ada", "premium_export").freshness == "cached"
    on.eventually(lambda: len(on.service.asked("snapshot")) == 2)
    assert "if-none-match" in on.service.asked("snapshot")[1].headers


@case
def what_is_not_modified_is_confirmed(on: Stage) -> None:
    on.service.streams = False
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    on.pass_time(100)
    assert client.check("ada", "premium_export").freshness == "live"
    assert client.check("ada", "premium_export").freshness == "cached"
    assert "if-none-match" in on.service.asked("snapshot")[1].headers


@case
def a_denial_without_a_stream_is_asked_about_again(on: Stage) -> None:
    on.service.streams = False
    on.allow("ada", "pages_per_day", 3)
    client = on.open()
    assert not client.check("ada", "premium_export")
    on.allow("ada", "premium_export")
    on.pass_time(1.1)
    assert client.check("ada", "premium_export")


@case
def the_key_is_sent_to_its_service_alone(on: Stage) -> None:
    on.service.always("snapshot", body(b"", 307, Location=f"{on.service.url}/v1/customers/ada/elsewhere"))
    on.open(stream=False).check("ada", "premium_export")
    assert on.service.asked("elsewhere") == []


# --- the stream -----------------------------------------------------------------------------------------------------


def _stretch(value: object = True) -> dict[str, object]:
    since = "2026-01-01T00:00:00Z"
    return {"value": value, "from": since, "until": None, "reason": "granted", "source": "gr_1"}


@case
def what_the_stream_keeps_current_is_live_and_not_asked_about(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    first = client.check("ada", "premium_export")
    assert first.freshness == "live"
    on.pass_time(40)
    assert client.check("ada", "premium_export") is first
    assert len(on.service.asked("snapshot")) == 1


@case
def a_change_arrives_by_itself(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.deny("ada", "premium_export")
    on.eventually(lambda: not client.check("ada", "premium_export"))
    on.allow("ada", "premium_export")
    on.eventually(lambda: client.check("ada", "premium_export"))
    assert len(on.service.asked("snapshot")) == 1


@case
def who_changed_before_being_asked_about_is_known(on: Stage) -> None:
    client = on.following()
    on.allow("ada", "premium_export")
    on.eventually(lambda: client.check("ada", "premium_export").allowed)
    assert len(on.service.asked("snapshot")) <= 1


@case
def a_stranger_is_asked_about_again_although_the_stream_is_well(on: Stage) -> None:
    client = on.following()
    assert not client.check("ada", "premium_export")
    on.service._streams.clear()  # the stream tells nothing any more, and lives
    on.allow("ada", "premium_export")
    on.pass_time(1.1)
    assert client.check("ada", "premium_export")


@case
def an_older_version_on_the_stream_is_ignored(on: Stage) -> None:
    on.allow("ada", "premium_export")
    on.deny("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export").version == 2
    old = on.service.snapshot(
        "ada", version=1, features={"premium_export": {"kind": "switch", "stretches": [_stretch()]}}
    )
    on.service.tell(on.service.event("customer", old, "p1"))
    on.allow("bob", "premium_export")
    on.eventually(lambda: on.copy(client).stream.position == "p3")
    assert not client.check("ada", "premium_export")


@case
def what_is_told_twice_is_known_once(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    for _ in range(3):
        on.service.tell(on.service.event("customer", on.service.snapshot("ada"), "p1"))
    on.allow("bob", "premium_export")
    on.eventually(lambda: on.copy(client).stream.position == "p2")
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.version, check.freshness) == (True, 1, "live")


@each(
    no_json=b"event: customer\nid: p9\ndata: {oh\n\n",
    a_list=b"event: customer\nid: p9\ndata: []\n\n",
    a_field_missing=b'event: customer\nid: p9\ndata: {"user_id": "ada"}\n\n',
    no_utf8=b"event: customer\ndata: \xff\xfe\n\n",
    too_long=b"event: customer\ndata: " + b"x" * 1_100_000,
    deep=b"event: customer\ndata: " + b"[" * 100_000 + b"\n\n",
    no_catalog=b"event: catalog\ndata: {}\n\n",
)
def what_cannot_be_read_ends_the_stream_and_it_comes_back(on: Stage, event: bytes) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.service.tell(event)
    on.eventually(lambda: len(on.service.asked("stream")) == 2 and on.copy(client).stream.connected)
    assert "last-event-id" not in on.service.asked("stream")[1].headers
    on.deny("ada", "premium_export")
    on.pass_time(2)
    on.eventually(lambda: not client.check("ada", "premium_export"))


@each(
    unknown=b'event: party\ndata: {"not": "ours"}\n\n',
    unnamed=b"data: hello\n\n",
    comments=b": nothing\n:\n\n",
    empty=b"event: customer\n\n",
    fields=b"colour: red\nid: p0\0\nretry: soon\n\n",
)
def what_it_does_not_know_is_ignored(on: Stage, event: bytes) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.service.tell(event)
    on.deny("ada", "premium_export")
    on.eventually(lambda: not client.check("ada", "premium_export"))
    assert len(on.service.asked("stream")) == 1


@case
def an_event_may_come_in_pieces(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.service._users["ada"]["version"] = 9
    told = on.service.event("customer", on.service.snapshot("ada"), "p9").replace(b"\n", b"\r\n")
    for i in range(0, len(told), 50):
        on.service.tell(told[i : i + 50])
    on.eventually(lambda: client.check("ada", "premium_export").version == 9)


@case
def a_cut_stream_goes_on_where_it_was(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.eventually(lambda: on.copy(client).stream.position)
    on.service.next("stream", refuse(503, "store-unavailable"))
    on.service.cut_streams()
    on.deny("ada", "premium_export")
    on.eventually(lambda: not client.check("ada", "premium_export"))
    on.eventually(lambda: client.check("ada", "premium_export").freshness == "live")
    assert on.service.asked("stream")[-1].headers["last-event-id"] == "p1"


@case
def what_did_not_change_meanwhile_is_live_without_a_question(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.eventually(lambda: on.copy(client).stream.position)
    on.service.cut_streams()
    on.eventually(lambda: len(on.service.asked("stream")) == 2)
    on.eventually(lambda: client.check("ada", "premium_export").freshness == "live")
    assert len(on.service.asked("snapshot")) == 1


@case
def a_stream_that_cannot_go_on_makes_copies_be_asked_about_on_use(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.service.hello = {"resumed": False}
    on.service.cut_streams()
    on.eventually(lambda: len(on.service.asked("stream")) == 2 and on.copy(client).stream.connected)
    on.pass_time(2)
    assert client.check("ada", "premium_export").freshness == "cached"
    on.eventually(lambda: client.check("ada", "premium_export").freshness == "live")
    assert len(on.service.asked("snapshot")) == 2


@case
def a_silent_stream_is_no_stream(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.pass_time(46)
    assert client.check("ada", "premium_export").freshness == "cached"
    on.pass_time(46)
    assert client.check("ada", "premium_export").freshness == "live"
    assert len(on.service.asked("snapshot")) >= 2


@case
def a_stream_without_heartbeats_is_given_up(on: Stage) -> None:
    on.service.heartbeat, on.service.beats = 0.2, False
    on.allow("ada", "premium_export")
    client = on.open()
    client.start(5)
    on.eventually(lambda: len(on.service.asked("stream")) == 2)


@case
def another_projects_stream_is_not_followed(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    foreign = on.service.snapshot("ada", project="chess-bot", version=9)
    on.service.tell(on.service.event("customer", foreign, "p9"))
    on.eventually(lambda: len(on.service.asked("stream")) == 2)
    assert client.check("ada", "premium_export").version == 1


@case
def a_new_catalog_makes_copies_be_asked_about_on_use(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    on.service.features["batch"] = "switch"
    on.service.new_catalog()
    on.eventually(lambda: on.copy(client).stream.catalog_version == 2)
    on.pass_time(2)
    assert client.check("ada", "premium_export").freshness == "cached"
    on.eventually(lambda: client.check("ada", "batch").reason == "no-source")


@each(
    no_route=refuse(404, "not-found"),
    a_bad_key=refuse(401, "unauthenticated"),
    no_scope=refuse(403, "insufficient-scope"),
    a_redirect=body(b"", 302, Location="/elsewhere"),
    a_page=stream_of(b"<html>", kind="text/html"),
    a_crash=refuse(500, "internal"),
    an_end=stream_of(),
    silence=silence,
    nonsense=raw(b"\x00\x01"),
    no_hello=stream_of(b"event: heartbeat\ndata: {}\n\n"),
)
def without_a_stream_changes_are_polled_for(on: Stage, play: Play) -> None:
    on.service.retry = None
    on.service.always("stream", play)
    on.allow("ada", "premium_export")
    client = on.open()
    assert client.check("ada", "premium_export")
    on.deny("ada", "premium_export")
    on.pass_time(40)
    on.eventually(lambda: not client.check("ada", "premium_export"))


@case
def a_stream_that_ends_again_and_again_is_not_hurried_after(on: Stage) -> None:
    on.service.retry = None
    on.service.always(
        "stream",
        stream_of(
            on.service.event(
                "hello", {"project": "pdf-tool", "catalog_version": 1, "resumed": False, "heartbeat_seconds": 15}
            )
        ),
    )
    client = on.open()
    for _ in range(20):
        client.check("ada", "premium_export")
        time.sleep(0.02)
    assert len(on.service.asked("stream")) <= 2


@case
def restarts_are_survived(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    for _ in range(2):
        on.away()
        assert client.check("ada", "premium_export")
        on.back()
    on.deny("ada", "premium_export")
    on.eventually(lambda: not client.check("ada", "premium_export"))


# --- beginning and ending ---------------------------------------------------------------------------------------------


@case
def start_says_that_the_key_is_wrong(on: Stage) -> None:
    for code, status, error in (
        ("unauthenticated", 401, Unauthenticated),
        ("insufficient-scope", 403, InsufficientScope),
    ):
        on.service.always("catalog", refuse(status, code))
        with pytest.raises(error):
            on.open().start()


@case
def start_says_that_nobody_answers(on: Stage) -> None:
    client = on.open()
    on.away()
    with pytest.raises(Unreachable):
        client.start(0.3)


@case
def start_says_that_it_is_somebody_else(on: Stage) -> None:
    on.service.always("catalog", body(b"<html>"))
    with pytest.raises(ServerError):
        on.open().start()


@case
def start_does_not_wait_for_a_stream_that_does_not_come(on: Stage) -> None:
    on.service.always("stream", silence)
    began = time.monotonic()
    on.open().start(0.2)
    assert time.monotonic() - began < 1


@case
def who_closed_asks_nobody(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.following()
    assert client.check("ada", "premium_export")
    client.close()
    client.close()
    on.eventually(lambda: on.service.followers == 0)
    on.pass_time(100)
    check = client.check("ada", "premium_export")
    assert (check.allowed, check.freshness) == (True, "stale")
    assert not client.check("bob", "premium_export")
    assert len(on.service.asked("snapshot")) == 1


@case
def a_short_script_starts_nothing(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.open(stream=False)
    before = threading.active_count()
    assert client.check("ada", "premium_export").freshness == "live"
    assert client.check("ada", "premium_export").freshness == "cached"
    assert (threading.active_count(), on.service.asked("stream")) == (before, [])
    assert len(on.service.asked("snapshot")) == 1


# --- over a restart -------------------------------------------------------------------------------------------------


@case
def a_restart_in_an_outage_knows_what_was_known(on: Stage) -> None:
    on.allow("ada", "premium_export")
    first = on.open(snapshot_file=on.file())
    assert first.check("ada", "premium_export")
    first.close()
    assert on.file().stat().st_mode & 0o777 == 0o600
    on.away()
    again = on.open(snapshot_file=on.file())
    check = again.check("ada", "premium_export")
    assert (check.allowed, check.version, check.freshness) == (True, 1, "cached")
    assert again.check("bob", "premium_export").reason == "outage-deny"


@case
def a_restart_goes_on_with_the_stream(on: Stage) -> None:
    on.allow("ada", "premium_export")
    first = on.following(snapshot_file=on.file())
    assert first.check("ada", "premium_export")
    on.eventually(lambda: on.copy(first).stream.position)
    first.close()
    again = on.open(snapshot_file=on.file())
    again.start(5)
    on.eventually(lambda: again.check("ada", "premium_export").freshness == "live")
    assert on.service.asked("stream")[-1].headers["last-event-id"] == "p1"
    assert len(on.service.asked("snapshot")) == 1


@each(
    empty=lambda good: b"",
    a_page=lambda good: b"<html>",
    half=lambda good: good[: len(good) // 2],
    a_line_less=lambda good: b"\n".join(good.split(b"\n")[1:]),
    one_bit=lambda good: good.replace(b"true", b"trub", 1),
    another_version=lambda good: good.replace(b'"version": 1', b'"version": 9', 1),
    another_key=lambda good: good.replace(b'"key": "', b'"key": "0', 1),
    zeros=lambda good: bytes(len(good)),
)
def a_file_that_is_not_whole_is_no_file(on: Stage, change: Callable[[bytes], bytes]) -> None:
    on.allow("ada", "premium_export")
    first = on.open(snapshot_file=on.file())
    assert first.check("ada", "premium_export")
    first.close()
    good = on.file().read_bytes()
    assert change(good) != good
    on.file().write_bytes(change(good))
    on.away()
    assert on.open(snapshot_file=on.file()).check("ada", "premium_export").freshness == "fallback"
    on.back()
    assert on.open(snapshot_file=on.file()).check("ada", "premium_export").freshness == "live"


@case
def a_file_that_anybody_may_write_is_no_file(on: Stage) -> None:
    on.allow("ada", "premium_export")
    first = on.open(snapshot_file=on.file())
    assert first.check("ada", "premium_export")
    first.close()
    on.file().chmod(0o666)
    on.away()
    assert on.open(snapshot_file=on.file()).check("ada", "premium_export").freshness == "fallback"


@case
def a_file_that_cannot_be_written_stops_nothing(on: Stage) -> None:
    on.allow("ada", "premium_export")
    client = on.open(snapshot_file=on.directory / "missing" / "snapshots")
    assert client.check("ada", "premium_export")
    client.close()


@case
def an_older_file_does_not_set_anybody_back(on: Stage) -> None:
    on.allow("ada", "premium_export")
    one, other = on.open(snapshot_file=on.file()), on.open(snapshot_file=on.file())
    assert one.check("ada", "premium_export") and other.check("ada", "premium_export")
    on.deny("ada", "premium_export")
    assert not other.check("ada", "premium_export", at_least=2)
    other.close()
    one.close()
    on.away()
    check = on.open(snapshot_file=on.file()).check("ada", "premium_export")
    assert (check.allowed, check.version) == (False, 2)


@case
def who_was_forgotten_is_not_in_the_file(on: Stage) -> None:
    on.allow("ada-lovelace", "premium_export")
    first = on.open(snapshot_file=on.file())
    assert first.check("ada-lovelace", "premium_export")
    first.close()
    again = on.open(snapshot_file=on.file(), stream=False)
    again.forget("ada-lovelace")
    again.close()
    assert b"ada-lovelace" not in on.file().read_bytes()
