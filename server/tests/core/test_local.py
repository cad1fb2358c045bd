"""The tier of one process: nothing over, nothing below a floor, never back, and never more than it may hold."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tollhouse_server.cache.local import FLOOR_SECONDS, LIVES_SECONDS, Cell, KnownKey, Local
from tollhouse_server.domain.entitlements import Entitlement, Reason
from tollhouse_server.domain.time import Period

START = datetime(2026, 11, 1, tzinfo=UTC)
PROJECT, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def stretch(number: int = 0) -> Entitlement:
    period = Period(START + timedelta(days=number), START + timedelta(days=number + 1))
    return Entitlement("premium_export", True, period, (Reason("sub_1", "subscription", "subscription-active"),))


class Time:
    """Seconds that the test counts."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def local(time: Time) -> Local:
    return Local(clock=time)


def cell(version: int, time: Time, *stretches: Entitlement, lives: float = LIVES_SECONDS) -> Cell:
    return Cell(version, stretches, time.now + lives)


def known(version: int, time: Time, **more: Any) -> KnownKey:
    told: dict[str, Any] = {
        "id": "TestVector01",
        "project_id": PROJECT,
        "slug": "pdf-tool",
        "redirect_origins": (),
        "catalog_version": 3,
        "scopes": ("check",),
        "key_expires_at": None,
        "last_used_at": None,
        **more,
    }
    return KnownKey(version=version, expires=time.now + LIVES_SECONDS, **told)


def test_what_is_filled_is_read_until_its_second_is_over(local: Local, time: Time) -> None:
    """Another user's and another project's are misses, whatever is asked for."""
    assert local.get(PROJECT, "ada") is None
    local.fill(PROJECT, "ada", cell(3, time, stretch()))
    time.now += LIVES_SECONDS - 0.001
    assert local.get(PROJECT, "ada") == cell(3, time, stretch())
    assert local.get(PROJECT, "bob") is local.get(OTHER, "ada") is None
    time.now += 0.001
    assert local.get(PROJECT, "ada") is None


def test_a_cell_of_unknown_age_is_never_kept(local: Local, time: Time) -> None:
    """Nor one that was over when it came."""
    local.fill(PROJECT, "ada", Cell(3, ()))
    assert local.get(PROJECT, "ada") is None
    local.fill(PROJECT, "ada", cell(3, time, lives=0))
    assert local.get(PROJECT, "ada") is None


def test_after_a_floor_nothing_older_is_served_or_filled(local: Local, time: Time) -> None:
    """A slow reader who brings the old version late is refused, however often."""
    local.fill(PROJECT, "ada", cell(3, time))
    local.fill(PROJECT, "bob", cell(3, time))
    local.floor(PROJECT, "ada", 4)
    assert local.get(PROJECT, "ada") is None
    time.now += FLOOR_SECONDS - 0.001
    for version in (3, 0, 4):
        assert local.get(PROJECT, "ada") is None
        local.fill(PROJECT, "ada", cell(version, time))
    assert local.get(PROJECT, "ada") == cell(4, time)
    local.fill(PROJECT, "bob", cell(3, time))
    assert local.get(PROJECT, "bob") == cell(3, time)


def test_a_floor_ends(local: Local, time: Time) -> None:
    """What was told before a commit that never came does not keep the customer out for ever."""
    local.floor(PROJECT, "ada", 9)
    time.now += FLOOR_SECONDS
    local.fill(PROJECT, "ada", cell(8, time))
    assert local.get(PROJECT, "ada") == cell(8, time)


def test_a_late_floor_takes_nothing_newer_away(local: Local, time: Time) -> None:
    """The higher one stands, and lives on from the last that was told."""
    local.fill(PROJECT, "ada", cell(5, time))
    local.floor(PROJECT, "ada", 4)
    assert local.get(PROJECT, "ada") == cell(5, time)
    local.floor(PROJECT, "ada", 6)
    time.now += FLOOR_SECONDS - 1
    local.floor(PROJECT, "ada", 5)
    time.now += 2
    local.fill(PROJECT, "ada", cell(5, time))
    assert local.get(PROJECT, "ada") is None


def test_a_newer_cell_is_not_replaced_by_an_older(local: Local, time: Time) -> None:
    """Two reads may come back in the other order; of the same version the one that lives longer is kept."""
    local.fill(PROJECT, "ada", cell(5, time, lives=0.5))
    local.fill(PROJECT, "ada", cell(4, time))
    assert local.get(PROJECT, "ada") == cell(5, time)
    local.fill(PROJECT, "ada", cell(5, time))
    local.fill(PROJECT, "ada", cell(5, time, lives=0.1))
    time.now += 0.9
    assert local.get(PROJECT, "ada") == cell(5, time)


def test_what_was_rendered_goes_on_for_the_same_snapshot_only(local: Local, time: Time) -> None:
    """A cell that says what the one before said takes over its answers, also when that one is over."""
    local.fill(PROJECT, "ada", cell(5, time, stretch()))
    held = local.get(PROJECT, "ada")
    assert held is not None
    held.rendered["answer"] = b"{}"
    time.now += LIVES_SECONDS
    local.fill(PROJECT, "ada", cell(5, time, stretch()))
    again = local.get(PROJECT, "ada")
    assert again is not None and again.rendered == {"answer": b"{}"} and again.expires == time.now + LIVES_SECONDS
    for other in (cell(5, time, stretch(), stretch(1)), cell(6, time, stretch(), stretch(1))):
        local.fill(PROJECT, "ada", other)
        changed = local.get(PROJECT, "ada")
        assert changed == other and changed is not None and changed.rendered == {}


def test_a_key_is_known_for_a_second_and_not_below_its_projects_floor(local: Local, time: Time) -> None:
    """So a revoked key, a new catalog, another origin take effect."""
    local.keep_key(b"a", known(3, time))
    local.keep_key(b"b", known(3, time, project_id=OTHER))
    assert local.key(b"a") == known(3, time) and local.key(b"c") is None
    local.floor(PROJECT, None, 4)
    assert local.key(b"a") is None and local.key(b"b") == known(3, time, project_id=OTHER)
    local.keep_key(b"a", known(3, time))
    assert local.key(b"a") is None
    local.keep_key(b"a", known(4, time))
    time.now += LIVES_SECONDS - 0.001
    assert local.key(b"a") == known(4, time)
    local.floor(PROJECT, None, 4)
    assert local.key(b"a") == known(4, time)
    time.now += 0.001
    assert local.key(b"a") is local.key(b"b") is None


def test_a_key_never_goes_back(local: Local, time: Time) -> None:
    """A read that began before the key's change may come after one that began later."""
    local.keep_key(b"a", known(5, time, scopes=()))
    local.keep_key(b"a", known(4, time))
    assert local.key(b"a") == known(5, time, scopes=())
    time.now += LIVES_SECONDS
    local.keep_key(b"a", replace(known(4, time), expires=time.now))
    assert local.key(b"a") is None


def test_a_projects_floor_is_no_customers(local: Local, time: Time) -> None:
    """Their versions have nothing to do with each other."""
    local.fill(PROJECT, "ada", cell(3, time))
    local.floor(PROJECT, None, 400)
    assert local.get(PROJECT, "ada") == cell(3, time)
    local.floor(PROJECT, "ada", 500)
    local.keep_key(b"a", known(400, time))
    assert local.key(b"a") == known(400, time)


def test_it_is_emptied_but_for_the_floors(local: Local, time: Time) -> None:
    """For a restore, after which nothing that was read stands."""
    local.fill(PROJECT, "ada", cell(3, time))
    local.keep_key(b"a", known(3, time))
    local.floor(PROJECT, "bob", 2)
    local.clear()
    assert local.get(PROJECT, "ada") is local.key(b"a") is None
    local.fill(PROJECT, "bob", cell(1, time))
    assert local.get(PROJECT, "bob") is None


def test_it_holds_no_more_than_it_may(time: Time) -> None:
    """A cell counts for one and each of its stretches; who came first goes first."""
    local = Local(clock=time, most_stretches=10, most_keys=3, most_floors=3)
    for number in range(100):
        local.fill(PROJECT, f"user {number}", cell(1, time, stretch()))
        local.keep_key(bytes([number]), known(1, time))
    assert [number for number in range(100) if local.get(PROJECT, f"user {number}")] == [95, 96, 97, 98, 99]
    assert [number for number in range(100) if local.key(bytes([number]))] == [97, 98, 99]
    local.fill(PROJECT, "large", cell(1, time, *(stretch(number) for number in range(10))))
    assert local.get(PROJECT, "large") is local.get(PROJECT, "user 99") is None
    for number in range(4):
        local.floor(PROJECT, f"user {number}", 2)
    for number in range(4):
        local.fill(PROJECT, f"user {number}", cell(1, time))
    assert [number for number in range(4) if local.get(PROJECT, f"user {number}")] == [0]


def test_what_nobody_asks_for_again_is_let_go(time: Time) -> None:
    """After a rush its memory is given back as others come, long before it is full."""
    local = Local(clock=time)
    for number in range(100):
        local.fill(PROJECT, f"user {number}", cell(1, time))
    time.now += 60
    for number in range(51):
        local.fill(PROJECT, f"later {number}", cell(1, time))
    assert len(local._cells.kept) == 51
    assert local._cells._weight == 51


USERS = st.sampled_from(["ada", "bob"])
VERSIONS = st.integers(0, 6)


class Reads(RuleBasedStateMachine):
    """Fills, floors and time in any order: an oracle that keeps everything knows what may be served."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.local = Local(clock=self.time)
        self.floors: dict[str, int] = {}
        self.filled: list[tuple[str, int, float]] = []

    @rule(user=USERS, version=VERSIONS, lives=st.sampled_from([0.0, 0.3, 1.0]))
    def fill(self, user: str, version: int, lives: float) -> None:
        self.filled.append((user, version, self.time.now + lives))
        self.local.fill(PROJECT, user, cell(version, self.time, lives=lives))

    @rule(user=USERS, version=VERSIONS)
    def floor(self, user: str, version: int) -> None:
        self.floors[user] = max(version, self.floors.get(user, 0))
        self.local.floor(PROJECT, user, version)

    @rule(by=st.sampled_from([0.1, 0.5]))
    def pass_time(self, by: float) -> None:
        self.time.now += by

    @invariant()
    def nothing_wrong_is_served(self) -> None:
        for user in ("ada", "bob"):
            served = self.local.get(PROJECT, user)
            if served is None:
                continue
            assert served.version >= self.floors.get(user, 0)
            assert (user, served.version, served.expires) in self.filled and self.time.now < served.expires


TestReads = Reads.TestCase


@given(versions=st.lists(st.integers(0, 5), min_size=1))
def test_within_a_second_versions_only_grow(versions: list[int]) -> None:
    """Whatever order reads come back in."""
    time = Time()
    local, seen = Local(clock=time), -1
    for version in versions:
        local.fill(PROJECT, "ada", cell(version, time))
        served = local.get(PROJECT, "ada")
        assert served is not None and served.version == max(seen, version)
        seen = served.version


def test_a_tier_that_is_not_in_use_keeps_nothing(local: Local, time: Time) -> None:
    """What it had is gone; once it is in use again it keeps what was read since, and its floors were never away."""
    local.fill(PROJECT, "ada", cell(3, time))
    local.keep_key(b"digest", known(3, time))
    local.suspend()
    assert local.get(PROJECT, "ada") is None and local.key(b"digest") is None
    local.fill(PROJECT, "ada", cell(3, time))
    assert local.get(PROJECT, "ada") is None
    local.floor(PROJECT, "bob", 5)
    read_before = cell(3, time)
    time.now += 0.1
    local.resume()
    local.fill(PROJECT, "ada", read_before)
    assert local.get(PROJECT, "ada") is None
    local.fill(PROJECT, "ada", cell(3, time))
    assert local.get(PROJECT, "ada") == cell(3, time)
    local.fill(PROJECT, "bob", cell(4, time))
    assert local.get(PROJECT, "bob") is None
