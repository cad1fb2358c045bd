"""One call as a conversation: yields what to send, is sent what came back, returns the answer or raises.

It does no I/O, so that the blocking and the asyncio client share every rule: what is repeated, how long to wait, what
an answer means. Each call may be repeated: reads change nothing, and writes carry an Idempotency-Key, one per call.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TypeVar
from uuid import uuid4

import httpx

from .calls import Call
from .configuration import Limits
from .errors import ApiError, ServerError, TollhouseError, Unreachable, error_class
from .wire import Unreadable, decode

T = TypeVar("T")

logger = logging.getLogger("tollhouse")

_WORTH_REPEATING = frozenset({429, 502, 503, 504})
_STILL_AT_IT = "idempotency-in-progress"
"""An earlier attempt of this very call, of which nothing was heard, is being carried out: its answer is to be had."""
_FIRST_PAUSE = 0.1  # seconds; doubles with each attempt
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Request:
    """Send this after `pause` seconds; give up `timeout` seconds later."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    pause: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whatever its status, completely read."""

    status: int
    headers: httpx.Headers
    body: bytes
    request_id: str = ""
    """The service's own word for it, or else ours."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The connection failed, or time ran out."""

    error: Exception


Exchange = Generator[Request, Response | NoAnswer, T]


def exchange(
    call: Call[T],
    limits: Limits,
    *,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> Exchange[T]:
    """Carry one call to its end within its limits.

    `clock` tells seconds, `chance` a number in [0, 1) for the jitter. Raises Unreachable or an ApiError.
    """
    response = yield from attempts(call, limits, clock=clock, chance=chance)
    return read(call.answer, response)


def attempts(
    call: Call[T],
    limits: Limits,
    *,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> Exchange[Response]:
    """The same, up to the answer as it came: a 2xx, or a 304 to a call that says what it has."""
    deadline = clock() + (limits.check if call.quick else limits.total)
    request_id = uuid4().hex
    headers = _headers(call, request_id)
    body = None if call.body is None else json.dumps(call.body).encode()
    attempt, pause = 0, 0.0
    while True:
        outcome = yield Request(call.method, call.path, headers, body, pause, deadline - clock() - pause)
        if isinstance(outcome, Response) and (200 <= outcome.status < 300 or _unchanged(call, outcome)):
            return replace(outcome, request_id=_said_id(outcome, request_id))
        failure = _failure(outcome, request_id)
        pause = _pause(outcome, attempt, chance())
        attempt += 1
        if attempt > limits.retries or not _worth_repeating(outcome, failure) or clock() + pause >= deadline:
            raise failure
        # The path holds a user's id, so the log names the request instead.
        logger.info("attempt %d of request %s failed, repeating in %.2f s: %s", attempt, request_id, pause, failure)


def _headers(call: Call[T], request_id: str) -> dict[str, str]:
    headers = {"X-Request-Id": request_id, **call.headers}
    if call.method == "POST":
        headers["Idempotency-Key"] = uuid4().hex
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    return headers


def _unchanged(call: Call[T], response: Response) -> bool:
    return response.status == 304 and "If-None-Match" in call.headers


def read(shape: type[T], response: Response) -> T:
    """What a 2xx says. Raises ServerError for what is not the promised answer."""
    try:
        return decode(shape, json.loads(response.body))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or not the promised shape
        what = str(error) if isinstance(error, Unreadable) else "the answer is not JSON"
        detail = f"this client cannot read what answered at the Tollhouse URL: {what}"
        raise ServerError(response.status, "unreadable-answer", detail, response.request_id) from None


def _failure(outcome: Response | NoAnswer, request_id: str) -> TollhouseError:
    if isinstance(outcome, NoAnswer):
        kind = type(outcome.error).__name__
        failure = Unreachable(f"Tollhouse did not answer: {kind}", request_id)
        failure.__cause__ = outcome.error
        return failure
    return problem(outcome, request_id)


def problem(response: Response, request_id: str) -> ApiError:
    """Read a problem+json answer; a proxy's error page has a status only."""
    try:
        said = json.loads(response.body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        said = {}
    listed = said.get("errors")
    error = error_class(response.status)(
        response.status,
        str(said.get("code") or f"http-{response.status}"),
        str(said.get("detail") or said.get("title") or "the answer gives no reason"),
        _said_id(response, request_id),
        tuple(fault for fault in listed if isinstance(fault, dict)) if isinstance(listed, list) else (),
    )
    error.retry_after = _retry_after(response.headers)
    return error


def _said_id(response: Response, request_id: str) -> str:
    return str(response.headers.get("X-Request-Id", request_id))


def _worth_repeating(outcome: Response | NoAnswer, failure: TollhouseError) -> bool:
    if isinstance(outcome, NoAnswer) or outcome.status in _WORTH_REPEATING:
        return True
    return isinstance(failure, ApiError) and failure.code == _STILL_AT_IT


def _pause(outcome: Response | NoAnswer, attempt: int, chance: float) -> float:
    """Seconds before the next attempt: doubling with jitter, and never sooner than Retry-After says."""
    ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt)
    backoff = ceiling * (0.5 + chance / 2)
    return max(backoff, _retry_after(outcome.headers)) if isinstance(outcome, Response) else backoff


def _retry_after(headers: httpx.Headers) -> float:
    """Retry-After in seconds, 0 where absent or unreadable. A date counts from the answer's own Date."""
    said: str = headers.get("Retry-After", "")
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers["Date"])
        return wait.total_seconds()
    except (KeyError, ValueError, TypeError):
        return 0.0
