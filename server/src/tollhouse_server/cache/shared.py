"""Redis before PostgreSQL. It may be emptied, lost, full, or tell lies at any moment; then PostgreSQL answers.

A cell holds a stored snapshot, never a verdict: reading evaluates the instant, so a cached answer ends when the answer
does. A cell ends a second after its read of PostgreSQL began, by Redis' own clock; who reads it learns how much of that
is left, and compares the stamp of the read with its own clock too. A commit puts a floor under the customer, before and
after: what is older is dropped, and what a slow reader brings late is refused. docs/decisions/0014 tells why.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NewType, TypeVar, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from ..db.engine import Change
from ..domain.entitlements import dump, load
from ..telemetry import CACHE_FILLS, CACHE_READS
from .breaker import Breaker
from .local import LIVES_SECONDS, Cell

log = structlog.get_logger(__name__)

LIVES_MS: Final = int(LIVES_SECONDS * 1_000)
FLOOR_MS: Final = 60_000
"""Longer than it can take from the announcement of a commit to the commit, and from there to the last late fill."""
TIMEOUT_SECONDS: Final = 0.05
MOST_SKEW_SECONDS: Final = 1.0
"""By how much another host's clock may be ahead of ours before its cells are refused."""

Deadline = NewType("Deadline", int)
"""Until when, in milliseconds of Redis' clock, what is read from PostgreSQL from now on may be brought."""

Answer = TypeVar("Answer")


class _Failed:
    """Redis gave no answer."""


_FAILED = _Failed()

# What is in a key and is not ours, whatever its type, is as good as nothing and is written over.
# KEYS: cell. What is held, how many milliseconds it may still live, and what time it is, for who has to read.
_GET = """
local held, now = redis.pcall('GET', KEYS[1]), redis.call('TIME')
return {type(held) == 'string' and held, redis.call('PTTL', KEYS[1]), now[1] * 1000 + math.floor(now[2] / 1000)}
"""
# KEYS: cell, floor. ARGV: version, deadline, payload, how long a cell lives, for as long as which what was filled is a
# floor too: until then somebody may bring what was read before.
_FILL = """
local now = redis.call('TIME')
local left = tonumber(ARGV[2]) - now[1] * 1000 - math.floor(now[2] / 1000)
local floor = tonumber(redis.pcall('GET', KEYS[2])) or -1
if left <= 0 or floor > tonumber(ARGV[1]) then return 0 end
if floor < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4]) end
redis.call('SET', KEYS[1], ARGV[3], 'PX', left)
return 1
"""
# KEYS: cell, floor. ARGV: version, milliseconds. The cell goes first: a Redis that is full still forgets.
_FLOOR = """
if (tonumber(redis.pcall('GET', KEYS[2])) or -1) > tonumber(ARGV[1]) then return 0 end
if (tonumber(redis.pcall('GET', KEYS[2])) or -1) < tonumber(ARGV[1]) then redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
"""
# KEYS: how many have still to hear it. ARGV: channel, message, milliseconds. Nobody hears it before the key is set.
_TELL = """
local listening = redis.call('PUBLISH', ARGV[1], ARGV[2])
if listening > 0 and redis.pcall('SET', KEYS[1], listening, 'PX', ARGV[3]).err then return 0 end
return listening
"""
# KEYS: how many have still to hear it, what is pushed when all have. ARGV: milliseconds.
_HEARD = """
if (tonumber(redis.pcall('GET', KEYS[1])) or 0) < 1 or redis.call('DECR', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
"""
_HEARD_MS = 1_000


class Shared:
    """The tier of all processes. Without a URL it holds nothing. It never raises."""

    def __init__(self, url: str | None, *, seconds: float = TIMEOUT_SECONDS) -> None:
        """`seconds` is how long one command may take."""
        self._redis: Redis | None = None
        self.seconds = seconds
        self.channel = ""
        """Where changes are published."""
        if url is not None:
            self._redis = Redis.from_url(
                url,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                # The library's default of ten tries with back-off would hold up every check while Redis is away.
                retry=Retry(NoBackoff(), 0),
            )
            # A channel is of all databases of a Redis, but who is counted must write into this one.
            self.channel = f"tollhouse:changes:{self._redis.connection_pool.connection_kwargs.get('db') or 0}"
        self._breaker = Breaker()

    @property
    def redis(self) -> Redis | None:
        """For who subscribes; None without a URL."""
        return self._redis

    @property
    def rests(self) -> bool:
        """Whether Redis failed so often that it is left alone."""
        return self._breaker.is_open

    async def get(self, project_id: uuid.UUID, user_id: str) -> tuple[Cell | None, Deadline | None]:
        """The customer's cell, or the deadline for who reads it from PostgreSQL now; neither: Redis does not answer."""
        if self._redis is None:
            return None, None
        asked = time.monotonic()
        said = await self._ask(lambda redis: _eval(redis, _GET, (_keys(project_id, user_id)[0],)))
        cell, deadline = _read(said, project_id, user_id, asked)
        result = "hit" if cell is not None else "failed" if deadline is None else "miss"
        CACHE_READS.labels("redis", result).inc()
        return cell, deadline

    async def fill(self, project_id: uuid.UUID, user_id: str, cell: Cell, deadline: Deadline | None) -> bool | None:
        """Offers what was read from PostgreSQL under the `deadline` that `get` gave before.

        False: refused, as it is too late or a newer version is known. None: Redis does not answer, now or then.
        """
        if deadline is None:
            return None
        stored = {
            "project": str(project_id),
            "user": user_id,
            "read_at": time.time() - (time.monotonic() - (cell.expires - LIVES_SECONDS)),
            "version": cell.version,
            "entitlements": dump(cell.entitlements),
        }
        arguments = cell.version, deadline, json.dumps(stored), LIVES_MS
        said = await self._ask(lambda redis: _eval(redis, _FILL, _keys(project_id, user_id), *arguments))
        accepted = None if isinstance(said, _Failed) else said == 1
        CACHE_FILLS.labels("failed" if accepted is None else "kept" if accepted else "refused").inc()
        return accepted

    async def floor(self, changes: Iterable[Change]) -> bool:
        """Drops what is older than the customers' changes, and keeps it out; False where Redis does not answer."""
        customers = [(_keys(one.project, one.user), one.version) for one in changes if one.user is not None]

        async def all_at_once(redis: Redis) -> list[Any]:
            async with redis.pipeline(transaction=False) as pipeline:
                for keys, version in customers:
                    pipeline.eval(_FLOOR, 2, *keys, version, FLOOR_MS)
                return list(await pipeline.execute())

        return not customers or not isinstance(await self._ask(all_at_once), _Failed)

    async def tell(self, message: str, id_: str) -> int | None:
        """Publishes it; returns how many processes listen, each of which will say `heard`. None: no answer."""
        arguments = self.channel, message, _HEARD_MS
        said = await self._ask(lambda redis: _eval(redis, _TELL, _of_message(id_)[:1], *arguments))
        return None if isinstance(said, _Failed) else int(said)

    async def publish(self, message: str) -> None:
        """The same, and nobody is waited for."""
        await self._ask(lambda redis: redis.publish(self.channel, message))

    async def heard(self, id_: str) -> None:
        """Tells who waits that this process has done as it was told."""
        await self._ask(lambda redis: _eval(redis, _HEARD, _of_message(id_), _HEARD_MS))

    async def all_heard(self, id_: str, *, within: float) -> bool:
        """Waits so many seconds at most until all who were told have heard it; whether they have."""
        if self._redis is None:
            return False
        with contextlib.suppress(Exception):
            # Redis itself looks ten times a second only whether somebody waits too long.
            async with asyncio.timeout(within):
                waiting = self._redis.blpop([_of_message(id_)[1]], timeout=2 * self.seconds)
                return await cast("Awaitable[Any]", waiting) is not None
        return False

    async def forget_all(self) -> None:
        """Empties it of all that is ours; where Redis is away, what it holds ends within a second by itself."""
        if self._redis is None:
            return
        with contextlib.suppress(Exception):
            async for key in self._redis.scan_iter("tollhouse:*", count=1_000):
                await self._redis.unlink(key)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def _ask(self, ask: Callable[[Redis], Awaitable[Answer]]) -> Answer | _Failed:
        if self._redis is None or not self._breaker.may_try():
            return _FAILED
        try:
            async with asyncio.timeout(self.seconds):
                answer = await ask(self._redis)
        except ResponseError as refused:  # out of memory, for one: it answers, so nobody has to wait for it
            log.warning("Redis refuses", error=str(refused)[:200])
            return _FAILED
        except Exception as error:  # the library's own, and a ValueError where what answers is no Redis
            if self._breaker.failed():
                log.warning("Redis does not answer; PostgreSQL does", error=type(error).__name__)
            return _FAILED
        self._breaker.succeeded()
        return answer


async def _eval(redis: Redis, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
    return await redis.eval(script, len(keys), *keys, *map(str, arguments))


def _read(said: Any, project_id: uuid.UUID, user_id: str, asked: float) -> tuple[Cell | None, Deadline | None]:
    """What `_GET` said; a cell ends when it ends in Redis, and no later than its stamp allows."""
    match said:
        case [None | bytes() as held, int(left), int(now)]:
            cell = _cell(held, left / 1_000, project_id, user_id, asked) if held is not None else None
            return cell, Deadline(now + LIVES_MS)
        case _:
            return None, None


def _cell(held: bytes, left: float, project_id: uuid.UUID, user_id: str, asked: float) -> Cell | None:
    try:
        stored = json.loads(held)
        age = time.time() - float(stored["read_at"])
        ours = (stored["project"], stored["user"]) == (str(project_id), user_id)
        if ours and -MOST_SKEW_SECONDS < age < LIVES_SECONDS and 0 < left <= LIVES_SECONDS:
            ends = asked + min(left, LIVES_SECONDS - age)
            return Cell(int(stored["version"]), load(stored["entitlements"]), ends)
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    log.warning("the cache holds something that is not ours, or not of now")
    return None


def _keys(project_id: uuid.UUID, user_id: str) -> tuple[str, str]:
    """Of the cell and of the floor; in a cluster both lie on one node."""
    cell = f"tollhouse:{{{project_id}:{user_id}}}"
    return cell, f"{cell}:floor"


def _of_message(id_: str) -> tuple[str, str]:
    return f"tollhouse:{{{id_}}}:unheard", f"tollhouse:{{{id_}}}:heard"
