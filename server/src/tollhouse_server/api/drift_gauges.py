"""The gauges of reconciliation and of unmapped prices, read from the database: every replica tells the same."""

import math
from datetime import datetime

from prometheus_client import Gauge

from .. import drift
from ..db.engine import Tx
from ..domain.drift import Verdict
from ..reconcile import Kind
from ..reconcile.runs import last_finished
from ..telemetry import (
    DRIFT_FOUND,
    PAID_BUT_LOCKED_OUT_MINUTES,
    PAID_BUT_LOCKED_OUT_USERS,
    RECONCILIATION_AGE_SECONDS,
    UNMAPPED_PRICE_CUSTOMERS,
    UNMAPPED_PRICES,
    UNPAID_BUT_ALLOWED_MINUTES,
    UNPAID_BUT_ALLOWED_USERS,
)
from ..unmapped_prices import how_many

_TOLLS = (
    PAID_BUT_LOCKED_OUT_USERS,
    PAID_BUT_LOCKED_OUT_MINUTES,
    UNPAID_BUT_ALLOWED_USERS,
    UNPAID_BUT_ALLOWED_MINUTES,
)
_SAID = {False: "no", True: "yes"}


def gauges() -> list[Gauge]:
    """Each of them with its labels: NaN while the database is away."""
    tolls = [gauge.labels(said) for gauge in _TOLLS for said in _SAID.values()]
    found = [DRIFT_FOUND.labels(kind, state) for kind in Kind for state in ("open", "closed")]
    unmapped = [UNMAPPED_PRICES, UNMAPPED_PRICE_CUSTOMERS]
    return [*tolls, *found, *unmapped, *(RECONCILIATION_AGE_SECONDS.labels(kind) for kind in Kind)]


async def measure(tx: Tx, at: datetime) -> None:
    """Sets them as the books stand. `at` is by the clock that decides access: minutes of access are told."""
    tolls = await drift.tolls(tx, at)
    for repaired, said in _SAID.items():
        locked_out, let_in = tolls[Verdict.PAID_BUT_LOCKED_OUT, repaired], tolls[Verdict.UNPAID_BUT_ALLOWED, repaired]
        PAID_BUT_LOCKED_OUT_USERS.labels(said).set(locked_out.users)
        PAID_BUT_LOCKED_OUT_MINUTES.labels(said).set(locked_out.minutes)
        UNPAID_BUT_ALLOWED_USERS.labels(said).set(let_in.users)
        UNPAID_BUT_ALLOWED_MINUTES.labels(said).set(let_in.minutes)
    found = await drift.found_lately(tx, at)
    prices, customers = await how_many(tx)
    UNMAPPED_PRICES.set(prices)
    UNMAPPED_PRICE_CUSTOMERS.set(customers)
    finished = await last_finished(tx)
    for kind in Kind:
        for state in ("open", "closed"):
            DRIFT_FOUND.labels(kind, state).set(found.get((kind, state), 0))
        age = (at - finished[kind]).total_seconds() if kind in finished else math.inf
        RECONCILIATION_AGE_SECONDS.labels(kind).set(age)
