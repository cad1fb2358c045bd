"""The two clients: they open connections and wait; everything else is in calls.py and protocol.py."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from functools import wraps
from importlib.metadata import version
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

import httpx

from . import calls
from .calls import Call
from .configuration import Limits, project_key, service_url
from .protocol import NoAnswer, Request, Response, exchange

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(call: Callable[P, Call[T]]) -> "Callable[Concatenate[Tollhouse, P], T]":
    @wraps(call)
    def method(self: "Tollhouse", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(call(*args, **kwargs))

    _describe(method, call)
    return method


def _awaited(call: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncTollhouse, P], Coroutine[Any, Any, T]]":
    @wraps(call)
    async def method(self: "AsyncTollhouse", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(call(*args, **kwargs))

    _describe(method, call)
    return method


def _describe(method: Callable[..., object], call: Callable[P, Call[T]]) -> None:
    """What help() shows of a method: the parameters of its call after self, and the answer in place of the Call."""
    signature = inspect.signature(call)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *signature.parameters.values()]
    (answer,) = get_args(signature.return_annotation)
    vars(method)["__signature__"] = signature.replace(parameters=parameters, return_annotation=answer)


class Tollhouse:
    """Tollhouse for code that blocks: Flask, Django, scripts, threads. Keep one per process; threads may share it.

    `url` and `api_key` default to the environment's TOLLHOUSE_URL and TOLLHOUSE_API_KEY; ConfigurationError where there
    is neither. Times are seconds and include all retries: `check_timeout` bounds `check` and `entitlements`, `timeout`
    every other call, `connect_timeout` one connection. A failed connection and 429, 502, 503, 504 are repeated up to
    `retries` times. `transport` replaces httpx's own: for a proxy, a private certificate authority, a test.

    Every call may raise Unreachable and the ApiErrors of errors.py.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        check_timeout: float = 2.0,
        timeout: float = 10.0,
        connect_timeout: float = 2.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._limits = Limits(check_timeout, timeout, connect_timeout, retries)
        self._url = service_url(url)
        # The key lives only in the headers of the pool, which httpx masks in their repr.
        self._http = httpx.Client(base_url=self._url, headers=_headers(project_key(api_key)), transport=transport)

    check = _blocking(calls.check)
    entitlements = _blocking(calls.entitlements)
    customer = _blocking(calls.customer)
    explain = _blocking(calls.explain)
    catalog = _blocking(calls.catalog)
    metrics = _blocking(calls.metrics)
    open_checkout = _blocking(calls.open_checkout)
    checkout = _blocking(calls.checkout)
    sync_checkout = _blocking(calls.sync_checkout)
    sync_customer = _blocking(calls.sync_customer)
    open_portal = _blocking(calls.open_portal)

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._url)!r})"

    def _run(self, call: Call[T]) -> T:
        steps = exchange(call, self._limits)
        request = next(steps)
        while True:
            try:
                request = steps.send(self._send(request))
            except StopIteration as end:
                answer: T = end.value
                return answer

    def _send(self, request: Request) -> Response | NoAnswer:
        time.sleep(request.pause)
        deadline = time.monotonic() + request.timeout
        prepared = _prepare(self._http, request, self._limits)

        def tighten(_event: str, _info: dict[str, Any]) -> None:
            # httpx bounds each step (waiting for a connection, connecting, writing, reading) by itself; before each,
            # every bound shrinks to what is left of the whole.
            left = max(deadline - time.monotonic(), 0.001)
            bounds = prepared.extensions["timeout"]
            bounds.update({step: min(bound, left) for step, bound in bounds.items()})

        prepared.extensions["trace"] = tighten
        try:
            with closing(self._http.send(prepared, stream=True)) as response:
                body = b"".join(_until(deadline, response.iter_bytes()))
        except httpx.RequestError as error:
            return NoAnswer(error)
        return Response(response.status_code, response.headers, body)


class AsyncTollhouse:
    """Tollhouse for asyncio: FastAPI, discord.py. Keep one per event loop; every call is awaited.

    The arguments, calls, answers and errors are those of Tollhouse.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        check_timeout: float = 2.0,
        timeout: float = 10.0,
        connect_timeout: float = 2.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._limits = Limits(check_timeout, timeout, connect_timeout, retries)
        self._url = service_url(url)
        self._http = httpx.AsyncClient(base_url=self._url, headers=_headers(project_key(api_key)), transport=transport)

    check = _awaited(calls.check)
    entitlements = _awaited(calls.entitlements)
    customer = _awaited(calls.customer)
    explain = _awaited(calls.explain)
    catalog = _awaited(calls.catalog)
    metrics = _awaited(calls.metrics)
    open_checkout = _awaited(calls.open_checkout)
    checkout = _awaited(calls.checkout)
    sync_checkout = _awaited(calls.sync_checkout)
    sync_customer = _awaited(calls.sync_customer)
    open_portal = _awaited(calls.open_portal)

    async def aclose(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._url)!r})"

    async def _run(self, call: Call[T]) -> T:
        steps = exchange(call, self._limits)
        request = next(steps)
        while True:
            try:
                request = steps.send(await self._send(request))
            except StopIteration as end:
                answer: T = end.value
                return answer

    async def _send(self, request: Request) -> Response | NoAnswer:
        await asyncio.sleep(request.pause)
        try:
            async with asyncio.timeout(request.timeout):
                response = await self._http.send(_prepare(self._http, request, self._limits))
        except (httpx.RequestError, TimeoutError) as error:
            return NoAnswer(error)
        return Response(response.status_code, response.headers, response.content)


def _until(deadline: float, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts of an answer that keeps arriving, up to an instant of the monotonic clock."""
    for part in parts:
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer was still arriving")
        yield part


def _headers(key: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, application/problem+json",
        "User-Agent": f"tollhouse-python/{version('tollhouse')}",
    }


def _prepare(http: httpx.Client | httpx.AsyncClient, request: Request, limits: Limits) -> httpx.Request:
    return http.build_request(
        request.method,
        request.path,
        headers=request.headers,
        content=request.body,
        timeout=httpx.Timeout(request.timeout, connect=min(limits.connect, request.timeout)),
    )
