"""What a project sells and what each product opens."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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


class TaxBehavior(StrEnum):
    """Whether a price's amount has its tax in it."""

    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"


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
    trial_card: bool = True
    """Whether a trial asks for a card; where not, and none is given by its end, the subscription is cancelled then."""
    currency_options: Mapping[str, int] = field(default_factory=dict)
    """What it costs in other currencies, in their minor units."""
    tax_behavior: TaxBehavior | None = None
    """None: as the Stripe account is set."""

    @property
    def currencies(self) -> tuple[str, ...]:
        """Those it is sold in, its own first."""
        return (self.money.currency, *self.currency_options)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a product opens for evidence that began before an instant: an opening that its customers were let keep."""

    before: datetime
    opens: Mapping[str, Opens]
    lasts: timedelta | None = None
    bundles: tuple[str, ...] = ()


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
    tax_code: str | None = None
    """What Stripe's tax is reckoned by (`txcd_…`); None: as the Stripe account is set."""
    stripe_prices: tuple[str, ...] = ()
    """Stripe prices (`price_…`) that count as this product though the catalog does not sell them."""

    bundles: tuple[str, ...] = ()
    """Products of other projects, as `project.product`, that whoever has this one has under the same user id."""
    earlier: tuple[Earlier, ...] = ()
    """In order of time. Of several that an instant lies before, the first is the one that counts."""

    def under(self, policy: Policy) -> Policy:
        """The project's policy as it is for what is bought of this product."""
        return replace(policy, **self.policy) if self.policy else policy

    def given(self, begun: datetime) -> "Product | Earlier":
        """What says what the product opens for evidence that began then: an earlier opening, or the product itself."""
        return next((one for one in self.earlier if begun < one.before), self)


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
    automatic_tax: bool = False
    """Whether Stripe adds tax to what is sold."""
    redirect_origins: tuple[str, ...] = ()
    """Where a checkout or portal may send a customer back to: `https://app.example`, without a path."""
    default_product: str | None = None
    """The product that everybody has without buying it, known to us or not."""

    retired: Mapping[str, Product] = field(default_factory=dict)
    """Products that are sold no longer and of which customers were let keep what they had."""

    def policy_of(self, product: str | None) -> Policy:
        """By what the purchases of a product are judged; the project's policy where the catalog has never known it."""
        known = self.product(product)
        return self.policy if known is None else known.under(self.policy)

    def product(self, code: str | None) -> Product | None:
        """The product, sold or retired; None for one that the catalog does not know."""
        return None if code is None else self.products.get(code) or self.retired.get(code)

    def given(self, code: str | None, begun: datetime) -> Product | Earlier | None:
        """What says what the product opens for evidence that began then; None: it is not, or no longer, a product."""
        product = self.product(code)
        given = None if product is None else product.given(begun)
        return None if given is product and code not in self.products else given
