"""Every API call the sandbox answers."""

from tollhouse_sandbox.operations import Operation
from tollhouse_sandbox.resources import (
    balance,
    checkout_sessions,
    coupons,
    customers,
    disputes,
    entitlements,
    events,
    invoices,
    payment_methods,
    payments,
    portal,
    prices,
    products,
    promotion_codes,
    refunds,
    subscriptions,
    webhook_endpoints,
)

OPERATIONS: list[Operation] = [
    *products.OPERATIONS,
    *prices.OPERATIONS,
    *entitlements.OPERATIONS,
    *customers.OPERATIONS,
    *payment_methods.OPERATIONS,
    *checkout_sessions.OPERATIONS,
    *coupons.OPERATIONS,
    *promotion_codes.OPERATIONS,
    *subscriptions.OPERATIONS,
    *invoices.OPERATIONS,
    *payments.OPERATIONS,
    *refunds.OPERATIONS,
    *disputes.OPERATIONS,
    *events.OPERATIONS,
    *webhook_endpoints.OPERATIONS,
    *portal.OPERATIONS,
    *balance.OPERATIONS,
]
