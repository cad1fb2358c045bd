"""Passwords: right or wrong, as often as somebody may guess, and never many at a time."""

import asyncio

import pytest
from argon2 import PasswordHasher

from tollhouse_server.passwords import (
    AT_ONCE,
    FAILURES_WITHIN_SECONDS,
    HASHER,
    MOST_FAILURES,
    REMEMBERED_SECONDS,
    Login,
    Passwords,
    TooManyFailures,
    generate_password,
)

pytestmark = pytest.mark.anyio

RIGHT = "correct horse battery"
GRACE = Login("grace", "192.0.2.1")


class Counted(PasswordHasher):
    """As cheap as can be, and says how often and how many at a time it was asked."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.asked: list[str] = []
        self.now = self.most = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002
        self.asked.append(str(hash))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return bool(super().verify(hash, password))
        finally:
            self.now -= 1


class Watch:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hasher() -> Counted:
    return Counted()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def passwords(hasher: Counted, watch: Watch) -> Passwords:
    return Passwords(hasher=hasher, clock=watch)


@pytest.fixture
def stored(hasher: Counted) -> str:
    return hasher.hash(RIGHT)


def test_a_hash_costs_what_owasp_asks_for() -> None:
    """Argon2id, 19 MiB, two passes, one lane; and no hash is like another."""
    one, other = HASHER.hash(RIGHT), HASHER.hash(RIGHT)
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and one != other
    assert len({generate_password() for _ in range(50)}) == 50 and len(generate_password()) == 22


async def test_what_was_right_is_remembered_for_minutes(
    passwords: Passwords, hasher: Counted, watch: Watch, stored: str
) -> None:
    """So that not every request costs a hash; another password, hash or name is not what is remembered."""
    assert await passwords.is_right(GRACE, stored, RIGHT)
    assert await passwords.is_right(GRACE, stored, RIGHT)
    assert len(hasher.asked) == 1
    assert not await passwords.is_right(GRACE, stored, RIGHT + "!")
    assert not await passwords.is_right(GRACE, hasher.hash("another"), RIGHT)
    assert await passwords.is_right(Login("ada", GRACE.address), stored, RIGHT)
    assert len(hasher.asked) == 4
    watch.seconds += REMEMBERED_SECONDS
    assert await passwords.is_right(GRACE, stored, RIGHT)
    assert len(hasher.asked) == 5


async def test_a_name_that_nobody_has_takes_as_long(passwords: Passwords, hasher: Counted) -> None:
    """A hash is checked, so that the time does not tell; the answer is no, whatever was sent, and is not remembered."""
    for _ in range(2):
        assert not await passwords.is_right(Login("nobody", ""), None, RIGHT)
    assert len(hasher.asked) == 2
    assert not await passwords.is_right(GRACE, "not a hash", RIGHT)


async def test_guessing_comes_to_an_end(passwords: Passwords, hasher: Counted, watch: Watch, stored: str) -> None:
    """After ten failures in a quarter of an hour nothing is tried, right or wrong, until the oldest is that old.

    Only for that name from that address: the same operator elsewhere, and others here, notice nothing.
    """
    for _ in range(MOST_FAILURES):
        assert not await passwords.is_right(GRACE, stored, "wrong")
        watch.seconds += 1
    asked = len(hasher.asked)
    for guess in ("wrong", RIGHT):
        with pytest.raises(TooManyFailures) as raised:
            await passwords.is_right(GRACE, stored, guess)
        assert raised.value.wait == FAILURES_WITHIN_SECONDS - MOST_FAILURES
    assert len(hasher.asked) == asked
    assert await passwords.is_right(Login("grace", "192.0.2.2"), stored, RIGHT)
    assert not await passwords.is_right(Login("ada", GRACE.address), stored, "wrong")
    watch.seconds += FAILURES_WITHIN_SECONDS - MOST_FAILURES
    assert not await passwords.is_right(GRACE, stored, "wrong")
    with pytest.raises(TooManyFailures):
        await passwords.is_right(GRACE, stored, RIGHT)
    watch.seconds += 1
    assert await passwords.is_right(GRACE, stored, RIGHT)


async def test_many_at_once_are_checked_a_few_at_a_time(passwords: Passwords, hasher: Counted, stored: str) -> None:
    """Memory is bounded; one who is right is hashed once or twice, and a burst of guesses is cut off like any other."""
    assert all(await asyncio.gather(*(passwords.is_right(GRACE, stored, RIGHT) for _ in range(30))))
    assert AT_ONCE == 2 and len(hasher.asked) <= AT_ONCE and hasher.most <= AT_ONCE
    guesses = (passwords.is_right(Login("grace", "203.0.113.9"), stored, f"guess {number}") for number in range(40))
    done = await asyncio.gather(*guesses, return_exceptions=True)
    assert done.count(False) < MOST_FAILURES + AT_ONCE and True not in done
    assert hasher.most <= AT_ONCE


async def test_a_hash_with_other_costs_is_made_anew(passwords: Passwords, stored: str) -> None:
    """When the costs are raised, whoever logs in is hashed with the new ones."""
    assert not passwords.is_outdated(stored)
    assert Passwords().is_outdated(stored)
    again = await Passwords().rehash(RIGHT)
    assert not Passwords().is_outdated(again) and HASHER.verify(again, RIGHT)
