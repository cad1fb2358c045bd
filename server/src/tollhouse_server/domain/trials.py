"""Whether a trial is a second one: the same person, address or card has had one of this plan before.

The law: a trial is a second one where something by which it is known was used for another trial that began no later.
Its own uses never count, nothing that came after it counts, and more that is known never makes it a first one again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class UsedBy(StrEnum):
    """By what a trial is known again. The first that applies is the one that is told."""

    USER = "user"
    EMAIL = "email"
    CARD = "card"


@dataclass(frozen=True, slots=True)
class TrialUse:
    """A trial that `by` was first used for: of which subscription (`sub_…`), and when that began."""

    by: UsedBy
    subscription: str
    at: datetime


def normalized(email: str) -> str:
    """The address as it is compared: without blanks around it, in lower case.

    No more: what dots and a `+` mean is each provider's own affair, and where they mean something, two addresses are
    two people. One trial too many costs less than a stranger who is told to have had theirs.
    """
    return email.strip().lower()


def known_by(user_id: str, email: str | None, card: str | None = None) -> dict[UsedBy, str]:
    """By what a user's trial is remembered and known again; `card` is its fingerprint."""
    known = {UsedBy.USER: user_id, UsedBy.EMAIL: normalized(email or ""), UsedBy.CARD: card or ""}
    return {by: value for by, value in known.items() if value}


def trial_again(subscription: str, began: datetime, uses: Iterable[TrialUse]) -> UsedBy | None:
    """By what the trial of `subscription`, which began then, is known to be a second one; None for a first one."""
    known = {use.by for use in uses if use.subscription != subscription and use.at <= began}
    return next((by for by in UsedBy if by in known), None)
