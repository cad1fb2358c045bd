"""What a customer's version is made of: the epoch of the database, and how often the customer has changed.

A restored backup would go back to versions that apps and caches have seen pass. So each restore begins an epoch, which
is the high part of every version from then on, and the number of changes goes on below it: what was seen is less.
"""

from datetime import UTC, datetime, timedelta

CHANGES_BITS = 32
"""How many of a version's bits count changes. The rest still fits the 53 bits that every JSON reader keeps exact, for
almost forty years."""

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
_STEP = timedelta(minutes=10)


def epoch_of(version: int) -> int:
    """0 in a database that was never restored."""
    return version >> CHANGES_BITS


def changes_of(version: int) -> int:
    """How often the customer's entitlements have changed: once for each audit entry of that."""
    return version & ((1 << CHANGES_BITS) - 1)


def first_of(epoch: int) -> int:
    """The version of a customer of whom nothing has changed yet."""
    return epoch << CHANGES_BITS


def next_epoch(highest: int, at: datetime) -> int:
    """The epoch that begins at `at`, where `highest` is the highest known so far.

    It follows the time, as a backup does not know of the epochs since it was taken: restored twice, it begins another.
    """
    return max(highest + 1, (at - _BEGINNING) // _STEP)
