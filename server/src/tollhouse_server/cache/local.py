"""What this process read lately: customers' snapshots, and what keys may do. No I/O, nothing awaited.

A cell is over a second after its read of PostgreSQL began, and that alone bounds how old an answer can be, whatever
fails. Floors come on top: whoever tells that a version was committed, or is about to be, puts a floor under the
customer, or under the project for its keys and its catalog; what is older is dropped and stays out.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from math import inf
from typing import Any, Final, Generic, TypeVar

from ..domain.entitlements import Entitlement

LIVES_SECONDS: Final = 1.0
"""How old a cell may become, from when its read began."""
FLOOR_SECONDS: Final = 60.0
"""Longer than a transaction may take whose version was told before its commit."""
MOST_FLOORS: Final = 100_000
MOST_STRETCHES: Final = 30_000
"""Together, of all cells, each of which counts as one more: some 40 MB of small customers."""
MOST_KEYS: Final = 2_000
_REMEMBERED_SECONDS: Final = 3.0
"""For so long after its end a cell still lends what was rendered of it to one that says the same."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A customer's snapshot as it was read. It holds periods, never a verdict: whoever reads it evaluates the instant.

    `expires` is in seconds of `time.monotonic()`, at most `LIVES_SECONDS` after the read began; a cell of which that is
    not known is over, and is never kept. Not part of what the cell says.
    """

    version: int
    entitlements: tuple[Entitlement, ...]
    expires: float = field(default=-inf, compare=False)
    rendered: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What answers were made of it, for as long as they stand: whoever made one knows."""

    @property
    def weight(self) -> int:
        return 1 + len(self.entitlements)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What a project's key may do, as it was read. `version` is the project's: it grows when any of this changes."""

    id: str
    project_id: uuid.UUID
    slug: str
    redirect_origins: tuple[str, ...]
    catalog_version: int
    version: int
    scopes: tuple[str, ...]
    key_expires_at: datetime | None
    """When the key itself ends, which is asked at each use; None: never."""
    last_used_at: datetime | None
    expires: float = field(default=-inf, compare=False)
    """As a cell's."""
    at_hand: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What else was found out for who called with it; gone with it, within a second."""


Kept = TypeVar("Kept", Cell, KnownKey)


class _Shelf(Generic[Kept]):
    """So much of a kind; what was put there longest ago goes first."""

    def __init__(self, most: int, weight: Callable[[Kept], int]) -> None:
        self._most, self._weight = most, 0
        self._weigh: Callable[[Kept], int] = weight
        self.kept: dict[Any, Kept] = {}

    def put(self, key: Any, one: Kept, now: float) -> None:
        self.drop(key)
        self.kept[key] = one
        self._weight += self._weigh(one)
        while self._weight > self._most:
            self.drop(next(iter(self.kept)))
        # Two for each that comes: so those that nobody asked for again are soon gone.
        for first in list(islice(self.kept, 2)):
            if self.kept[first].expires < now - _REMEMBERED_SECONDS:
                self.drop(first)

    def drop(self, key: Any) -> None:
        one = self.kept.pop(key, None)
        if one is not None:
            self._weight -= self._weigh(one)

    def clear(self) -> None:
        self.kept.clear()
        self._weight = 0


class Local:
    """One process' tier. All of it is bounded in number, and so in memory."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_stretches: int = MOST_STRETCHES,
        most_keys: int = MOST_KEYS,
        most_floors: int = MOST_FLOORS,
    ) -> None:
        self._clock, self._most_floors = clock, most_floors
        self._cells: _Shelf[Cell] = _Shelf(most_stretches, lambda cell: cell.weight)
        self._keys: _Shelf[KnownKey] = _Shelf(most_keys, lambda _: 1)
        self._floors: dict[tuple[uuid.UUID, str | None], tuple[int, float]] = {}
        """Version and end of each, the one that was set longest ago first."""
        self._in_use_since = -inf
        """Infinite while it is not in use."""

    def get(self, project_id: uuid.UUID, user_id: str) -> Cell | None:
        """The customer's cell, if it is not over."""
        cell = self._cells.kept.get((project_id, user_id))
        return cell if cell is not None and self._clock() < cell.expires else None

    def fill(self, project_id: uuid.UUID, user_id: str, cell: Cell) -> Cell:
        """Keeps the cell, unless it is over, or older than the floor or than what is kept.

        Answers with the one to use: what is kept, where that says the same or something newer, else the cell.
        """
        now = self._clock()
        if self._is_refused(cell, now) or cell.version < self._floor(project_id, user_id, now):
            return cell
        key = project_id, user_id
        held = self._cells.kept.get(key)
        if held is not None:
            if now < held.expires and held.version > cell.version:
                return held
            if held == cell:
                cell = replace(held, expires=max(held.expires, cell.expires))
        self._cells.put(key, cell, now)
        return cell

    def key(self, digest: bytes) -> KnownKey | None:
        """What the key of this digest may do, if that is not over. Whether the key itself has ended, ask its time."""
        known = self._keys.kept.get(digest)
        return known if known is not None and self._clock() < known.expires else None

    def keep_key(self, digest: bytes, known: KnownKey) -> None:
        """Keeps it, unless it is over, or older than the project's floor or than what is kept."""
        now = self._clock()
        held = self._keys.kept.get(digest)
        if self._is_refused(known, now) or known.version < self._floor(known.project_id, None, now):
            return
        if held is None or held.version <= known.version or held.expires <= now:
            self._keys.put(digest, known, now)

    def floor(self, project_id: uuid.UUID, user_id: str | None, version: int) -> None:
        """Drops what is older than `version`, and keeps it out. `user_id` None is the project: its keys, its catalog.

        A lower floor than the one there is changes nothing.
        """
        now = self._clock()
        version = max(version, self._floor(project_id, user_id, now))
        self._floors.pop((project_id, user_id), None)  # so that it comes last
        self._floors[project_id, user_id] = version, now + FLOOR_SECONDS
        self._forget_floors(now)
        if user_id is not None:
            cell = self._cells.kept.get((project_id, user_id))
            if cell is not None and cell.version < version:
                self._cells.drop((project_id, user_id))
            return
        for digest, known in list(self._keys.kept.items()):
            if known.project_id == project_id and known.version < version:
                self._keys.drop(digest)

    def clear(self) -> None:
        """Forgets all that was read. The floors stand."""
        self._cells.clear()
        self._keys.clear()

    def suspend(self) -> None:
        """Forgets all that was read, and keeps nothing until `resume`."""
        self._in_use_since = inf
        self.clear()

    def resume(self) -> None:
        """Keeps what is read by reads that begin from now on."""
        self._in_use_since = self._clock()

    def _is_refused(self, one: Cell | KnownKey, now: float) -> bool:
        """Whether it is over, or its read may have begun before this tier was in use."""
        return one.expires <= now or one.expires - LIVES_SECONDS < self._in_use_since

    def _floor(self, project_id: uuid.UUID, user_id: str | None, now: float) -> int:
        version, ends = self._floors.get((project_id, user_id), (-1, inf))
        return version if now < ends else -1

    def _forget_floors(self, now: float) -> None:
        while len(self._floors) > self._most_floors or next(iter(self._floors.values()))[1] <= now:
            # One that is forgotten early lets in what was read before it: no older than a second, as ever.
            del self._floors[next(iter(self._floors))]
