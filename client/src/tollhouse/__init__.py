"""Sell through Tollhouse, and ask what a user may do.

    from tollhouse import Tollhouse
    tollhouse = Tollhouse()   # TOLLHOUSE_URL, TOLLHOUSE_API_KEY
    if tollhouse.check("ada", "premium_export"): ...

`AsyncTollhouse` is the same for asyncio, `tollhouse.fastapi` guards endpoints, `tollhouse.testing` stands in for the
service in an app's tests.
"""

from .answers import (
    Catalog,
    Check,
    Checkout,
    CheckoutStatus,
    Customer,
    Entitlements,
    ExplainedSource,
    Explanation,
    Feature,
    Grant,
    Metrics,
    MetricsRow,
    Portal,
    Price,
    Product,
    Purchase,
    Subscription,
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

__all__ = [
    "ApiError",
    "AsyncTollhouse",
    "Catalog",
    "Check",
    "Checkout",
    "CheckoutStatus",
    "ConfigurationError",
    "Customer",
    "Entitlements",
    "ExplainedSource",
    "Explanation",
    "Feature",
    "Grant",
    "InsufficientScope",
    "Invalid",
    "Metrics",
    "MetricsRow",
    "NotFound",
    "Portal",
    "Price",
    "Product",
    "Purchase",
    "RateLimited",
    "ServerError",
    "Subscription",
    "Synced",
    "Tollhouse",
    "TollhouseError",
    "Unauthenticated",
    "Unreachable",
    "Value",
]
