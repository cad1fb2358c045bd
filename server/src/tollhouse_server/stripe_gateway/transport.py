"""The transport of every request to Stripe: each try is counted and timed here, whatever makes it."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe

from ..telemetry import STRIPE_CALLS, STRIPE_SECONDS

_WORDS = frozenset(
    """
    account attach balance billing_portal charges checkout configurations coupons credit_notes customers disputes
    entitlements events expire features invoice_payments invoiceitems invoices items line_items lines payment_intents
    payment_methods prices products promotion_codes refunds search sessions subscription_items subscriptions upcoming
    v1 v2 webhook_endpoints
    """.split()  # noqa: SIM905 - a list of words is read more easily without quotes
)
"""What Stripe's paths are made of. Anything else in one is an id, which must not become a label."""


def operation(method: str, url: str) -> str:
    """What is asked, without of whom: `GET /v1/customers/{id}`."""
    parts = [part if part in _WORDS else "{id}" for part in urlsplit(url).path.split("/") if part]
    return f"{method.upper()} /{'/'.join(parts)}"


class MeasuredClient(stripe.HTTPXClient):
    """The library's own transport, measured."""

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        what, started, result = operation(method, url), time.perf_counter(), "unreachable"
        try:
            answer = await super().request_async(method, url, headers, post_data)
            result = str(answer[1])
            return answer
        finally:
            STRIPE_CALLS.labels(what, result).inc()
            STRIPE_SECONDS.labels(what).observe(time.perf_counter() - started)
