"""Whose a Stripe customer is, in an account that others have filled: by what the operator says, never by a guess.

The law: one user has one Stripe customer and one Stripe customer is one user's. An e-mail address links nobody unless
the operator's own file says whose it is. Whatever is in doubt is left alone and told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .catalog import Product

LONGEST_USER_ID = 255


class Outcome(StrEnum):
    """What becomes of a Stripe customer in an import."""

    LINK = "link"
    """It becomes the user's."""
    RESUME = "resume"
    """It is the user's, by an import that was cut short before it was read."""
    DONE = "done"
    """It is the user's, and was read."""
    UNMATCHED = "unmatched"
    """Nothing says whose it is."""
    SEVERAL = "several"
    """It is one of several that would be the same user's."""
    TAKEN = "taken"
    """The user has another Stripe customer already."""
    ELSEWHERE = "elsewhere"
    """It is a user's of another project."""
    UNUSABLE = "unusable"
    """What stands where the user id should be is none."""


@dataclass(frozen=True, slots=True)
class AccountCustomer:
    """A Stripe customer (`cus_…`) as the account lists it."""

    id: str
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Linking:
    """What the operator says about whose is what. Of several that match the first in this order decides."""

    by_id: Mapping[str, str] = field(default_factory=dict)
    """Stripe customer → user id."""
    metadata_key: str | None = None
    """Under which the app kept its user id in the customer's metadata."""
    by_email: Mapping[str, str] = field(default_factory=dict)
    """E-mail address, as `same_address` writes it → user id."""


@dataclass(frozen=True, slots=True)
class Held:
    """Whose a Stripe customer is in our books. `read`: Stripe was read for it since."""

    project: str
    user_id: str
    read: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """One Stripe customer, whose it is and what is done about it."""

    customer: str
    outcome: Outcome
    user_id: str | None = None
    said_by: str = ""
    """`id map`, `metadata` or `e-mail map`; empty where nothing said anything."""
    others: tuple[str, ...] = ()
    """The other Stripe customers that stand in the way."""

    @property
    def to_do(self) -> bool:
        return self.outcome in (Outcome.LINK, Outcome.RESUME)


def same_address(email: str) -> str:
    """Two spellings of one address: capitals and blanks around it mean nothing."""
    return email.strip().casefold()


def judge(
    project: str, customers: Iterable[AccountCustomer], linking: Linking, held: Mapping[str, Held]
) -> tuple[Judged, ...]:
    """Each of the account's customers once, in their order. `held` has ours of all projects, by Stripe customer."""
    found = [(one, *_said(linking, one)) for one in customers]
    holder = {one.user_id: customer for customer, one in held.items() if one.project == project}
    claims = _claims([(one.id, user, by) for one, user, by in found if user is not None and one.id not in held])
    return tuple(_judge(project, one.id, user, by, held.get(one.id), holder, claims) for one, user, by in found)


def _said(linking: Linking, one: AccountCustomer) -> tuple[str | None, str]:
    if one.id in linking.by_id:
        return linking.by_id[one.id], "id map"
    if linking.metadata_key and (user := one.metadata.get(linking.metadata_key)) is not None:
        return user, "metadata"
    if one.email and (user := linking.by_email.get(same_address(one.email))) is not None:
        return user, "e-mail map"
    return None, ""


def _claims(found: Sequence[tuple[str, str, str]]) -> Mapping[str, tuple[str, ...]]:
    """Who would be each user's: those that the id map names, where it names any, else all."""
    every: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for customer, user, by in found:
        every[user].append((customer, by == "id map"))
    return {
        user: tuple(customer for customer, named in claims if named) or tuple(customer for customer, _ in claims)
        for user, claims in every.items()
    }


def _judge(
    project: str,
    customer: str,
    user: str | None,
    by: str,
    ours: Held | None,
    holder: Mapping[str, str],
    claims: Mapping[str, tuple[str, ...]],
) -> Judged:
    if ours is not None:
        if ours.project != project:
            return Judged(customer, Outcome.ELSEWHERE, said_by=by)
        return Judged(customer, Outcome.DONE if ours.read else Outcome.RESUME, ours.user_id, by)
    if user is None:
        return Judged(customer, Outcome.UNMATCHED)
    if not user or len(user) > LONGEST_USER_ID or "\x00" in user:
        return Judged(customer, Outcome.UNUSABLE, user, by)
    if user in holder:
        return Judged(customer, Outcome.TAKEN, user, by, (holder[user],))
    if claims[user] != (customer,):
        return Judged(customer, Outcome.SEVERAL, user, by, tuple(one for one in claims[user] if one != customer))
    return Judged(customer, Outcome.LINK, user, by)


class PastOutcome(StrEnum):
    """What becomes of a payment in an import, in words that finish "N payments …"."""

    GIVE = "to become grants"
    DONE = "are grants already"
    UNKNOWN = "are not known to Stripe"
    UNPAID = "were not paid"
    GIVEN_BACK = "were given back in full"
    DISPUTED = "were disputed: decide those yourself"
    OVER = "bought what is over by now"
    UNSOLD = "name a product that the catalog does not have"


@dataclass(frozen=True, slots=True)
class PastPayment:
    """One payment, as Stripe has it. `given_back`: in full."""

    at: datetime
    paid: bool
    given_back: bool = False
    disputed: bool = False


def judge_payment(paid: PastPayment | None, product: Product | None, now: datetime) -> PastOutcome:
    """Whether what was bought is still the buyer's at `now`. `product` None: the catalog has none of that code."""
    if product is None:
        return PastOutcome.UNSOLD
    if paid is None:
        return PastOutcome.UNKNOWN
    if not paid.paid:
        return PastOutcome.UNPAID
    if paid.given_back:
        return PastOutcome.GIVEN_BACK
    if paid.disputed:
        return PastOutcome.DISPUTED
    ends = ends_at(paid, product)
    return PastOutcome.OVER if ends is not None and ends <= now else PastOutcome.GIVE


def ends_at(paid: PastPayment, product: Product) -> datetime | None:
    """Until when what was bought lasts; None: for life."""
    return None if product.lasts is None else paid.at + product.lasts
