"""How far the stream of changes has been heard, and so which copies it keeps current. No I/O."""

from math import inf

from .shelf import BOUND, Held


class Following:
    """One process' stream, over all its connections. Instants are those of the copy's clock.

    A session is as long as nothing was missed: a connection that goes on where the one before ended is of the same.
    """

    def __init__(self) -> None:
        self.connected = False
        self.session = 1
        self.heard = -inf
        """When the stream last said something, in the session that now is or was last."""
        self.position: str | None = None
        """Up to where it has been heard; opaque."""
        self.catalog_version = 0
        self.silence = 45.0
        """Seconds after which a stream that says nothing is none."""
        self._catalog_at = -inf
        self._caught_up = False
        self._hello_at = -inf

    def healthy(self, now: float) -> bool:
        """Whether it tells everything that changes."""
        return self.connected and self._caught_up and now < self.heard + self.silence

    def covers(self, held: Held, now: float) -> bool:
        """Whether it keeps this copy current."""
        if held.session != self.session or held.snapshot.catalog_version < self.catalog_version:
            return False
        return self.healthy(now) and held.whole

    def confirmed(self, held: Held) -> float:
        """When this was last known to be so."""
        if held.session != self.session:
            return held.confirmed
        until = self._catalog_at if held.snapshot.catalog_version < self.catalog_version else self.heard
        return max(held.confirmed, until)

    def confirmed_at(self, held: Held, now: float) -> float:
        """The same, where what the stream keeps current is confirmed at every instant."""
        return now if self.covers(held, now) else self.confirmed(held)

    def follows(self, held: Held) -> bool:
        """Whether it has told everything about this user up to its position."""
        return held.session == self.session and self.position is not None

    def session_of(self, sent: float) -> int:
        """The session that tells all changes after a question that was sent then; 0 if none surely does.

        An answer may be behind by the service's bound, so it may lack what was told before the stream began.
        """
        return self.session if self.connected and sent >= self._hello_at + BOUND else 0

    def begin(self, now: float, *, resumed: bool, heartbeat: float) -> None:
        """A connection is there; `resumed`: it goes on where the last one ended, once it has caught up."""
        if not resumed:
            self.session += 1
            self.heard = now
        self.connected, self._caught_up, self._hello_at = True, not resumed, now
        self.silence = 3 * heartbeat

    def caught_up(self) -> bool:
        """What was missed has been told. True if that is news."""
        news = self.connected and not self._caught_up
        self._caught_up = self.connected
        return news

    def heard_up_to(self, position: str | None, now: float) -> bool:
        """It said something. True if its position is another."""
        if self._caught_up:
            self.heard = now
        moved = position is not None and position != self.position
        self.position = position if moved else self.position
        return moved

    def catalog(self, version: int, now: float) -> bool:
        """There is a catalog of this version. True if that is news."""
        news = version > self.catalog_version
        if news:
            self.catalog_version, self._catalog_at = version, now
        return news

    def end(self) -> None:
        """The connection is gone."""
        self.connected = self._caught_up = False
