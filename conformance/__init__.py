"""What the installed `stripe` package says of Stripe's API: the shape of answers, and the parameters of requests.

Derived from its annotations, so that it moves with the version that is pinned. For tests; no distribution has it.
"""

import json

from conformance.answers import shape_faults
from conformance.requests import request_faults
from tollhouse_sandbox import form
from tollhouse_sandbox.sandbox import Exchange
from tollhouse_sandbox.versions import API_VERSION


class Watch:
    """Keeps what was wrong with the calls it was shown; only calls in the SDK's own version are looked at."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        if exchange.version != API_VERSION or exchange.status != 200:
            return
        method, path, sent = exchange.method, exchange.path, form.parse(exchange.sent)
        self.faults += request_faults(method, path, sent)
        self.faults += [f"{method} {path}: {fault}" for fault in shape_faults(json.loads(exchange.body))]

    def told(self) -> list[str]:
        """What was wrong since the last time."""
        faults, self.faults = self.faults, []
        return faults
