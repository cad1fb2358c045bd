"""Evidence to judge: each builder makes the usual case, and a test says only what differs from it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.catalog import Catalog, Combine, Feature, Kind, Opens, Policy, Product
from tollhouse_server.domain.evidence import (
    Grant,
    Payment,
    PaymentStatus,
    Purchase,
    PurchaseItem,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from tollhouse_server.domain.money import Money

START = datetime(2026, 11, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """An instant so many days after 1 Nov 2026, when the usual subscription and purchase begin."""
    return START + timedelta(days=number)


def item(product: str | None = "pro", begins: float = 0, ends: float = 30, quantity: int = 1) -> SubscriptionItem:
    return SubscriptionItem(f"price_{product}", product, f"app.{product}.monthly", quantity, day(begins), day(ends))


def subscription(**changes: Any) -> Subscription:
    """Active, one month from day 0 to day 30."""
    usual = {"id": "sub_1", "status": SubscriptionStatus.ACTIVE, "items": (item(),), "started_at": day(0)}
    return Subscription(**{**usual, **changes})


def purchase(*products: str | None, quantity: int = 1, **changes: Any) -> Purchase:
    """Paid on day 0."""
    items = tuple(PurchaseItem(f"price_{one}", one, f"app.{one}.once", quantity) for one in products or ("pro",))
    usual = {"id": "cs_1", "payment_status": PaymentStatus.PAID, "items": items, "since": day(0)}
    return Purchase(**{**usual, **changes})


def grant(**changes: Any) -> Grant:
    """The switch `export`, for ever from day 0."""
    usual = {"id": "gr_1", "starts_at": day(0), "reason": "a gift", "operator": "Ada"}
    what = {} if "product" in changes else {"feature": "export", "value": True}
    return Grant(**{**usual, **what, **changes})


def payment(**changes: Any) -> Payment:
    """9.00 EUR, kept and undisputed."""
    return Payment(Money(900, "eur"), **changes)


def catalog(policy: Policy | None = None, default: str | None = None) -> Catalog:
    """A switch, a limit of which the largest counts, a limit that adds up, and products that open them.

    One has a policy of its own. `default` is the product that everybody has.
    """
    features = [
        Feature("export", "Export"),
        Feature("pages", "Pages", Kind.LIMIT),
        Feature("credits", "Credits", Kind.LIMIT, Combine.SUM),
    ]
    products = [
        Product("pro", "Pro", {"export": Opens(True), "pages": Opens(500), "credits": Opens(10, per_seat=True)}),
        Product("basic", "Basic", {"pages": Opens(100), "credits": Opens(5)}),
        Product("patient", "Patient", {"pages": Opens(20)}, policy={"grace": timedelta(days=20)}),
        Product("lifetime", "Lifetime", {"export": Opens(True), "pages": Opens("unlimited")}),
        Product("week", "A week", {"export": Opens(True), "credits": Opens(1)}, lasts=timedelta(days=7)),
        Product("seats", "Seats for a week", {"credits": Opens(2, per_seat=True)}, lasts=timedelta(days=7)),
        Product("old", "Sold no more", {"gone": Opens(True), "export": Opens(False)}),
    ]
    return Catalog(
        "app",
        1,
        {feature.code: feature for feature in features},
        {product.code: product for product in products},
        {},
        policy or Policy(),
        default_product=default,
    )


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The builders above."""
    return SimpleNamespace(
        day=day,
        item=item,
        subscription=subscription,
        purchase=purchase,
        grant=grant,
        payment=payment,
        catalog=catalog,
    )
