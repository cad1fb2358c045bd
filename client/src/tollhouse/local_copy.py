"""What one process knows of its users, and how it answers from that. No I/O: it is told what came and when.

Three rules hold whatever comes, in whatever order:
a copy's version never goes back; the instant is judged at each reading, by the service's time as it passes on a clock
that nobody sets; and an answer says how it is known.

Reading takes no lock: a copy is replaced, never changed, and the answers kept with it are for that copy only.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from math import inf
from random import random

from .answers import Check, Customer, Entitlements, Freshness
from .errors import TollhouseError
from .following import Following
from .health import LONGEST_PAUSE, Health
from .outage import FRESH, OutagePolicy
from .shelf import BOUND, MOST_USERS, Held, Shelf, age, elapsed
from .snapshots import Snapshot, from_entitlements
from .warned import Warned

_SLOWEST = 0.5
"""Seconds between a question and the issuing of its answer, at most; the rest was the answer's way here."""


class Need(Enum):
    """What an answer needs to be a better one."""

    NOTHING = "nothing"
    SOON = "ask, but do not wait for it"
    FIRST = "ask, wait a moment, and look again"


class ForeignSnapshot(ValueError):
    """What came is another project's."""


class LocalCopy:
    """The copies of one process. `poll` is in seconds: how old a copy may become while no stream keeps it current."""

    def __init__(
        self,
        policies: Mapping[str, OutagePolicy],
        *,
        poll: float,
        clock: Callable[[], float] = elapsed,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random,
        most: int = MOST_USERS,
    ) -> None:
        self.clock, self.wall = clock, wall
        self.shelf = Shelf(most)
        self.held = self.shelf.held
        self.epoch = 0
        """Grows when answers that are kept may no longer be handed out."""
        self.health = Health(min(1.0, poll), min(LONGEST_PAUSE, poll), chance)
        self.warned = Warned(clock)
        self.lock = threading.Lock()
        self.project: str | None = None
        self.project_is_certain = False
        self.stream = Following()
        self._policies, self._poll, self._pace, self._chance = policies, poll, min(BOUND, poll), chance
        self._offset: float | None = None

    @property
    def changes(self) -> int:
        """Grows with everything that a file should hold."""
        return self.shelf.changes

    # --- reading ---------------------------------------------------------------------------------------------------

    def look(
        self, user_id: str, feature: str, at_least: int | None = None, *, answered: bool = False
    ) -> tuple[Check, Need]:
        """What is known now, and whether asking would make it better. `answered`: the service did, a moment ago."""
        epoch, now = self.epoch, self.clock()
        held = self._find(user_id)
        if held is None:
            version = self.shelf.least_version(user_id)
            decided = self._decided(self._policy(feature), feature, version, self._instant(None, now))
            return decided, self._need(user_id, None, False, feature, at_least, now)
        held.used = now
        check, until = self._answer(held, feature, now, answered)
        need = self._need(user_id, held, check.allowed, feature, at_least, now)
        if need is Need.NOTHING and not answered and until > now:
            held.kept[feature] = (check, until, epoch)
        return check, need

    def look_at_all(self, user_id: str, *, answered: bool = False) -> tuple[Entitlements, Need]:
        """Every feature that is known, of one user."""
        now = self.clock()
        held = self._find(user_id)
        codes: Iterable[str] = self.shelf.kinds if held is None else held.snapshot.features
        looks = {code: self.look(user_id, code, answered=answered) for code in list(codes)}
        needs = {need for _, need in looks.values()} or {self._need(user_id, held, False, "", None, now)}
        checks = {code: check for code, (check, _) in looks.items()}
        ranks: list[Freshness] = ["live", "cached", "stale", "fallback"]
        worst = max(
            (check.freshness for check in checks.values()), key=ranks.index, default="cached" if held else "fallback"
        )
        version = self.shelf.least_version(user_id)
        need = next(need for need in (Need.FIRST, Need.SOON, Need.NOTHING) if need in needs)
        return Entitlements(user_id, version, self._instant(held, now), checks, worst), need

    def _find(self, user_id: str) -> Held | None:
        held = self.held.get(user_id)
        if held is None and user_id in self.shelf.heard_of:
            with self.lock:
                heard_of = self.shelf.heard_of.pop(user_id, None)
                if heard_of and heard_of.session == self.stream.session:
                    held = self.shelf.put(heard_of)
        return held

    def _answer(self, held: Held, feature: str, now: float, answered: bool) -> tuple[Check, float]:
        """The answer, and up to when it may be handed out again."""
        covered = self.stream.covers(held, now)
        confirmed = now if covered or answered else self.stream.confirmed(held)
        policy, old = self._policy(feature), now - confirmed
        at = self._instant(held, now)
        if feature not in held.snapshot.features:
            self.warned.once("feature", "the catalog has no feature %r: a typing mistake?", feature)
            missing = Check(
                feature, False, False, None, "feature-not-found", None, held.snapshot.version, at, "fallback"
            )
            return missing, held.asked + self._pace
        if old > policy.max_age:
            return self._decided(policy, feature, held.snapshot.version, at), now
        fresh: Freshness = "live" if covered or answered else "cached" if old <= FRESH else "stale"
        check = replace(held.snapshot.check(feature, at), freshness=fresh)
        ends = inf if check.valid_until is None else check.valid_until.timestamp() - held.offset
        if covered:
            return check, min(
                ends,
                self.stream.heard + self.stream.silence,
                inf if self._stands(held) else held.asked + self._pace,
            )
        edges = [edge for edge in (confirmed + FRESH, confirmed + policy.max_age) if edge > now]
        asks = self._asks_at(held, feature, check.allowed, now)
        paused = self.health.paused_until(held.snapshot.user_id)
        return check, min(ends, *edges, paused if paused > now else asks)

    def _need(
        self, user_id: str, held: Held | None, allowed: bool, feature: str, at_least: int | None, now: float
    ) -> Need:
        if self.health.paused_until(user_id) > now:
            return Need.NOTHING
        first = Need.SOON if self.health.away or self.health.barred else Need.FIRST
        if held is None or (at_least is not None and held.snapshot.version < at_least):
            return first
        if self.stream.covers(held, now) and self._stands(held):
            return Need.NOTHING
        if now < self._asks_at(held, feature, allowed, now):
            return Need.NOTHING
        if not allowed or now - self.stream.confirmed(held) > min(FRESH, self._policy(feature).max_age):
            return first
        return Need.SOON

    def _stands(self, held: Held) -> bool:
        """Whether the stream alone will do. Of whom nothing is known may just have bought more than everybody has."""
        return held.snapshot.version > 0

    def _asks_at(self, held: Held, feature: str, allowed: bool, now: float) -> float:
        """When a copy that no stream keeps current is asked for again; a denial at once, lest it hide a purchase."""
        paced = held.asked + self._pace
        if self.stream.healthy(now) or not held.whole or feature not in held.snapshot.features:
            return paced
        if not allowed:
            return held.asked
        if not self._stands(held):
            return paced
        return max(paced, min(held.poll_at, self.stream.confirmed(held) + self._policy(feature).max_age))

    def _decided(self, policy: OutagePolicy, feature: str, version: int, at: datetime) -> Check:
        """What the policy says where nothing is known, or nothing that is recent enough."""
        reason = "outage-allow" if policy.allowed else "outage-deny"
        if self.health.barred and not policy.allowed:
            reason = "unauthenticated"
        value = policy.worth(self.shelf.kinds.get(feature))
        return Check(feature, policy.allowed, value, None, reason, None, version, at, "fallback")

    def _policy(self, feature: str) -> OutagePolicy:
        return self._policies.get(feature) or self._policies["*"]

    def _instant(self, held: Held | None, now: float) -> datetime:
        """The service's time, as far as it is known."""
        if held is not None:
            return datetime.fromtimestamp(now + held.offset, UTC)
        return datetime.fromtimestamp(self.wall() if self._offset is None else now + self._offset, UTC)

    # --- what answers to questions tell ------------------------------------------------------------------------------

    def question(self, user_id: str, at_least: int | None = None) -> dict[str, str]:
        """The headers of a question: what is held already, and what is wanted at least."""
        headers = {}
        held = self.held.get(user_id)
        if held and held.etag and held.whole and self._poll:
            headers["If-None-Match"] = held.etag
        wanted = max(at_least or 0, 0 if held else self.shelf.least_version(user_id))
        if wanted:
            headers["Tollhouse-At-Least"] = str(wanted)
        return headers

    def answered(self, snapshot: Snapshot, etag: str | None, sent: float, *, whole: bool = True) -> bool:
        """A snapshot came for a question that was sent at `sent`. False if it is older than what was known before.

        Raises ForeignSnapshot.
        """
        now = self.clock()
        with self.lock:
            if snapshot.project:
                self._ours(snapshot.project)
            self._good(snapshot.user_id)
            self._catalog(snapshot.catalog_version, now)
            self._offset = snapshot.issued_at.timestamp() - min(now, sent + _SLOWEST)
            held = self._make(snapshot, etag, self._offset, sent, now)
            held.whole = whole
            newest = self.shelf.newest(snapshot.user_id)
            taken = self._take(held)
            # One that was on its way when a newer one came is no news.
            if not taken and newest and sent > newest.confirmed + BOUND:
                self.warned.once("older", "the service answered with a version older than one seen before")
            return taken

    def unchanged(self, user_id: str, sent: float) -> None:
        """What was held still stands."""
        now = self.clock()
        with self.lock:
            self._good(user_id)
            held = self.held.get(user_id)
            if held:
                self.shelf.put(self._confirm(held, sent, now))

    def failed(self, user_id: str, error: TollhouseError) -> None:
        """The question was not answered; the next one waits."""
        with self.lock:
            self.health.failed(error, self.clock(), user_id)

    def told_customer(self, customer: Customer) -> None:
        """Another call's answer tells of the user as well; it is as good as one that was asked for, for its instant."""
        now = self.clock()
        with self.lock:
            self._good(customer.user_id)
            offset = customer.checked_at.timestamp() - now
            snapshot = from_entitlements(customer, self.project or "", self.stream.catalog_version)
            held = self._make(snapshot, None, offset, now, now)
            held.whole, held.session, held.asked = False, 0, -inf
            self._take(held)

    def forget(self, user_id: str) -> None:
        """Hold nothing of this user any more, here or in the file."""
        with self.lock:
            self.shelf.forget(user_id)

    # --- what the stream tells ---------------------------------------------------------------------------------------

    def hello(
        self, project: str, catalog_version: int, resumed: bool, heartbeat: float, position: str | None = None
    ) -> None:
        """The stream begins. Unless it goes on where it was left, what is held is as it was, and asked for on use."""
        now = self.clock()
        with self.lock:
            self._ours(project)
            self.health.answers()
            resumed = resumed and self.stream.position is not None
            if not resumed:
                self._end_session()
            self.stream.begin(now, resumed=resumed, heartbeat=heartbeat)
            self._catalog(catalog_version, now)
            if not resumed:
                self._heard(position)
            self.epoch += 1

    def beat(self, position: str | None) -> None:
        """The stream lives, and has told everything up to here."""
        with self.lock:
            if self.stream.caught_up():
                self.epoch += 1
            self._heard(position)

    def changed(self, snapshot: Snapshot, position: str | None) -> None:
        """A customer changed. Raises ForeignSnapshot."""
        now = self.clock()
        with self.lock:
            self._ours(snapshot.project)
            self._catalog(snapshot.catalog_version, now)
            # It may have lain in a buffer while this process stood still: the service's time is not behind what we know
            offset = snapshot.issued_at.timestamp() - now
            offset = offset if self._offset is None else max(offset, self._offset)
            held = self._make(snapshot, None, offset, now, now)
            held.session = self.stream.session
            if snapshot.user_id in self.held:
                self._take(held)
            else:
                self.shelf.hear_of(held)
            self._heard(position)

    def catalog_changed(self, catalog_version: int, position: str | None) -> None:
        """Copies made with an older catalog are asked for again on use."""
        with self.lock:
            self._catalog(catalog_version, self.clock())
            self._heard(position)

    def disconnected(self, *, forget_position: bool = False) -> None:
        """The stream ended. With `forget_position` it is not to be gone on with where it was."""
        with self.lock:
            self.stream.end()
            self.epoch += 1
            if forget_position:
                self.stream.position = None

    # --- the shelf ---------------------------------------------------------------------------------------------------

    def _ours(self, project: str) -> None:
        if self.project == project:
            self.project_is_certain = True
            return
        if self.project_is_certain:
            raise ForeignSnapshot("the answer is about another project")
        self.shelf.clear()
        self.project, self.project_is_certain = project, True

    def _good(self, user_id: str) -> None:
        if self.health.answers(user_id):
            self.epoch += 1

    def _heard(self, position: str | None) -> None:
        if self.stream.heard_up_to(position, self.clock()):
            self.shelf.changes += 1

    def _catalog(self, version: int, now: float) -> None:
        if self.stream.catalog(version, now):
            self.epoch += 1

    def _end_session(self) -> None:
        for user_id, held in list(self.held.items()):
            if held.session == self.stream.session:
                self.held[user_id] = replace(held, confirmed=self.stream.confirmed(held), session=0, kept={})
        self.shelf.heard_of.clear()

    def _make(self, snapshot: Snapshot, etag: str | None, offset: float, sent: float, now: float) -> Held:
        return Held(snapshot, etag, offset, sent, now, self._poll_at(sent), self.stream.session_of(sent), used=now)

    def _poll_at(self, confirmed: float) -> float:
        return confirmed + self._poll * (0.8 + 0.4 * self._chance())

    def _confirm(self, held: Held, sent: float, now: float) -> Held:
        return replace(
            held,
            confirmed=max(held.confirmed, sent),
            asked=now,
            poll_at=self._poll_at(sent),
            session=max(held.session if held.session == self.stream.session else 0, self.stream.session_of(sent)),
            kept={},
        )

    def _take(self, held: Held) -> bool:
        """Hold this, if it is no older than what is known. False if it is."""
        user_id = held.snapshot.user_id
        least, newest = self.shelf.least_version(user_id), self.shelf.newest(user_id)
        self.shelf.heard_of.pop(user_id, None)
        if held.snapshot.version < least:
            if newest:
                self.shelf.put(replace(newest, asked=held.asked, poll_at=held.poll_at))
            return False
        if newest and age(newest) > age(held):
            held = self._confirm(newest, held.confirmed, held.asked)
        self.shelf.put(held)
        return True
