"""What time it is: the one place where the service asks. The domain is told."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

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

    async def follow(self, http: httpx.AsyncClient, *, every: float = 0.5) -> None:
        """Keeps the offset current until cancelled; a sandbox that does not answer changes nothing."""
        while True:
            await self.read(http)
            await asyncio.sleep(every)

    async def read(self, http: httpx.AsyncClient) -> None:
        try:
            answer = await http.get(self._url)
            self._offset = timedelta(seconds=answer.raise_for_status().json()["offset"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):  # away, or not a sandbox
            return
