"""The hot read: Redis before PostgreSQL. It may be emptied or lost at any moment; then PostgreSQL answers.

A cell holds a stored snapshot, never a verdict: reading evaluates the instant, so a cached answer ends when the answer
does. A cell lives a second at most, and a commit replaces it by a floor: an older snapshot that a slow reader brings
late is refused. Without a fault nothing stale is served; whatever fails, nothing older than a second.
"""

import json
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

LIVES_MS = 1_000
FLOOR_MS = 10_000
"""Longer than a reader may take from PostgreSQL's answer to its fill."""
TIMEOUT_SECONDS = 0.05
FAILURES_BEFORE_REST = 5
REST_SECONDS = 1.0

_FILL = """
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^%d+')) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return 1
"""
_FLOOR = """
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^%d+')) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ', 'PX', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A snapshot as it lies in the cache: `entitlements` as `domain.entitlements.dump` wrote them."""

    version: int
    catalog_version: int
    entitlements: list[dict[str, Any]]


class Cache:
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
        held = await self._ask("get", _key(project_id, user_id))
        if held is None:
            return None
        try:
            _, _, payload = bytes(held).partition(b" ")
            return Cell(**json.loads(payload)) if payload else None
        except (ValueError, TypeError):
            log.warning("the cache holds something that is not ours")
            return None

    async def fill(self, project_id: uuid.UUID, user_id: str, cell: Cell) -> None:
        """Offers what was read from PostgreSQL; refused where a newer version is known."""
        payload = json.dumps(
            {"version": cell.version, "catalog_version": cell.catalog_version, "entitlements": cell.entitlements}
        )
        await self._ask("eval", _FILL, 1, _key(project_id, user_id), cell.version, payload, LIVES_MS)

    async def floor(self, project_id: uuid.UUID, user_id: str, version: int) -> None:
        """Tells that `version` was committed: what is older is dropped and stays out."""
        await self._ask("eval", _FLOOR, 1, _key(project_id, user_id), version, FLOOR_MS)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def _ask(self, command: str, *arguments: Any) -> Any:
        if self._redis is None or time.monotonic() < self._rests_until:
            return None
        try:
            answer = await cast("Awaitable[Any]", getattr(self._redis, command)(*arguments))
        except (RedisError, OSError) as error:
            self._failures += 1
            if self._failures >= FAILURES_BEFORE_REST:
                self._rests_until = time.monotonic() + REST_SECONDS
                log.warning("Redis does not answer; PostgreSQL does", error=type(error).__name__)
            return None
        self._failures = 0
        return answer


def _key(project_id: uuid.UUID, user_id: str) -> str:
    return f"tollhouse:{{{project_id}:{user_id}}}"
