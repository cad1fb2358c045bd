"""The rules of the local copy, told to it directly: no connection, and clocks that the test moves."""

import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tollhouse import Check, ConfigurationError, ServerError, Unreachable, allow, deny, last_known_good
from tollhouse.local_copy import LocalCopy, Need
from tollhouse.outage import OutagePolicy, by_feature
from tollhouse.snapshot_file import SnapshotFile
from tollhouse.snapshots import Snapshot, SnapshotFeature, Stretch
from tollhouse.stream import Reconnection

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOUR = 3600.0


class Clock:
    """Both clocks of a machine: the one that nobody sets, and the one on the wall."""

    def __init__(self) -> None:
        self.elapsed, self.wall_ahead = 1000.0, 0.0

    def __call__(self) -> float:
        return self.elapsed

    def wall(self) -> float:
        return START.timestamp() + self.elapsed - 1000.0 + self.wall_ahead

    def service(self) -> datetime:
        """The service's time, which is right."""
        return START + timedelta(seconds=self.elapsed - 1000.0)


def copy_with(clock: Clock, policy: OutagePolicy | None = None, **options: Any) -> LocalCopy:
    policies = by_feature(policy or last_known_good())
    return LocalCopy(policies, **{"poll": 30.0, "clock": clock, "wall": clock.wall, "chance": lambda: 0.5, **options})


def snapshot(
    clock: Clock, version: int = 1, *stretches: Stretch, user_id: str = "ada", catalog_version: int = 1, **more: Any
) -> Snapshot:
    features = {"export": SnapshotFeature("switch", stretches), "pages": SnapshotFeature("limit", ())}
    return Snapshot("pdf-tool", user_id, version, catalog_version, more.get("issued_at", clock.service()), features)


def stretch(clock: Clock, seconds: float | None = None, since: float = -HOUR, value: Any = True) -> Stretch:
    now = clock.service()
    until = None if seconds is None else now + timedelta(seconds=seconds)
    return Stretch(value, now + timedelta(seconds=since), until, "subscription-active", "sub_1")


def check(copy: LocalCopy, user_id: str = "ada") -> Check:
    return copy.look(user_id, "export")[0]


def follow(copy: LocalCopy, clock: Clock, *, resumed: bool = False) -> None:
    copy.hello("pdf-tool", 1, resumed, 15.0)
    clock.elapsed += 2


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-400 * 86400, -3600, -1, 1, 3600, 35 * 86400])
@pytest.mark.parametrize("ends", [0.001, 1.0, 59.0, HOUR, 23 * HOUR])
def test_the_wall_clock_neither_prolongs_nor_shortens_access(jump: float, ends: float) -> None:
    """Whatever the machine's clock is set to, access ends at its instant, and not before."""
    clock = Clock()
    copy = copy_with(clock)
    copy.answered(snapshot(clock, 1, stretch(clock, ends)), None, clock())
    clock.wall_ahead = jump
    clock.elapsed += ends * 0.999
    assert check(copy)
    clock.wall_ahead = -jump
    clock.elapsed += ends * 0.001 + 1e-6
    assert not check(copy)


@pytest.mark.parametrize("jump", [0, 1, 3600, 35 * 86400])
@pytest.mark.parametrize("ends", [HOUR, 20 * HOUR])
def test_after_a_restart_access_ends_no_later(jump: float, ends: float, tmp_path: Path) -> None:
    """A file is aged by the wall clock; one that was set on meanwhile ends access early, never late."""
    clock = Clock()
    copy = copy_with(clock)
    copy.answered(snapshot(clock, 1, stretch(clock, ends)), None, clock())
    SnapshotFile(tmp_path / "file", "key").save(copy)
    clock.elapsed += ends - 60
    clock.wall_ahead = jump
    again = copy_with(clock)
    SnapshotFile(tmp_path / "file", "key").load(again)
    assert bool(check(again)) is (jump < 60)
    clock.elapsed += 60
    assert not check(again)


@pytest.mark.parametrize("jump", [-1, -3600, -35 * 86400])
def test_after_a_restart_a_clock_that_was_set_back_is_not_believed_for_long(jump: float, tmp_path: Path) -> None:
    """No time passed, says the wall. Then none has passed since the file was written, but no less either."""
    clock = Clock()
    copy = copy_with(clock)
    copy.answered(snapshot(clock, 1, stretch(clock, HOUR)), None, clock())
    clock.elapsed += HOUR - 60
    SnapshotFile(tmp_path / "file", "key").save(copy)
    clock.wall_ahead = jump
    again = copy_with(clock)
    SnapshotFile(tmp_path / "file", "key").load(again)
    assert check(again)
    clock.elapsed += 60
    assert not check(again)


def test_a_stretch_ends_another_begins() -> None:
    """An upgrade, a gap, a start in the future: all without a word from anybody."""
    clock = Clock()
    copy = copy_with(clock)
    first, second = stretch(clock, 10, value=5), stretch(clock, 20, since=10, value=9)
    third = stretch(clock, None, since=30, value=math.inf)
    features = {"export": SnapshotFeature("limit", (first, second, third))}
    copy.answered(Snapshot("pdf-tool", "ada", 1, 1, START, features), None, clock())
    seen = []
    for _ in range(5):
        now = check(copy)
        seen.append((now.value, now.reason, now.valid_until and (now.valid_until - START).total_seconds()))
        clock.elapsed += 9
    assert seen == [
        (5, "subscription-active", 10),
        (5, "subscription-active", 10),
        (9, "subscription-active", 20),
        (0, "not-yet", 30),
        (math.inf, "subscription-active", None),
    ]


@settings(max_examples=60)
@given(st.floats(0.01, 100), st.lists(st.floats(0.001, 30), max_size=12))
def test_a_kept_answer_is_not_handed_out_beyond_its_instant(ends: float, steps: list[float]) -> None:
    """What is kept with a copy ends with what it says, whenever it was kept."""
    clock = Clock()
    copy = copy_with(clock)
    follow(copy, clock)
    copy.answered(snapshot(clock, 1, stretch(clock, ends)), None, clock())
    over = clock() + ends
    for step in steps:
        assert bool(check(copy)) is (clock() < over) or abs(clock() - over) < 1e-5
        kept = copy.held["ada"].kept.get("export")
        assert kept is None or kept[1] <= over + 1e-5 or not kept[0].allowed
        clock.elapsed += step


def test_an_answer_that_was_long_on_its_way_does_not_prolong_access() -> None:
    """Half a second of a journey is taken for the service's; what more it took has passed at the service too."""
    clock = Clock()
    copy = copy_with(clock)
    sent, told = clock(), snapshot(clock, 1, stretch(clock, 3))
    clock.elapsed += 2
    copy.answered(told, None, sent)
    clock.elapsed += 1.5
    assert not check(copy)


def test_an_event_that_lay_in_a_buffer_does_not_prolong_access() -> None:
    """A process that stood still reads what was sent an hour ago; the service's time has gone on meanwhile."""
    clock = Clock()
    copy = copy_with(clock)
    copy.answered(snapshot(clock, 1, stretch(clock, HOUR)), None, clock())
    follow(copy, clock)
    event = snapshot(clock, 2, stretch(clock, 60))
    clock.elapsed += HOUR
    copy.changed(event, "p2")
    assert not check(copy)


# --- freshness and what is asked -------------------------------------------------------------------------------------


def test_how_an_answer_is_known() -> None:
    """Live under the stream, cached for a minute after, then stale, at last the policy's."""
    clock = Clock()
    copy = copy_with(clock)
    follow(copy, clock)
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    clock.elapsed += 40
    assert check(copy).freshness == "live"
    copy.beat("p1")
    copy.disconnected()
    seen = []
    for seconds in (1, 58, 2, 24 * HOUR - 62, 2):
        clock.elapsed += seconds
        seen.append(check(copy).freshness)
    assert seen == ["cached", "cached", "stale", "stale", "fallback"]


def test_a_copy_made_before_the_stream_began_is_not_called_live() -> None:
    """What changed between its answer and the hello was never told; and an answer may be a second behind."""
    clock = Clock()
    copy = copy_with(clock)
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    copy.hello("pdf-tool", 1, False, 15.0)
    clock.elapsed += 0.5
    copy.answered(snapshot(clock, 1, stretch(clock), user_id="bob"), None, clock())
    clock.elapsed += 2
    assert [copy.look(user, "export")[1] for user in ("ada", "bob")] == [Need.SOON, Need.SOON]
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    assert (check(copy).freshness, check(copy, "bob").freshness) == ("live", "cached")


def test_what_was_missed_must_be_told_before_anything_is_live() -> None:
    """A stream that goes on tells what it missed first; until then copies are as old as they are."""
    clock = Clock()
    copy = copy_with(clock)
    follow(copy, clock)
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    copy.beat("p1")
    copy.disconnected()
    clock.elapsed += 20
    follow(copy, clock, resumed=True)
    assert check(copy).freshness == "cached"
    copy.changed(snapshot(clock, 2), "p2")
    copy.beat("p2")
    assert (check(copy).allowed, check(copy).freshness) == (False, "live")


def test_a_service_that_says_it_goes_on_from_nowhere_is_not_believed() -> None:
    """Without a position there is nothing to go on from."""
    clock = Clock()
    copy = copy_with(clock)
    follow(copy, clock)
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    copy.disconnected(forget_position=True)
    follow(copy, clock, resumed=True)
    copy.beat("p1")
    assert check(copy).freshness == "cached"


def test_a_denial_is_asked_about_again() -> None:
    """Under the stream once a second if nothing is known of the user, not at all if something is; else each time."""
    clock = Clock()
    copy = copy_with(clock)
    follow(copy, clock)
    copy.answered(snapshot(clock, 0), None, clock())
    copy.answered(snapshot(clock, 3, user_id="bob"), None, clock())
    needs = []
    for seconds in (0.0, 1.1, 30.0):
        clock.elapsed += seconds
        needs.append((copy.look("ada", "export")[1], copy.look("bob", "export")[1]))
    assert needs == [(Need.NOTHING, Need.NOTHING), (Need.FIRST, Need.NOTHING), (Need.FIRST, Need.NOTHING)]
    copy.disconnected()
    assert copy.look("bob", "export")[1] is Need.FIRST


@pytest.mark.parametrize("streams", [True, False])
def test_what_everybody_has_is_asked_about_again(streams: bool) -> None:
    """Somebody unknown who may use what all may is asked about once a second: they may just have bought more."""
    clock = Clock()
    copy = copy_with(clock)
    if streams:
        follow(copy, clock)
    copy.answered(snapshot(clock, 0, stretch(clock)), None, clock())
    copy.answered(snapshot(clock, 3, stretch(clock), user_id="bob"), None, clock())
    assert (copy.look("ada", "export")[1], copy.look("bob", "export")[1]) == (Need.NOTHING, Need.NOTHING)
    clock.elapsed += 1.1
    assert (copy.look("ada", "export")[1], copy.look("bob", "export")[1]) == (Need.SOON, Need.NOTHING)
    assert check(copy)


def test_while_the_service_is_away_nobody_waits() -> None:
    """One question after each pause, and no check is held up by it."""
    clock = Clock()
    copy = copy_with(clock)
    assert copy.look("ada", "export")[1] is Need.FIRST
    copy.failed("ada", Unreachable("gone", "r"))
    assert copy.look("ada", "export")[1] is Need.NOTHING
    clock.elapsed += 31
    assert copy.look("bob", "export")[1] is Need.SOON
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    assert copy.look("bob", "export")[1] is Need.FIRST


def test_one_users_trouble_is_theirs() -> None:
    """A row that the service cannot read does not make it away."""
    clock = Clock()
    copy = copy_with(clock)
    for _ in range(3000):
        copy.failed("ada", ServerError(500, "internal", "No.", "r"))
    assert copy.look("ada", "export")[1] is Need.NOTHING
    assert copy.look("bob", "export")[1] is Need.FIRST


def test_copies_are_bounded_and_those_in_use_stay() -> None:
    """Who was asked about least lately goes; their version is remembered, and not undercut when they come back."""
    clock = Clock()
    copy = copy_with(clock, most=10)
    for number in range(25):
        clock.elapsed += 1
        copy.answered(snapshot(clock, 5, stretch(clock), user_id=f"u{number}"), None, clock())
        check(copy, "u0")
    assert len(copy.held) <= 10
    assert "u0" in copy.held and "u1" not in copy.held
    assert not copy.answered(snapshot(clock, 4, stretch(clock), user_id="u1"), None, clock())
    assert (check(copy, "u1").allowed, check(copy, "u1").version) == (False, 5)
    assert copy.question("u1") == {"Tollhouse-At-Least": "5"}


def test_the_stream_tells_of_more_users_than_are_held() -> None:
    """The last ones are known when they are first asked about; more are not kept."""
    clock = Clock()
    copy = copy_with(clock)
    follow(copy, clock)
    for number in range(300):
        copy.changed(snapshot(clock, 2, stretch(clock), user_id=f"u{number}"), f"p{number}")
    assert len(copy.held) == 0
    assert (check(copy, "u299").freshness, check(copy, "u0").freshness) == ("live", "fallback")


# --- policies --------------------------------------------------------------------------------------------------------


def test_policies_that_make_no_sense_are_refused() -> None:
    """At start-up, not in an outage."""
    for wrong in (
        lambda: allow(value=0),
        lambda: allow(value=-3),
        lambda: deny(value=3),
        lambda: last_known_good(timedelta(-1)),
        lambda: by_feature({"export": "deny"}),  # type: ignore[dict-item]
        lambda: by_feature("deny"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError):
            wrong()


def test_an_hour_after_another_for_a_day() -> None:
    """24 hours of an outage, a check each minute: nobody is denied, nothing is raised, and then the policy decides."""
    clock = Clock()
    copy = copy_with(clock)
    copy.answered(snapshot(clock, 1, stretch(clock)), None, clock())
    for _ in range(24 * 60):
        answer, need = copy.look("ada", "export")
        assert answer.allowed
        if need is not Need.NOTHING:
            copy.failed("ada", Unreachable("gone", "r"))
        clock.elapsed += 60
    clock.elapsed += 1
    assert check(copy).reason == "outage-deny"


# --- coming back -----------------------------------------------------------------------------------------------------


def test_an_answer_that_was_overtaken_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """The app's log tells of a service that went back, not of an answer that was slower than the next."""
    clock = Clock()
    copy = copy_with(clock)
    sent = clock()
    clock.elapsed += 0.4
    copy.answered(snapshot(clock, 2), None, clock())
    assert not copy.answered(snapshot(clock, 1), None, sent)
    assert caplog.messages == []
    clock.elapsed += 1.5
    assert not copy.answered(snapshot(clock, 1), None, clock())
    assert caplog.messages == ["the service answered with a version older than one seen before"]


def test_many_who_were_cut_off_come_back_one_after_the_other() -> None:
    """20 apps of 10 processes, a service that was away for two minutes: no second sees more than an eighth of them."""
    dice = random.Random(4)
    arrivals: list[int] = []
    for _ in range(200):
        again, now = Reconnection(dice.random), 0.0
        while now < 120:
            now += again.pause(0.0)
        arrivals.append(int(now))
    assert max(arrivals.count(second) for second in set(arrivals)) <= 25
    assert max(arrivals) - min(arrivals) >= 20


def test_pauses_between_connections() -> None:
    """1, 2, 4 … 30 s, begun anew after a healthy minute; the server's word counts; who is refused comes back too."""
    again = Reconnection(lambda: 0.0)
    assert [again.pause(0.0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert again.pause(61.0) == 1
    assert Reconnection(lambda: 1.0).pause(0.0) == 0.5
    again.retry = 3.0
    assert (again.pause(61.0), again.pause(0.0)) == (3.0, 6.0)
    assert again.pause(0.0, retry_after=99.0) == 99.0
    assert [again.pause(0.0, refused=True) for _ in range(100)] == [240.0] * 100


# --- whatever comes --------------------------------------------------------------------------------------------------


class NeverGoesBack(RuleBasedStateMachine):
    """Two streams, polls, syncs, files old and new, a service that was restored: a version never goes back (I11)."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.copy = copy_with(self.clock, most=2)
        self.seen: dict[str, int] = {}
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name) / "file"
        self.files: list[bytes] = []

    def teardown(self) -> None:
        self.directory.cleanup()

    users = st.sampled_from(["ada", "bob", "carol"])
    versions = st.integers(0, 6)

    def told(self, user: str, version: int, late: float) -> Snapshot:
        issued = self.clock.service() - timedelta(seconds=late)
        opened = [stretch(self.clock)] if version % 2 else []
        return snapshot(self.clock, version, *opened, user_id=user, issued_at=issued)

    @rule(user=users, version=versions, late=st.floats(0, 5))
    def poll(self, user: str, version: int, late: float) -> None:
        self.copy.answered(self.told(user, version, late), None, self.clock() - late)

    @rule(user=users)
    def poll_unchanged(self, user: str) -> None:
        self.copy.unchanged(user, self.clock())

    @rule(user=users, version=versions, late=st.floats(0, 5))
    def event(self, user: str, version: int, late: float) -> None:
        self.copy.changed(self.told(user, version, late), f"p{version}")

    @rule(resumed=st.booleans())
    def hello(self, resumed: bool) -> None:
        self.copy.hello("pdf-tool", 1, resumed, 15.0)

    @rule()
    def beat(self) -> None:
        self.copy.beat("p9")

    @rule()
    def cut(self) -> None:
        self.copy.disconnected()

    @rule(user=users)
    def fail(self, user: str) -> None:
        self.copy.failed(user, Unreachable("gone", "r"))

    @rule(seconds=st.sampled_from([0.1, 5.0, 61.0, 90000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.elapsed += seconds

    @rule(catalog=st.integers(1, 3))
    def publish(self, catalog: int) -> None:
        self.copy.catalog_changed(catalog, None)

    @rule()
    def keep_a_file(self) -> None:
        SnapshotFile(self.path, "key").save(self.copy)
        self.files.append(self.path.read_bytes())

    @precondition(lambda self: self.files)
    @rule(which=st.integers(0, 9))
    def somebody_puts_an_old_file_there(self, which: int) -> None:
        self.path.write_bytes(self.files[which % len(self.files)])
        self.path.chmod(0o600)

    @rule()
    def restart(self) -> None:
        """What was held is written over whatever is there, and the next process knows at least that."""
        SnapshotFile(self.path, "key").save(self.copy)
        held = dict(self.copy.held)
        self.copy = copy_with(self.clock)
        SnapshotFile(self.path, "key").load(self.copy)
        self.seen = {user: version for user, version in self.seen.items() if user in held}

    @invariant()
    def versions_do_not_go_back(self) -> None:
        for user in ("ada", "bob", "carol"):
            kept = self.copy.held[user].kept.get("export") if user in self.copy.held else None
            version = check(self.copy, user).version
            assert version >= self.seen.get(user, 0)
            assert kept is None or kept[0].version >= self.seen.get(user, 0) or kept[2] != self.copy.epoch
            self.seen[user] = version


TestNeverGoesBack = NeverGoesBack.TestCase
TestNeverGoesBack.settings = settings(max_examples=130, stateful_step_count=40, deadline=None)
