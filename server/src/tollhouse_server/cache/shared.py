"""The hot read: Redis before PostgreSQL. It may be emptied or lost at any moment; then PostgreSQL answers.

A cell holds a stored snapshot, never a verdict: reading evaluates the instant, so a cached answer ends when the answer
does. A cell lives a second at most. A commit drops it and leaves a floor, which outlives the cells: an older snapshot
that a slow reader brings late is refused. Without a fault nothing stale is served; whatever fails, nothing older than a
second.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Awaitable
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..domain.entitlements import dump, load
from ..telemetry import CACHE_READS
from .local import Cell

log = structlog.get_logger(__name__)

LIVES_MS = 1_000
FLOOR_MS = 10_000
"""Longer than a reader may take from PostgreSQL's answer to its fill."""
TIMEOUT_SECONDS = 0.05
FAILURES_BEFORE_REST = 5
REST_SECONDS = 1.0
_FAILED = object()

# KEYS: cell, floor. What is in a key and is not ours, whatever its type, is as good as nothing and is written over.
_FILL = """
if (tonumber(redis.pcall('GET', KEYS[2])) or -1) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
"""
_FLOOR = """
if (tonumber(redis.pcall('GET', KEYS[2])) or -1) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[1])
return 1
"""


class Shared:
    """With no URL it holds nothing. It never raises, and a Redis that fails rests a second before it is asked again."""

    def __init__(self, url: str | None) -> None:
        self._redis: Redis | None = None
        if url is not None:
            self._redis = Redis.from_url(
                url,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                # The library's default of ten tries with back-off would hold up every check while Redis is away.
                retry=Retry(NoBackoff(), 0),
            )
        self._failures = 0
        self._rests_until = 0.0

    async def get(self, project_id: uuid.UUID, user_id: str) -> Cell | None:
        if self._redis is None:
            return None
        held = await self._ask("get", _keys(project_id, user_id)[0])
        cell = None if held in (None, _FAILED) else _cell(held)
        CACHE_READS.labels("failed" if held is _FAILED else "miss" if cell is None else "hit").inc()
        return cell

    async def fill(self, project_id: uuid.UUID, user_id: str, cell: Cell) -> None:
        """Offers what was read from PostgreSQL; refused where a newer version is known."""
        stored = json.dumps({"version": cell.version, "entitlements": dump(cell.entitlements)})
        await self._ask("eval", _FILL, 2, *_keys(project_id, user_id), cell.version, FLOOR_MS, stored, LIVES_MS)

    async def floor(self, project_id: uuid.UUID, user_id: str, version: int) -> None:
        """Tells that `version` was committed: what is older is dropped and stays out."""
        await self._ask("eval", _FLOOR, 2, *_keys(project_id, user_id), version, FLOOR_MS)

    async def forget_all(self) -> None:
        """Empties it of all that is ours; where Redis is away, what it holds ends within seconds by itself."""
        if self._redis is None:
            return
        with contextlib.suppress(Exception):
            async for key in self._redis.scan_iter("tollhouse:*", count=1_000):
                await self._redis.unlink(key)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def _ask(self, command: str, *arguments: Any) -> Any:
        """Redis' answer, or _FAILED where it gives none."""
        if self._redis is None or time.monotonic() < self._rests_until:
            return _FAILED
        try:
            answer = await cast("Awaitable[Any]", getattr(self._redis, command)(*arguments))
        except Exception as error:  # the library's own, and a ValueError where what answers is no Redis
            self._failures += 1
            if self._failures >= FAILURES_BEFORE_REST:
                self._rests_until = time.monotonic() + REST_SECONDS
                log.warning("Redis does not answer; PostgreSQL does", error=type(error).__name__)
            return _FAILED
        self._failures = 0
        return answer


def _cell(held: Any) -> Cell | None:
    try:
        stored = json.loads(held)
        return Cell(int(stored["version"]), load(stored["entitlements"]))
    except (ValueError, TypeError, LookupError, RecursionError):
        log.warning("the cache holds something that is not ours")
        return None


def _keys(project_id: uuid.UUID, user_id: str) -> tuple[str, str]:
    """Of the cell and of the floor; in a cluster both lie on one node."""
    cell = f"tollhouse:{{{project_id}:{user_id}}}"
    return cell, f"{cell}:floor"
