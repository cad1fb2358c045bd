"""The rules of repeating, told to the conversation directly: no connection, and a clock that the test moves."""

import logging
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tollhouse import ApiError, RateLimited, ServerError, TollhouseError, Unreachable
from tollhouse.calls import Call, customer, entitlements, open_portal
from tollhouse.configuration import Limits
from tollhouse.protocol import NoAnswer, Request, Response, exchange

LIMITS = Limits(check=2.0, total=10.0, connect=2.0, retries=2)
REFUSED = NoAnswer(httpx.ConnectError("refused"))


def answered(status: int, **headers: str) -> Response:
    return Response(status, httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}), b"{}")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Play:
    """One exchange in the hands of a test."""

    def __init__(self, call: Call[Any] | None = None, limits: Limits = LIMITS, chance: float = 1.0) -> None:
        self.clock = Clock()
        steps = exchange(call or entitlements("ada"), limits, clock=self.clock, chance=lambda: chance)
        self.steps: Generator[Request, Response | NoAnswer, Any] = steps
        self.request = next(self.steps)

    def reply(self, outcome: Response | NoAnswer, after: float = 0.0) -> Request:
        self.clock.now += self.request.pause + after
        self.request = self.steps.send(outcome)
        return self.request

    def fails(self, outcome: Response | NoAnswer, kind: type[TollhouseError], after: float = 0.0) -> None:
        with pytest.raises(kind):
            self.reply(outcome, after)


def test_pauses_double_with_jitter() -> None:
    """Clients that failed together come back apart: a pause is between half and all of a doubling ceiling."""
    for chance, pauses in ((0.0, [0.05, 0.1, 0.2]), (1.0, [0.1, 0.2, 0.4])):
        play = Play(customer("ada"), Limits(2, 10, 2, retries=3), chance)
        assert [round(play.reply(REFUSED).pause, 3) for _ in range(3)] == pauses


def test_pauses_have_a_ceiling() -> None:
    """However many retries are allowed, no pause grows past two seconds."""
    play = Play(customer("ada"), Limits(2, 1000, 2, retries=9))
    assert max(play.reply(REFUSED).pause for _ in range(9)) == 2.0


def test_retries_are_counted() -> None:
    """Two retries are three attempts, then the failure is told."""
    play = Play()
    play.reply(REFUSED)
    play.reply(answered(503))
    play.fails(REFUSED, Unreachable)


def test_each_attempt_gets_what_is_left_of_the_time() -> None:
    """Attempts and pauses share one deadline; a quick call has the shorter one."""
    play = Play()
    assert (play.request.pause, play.request.timeout) == (0.0, 2.0)
    second = play.reply(REFUSED, after=0.5)
    assert second.timeout == pytest.approx(2.0 - 0.5 - second.pause)
    assert Play(open_portal("ada", return_url="https://app.test")).request.timeout == 10.0


def test_no_attempt_begins_past_the_deadline() -> None:
    """When the time is used up the failure is told at once, with retries left."""
    Play().fails(REFUSED, Unreachable, after=1.95)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int) -> None:
    """The service's own word on when to come back outweighs our shorter pause."""
    assert Play(customer("ada")).reply(answered(status, Retry_After="3")).pause == 3.0


def test_a_retry_after_beyond_the_deadline_is_told_at_once() -> None:
    """Waiting longer than the app allows would only delay the error."""
    Play().fails(answered(429, Retry_After="60"), RateLimited)


def test_retry_after_may_be_a_date() -> None:
    """A date is read against the answer's own Date, so a wrong clock here does no harm."""
    headers = {"Date": "Sun, 22 Nov 2026 10:00:00 GMT", "Retry_After": "Sun, 22 Nov 2026 10:00:04 GMT"}
    assert Play(customer("ada")).reply(answered(503, **headers)).pause == 4.0


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry_After": "soon"},
        {"Retry_After": "-5"},
        {"Retry_After": "Sun, 22 Nov 2026 10:00:04 GMT"},
        {"Retry_After": "Sun, 22 Nov 2026 10:00:04 GMT", "Date": "Sun, 22 Nov 2026 10:00:04"},
        {"Retry_After": "Sun, 22 Nov 2020 10:00:00 GMT", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"},
    ],
)
def test_an_odd_retry_after_is_no_obstacle(headers: dict[str, str]) -> None:
    """What cannot be read, or lies in the past, leaves our own pause."""
    assert Play(customer("ada")).reply(answered(503, **headers)).pause == 0.1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 501])
def test_other_failures_are_final(status: int) -> None:
    """What will not pass by itself is not tried again: a bad key, a wrong value, a bug."""
    Play().fails(answered(status), TollhouseError)


def test_an_unreadable_answer_is_final() -> None:
    """A service that answers nonsense is not asked again."""
    Play().fails(answered(200), ServerError)


def test_retries_are_logged_without_user_or_key(caplog: pytest.LogCaptureFixture) -> None:
    """An outage can be seen in the app's log; who was asking cannot."""
    with caplog.at_level(logging.INFO, "tollhouse"):
        play = Play(entitlements("ada-secret-id"))
        play.reply(REFUSED)
    (line,) = caplog.messages
    assert "attempt 1" in line
    assert "ConnectError" in line
    assert "ada-secret-id" not in line


def test_an_attempt_that_is_still_carried_out_is_waited_for() -> None:
    """The first attempt timed out and goes on at the service: its answer is asked for with the same key."""
    play = Play(open_portal("ada", return_url="https://app.test/"), chance=0.0)
    key = play.request.headers["Idempotency-Key"]
    play.reply(NoAnswer(httpx.ReadTimeout("slow")), after=2.0)
    busy = Response(409, httpx.Headers({"Retry-After": "1"}), b'{"code": "idempotency-in-progress"}')
    again = play.reply(busy)
    assert (again.pause, again.headers["Idempotency-Key"]) == (1.0, key)
    play.fails(Response(409, httpx.Headers(), b'{"code": "checkout-conflict"}'), ApiError)
