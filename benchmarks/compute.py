"""What `compute` costs by the amount of evidence: microseconds a call and a piece, and whether they grow alike.

No server, no database: the function alone, on one customer with 1 to 1,000 subscriptions, passes and grants.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter, process_time

from benchmarks.harness import Measured, Scale, Target, compare
from tollhouse_server.domain.catalog import Catalog, Combine, Feature, Kind, Opens, Policy, Product
from tollhouse_server.domain.entitlements import compute
from tollhouse_server.domain.evidence import (
    Evidence,
    Grant,
    PaymentStatus,
    Purchase,
    PurchaseItem,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from tollhouse_server.domain.time import Period

SIZES = (1, 10, 100, 1_000)
START = datetime(2026, 11, 1, tzinfo=UTC)
MONTH, APART = timedelta(days=30), timedelta(days=10)


def main() -> None:
    scale = Scale.asked(__doc__)
    subjects = {_named(size): partial(turn, evidence(size, APART), scale) for size in SIZES}
    subjects["1,000 pieces, all at once"] = partial(turn, evidence(SIZES[-1], timedelta(minutes=1)), scale)
    compare(
        "compute",
        "µs a piece",
        subjects,
        _named(10),
        about="All of one customer's stretches of access, of three features, from subscriptions, passes that lengthen"
        " one another, and grants: a third of each, ten days apart, so that a few count at any time. Beside 10 pieces,"
        " as what a piece costs may not depend on how many there are. A plain sort orders as many periods by their"
        " start. All at once: each stretch names every source that counts in it, and what is said grows with the"
        " square.",
        targets=[Target(_named(size), at_most=1.5) for size in SIZES[2:]],
        scale=scale,
    )


def _named(size: int) -> str:
    return f"{size:,} piece{'s' * (size > 1)}"


def turn(given: Evidence, scale: Scale) -> Measured:
    """The best of many calls."""
    pieces = len(given.sources)
    seconds = best(lambda: compute(CATALOG, given, CATALOG.policy, START), scale.seconds / 4)
    periods = [Period(START + APART * (number * 7 % pieces), None) for number in range(pieces)]
    plain = best(lambda: sorted(periods, key=lambda period: period.start), scale.seconds / 16)
    return Measured(seconds / pieces * 1e6, {"µs a call": seconds * 1e6, "times a plain sort": seconds / plain})


def best(call: Callable[[], object], seconds: float) -> float:
    """The least processor time of the calls that fit in so many seconds; three at least.

    Not the time on the clock: a long call is interrupted by what else runs, and a short one is not.
    """
    until, least, calls = perf_counter() + seconds, float("inf"), 0
    while calls < 3 or perf_counter() < until:
        began = process_time()
        call()
        least, calls = min(least, process_time() - began), calls + 1
    return least


def evidence(size: int, apart: timedelta) -> Evidence:
    """So many pieces, each some time after the one before: subscription, pass, grant, and again."""
    made = [(number, START + apart * number) for number in range(size)]
    return Evidence(
        tuple(_subscription(number, at) for number, at in made[::3]),
        tuple(_pass(number, at) for number, at in made[1::3]),
        tuple(_grant(number, at) for number, at in made[2::3]),
    )


def _subscription(number: int, at: datetime) -> Subscription:
    item = SubscriptionItem("price_pro", "pro", "app.pro.monthly", 2, at, at + MONTH)
    return Subscription(f"sub_{number}", SubscriptionStatus.ACTIVE, (item,), at, cancel_at=at + MONTH)


def _pass(number: int, at: datetime) -> Purchase:
    return Purchase(
        f"cs_{number}", PaymentStatus.PAID, (PurchaseItem("price_month", "month", "app.month.once", 1),), at
    )


def _grant(number: int, at: datetime) -> Grant:
    return Grant(f"gr_{number}", at, "a gift", "Ada", "credits", 5, ends_at=at + MONTH)


CATALOG = Catalog(
    "app",
    1,
    {
        "export": Feature("export", "Export"),
        "pages": Feature("pages", "Pages", Kind.LIMIT),
        "credits": Feature("credits", "Credits", Kind.LIMIT, Combine.SUM),
    },
    {
        "pro": Product("pro", "Pro", {"export": Opens(True), "pages": Opens(500), "credits": Opens(10, per_seat=True)}),
        "month": Product("month", "A month", {"export": Opens(True), "pages": Opens(100)}, lasts=MONTH),
    },
    {},
    Policy(),
)


if __name__ == "__main__":
    main()
