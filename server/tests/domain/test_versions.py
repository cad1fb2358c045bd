"""Versions only grow, whatever is restored."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tollhouse_server.domain.versions import changes_of, epoch_of, first_of, next_epoch

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@given(changes=st.integers(0, 2**32 - 1), highest=st.integers(0, 2**20), minutes=st.integers(0, 10**7))
def test_a_new_epoch_is_above_all_that_was_seen(changes: int, highest: int, minutes: int) -> None:
    """The number of changes goes on in it."""
    seen = first_of(highest) | changes
    epoch = next_epoch(highest, NOW + timedelta(minutes=minutes))
    raised = first_of(epoch) | changes_of(seen)
    assert raised > seen and epoch > highest
    assert (epoch_of(raised), changes_of(raised)) == (epoch, changes)


def test_the_same_backup_restored_again_begins_another() -> None:
    """It does not know of the epoch between: time does."""
    assert next_epoch(0, NOW + timedelta(minutes=10)) == next_epoch(0, NOW) + 1


def test_a_version_is_exact_in_every_reader_of_json() -> None:
    """53 bits, for almost forty years."""
    assert first_of(next_epoch(0, NOW.replace(year=2064))) < 2**53
