"""A trial is a second one where something by which it is known was used for another before."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse_server.domain.trials import TrialUse, UsedBy, known_by, normalized, trial_again

BEGAN = datetime(2026, 11, 22, 9, tzinfo=UTC)
uses = st.lists(
    st.builds(
        TrialUse,
        st.sampled_from(UsedBy),
        st.sampled_from(["sub_1", "sub_2", "sub_3"]),
        st.integers(-2, 2).map(lambda days: BEGAN + timedelta(days=days)),
    ),
    max_size=5,
)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("ada@example.com", True),
        (" Ada@Example.COM\n", True),
        ("a.da@example.com", False),
        ("ada+1@example.com", False),
        ("ada@example.org", False),
    ],
)
def test_addresses_are_compared_without_capitals_and_blanks(written: str, same: bool) -> None:
    """And no further: what a dot means only the provider knows."""
    assert (normalized(written) == "ada@example.com") is same


def test_only_what_is_known_is_remembered() -> None:
    """No address, or an empty one, is nobody's."""
    assert known_by("ada", None) == {UsedBy.USER: "ada"}
    assert known_by("ada", "  ", "Fc42") == {UsedBy.USER: "ada", UsedBy.CARD: "Fc42"}
    assert known_by("ada", "A@b.c") == {UsedBy.USER: "ada", UsedBy.EMAIL: "a@b.c"}


@pytest.mark.parametrize("by", UsedBy)
@pytest.mark.parametrize("days", [-1, 0])
def test_what_was_used_before_makes_a_second_one(by: UsedBy, days: int) -> None:
    """In the same second too: of the two, the other was known first."""
    assert trial_again("sub_2", BEGAN, [TrialUse(by, "sub_1", BEGAN + timedelta(days=days))]) is by


def test_the_user_is_named_before_the_card() -> None:
    """Where several are known, the one that says most."""
    used = [TrialUse(by, "sub_1", BEGAN) for by in (UsedBy.CARD, UsedBy.EMAIL, UsedBy.USER)]
    assert [trial_again("sub_2", BEGAN, used[:count]) for count in (1, 2, 3)] == list(reversed(UsedBy))


@given(known=uses, more=uses, random=st.randoms(use_true_random=False))
def test_the_laws_of_trials(known: list[TrialUse], more: list[TrialUse], random: object) -> None:
    """Order never matters; its own uses and later ones never count; more that is known never makes it a first one."""
    told = trial_again("sub_2", BEGAN, known)
    random.shuffle(shuffled := list(known))  # type: ignore[attr-defined]
    assert trial_again("sub_2", BEGAN, shuffled) is told
    harmless = [use for use in more if use.subscription == "sub_2" or use.at > BEGAN]
    assert trial_again("sub_2", BEGAN, [*known, *harmless]) is told
    after = trial_again("sub_2", BEGAN, [*known, *more])
    assert told is None or (after is not None and list(UsedBy).index(after) <= list(UsedBy).index(told))
