"""Operators' passwords: how they are hashed, and checked without holding up anybody else.

A hash is argon2id with the least that OWASP asks for: 19 MiB, two passes, one lane. So a check takes 30 ms and 19 MiB:
it runs in a thread, two at a time, and a password that was right is remembered for minutes, as a keyed hash. Who is
wrong ten times in a quarter of an hour waits; counted is a name from an address, so that nobody locks another out.
"""

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2
"""Checks under way in one process: so many times 19 MiB."""
REMEMBERED_SECONDS = 300.0
MOST_REMEMBERED = 1_000
MOST_FAILURES = 10
FAILURES_WITHIN_SECONDS = 900.0
MOST_COUNTED = 10_000

Key = TypeVar("Key")
Value = TypeVar("Value")

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class TooManyFailures(Exception):
    """This name was wrong too often from this address; `wait` says for how many seconds it is not tried again."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


def hash_password(password: str) -> str:
    """What is stored. Takes as long as a check."""
    return HASHER.hash(password)


def generate_password() -> str:
    """One that nobody chose: 132 random bits."""
    return secrets.token_urlsafe(16)[:22]


@dataclass(frozen=True, slots=True)
class Login:
    """Who says so, from where."""

    name: str
    address: str


class Passwords:
    """The checks of one process. `clock` tells seconds."""

    def __init__(self, *, hasher: PasswordHasher = HASHER, clock: Callable[[], float] = time.monotonic) -> None:
        self._hasher, self._clock = hasher, clock
        self._secret = secrets.token_bytes(32)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._right_until: dict[bytes, float] = {}
        self._failures: dict[Login, deque[float]] = {}

    async def is_right(self, login: Login, stored: str | None, password: str) -> bool:
        """Whether the password is the one of the hash. None, for a name that nobody has, takes as long as any.

        Raises TooManyFailures.
        """
        remembered = self._remembered_as(login, stored, password)
        if self._is_remembered(remembered):
            return True
        async with self._turns:
            # While it waited another request may have shown the password to be right, or the name to be guessed at.
            if self._is_remembered(remembered):
                return True
            self._refuse_guessing(login)
            right = await asyncio.to_thread(self._verify, stored or _nobodys(self._hasher), password)
            if right and stored is not None:
                _put(self._right_until, remembered, self._clock() + REMEMBERED_SECONDS, MOST_REMEMBERED)
                return True
            self._failed(login)
            return False

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other costs than one would be today."""
        return self._hasher.check_needs_rehash(stored)

    async def rehash(self, password: str) -> str:
        """A hash with today's costs."""
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, password)

    def _remembered_as(self, login: Login, stored: str | None, password: str) -> bytes:
        """Keyed, and over the stored hash too: a new password ends what was remembered of the old."""
        parts = (login.name, stored or "", password)
        said = b"".join(len(part).to_bytes(8, "big") + part for part in (one.encode() for one in parts))
        return hmac.digest(self._secret, said, hashlib.sha256)

    def _is_remembered(self, key: bytes) -> bool:
        return self._right_until.get(key, 0.0) > self._clock()

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _refuse_guessing(self, login: Login) -> None:
        failed = self._failures.get(login, deque())
        while failed and failed[0] <= self._clock() - FAILURES_WITHIN_SECONDS:
            failed.popleft()
        if len(failed) >= MOST_FAILURES:
            raise TooManyFailures(math.ceil(failed[0] + FAILURES_WITHIN_SECONDS - self._clock()))

    def _failed(self, login: Login) -> None:
        failed = self._failures.pop(login, deque())
        failed.append(self._clock())
        _put(self._failures, login, failed, MOST_COUNTED)


def _put(held: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """The oldest goes where there would be too many."""
    held[key] = value
    if len(held) > most:
        del held[next(iter(held))]


@cache
def _nobodys(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_urlsafe(16))
