"""The thread in which a Tollhouse keeps its copy current: one event loop, one keeper, nothing to wait for at exit."""

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import httpx

from .keeper import Keeper

T = TypeVar("T")


class Background:
    """`make` opens the connections and makes the keeper, in the thread; what it opened is closed there."""

    def __init__(self, make: Callable[[], tuple[Keeper, Callable[[], Awaitable[None]]]]) -> None:
        self._make = make
        self._loop = _Loop()
        self._keeper: Keeper | None = None
        self._ending: asyncio.Event | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tollhouse", daemon=True)
        self._thread.start()
        self._begun.wait(5)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def ask(self, user_id: str, at_least: int | None, patience: float) -> bool:
        """Keeper.ask, for at most `patience` seconds whatever the thread is at."""

        async def question() -> bool:
            return self._keeper is not None and await self._keeper.ask(user_id, at_least, patience)

        return bool(self._within(question(), patience))

    def ask_soon(self, user_id: str, at_least: int | None) -> None:
        """Keeper.ask_soon."""
        with suppress(RuntimeError):  # it is ending
            self._loop.call_soon_threadsafe(lambda: self._keeper and self._keeper.ask_soon(user_id, at_least))

    def tried(self, timeout: float) -> None:
        """Keeper.tried."""

        async def tried() -> None:
            if self._keeper:
                await self._keeper.tried(timeout)

        self._within(tried(), timeout)

    def stop(self, timeout: float = 2.0) -> None:
        """End the thread, having written the file; wait for it, but not for ever."""
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._end)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _end(self) -> None:
        if self._ending:
            self._ending.set()

    def _within(self, question: Coroutine[Any, Any, T], seconds: float) -> T | None:
        try:
            return asyncio.run_coroutine_threadsafe(question, self._loop).result(seconds)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return None
        except RuntimeError:  # the loop is closed
            question.close()
            return None

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._keep())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _keep(self) -> None:
        self._ending = asyncio.Event()
        try:
            self._keeper, close = self._make()
            self._keeper.begin()
        finally:
            self._begun.set()
        try:
            await self._ending.wait()
        finally:
            await self._keeper.end()
            await close()
            # Whoever still waits in a thread hears that there is no answer.
            waiting = asyncio.all_tasks() - {asyncio.current_task()}
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in threads that nobody waits for: a name server that is away must not hold up a program's end."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        return await in_thread(lambda: socket.getaddrinfo(host, port, **options))


async def in_thread(work: Callable[[], T]) -> T:
    """Do this in a thread of its own, a daemon; asyncio's own are waited for at exit."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            loop.call_soon_threadsafe(lambda: None if done.done() else set_outcome())

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            failure = error
            settle(lambda: done.set_exception(failure))
        else:
            settle(lambda: done.set_result(result))

    threading.Thread(target=run, name="tollhouse-helper", daemon=True).start()
    return await done


class InThreads(httpx.AsyncBaseTransport):
    """A blocking transport, that an app gave its Tollhouse, for the loop of the thread."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await in_thread(lambda: self._transport.handle_request(request))
        assert isinstance(response.stream, httpx.SyncByteStream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Parts(response.stream),
            extensions=response.extensions,
        )


class _Parts(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = iter(self._stream)
        while (part := await in_thread(lambda: next(parts, None))) is not None:
            yield part

    async def aclose(self) -> None:
        await in_thread(self._stream.close)
