"""What a test told the fake of one user, and what that user has by it and by the catalog's default product."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .answers import Product, Value
from .snapshots import Stretch

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class FakeUser:
    version: int = 0
    opened: dict[str, tuple[Value, datetime | None]] = field(default_factory=dict)
    """By feature: its value, and when that ends."""
    denied: set[str] = field(default_factory=set)
    """Features that are closed, though everybody has them."""
    owned: set[str] = field(default_factory=set)
    """Prices whose checkout was completed."""

    def allow(self, feature: str, value: Value, until: datetime | None) -> None:
        self.opened[feature] = (value, until)
        self.denied.discard(feature)
        self.version += 1

    def deny(self, feature: str) -> None:
        self.opened.pop(feature, None)
        self.denied.add(feature)
        self.version += 1

    def stretches(self, feature: str, free: Product | None, now: datetime) -> Iterator[Stretch]:
        """What was allowed, while it lasts and gives as much as `free`, which everybody has; that is the rest."""
        (value, until), since = self.opened.get(feature, (False, None)), now - timedelta(days=1)
        least = free.opens.get(feature, False) if free is not None and feature not in self.denied else False
        if value and value >= least and (until is None or now < until):
            yield Stretch(value, since, until, "granted", "gr_fake")
            since = until or _NEVER
        if free is not None and least and since < _NEVER:
            yield Stretch(least, since, None, "default", free.code)
