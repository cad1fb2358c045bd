"""Reasons for access, as plain values: Subscription, Purchase, Grant; parsed in stripe_gateway/parse.py."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from .catalog import Value
from .errors import UnknownStatus
from .money import Money
from .rules import Rule
from .time import Period


class _Status(StrEnum):
    """An enumeration of Stripe's whose unknown members raise instead of meaning something by default."""

    @classmethod
    def parse(cls, raw: str) -> Self:
        try:
            return cls(raw)
        except ValueError:
            raise UnknownStatus(cls.__name__, raw) from None


class SubscriptionStatus(_Status):
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    UNPAID = "unpaid"
    CANCELED = "canceled"


class PaymentStatus(_Status):
    """`payment_status` of a checkout session: a completed checkout is not yet a paid one."""

    PAID = "paid"
    UNPAID = "unpaid"
    NO_PAYMENT_REQUIRED = "no_payment_required"


class DisputeStatus(_Status):
    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    APPEAL_NEEDS_RESPONSE = "appeal_needs_response"
    APPEAL_UNDER_REVIEW = "appeal_under_review"
    PREVENTED = "prevented"


class Correction(StrEnum):
    """Why Tollhouse itself ends a subscription, or its trial."""

    DOUBLE = "double"
    TRIAL_AGAIN = "trial-again"


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that moved for a source, and what became of it."""

    money: Money
    refunded: int = 0
    """Minor units given back so far."""
    refunded_at: datetime | None = None
    """When the latest refund was made; set exactly when `refunded` is not 0."""
    dispute: DisputeStatus | None = None
    disputed_at: datetime | None = None
    """When the dispute was opened; set exactly when `dispute` is."""

    def __post_init__(self) -> None:
        if (self.refunded > 0) != (self.refunded_at is not None):
            raise ValueError(f"refunded {self.refunded} at {self.refunded_at}: say both how much and when, or neither")
        if (self.dispute is None) != (self.disputed_at is None):
            raise ValueError(f"dispute {self.dispute} at {self.disputed_at}: say both what and when, or neither")

    @property
    def fully_refunded(self) -> bool:
        return self.money.amount > 0 and self.refunded >= self.money.amount


@dataclass(frozen=True, slots=True)
class SubscriptionItem:
    """One line of a subscription. `product` is our product code, None where the catalog has never known the price."""

    stripe_price: str
    product: str | None
    lookup_key: str | None
    quantity: int
    current_period_start: datetime
    current_period_end: datetime


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """One line that a subscription will have; its fields mean what those of a SubscriptionItem do."""

    stripe_price: str
    product: str | None
    lookup_key: str | None
    quantity: int


@dataclass(frozen=True, slots=True)
class ScheduledChange:
    """The next change that a subscription schedule makes by itself: from `at` on the subscription has these lines."""

    at: datetime
    items: tuple[PlannedItem, ...]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A Stripe subscription as last read. `id` is Stripe's (`sub_…`)."""

    id: str
    status: SubscriptionStatus
    items: tuple[SubscriptionItem, ...]
    started_at: datetime
    trial_end: datetime | None = None
    cancel_at: datetime | None = None
    cancel_at_period_end: bool = False
    collection_paused: bool = False
    """`pause_collection` is set: Stripe leaves the status `active` but collects nothing."""
    paid_through: datetime | None = None
    """The latest period end that a paid invoice of this subscription covers."""
    unpaid_since: datetime | None = None
    """When the oldest invoice still owed was made; None where nothing is owed."""
    payment: Payment | None = None
    """What paid for the current period; None for a free or not yet paid one."""
    ended_at: datetime | None = None
    correction: Correction | None = None
    """Why we have it ended; Stripe does not know, see snapshot.gather."""
    schedule: str | None = None
    """The Stripe subscription schedule (`sub_sched_…`) that manages it."""
    scheduled_change: ScheduledChange | None = None

    @property
    def period_start(self) -> datetime:
        """When the latest item period began; items may have periods of different lengths."""
        return max((item.current_period_start for item in self.items), default=self.started_at)

    @property
    def period_end(self) -> datetime:
        """When the latest item period ends."""
        return max((item.current_period_end for item in self.items), default=self.started_at)


@dataclass(frozen=True, slots=True)
class PurchaseItem:
    stripe_price: str
    product: str | None
    lookup_key: str | None
    quantity: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """A completed one-time checkout. Keyed by the session (`cs_…`), as a free order has no payment."""

    id: str
    payment_status: PaymentStatus
    items: tuple[PurchaseItem, ...]
    since: datetime
    """When it was paid: the charge's instant, else (free orders) the session's. Access counts from here."""
    payment: Payment | None = None
    settling: bool = False
    """The money is on its way: a bank debit takes days to succeed or fail."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Access an operator gave. Exactly one of `feature` (with `value`) and `product` is set."""

    id: str
    starts_at: datetime
    reason: str
    operator: str
    feature: str | None = None
    value: Value | None = None
    """False and 0, which close, are for an override only."""
    product: str | None = None
    ends_at: datetime | None = None
    revoked_at: datetime | None = None
    override: bool = False
    """In its time the feature has exactly this value, whatever else gives it."""
    given_at: datetime | None = None
    """When the operator gave it; None: when it starts. Of several overrides the one given last decides."""

    def __post_init__(self) -> None:
        if (self.feature is None) == (self.product is None) or (self.feature is None) != (self.value is None):
            raise ValueError("a grant gives either a feature with its value, or a product")
        if self.feature is None if self.override else self.value in (False, 0) and self.value is not None:
            raise ValueError("only an override closes, and it is of a feature")


SourceKind = Literal["subscription", "purchase", "grant", "default"]
"""`default` is the product that everybody has."""


@dataclass(frozen=True, slots=True)
class Bundled:
    """A product that a source of another project's brings the user of the same id, judged by that project.

    It is all that this project learns of the other: no price, no amount, no reason of a grant.
    """

    project: str
    """The slug of the project in which the source is."""
    via: str
    """The product there."""
    product: str
    """The product that it brings here."""
    kind: SourceKind
    source_id: str
    quantity: int
    begun: datetime
    period: Period | None
    """From when until when it counts; None: never."""
    rule: Rule
    sentence: str
    owned: bool
    """Whether it excludes buying the product again: a live subscription, or a purchase for life or on its way."""


Source = Subscription | Purchase | Grant


def begun(source: Source | Bundled) -> datetime:
    """When the customer got it: what decides between a product's opening of today and an earlier one."""
    if isinstance(source, Bundled):
        return source.begun
    if isinstance(source, Subscription):
        return source.started_at
    return source.since if isinstance(source, Purchase) else source.starts_at


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about one customer, at whatever instant."""

    subscriptions: tuple[Subscription, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    grants: tuple[Grant, ...] = ()
    bundled: tuple[Bundled, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """The customer's own."""
        return (*self.subscriptions, *self.purchases, *self.grants)
