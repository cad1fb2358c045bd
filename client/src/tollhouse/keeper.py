"""Keeps a local copy current, in an event loop: follows the stream, asks questions, writes the file.

AsyncTollhouse has one in its own loop; Tollhouse one in the loop of a thread of its own.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from random import random

import httpx

from .asking import ask, warn
from .configuration import Limits
from .errors import ApiError, ServerError
from .local_copy import ForeignSnapshot, LocalCopy
from .protocol import Response, problem
from .sending import arun
from .snapshot_file import SnapshotFile
from .sse import Malformed
from .stream import Reconnection, StreamReader, StreamRefused

logger = logging.getLogger("tollhouse")

WRITE_EVERY = 10.0
"""Seconds between two writings of the file, where anything changed."""
WRITING_SHARE = 0.05
"""Of the time at most: 10,000 users take a second or two."""
AT_ONCE = 16
"""Questions that are on their way together; more wait."""


class Keeper:
    """What one copy needs of a network. All methods run in the loop that made it, but for `abandon`."""

    def __init__(
        self,
        copy: LocalCopy,
        http: httpx.AsyncClient,
        limits: Limits,
        file: SnapshotFile | None,
        *,
        chance: Callable[[], float] = random,
    ) -> None:
        self._copy, self._http, self._limits, self._file = copy, http, limits, file
        self._again = Reconnection(chance)
        self._loop = asyncio.get_running_loop()
        self._asking: dict[tuple[str, int | None], asyncio.Task[bool]] = {}
        self._slow: set[asyncio.Task[bool]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._written = copy.changes
        self._tried = asyncio.Event()
        self._ending = False

    def begin(self) -> None:
        """Follow the stream from now on, and write the file now and then."""
        self._tasks.append(asyncio.create_task(self._follow(), name="tollhouse-stream"))
        if self._file:
            self._tasks.append(asyncio.create_task(self._write_now_and_then(), name="tollhouse-file"))

    @property
    def running(self) -> bool:
        """False when the loop's end took the tasks with it."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def end(self) -> None:
        """Stop, and leave the file as new as can be."""
        self._ending = True
        tasks = [*self._tasks, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        await self.write()

    def abandon(self) -> None:
        """Stop from whatever thread, without waiting: the client is gone."""
        with suppress(RuntimeError):  # the loop is closed, and has seen to it
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in (*self._tasks, *self._asking.values()):
            task.cancel()

    # --- questions -------------------------------------------------------------------------------------------------

    async def ask(self, user_id: str, at_least: int | None, patience: float | None) -> bool:
        """Ask about a user, together with whoever else does. True if the answer came within `patience` seconds.

        One that did not is still told to the copy when it comes; but nobody waits for it a second time. None waits as
        long as a question may take.
        """
        task = self.ask_soon(user_id, at_least)
        if task in self._slow:
            return False
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            self._slow.add(task)
            return False
        return not task.cancelled() and task.exception() is None and task.result()

    def ask_soon(self, user_id: str, at_least: int | None = None) -> "asyncio.Task[bool]":
        """The same, for an answer that nobody waits for."""
        key = user_id, at_least
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(user_id, at_least), name="tollhouse-question")
            task.add_done_callback(lambda done: self._asked(key, done))
        return task

    async def _ask(self, user_id: str, at_least: int | None) -> bool:
        async with self._places:
            return await arun(self._http, self._limits, ask(self._copy, self._limits, user_id, at_least))

    def _asked(self, key: tuple[str, int | None], task: "asyncio.Task[bool]") -> None:
        self._asking.pop(key, None)
        self._slow.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("a question could not be asked", exc_info=error)

    # --- the stream --------------------------------------------------------------------------------------------------

    async def tried(self, seconds: float) -> None:
        """Until the stream was connected, or was not, for the first time; at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._tried.wait()

    async def _follow(self) -> None:
        try:
            while True:
                pause = await self._one_connection()
                await asyncio.sleep(pause)
        finally:
            self._copy.disconnected()
            if not self._ending:
                # The loop ends, or the client is gone, and nobody said so: the connections are not left to be found.
                await self._http.aclose()

    async def _one_connection(self) -> float:
        """Follow the stream until it ends; then how many seconds to wait before the next."""
        reader, began, poisoned = StreamReader(self._copy), self._copy.clock(), False
        refused: Response | None = None
        try:
            refused = await self._read(reader)
        except (Malformed, ForeignSnapshot) as error:
            poisoned = True
            self._copy.warned.once("stream", "the stream of changes is begun anew: %s", error)
        except (httpx.HTTPError, httpx.InvalidURL, StreamRefused, TimeoutError, OSError) as error:
            logger.info("the stream of changes ended: %s", type(error).__name__)
        except Exception:  # whatever it was: a stream that is not followed any more would go unnoticed
            poisoned = True
            logger.exception("the stream of changes could not be followed")
        self._tried.set()
        self._copy.disconnected(forget_position=poisoned)
        if reader.retry is not None:
            self._again.retry = reader.retry
        if refused is None:
            return self._again.pause(self._copy.clock() - began if reader.begun else 0.0)
        refusal = problem(refused, "-")
        warn_of_refusal(self._copy, refusal)
        for_long = not isinstance(refusal, ServerError) and refused.status not in (408, 425, 429)
        return self._again.pause(0.0, refused=for_long, retry_after=refusal.retry_after)

    async def _read(self, reader: StreamReader) -> Response | None:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if self._copy.stream.position is not None:
            headers["Last-Event-ID"] = self._copy.stream.position
        timeout = httpx.Timeout(self._limits.total, connect=self._limits.connect, read=None)
        async with asyncio.timeout(self._limits.total) as deadline:
            request = self._http.build_request("GET", "/v1/stream", headers=headers, timeout=timeout)
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    return Response(response.status_code, response.headers, await response.aread())
                if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                    raise StreamRefused
                async for chunk in response.aiter_raw():
                    reader.feed(chunk)
                    if reader.begun:
                        self._tried.set()
                    deadline.reschedule(self._loop.time() + max(reader.left(), 0.0))
            finally:
                await response.aclose()
        return None

    # --- the file ----------------------------------------------------------------------------------------------------

    async def _write_now_and_then(self) -> None:
        pause = WRITE_EVERY
        while True:
            await asyncio.sleep(pause)
            began = self._loop.time()
            await self.write()
            pause = max(WRITE_EVERY, (self._loop.time() - began) / WRITING_SHARE)

    async def write(self) -> None:
        """Write what changed since the last time."""
        changes = self._copy.changes
        if self._file is None or changes == self._written:
            return
        try:
            written = await asyncio.to_thread(self._file.save, self._copy)
        except RuntimeError:  # the interpreter is ending, and starts no thread any more
            written = self._file.save(self._copy)
        self._written = changes if written else self._written


def warn_of_refusal(copy: LocalCopy, error: ApiError) -> None:
    """No stream is to be had: polling goes on without."""
    if error.status == 404:
        copy.warned.once("no-stream", "this service has no stream of changes; changes are polled for")
    else:
        warn(copy, error)
