"""What must hold in the database at the end of every run, whatever was done to it."""

from collections.abc import Iterable
from typing import Any

import httpx
import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from reliability.figures import Figures
from tollhouse_sandbox.testing import RunningSandbox

VERSIONS = """
SELECT c.id, c.version, s.version, a.entries, a.befores, a.afters
FROM customer c
LEFT JOIN snapshot s ON s.customer_id = c.id
LEFT JOIN (
    SELECT customer_id, count(*) AS entries, array_agg(before ORDER BY id) AS befores, array_agg(after ORDER BY id) AS afters
    FROM audit WHERE action = 'entitlements.changed' GROUP BY customer_id
) a ON a.customer_id = c.id
"""  # noqa: E501


def assert_versions_are_gapless(db: "psycopg.Connection[Any]", figures: Figures) -> None:
    """Each version has one audit entry, which begins where the one before ended; the last is what is stored."""
    _assert_gapless(db.execute(VERSIONS), figures)


async def assert_versions_are_gapless_in(tx: AsyncConnection, figures: Figures, *, chained: bool = True) -> None:
    """The same inside a transaction of the service's; without `chained`, what the entries say may have gaps."""
    _assert_gapless(await tx.execute(text(VERSIONS)), figures, must_chain=chained)


def _assert_gapless(rows: Iterable[Any], figures: Figures, *, must_chain: bool = True) -> None:
    broken = []
    for customer, version, stored, entries, befores, afters in rows:
        figures.count("versions", version)
        chained = not entries or not must_chain or befores == [[], *afters[:-1]]
        changes = not entries or all(old != new for old, new in zip(befores, afters, strict=True))
        if not (version == (stored or 0) == (entries or 0) and chained and changes):
            broken.append((str(customer), version, stored, entries))
    figures.must_be_zero("versions unexplained", len(broken), broken[:3])


def assert_customers_are_as_stripe_says(
    db: "psycopg.Connection[Any]", sandbox: RunningSandbox, figures: Figures
) -> None:
    """For customers with one active subscription each: its end at Stripe is the end of what it opens here."""
    wrong = []
    headers = {"Authorization": f"Bearer {sandbox.secret_key}"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False) as stripe:
        for subscription, entitlements in db.execute(
            "SELECT s.id, n.entitlements FROM subscription s JOIN snapshot n USING (customer_id)"
        ):
            theirs = stripe.get(f"/v1/subscriptions/{subscription}").raise_for_status().json()
            ending = theirs["cancel_at_period_end"] or theirs["cancel_at"] is not None
            rules = {reason["rule"] for one in entitlements for reason in one["reasons"]}
            if rules != {"subscription-ends" if ending else "subscription-active"}:
                wrong.append((subscription, ending, sorted(rules)))
    figures.must_be_zero("unlike Stripe", len(wrong), wrong[:3])
