"""The two clients. They open connections and wait; what is known and what is asked is in local_copy.py and calls.py."""

import asyncio
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

import httpx

from . import calls, forking
from .answers import Check, Entitlements
from .asking import ask
from .background import Background, InThreads
from .base import Client
from .calls import Call, known
from .configuration import Limits, following
from .keeper import Keeper
from .local_copy import Need
from .outage import Policies, last_known_good
from .protocol import exchange
from .sending import arun, run

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


class Tollhouse(Client):
    """Tollhouse for code that blocks: Flask, Django, scripts, threads. Keep one per process; threads may share it.

    `url` and `api_key` default to the environment's TOLLHOUSE_URL and TOLLHOUSE_API_KEY; ConfigurationError where there
    is neither. `check` and `entitlements` answer from a local copy. From the first of them on a thread keeps it current
    over a stream; with `stream=False` there is no thread, and who finds a copy older than `poll_interval` seconds (30)
    asks. TOLLHOUSE_POLL_INTERVAL, where it is set, says both where neither is given: no stream, and these seconds.
    They never raise for what the service or the network does: `outage` says what then holds, for all features or by
    feature. `snapshot_file` (or TOLLHOUSE_SNAPSHOT_FILE; "" for none) keeps the copy over restarts.

    Times are seconds. A check waits for an answer at most `check_wait`, the first of a process at most `check_timeout`;
    `timeout` bounds every other call, all retries included, `connect_timeout` one connection. A failed connection and
    429, 502, 503, 504 are repeated up to `retries` times. `transport` replaces httpx's own: for a proxy, a private
    certificate authority, a test.

    Every other call may raise Unreachable and the ApiErrors of errors.py.
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
        stream: bool | None = None,
        poll_interval: float | None = None,
        check_wait: float = 0.05,
        snapshot_file: str | os.PathLike[str] | None = None,
        outage: Policies = last_known_good(),  # noqa: B008 - it is a value that does not change
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        stream, poll_interval = following(stream, poll_interval)
        limits = Limits(check_timeout, timeout, connect_timeout, retries, check_wait, poll_interval)
        super().__init__(url, api_key, limits, stream, snapshot_file, outage)
        self._transport = transport
        self._http = self._open()
        self._background: Background | None = None
        self._starting = threading.Lock()
        self._asking: dict[str, threading.Event] = {}
        forking.tell_of_forks(self)

    def check(self, user_id: str, feature: str, *, at_least: int | None = None) -> Check:
        """May this user use this feature, and up to what value? The answer is true in a condition when allowed.

        Answered from the local copy: `freshness` says how it is known. Never raises for anything the service or the
        network does; in an outage the policy decides. A user Tollhouse has never heard of is allowed nothing, and
        nobody is allowed a feature that is not in the catalog (`feature-not-found`). `at_least` is the version of the
        customer that must be known already: another call's, or a notification's.
        """
        copy = self._copy
        try:
            held = copy.held[user_id]
            check, until, epoch = held.kept[feature]
        except (KeyError, TypeError):
            return self._look(user_id, feature, at_least)
        now = copy.clock()
        if now < until and epoch == copy.epoch and (at_least is None or check.version >= at_least):
            held.used = now
            return check
        return self._look(user_id, feature, at_least)

    def entitlements(self, user_id: str) -> Entitlements:
        """Every feature of the catalog for this user, by code, from the local copy; in an outage the known ones."""
        known("user_id", user_id)
        found, need = self._copy.look_at_all(user_id)
        answered = self._ask(user_id, None, need)
        return self._copy.look_at_all(user_id, answered=answered)[0] if need is Need.FIRST or answered else found

    def start(self, timeout: float = 2.0) -> None:
        """Connect now, and fail if the address or the key is wrong, rather than at the first check. Optional.

        Raises Unreachable, Unauthenticated, InsufficientScope, ServerError.
        """
        limits = self._limits.within(timeout)
        run(self._http, limits, exchange(calls.catalog(), limits))
        if self._stream and not self._closed:
            self._running().tried(timeout)

    def forget(self, user_id: str) -> None:
        """Hold nothing of this user any more, in memory or in the file: the next check asks."""
        self._copy.forget(known("user_id", user_id))

    customer = _blocking(calls.customer)
    explain = _blocking(calls.explain)
    catalog = _blocking(calls.catalog)
    metrics = _blocking(calls.metrics)
    open_checkout = _blocking(calls.open_checkout)
    checkout = _blocking(calls.checkout)
    sync_checkout = _blocking(calls.sync_checkout)
    sync_customer = _blocking(calls.sync_customer)
    contact = _blocking(calls.contact)
    change_contact = _blocking(calls.change_contact)
    open_portal = _blocking(calls.open_portal)
    change_plan = _blocking(calls.change_plan)
    cancel, resume = _blocking(calls.cancel), _blocking(calls.resume)

    def close(self) -> None:
        """End the thread, write the file, close the connections. Checks are answered from what is known, as it ages."""
        self._closed = True
        background, self._background = self._background, None
        if background:
            background.stop()
        elif self._file and self._copy.changes:
            self._file.save(self._copy)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self, *, in_child: bool) -> None:
        """A child has its own connections and, once it asks, its own thread or tasks."""
        super().after_fork(in_child=in_child)
        if in_child:
            forking.leave(self._http, self._background)
            self._http, self._background = self._open(), None
            self._starting, self._asking = threading.Lock(), {}

    def _open(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=self._headers, transport=self._transport, verify=self._tls)

    def _run(self, call: Call[T]) -> T:
        answer = run(self._http, self._limits, exchange(call, self._limits))
        self._heard(answer)
        return answer

    def _look(self, user_id: str, feature: str, at_least: int | None) -> Check:
        known("user_id", user_id)
        known("feature", feature)
        check, need = self._copy.look(user_id, feature, at_least)
        if need is Need.NOTHING:
            return check
        answered = self._ask(user_id, at_least, need)
        if need is Need.SOON and not answered:
            return check
        return self._copy.look(user_id, feature, answered=answered)[0]

    def _ask(self, user_id: str, at_least: int | None, need: Need) -> bool:
        """True when the service answered, just now."""
        if need is Need.NOTHING or self._closed:
            return False
        if not self._stream:
            return self._ask_here(user_id, at_least)
        background = self._running()
        if need is Need.SOON:
            background.ask_soon(user_id, at_least)
            return False
        return background.ask(user_id, at_least, self._patience(user_id))

    def _ask_here(self, user_id: str, at_least: int | None) -> bool:
        """Without a thread, who needs an answer waits for it; who needs the same waits for the same."""
        ours = threading.Event()
        others = self._asking.setdefault(user_id, ours)
        if others is not ours:
            return others.wait(self._limits.check) and not self._copy.health.away
        try:
            return run(self._http, self._limits, ask(self._copy, self._limits, user_id, at_least))
        finally:
            del self._asking[user_id]
            ours.set()

    def _running(self) -> Background:
        background = self._background
        if background is None or not background.alive:
            with self._starting:
                background = self._background
                if background is None or not background.alive:
                    background = self._background = Background(self._make_keeper())
                    self._finalizer = weakref.finalize(self, background.stop, 1.0)
        return background

    def _make_keeper(self) -> Callable[[], tuple[Keeper, Callable[[], Awaitable[None]]]]:
        """How the thread makes its keeper; it must not hold this client, or nobody would ever close it."""
        copy, limits, file, transport, tls = self._copy, self._limits, self._file, self._transport, self._tls
        url, headers = self._url, self._headers

        def make() -> tuple[Keeper, Callable[[], Awaitable[None]]]:
            own = transport if isinstance(transport, httpx.AsyncBaseTransport) else None
            own = InThreads(transport) if transport and not own else own
            http = httpx.AsyncClient(base_url=url, headers=headers, transport=own, verify=tls)
            return Keeper(copy, http, limits, file), http.aclose

        return make


class AsyncTollhouse(Client):
    """Tollhouse for asyncio: FastAPI, discord.py. Keep one per event loop; every call is awaited.

    The arguments, calls, answers and errors are those of Tollhouse; in place of a thread there are tasks in the loop.
    It may be made before a loop runs, and goes on in the next when its loop is closed.
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
        stream: bool | None = None,
        poll_interval: float | None = None,
        check_wait: float = 0.05,
        snapshot_file: str | os.PathLike[str] | None = None,
        outage: Policies = last_known_good(),  # noqa: B008 - it is a value that does not change
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        stream, poll_interval = following(stream, poll_interval)
        limits = Limits(check_timeout, timeout, connect_timeout, retries, check_wait, poll_interval)
        super().__init__(url, api_key, limits, stream, snapshot_file, outage)
        self._transport = transport
        self._http = self._open()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: Keeper | None = None
        forking.tell_of_forks(self)

    async def check(self, user_id: str, feature: str, *, at_least: int | None = None) -> Check:
        copy = self._copy
        try:
            held = copy.held[user_id]
            check, until, epoch = held.kept[feature]
        except (KeyError, TypeError):
            return await self._look(user_id, feature, at_least)
        now = copy.clock()
        if now < until and epoch == copy.epoch and (at_least is None or check.version >= at_least):
            held.used = now
            return check
        return await self._look(user_id, feature, at_least)

    async def entitlements(self, user_id: str) -> Entitlements:
        known("user_id", user_id)
        found, need = self._copy.look_at_all(user_id)
        answered = await self._ask(user_id, None, need)
        return self._copy.look_at_all(user_id, answered=answered)[0] if need is Need.FIRST or answered else found

    async def start(self, timeout: float = 2.0) -> None:  # noqa: ASYNC109 - as in Tollhouse
        keeper, limits = self._running(), self._limits.within(timeout)
        await arun(self._http, limits, exchange(calls.catalog(), limits))
        if self._stream:
            await keeper.tried(timeout)

    async def forget(self, user_id: str) -> None:
        self._copy.forget(known("user_id", user_id))

    customer = _awaited(calls.customer)
    explain = _awaited(calls.explain)
    catalog = _awaited(calls.catalog)
    metrics = _awaited(calls.metrics)
    open_checkout = _awaited(calls.open_checkout)
    checkout = _awaited(calls.checkout)
    sync_checkout = _awaited(calls.sync_checkout)
    sync_customer = _awaited(calls.sync_customer)
    contact = _awaited(calls.contact)
    change_contact = _awaited(calls.change_contact)
    open_portal = _awaited(calls.open_portal)
    change_plan = _awaited(calls.change_plan)
    cancel, resume = _awaited(calls.cancel), _awaited(calls.resume)

    for _twin in (check, entitlements, start, forget):
        _twin.__doc__ = vars(Tollhouse)[_twin.__name__].__doc__
    del _twin

    async def aclose(self) -> None:
        """End the tasks, write the file, close the connections. Checks are answered from what is known, as it ages."""
        self._closed = True
        keeper, self._keeper = self._keeper, None
        if keeper and self._loop is asyncio.get_running_loop():
            await keeper.end()
        elif self._file and self._copy.changes:
            await asyncio.to_thread(self._file.save, self._copy)
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def after_fork(self, *, in_child: bool) -> None:
        """A child has its own connections and, once it asks, its own thread or tasks."""
        super().after_fork(in_child=in_child)
        if in_child:
            forking.leave(self._http, self._keeper, self._loop)
            self._http, self._keeper, self._loop = self._open(), None, None

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, transport=self._transport, verify=self._tls)

    async def _run(self, call: Call[T]) -> T:
        self._running()
        answer = await arun(self._http, self._limits, exchange(call, self._limits))
        self._heard(answer)
        return answer

    async def _look(self, user_id: str, feature: str, at_least: int | None) -> Check:
        known("user_id", user_id)
        known("feature", feature)
        check, need = self._copy.look(user_id, feature, at_least)
        if need is Need.NOTHING:
            return check
        answered = await self._ask(user_id, at_least, need)
        if need is Need.SOON and not answered:
            return check
        return self._copy.look(user_id, feature, answered=answered)[0]

    async def _ask(self, user_id: str, at_least: int | None, need: Need) -> bool:
        """True when the service answered, just now."""
        if need is Need.NOTHING or self._closed:
            return False
        keeper = self._running()
        if need is Need.SOON and self._stream:
            keeper.ask_soon(user_id, at_least)
            return False
        return await keeper.ask(user_id, at_least, self._patience(user_id) if self._stream else None)

    def _running(self) -> Keeper:
        """The keeper of the loop that runs. What belonged to a loop that is closed is left, and made anew."""
        loop = asyncio.get_running_loop()
        keeper = self._keeper
        if keeper is not None and self._loop is loop and (keeper.running or not self._stream):
            return keeper
        if self._loop is not None and self._loop is not loop:
            if self._loop.is_running():
                raise RuntimeError("this AsyncTollhouse is used in another event loop: make one for each")
            self._http = self._open()
        elif self._http.is_closed and not self._closed:
            self._http = self._open()
        self._loop, self._keeper = loop, Keeper(self._copy, self._http, self._limits, self._file)
        if self._stream and not self._closed:
            self._keeper.begin()
            self._finalizer = weakref.finalize(self, self._keeper.abandon)
        return self._keeper
