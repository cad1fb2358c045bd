"""What Stripe says, as read: the values that stripe_gateway parses and projection writes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from .billing import Billing
from .evidence import PaymentStatus, Purchase, Subscription
from .metrics import Fact


@dataclass(frozen=True, slots=True)
class CheckoutFacts:
    """The state of one Stripe checkout session (`cs_…`)."""

    session_id: str
    state: Literal["open", "complete", "expired"]
    payment_status: PaymentStatus
    url: str | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What became of the money of one charge (`ch_…`) that was refunded or disputed."""

    charge: str
    refunded: int
    """Minor units given back so far."""
    refunds: tuple[tuple[str, str], ...] = ()
    """Each refund (`re_…`) that stands, with its status."""
    disputes: tuple[tuple[str, str], ...] = ()
    """Each dispute (`du_…`) with its status."""


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """Everything of one Stripe customer (`cus_…`) that money or access depends on, from one read.

    `project` and `user_id` are what Tollhouse stamped on the customer's metadata; None on a customer that is not ours.
    """

    id: str
    deleted: bool = False
    email: str | None = None
    name: str | None = None
    project: str | None = None
    user_id: str | None = None
    subscriptions: tuple[Subscription, ...] = ()
    checked_out: tuple[str, ...] = ()
    """Those of them that a checkout of ours made."""
    cards: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Of each on trial whose card is known: its fingerprint. It is compared, and never stored."""
    purchases: tuple[Purchase, ...] = ()
    checkouts: tuple[CheckoutFacts, ...] = field(default=())
    given_back: tuple[GivenBack, ...] = ()
    billings: tuple[Billing, ...] = ()
    """One for each subscription."""
    cash: tuple[Fact, ...] = ()
    """What was paid, given back, failed and recovered, and the trials."""


@dataclass(frozen=True, slots=True)
class PriceFacts:
    """A Stripe price (`price_…`): all of it that can change after it was made."""

    id: str
    active: bool
