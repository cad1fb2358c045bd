"""Prices that customers hold and that no product knows: what they paid for opens nothing until a catalog counts it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from .db.engine import Tx

MOST = 100
EXAMPLES = 5

HELD = """
    SELECT held.project_id, held.customer_id, held.since, item ->> 'stripe_price' AS price
    FROM (
      SELECT project_id, customer_id, evidence ->> 'started_at' AS since, evidence -> 'items' AS items
      FROM subscription WHERE status NOT IN ('canceled', 'incomplete_expired')
      UNION ALL
      SELECT project_id, customer_id, evidence ->> 'since', evidence -> 'items' FROM purchase
    ) held
    CROSS JOIN LATERAL jsonb_array_elements(held.items) AS item
    LEFT JOIN price p ON p.project_id = held.project_id AND p.stripe_price_id = item ->> 'stripe_price'
    WHERE p.stripe_price_id IS NULL
"""
"""One row for each item of a subscription that is not over, or of a purchase, whose price no catalog knows."""

_BY_PRICE = text(f"""
    SELECT pr.slug, u.price, min(u.since) AS since, count(DISTINCT u.customer_id) AS customers,
      (array_agg(DISTINCT c.user_id))[1:{EXAMPLES}] AS users
    FROM ({HELD}) u
    JOIN project pr ON pr.id = u.project_id JOIN customer c ON c.id = u.customer_id
    WHERE CAST(:project AS uuid) IS NULL OR u.project_id = :project
    GROUP BY pr.slug, u.price ORDER BY customers DESC, pr.slug, u.price LIMIT {MOST}
""")  # noqa: S608 - written here
_COUNT = text(f"SELECT count(DISTINCT (project_id, price)), count(DISTINCT customer_id) FROM ({HELD}) u")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Unmapped:
    """One Stripe price (`price_…`) that customers of a project hold."""

    project: str
    price: str
    since: datetime
    """When the first of them began."""
    customers: int
    users: tuple[str, ...]
    """A few of them."""


async def unmapped(tx: Tx, project_id: uuid.UUID | None = None) -> Sequence[Unmapped]:
    """Of one project, or of all; what most customers hold comes first."""
    rows = await tx.execute(_BY_PRICE, {"project": project_id})
    return [
        Unmapped(row.slug, row.price, datetime.fromisoformat(row.since), row.customers, tuple(row.users))
        for row in rows
    ]


async def how_many(tx: Tx) -> tuple[int, int]:
    """Of all projects: such prices, and the customers who hold one."""
    prices, customers = (await tx.execute(_COUNT)).one()
    return prices, customers
