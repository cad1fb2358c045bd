"""What Tollhouse answers, as values that do not change. Every datetime is aware; money is in minor units (cents)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from .costs import Cost as Cost
from .costs import CostLine as CostLine

Value: TypeAlias = bool | int | float
"""What a feature is worth: True or False for a switch; a whole number for a limit, `math.inf` where it is unlimited."""

Freshness: TypeAlias = Literal["live", "cached", "stale", "fallback"]
"""How an answer is known: `live`: answered just now, or kept current by the stream; `cached`: confirmed within the last
minute; `stale`: older, and within what the outage policy allows; `fallback`: the outage policy decided."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a user may do with one feature. True in a condition exactly when `allowed`."""

    feature: str
    allowed: bool
    value: Value
    """For a limit, compare: `used < check.value`. False or 0 when not allowed."""
    valid_until: datetime | None
    """When this answer ends at the latest; None is open-ended."""
    reason: str
    """The rule that decided, for example `subscription-active` or `no-source`. Where the service could not be asked:
    `outage-allow`, `outage-deny`, `unauthenticated`; `feature-not-found` where it knows no such feature."""
    source: str | None
    """What opens the feature: a subscription (`sub_…`), purchase (`cs_…`) or grant (`gr_…`)."""
    version: int
    """Grows with each change of the customer; an answer with a lower version is older."""
    checked_at: datetime
    """The service's time when this was worked out. The same answer is handed out as long as it stands."""
    freshness: Freshness = field(default="live", metadata={"wire": None})

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Entitlements(Mapping[str, Check]):
    """Every feature of the catalog for one user, by code."""

    user_id: str
    version: int
    checked_at: datetime
    features: Mapping[str, Check]
    freshness: Freshness = field(default="live", metadata={"wire": None})

    def __getitem__(self, feature: str) -> Check:
        return self.features[feature]

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where to send a user who wants to buy."""

    id: str | None
    """`chk_…`; None where no checkout was opened (`plan_change`, `already_owned`)."""
    url: str | None
    """Stripe's payment page; None for `already_owned`, and while it is `opening`."""
    outcome: str
    """`new`, `pending` (the same checkout is still open), `plan_change`: the user has another plan of the group, and
    `url` is Stripe's page that shows what the change costs and makes it (`sync_customer` on `success_url`);
    `already_owned`, or `opening`: Stripe did not answer, so whether there is a page is not known yet. Ask again in a
    moment, or `sync_checkout`: there never are two pages."""
    expires_at: datetime | None
    subscription: str | None = None
    """Of a `plan_change`: the subscription (`sub_…`) that is changed."""
    trial_days: int = 0
    """Of the page; 0 where there is no trial."""
    trial_refused: str | None = None
    """Why the page has none though the price or the app has one: `used`, as the user or the address had one before."""


@dataclass(frozen=True, slots=True)
class CheckoutStatus:
    """What became of a checkout."""

    id: str
    user_id: str
    price: str
    quantity: int
    state: str
    """`opening`, `open`, `complete` or `expired`. Complete is not yet paid: a bank debit settles days later."""
    payment_status: str
    """`unpaid`, `paid` or `no_payment_required`."""
    url: str | None
    created_at: datetime
    expires_at: datetime

    @property
    def paid(self) -> bool:
        """Completed, and the money is there or none was due."""
        return self.state == "complete" and self.payment_status in ("paid", "no_payment_required")


@dataclass(frozen=True, slots=True)
class ScheduledChange:
    """The plan that a subscription will have from `at` on."""

    product: str | None
    price: str | None
    quantity: int
    at: datetime


@dataclass(frozen=True, slots=True)
class SubscriptionItem:
    """One line of a subscription; lines may be billed at different intervals."""

    product: str | None
    """None where the catalog has never sold its price."""
    price: str | None
    quantity: int
    current_period_end: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """A running or past subscription; `status` is Stripe's.

    `product`, `price` and `quantity` are those of its first line, `items` all of them.
    """

    id: str
    product: str | None
    """None where the catalog has never sold its price."""
    price: str | None
    quantity: int
    status: str
    renews: bool
    ends_at: datetime | None
    """When it will end, where that is decided."""
    current_period_end: datetime
    trial_end: datetime | None
    billing_issue: bool
    """The last payment failed: ask the user to open the portal."""
    correction: str | None = None
    """Why Tollhouse itself ends it, or its trial: `double` (a second subscription of its plan) or `trial-again`."""
    scheduled_change: ScheduledChange | None = None
    """A change of plan that is planned."""
    items: tuple[SubscriptionItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Purchase:
    """A one-time purchase. `amount` (0 for a free order) and `refunded` are in minor units of `currency`."""

    id: str
    product: str | None
    """None where the catalog has never sold its price."""
    price: str | None
    quantity: int
    payment_status: str
    purchased_at: datetime
    refunded: int
    amount: int
    currency: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """Access an operator gave: a `feature` with a `value`, or a whole `product`."""

    id: str
    feature: str | None
    product: str | None
    value: Value | None
    starts_at: datetime
    ends_at: datetime | None
    reason: str
    override: bool = False
    """The feature has exactly this value in its time, whatever else gives it."""


@dataclass(frozen=True, slots=True)
class Customer:
    """All that is known of one user. A user who never bought has empty lists, and what everybody has."""

    user_id: str
    version: int
    checked_at: datetime
    entitlements: Entitlements
    subscriptions: tuple[Subscription, ...]
    purchases: tuple[Purchase, ...]
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class PlanChange:
    """What became of a change of plan, or what it would cost."""

    outcome: str
    """`preview`, `changed`, `scheduled`, `withdrawn` (what was planned will not be) or `unchanged`."""
    subscription: str
    price: str
    quantity: int
    at: datetime
    """When it takes effect."""
    cost: Cost | None
    """Of a preview only."""
    proration_date: datetime | None
    """Of a preview: give it to the real change, and what was shown is what is charged."""
    customer: Customer


@dataclass(frozen=True, slots=True)
class Synced:
    """A checkout and its customer, freshly read from Stripe."""

    checkout: CheckoutStatus
    customer: Customer


@dataclass(frozen=True, slots=True)
class Contact:
    """How a user is addressed on bills; None: not known."""

    user_id: str
    email: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Portal:
    """Stripe's page where a user changes cards, cancels and finds invoices. Its link is short-lived."""

    url: str


@dataclass(frozen=True, slots=True)
class Feature:
    """What code asks about; `kind` is `switch` or `limit`."""

    code: str
    name: str
    kind: str
    combine: str | None = None
    """How the limits of several products add up: `max` or `sum`."""


@dataclass(frozen=True, slots=True)
class Price:
    """A way to pay for a product. `amount` is in minor units; `interval` None is a one-time price."""

    lookup_key: str
    """`project.product.price`: what `open_checkout` takes."""
    amount: int
    currency: str
    interval: str | None
    interval_count: int
    trial_days: int | None
    trial_card: bool = True
    """Whether the trial asks for a card."""
    currency_options: Mapping[str, int] = field(default_factory=dict)
    """What it costs in other currencies, in their minor units."""
    tax_behavior: str | None = None
    """`inclusive` or `exclusive` of tax; None: as the Stripe account is set."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is sold, and the features it opens."""

    code: str
    name: str
    plan_group: str | None
    """Products of one group exclude each other."""
    opens: Mapping[str, Value]
    lasts_days: int | None
    """How long a one-time purchase lasts; None is for life."""
    prices: tuple[Price, ...]
    per_seat: tuple[str, ...] = ()
    """The limits among `opens` that the quantity bought multiplies."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What this project sells."""

    project: str
    version: int
    features: tuple[Feature, ...]
    products: tuple[Product, ...]
    default_product: str | None = None
    """The code of the product that every user has without buying it, known to Tollhouse or not."""


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """What the project earned in one interval and one currency; money is in minor units.

    `mrr_end` is `mrr_start` plus new, reactivation and expansion, less contraction and churned. Subscriptions are
    counted at the interval's end. The service's docs/explanation/metrics.md defines every figure.
    """

    project: str
    starts_at: datetime = field(metadata={"wire": "from"})
    ends_at: datetime = field(metadata={"wire": "to"})
    """Not part of the interval."""
    complete: bool
    """Whether it was over when it was computed; if not, it counts up to then."""
    currency: str
    mrr_start: int
    new_mrr: int
    reactivation_mrr: int
    expansion_mrr: int
    contraction_mrr: int
    churned_mrr: int
    mrr_end: int
    past_due_mrr: int
    arpu: int | None
    """`mrr_end` per customer."""
    customers_start: int
    customers_new: int
    customers_reactivated: int
    customers_churned: int
    customers_end: int
    customer_churn_rate: float | None
    revenue_churn_rate: float | None
    active: int
    trialing: int
    past_due: int
    paused: int
    trials_started: int
    trials_ended: int
    trials_converted: int
    trial_conversion_rate: float | None
    subscription_revenue: int
    purchase_revenue: int
    gross_revenue: int
    refunds: int
    refunded: int
    disputes_lost: int
    lost_to_disputes: int
    net_revenue: int
    payments_failed: int
    failed: int
    payments_recovered: int
    recovered: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the project earned: one row for each interval and currency, which are never added up."""

    definitions: int
    """The version of what the figures mean."""
    computed_at: datetime
    starts_at: datetime = field(metadata={"wire": "from"})
    ends_at: datetime = field(metadata={"wire": "to"})
    interval: str
    rows: tuple[MetricsRow, ...] = field(metadata={"wire": "data"})
