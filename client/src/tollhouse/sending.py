"""How a conversation of protocol.py is carried out: by waiting, or by awaiting."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from typing import Any, TypeVar

import httpx

from .configuration import Limits
from .protocol import Exchange, NoAnswer, Request, Response

T = TypeVar("T")

LARGEST = 32 * 1024 * 1024
"""Bytes of an answer; a larger one is not ours."""


def run(http: httpx.Client, limits: Limits, steps: Exchange[T]) -> T:
    """Carry a conversation to its end, blocking."""
    request = next(steps)
    while True:
        try:
            request = steps.send(_send(http, limits, request))
        except StopIteration as end:
            answer: T = end.value
            return answer


async def arun(http: httpx.AsyncClient, limits: Limits, steps: Exchange[T]) -> T:
    """The same, awaited."""
    request = next(steps)
    while True:
        try:
            request = steps.send(await _asend(http, limits, request))
        except StopIteration as end:
            answer: T = end.value
            return answer


def _send(http: httpx.Client, limits: Limits, request: Request) -> Response | NoAnswer:
    time.sleep(request.pause)
    deadline = time.monotonic() + request.timeout
    prepared = _prepare(http, limits, request)

    def tighten(_event: str, _info: dict[str, Any]) -> None:
        # httpx bounds each step (waiting for a connection, connecting, writing, reading) by itself; before each,
        # every bound shrinks to what is left of the whole.
        left = max(deadline - time.monotonic(), 0.001)
        bounds = prepared.extensions["timeout"]
        bounds.update({step: min(bound, left) for step, bound in bounds.items()})

    prepared.extensions["trace"] = tighten
    try:
        with closing(http.send(prepared, stream=True)) as response:
            body = b"".join(_until(deadline, response.iter_bytes()))
    except httpx.RequestError as error:
        return NoAnswer(error)
    return Response(response.status_code, response.headers, body)


def _until(deadline: float, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts of an answer that keeps arriving, up to an instant of the monotonic clock."""
    size = 0
    for part in parts:
        size += len(part)
        if time.monotonic() > deadline or size > LARGEST:
            raise httpx.ReadTimeout("the answer was still arriving")
        yield part


async def _asend(http: httpx.AsyncClient, limits: Limits, request: Request) -> Response | NoAnswer:
    await asyncio.sleep(request.pause)
    body, size = [], 0
    try:
        async with asyncio.timeout(request.timeout):
            response = await http.send(_prepare(http, limits, request), stream=True)
            try:
                async for part in response.aiter_bytes():
                    body.append(part)
                    size += len(part)
                    if size > LARGEST:
                        raise httpx.ReadTimeout("the answer was still arriving")
            finally:
                await response.aclose()
    except (httpx.RequestError, TimeoutError) as error:
        return NoAnswer(error)
    return Response(response.status_code, response.headers, b"".join(body))


def headers_of(key: str) -> dict[str, str]:
    """What every request carries."""
    return {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, application/problem+json",
        "User-Agent": f"tollhouse-python/{version('tollhouse')}",
    }


def _prepare(http: httpx.Client | httpx.AsyncClient, limits: Limits, request: Request) -> httpx.Request:
    return http.build_request(
        request.method,
        request.path,
        headers=request.headers,
        content=request.body,
        timeout=httpx.Timeout(request.timeout, connect=min(limits.connect, request.timeout)),
    )
