"""Ends the openings of checkouts that were cut short and that nobody came back for: no intent stays open to doubt."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from ..db.tables import checkout
from .open_checkout import CheckoutDesk

log = structlog.get_logger(__name__)

STUCK_AFTER = timedelta(minutes=2)
"""Longer than any request that could still be at it."""
BATCH = 100


async def finish_checkouts(desk: CheckoutDesk, *, at: datetime) -> int:
    """Looks each of them up at Stripe, and makes nothing: a page that nobody waits for is not needed. Returns how many.

    May run in several replicas at once: each ends an intent as the others would.
    """
    async with desk.database.transaction() as tx:
        stuck = (
            await tx.execute(
                select(checkout)
                .where(checkout.c.state == "opening", checkout.c.created_at < at - STUCK_AFTER)
                .order_by(checkout.c.created_at)
                .limit(BATCH)
            )
        ).all()
    done = 0
    for intent in stuck:
        try:
            await desk.look_up(intent)
            done += 1
        except Exception:  # Stripe is away, or this one is odd: the next turn tries again
            log.exception("a checkout that was cut short cannot be looked up", checkout=intent.id)
    return done
