"""Sell through Tollhouse, and ask what a user may do.

    from tollhouse import Tollhouse
    tollhouse = Tollhouse()   # TOLLHOUSE_URL, TOLLHOUSE_API_KEY
    if tollhouse.check("ada", "premium_export"): ...

`AsyncTollhouse` is the same for asyncio. `requires` guards functions; `tollhouse.fastapi`, `.flask`, `.django`,
`.discord`, `.celery` and `.rq` do it in the words of those frameworks. `tollhouse.testing` stands in for the service in
an app's tests.
"""

from .answers import (
    Catalog,
    Check,
    Checkout,
    CheckoutStatus,
    Contact,
    Cost,
    CostLine,
    Customer,
    Entitlements,
    Feature,
    Freshness,
    Grant,
    Metrics,
    MetricsRow,
    PlanChange,
    Portal,
    Price,
    Product,
    Purchase,
    ScheduledChange,
    Subscription,
    SubscriptionItem,
    Synced,
    Value,
)
from .client import AsyncTollhouse, Tollhouse
from .errors import (
    ApiError,
    ConfigurationError,
    InsufficientScope,
    Invalid,
    NotFound,
    RateLimited,
    ServerError,
    TollhouseError,
    Unauthenticated,
    Unreachable,
)
from .explanations import ExplainedSource, Explanation, Served
from .gates import requires
from .outage import OutagePolicy, allow, deny, last_known_good
from .refusals import BillingUnavailable, LimitReached, Refused, SignedOut, UpgradeRequired

__all__ = [
    "ApiError",
    "AsyncTollhouse",
    "BillingUnavailable",
    "Catalog",
    "Check",
    "Checkout",
    "CheckoutStatus",
    "ConfigurationError",
    "Contact",
    "Cost",
    "CostLine",
    "Customer",
    "Entitlements",
    "ExplainedSource",
    "Explanation",
    "Feature",
    "Freshness",
    "Grant",
    "InsufficientScope",
    "Invalid",
    "LimitReached",
    "Metrics",
    "MetricsRow",
    "NotFound",
    "OutagePolicy",
    "PlanChange",
    "Portal",
    "Price",
    "Product",
    "Purchase",
    "RateLimited",
    "Refused",
    "ScheduledChange",
    "Served",
    "ServerError",
    "SignedOut",
    "Subscription",
    "SubscriptionItem",
    "Synced",
    "Tollhouse",
    "TollhouseError",
    "Unauthenticated",
    "Unreachable",
    "UpgradeRequired",
    "Value",
    "allow",
    "deny",
    "last_known_good",
    "requires",
]
