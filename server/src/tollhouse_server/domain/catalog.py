"""What a project sells and what each product opens."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from .money import Money

CODE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""What a project, feature, product or price may be called."""

UNLIMITED: Final = "unlimited"
Interval = Literal["day", "week", "month", "year"]
Value = bool | int | Literal["unlimited"]
"""What a feature is worth: a switch `True`, a limit a whole number or `"unlimited"`. `False` and 0 mean closed."""


class Kind(StrEnum):
    SWITCH = "switch"
    LIMIT = "limit"


class Combine(StrEnum):
    """How the limits of several sources add up."""

    MAX = "max"
    SUM = "sum"


class OnPause(StrEnum):
    KEEP_PAID = "keep_paid"
    KEEP = "keep"
    END = "end"


class OnRefund(StrEnum):
    END = "end"
    KEEP = "keep"


class OnDispute(StrEnum):
    SUSPEND = "suspend"
    KEEP = "keep"


class OnDouble(StrEnum):
    """What becomes of a second live subscription of one plan; see doubles.py."""

    REPORT = "report"
    CANCEL_NEWER = "cancel_newer"


class OnTrialAgain(StrEnum):
    """What becomes of a second trial of one plan; see trials.py."""

    CANCEL = "cancel"
    END_TRIAL = "end_trial"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a project decides for itself. README.md tells each in prose."""

    grace: timedelta = timedelta(days=7)
    """How long an unpaid subscription (`past_due`) keeps access, from the start of the unpaid period."""
    renewal_leeway: timedelta = timedelta(days=3)
    """How long an active subscription may run past its period before we have heard of the renewal."""
    on_pause: OnPause = OnPause.KEEP_PAID
    on_full_refund: OnRefund = OnRefund.END
    on_partial_refund: OnRefund = OnRefund.KEEP
    on_dispute: OnDispute = OnDispute.SUSPEND
    on_double: OnDouble = OnDouble.REPORT
    on_trial_again: OnTrialAgain = OnTrialAgain.CANCEL


@dataclass(frozen=True, slots=True)
class Feature:
    """What code asks about."""

    code: str
    name: str
    kind: Kind = Kind.SWITCH
    combine: Combine = Combine.MAX


@dataclass(frozen=True, slots=True)
class Opens:
    """The value a product gives a feature; `per_seat` multiplies a limit by the quantity bought."""

    value: Value
    per_seat: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """A way to pay for a product. `interval=None` is a one-time price."""

    lookup_key: str
    """`project.product.price`: unique in the whole Stripe account."""
    product: str
    money: Money
    interval: Interval | None = None
    interval_count: int = 1
    trial_days: int | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """What is sold. `lasts` bounds one-time purchases: None is for life."""

    code: str
    name: str
    opens: Mapping[str, Opens]
    plan_group: str | None = None
    """Products of one group exclude each other for one customer; products in no group add up."""
    lasts: timedelta | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    """The fields of `Policy` that are otherwise for what is bought of this product."""

    def under(self, policy: Policy) -> Policy:
        """The project's policy as it is for what is bought of this product."""
        return replace(policy, **self.policy) if self.policy else policy


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything one project sells, and its policy. `version` grows by one with each published change."""

    project: str
    version: int
    features: Mapping[str, Feature]
    products: Mapping[str, Product]
    prices: Mapping[str, Price]
    """By lookup key."""
    policy: Policy = field(default_factory=Policy)
    name: str = ""
    """The project's, for people."""
    redirect_origins: tuple[str, ...] = ()
    """Where a checkout or portal may send a customer back to: `https://app.example`, without a path."""
    default_product: str | None = None
    """The product that everybody has without buying it, known to us or not."""

    def policy_of(self, product: str | None) -> Policy:
        """By what the purchases of a product are judged; the project's policy where the catalog has never known it."""
        known = None if product is None else self.products.get(product)
        return self.policy if known is None else known.under(self.policy)
