"""What time it is: the one place where the service asks. The domain is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import httpx


class Clock(Protocol):
    def now(self) -> datetime:
        """The instant, aware and in UTC, at which access is decided."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class SandboxClock:
    """Real time plus the sandbox's offset, for development: a fast-forward there moves time here within a second."""

    def __init__(self, api_base: str) -> None:
        self._url = f"{api_base}/_sandbox/clock"
        self._offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    async def follow(self, http: "httpx.AsyncClient", *, every: float = 0.5) -> None:
        """Keeps the offset current until cancelled; a sandbox that does not answer changes nothing."""
        while True:
            await self.read(http)
            await asyncio.sleep(every)

    async def read(self, http: "httpx.AsyncClient") -> None:
        import httpx  # in development alone

        try:
            answer = await http.get(self._url)
            self._offset = timedelta(seconds=answer.raise_for_status().json()["offset"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):  # away, or not a sandbox
            return


@contextlib.asynccontextmanager
async def open_clock(sandbox: str | None) -> AsyncIterator[Clock]:
    """The system's clock, or that of the sandbox at this address, followed until the block ends."""
    if sandbox is None:
        yield SystemClock()
        return
    import httpx

    clock = SandboxClock(sandbox)
    async with httpx.AsyncClient(timeout=2) as http:
        await clock.read(http)  # before anybody asks it
        following = asyncio.create_task(clock.follow(http))
        try:
            yield clock
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
