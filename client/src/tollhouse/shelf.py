"""Where the copies stand, one for each user. No I/O."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeAlias

from .answers import Check
from .snapshots import Snapshot

BOUND = 1.0
"""Seconds by which an answer of the service may be behind at most, whatever fails there."""
MOST_USERS = 10_000
_HEARD_OF = 256
_NEVER_BEHIND = 100_000

elapsed: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds since some instant; goes on while the machine sleeps, where the system can tell."""


Kept: TypeAlias = tuple[Check, float, int]
"""An answer, the instant up to which it may be handed out, and the epoch it belongs to."""


@dataclass(slots=True, eq=False)
class Held:
    """One user's snapshot, and how far it is to be trusted. Instants are those of the copy's clock."""

    snapshot: Snapshot
    etag: str | None
    offset: float
    """The service's time (seconds since 1970) less the clock's."""
    confirmed: float
    """When the service last said that this is how things are."""
    asked: float
    poll_at: float
    session: int
    """The stream's session that keeps it current; 0: none."""
    whole: bool = True
    """Tells later stretches too; what an answer about one instant told does not."""
    used: float = 0.0
    kept: dict[str, Kept] = field(default_factory=dict)


class Shelf:
    """The copies, at most `most`. `held` may be read by anybody at any time; to change it is for who has the lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held: dict[str, Held] = {}
        self.heard_of: dict[str, Held] = {}
        """Users who changed and whom nobody asked about yet; the last few."""
        self.forgotten: set[str] = set()
        """Users whom the file must not bring back."""
        self.kinds: dict[str, str] = {}
        """The features there are, for the day a user is asked about of whom nothing is known."""
        self.changes = 0
        """Grows with everything that a file should hold."""
        self._evicted: dict[str, int] = {}

    def put(self, held: Held) -> Held:
        user_id = held.snapshot.user_id
        self._evicted.pop(user_id, None)
        self.forgotten.discard(user_id)
        self.held[user_id] = held
        self.changes += 1
        self.learn(held.snapshot)
        if len(self.held) > self._most:
            self._evict()
        return held

    def hear_of(self, held: Held) -> None:
        """Nobody asked about this user yet; whoever changed is asked about soon, often."""
        user_id = held.snapshot.user_id
        if held.snapshot.version < self.least_version(user_id):
            return
        known = self.heard_of.pop(user_id, None)
        self.heard_of[user_id] = held if known is None or age(held) >= age(known) else known
        if len(self.heard_of) > _HEARD_OF:
            self.heard_of.pop(next(iter(self.heard_of)))

    def newest(self, user_id: str) -> Held | None:
        """What is known of the user, from wherever."""
        known = (self.held.get(user_id), self.heard_of.get(user_id))
        return max((held for held in known if held), key=age, default=None)

    def least_version(self, user_id: str) -> int:
        """What must not be undercut: the version of an answer that was given, or of a change that was heard of."""
        newest = self.newest(user_id)
        return newest.snapshot.version if newest else self._evicted.get(user_id, 0)

    def forget(self, user_id: str) -> None:
        for place in (self.held, self.heard_of, self._evicted):
            place.pop(user_id, None)
        self.forgotten.add(user_id)
        self.changes += 1

    def clear(self) -> None:
        for place in (self.held, self.heard_of, self._evicted):
            place.clear()

    def learn(self, snapshot: Snapshot) -> None:
        for code, feature in snapshot.features.items():
            self.kinds[code] = feature.kind

    def _evict(self) -> None:
        """Let those go who were not asked about for longest; remember what must not be undercut."""
        oldest = sorted(self.held, key=lambda user_id: self.held[user_id].used)
        for user_id in oldest[: max(1, self._most // 10)]:
            self._evicted[user_id] = self.held.pop(user_id).snapshot.version
        while len(self._evicted) > _NEVER_BEHIND:
            self._evicted.pop(next(iter(self._evicted)))


def age(held: Held) -> tuple[int, bool, int, datetime]:
    """What makes one copy of a user newer than another; of one version, the one that tells more, then the later."""
    snapshot = held.snapshot
    return snapshot.version, held.whole, snapshot.catalog_version, snapshot.issued_at
