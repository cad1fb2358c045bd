"""The sweep: Stripe's lists beside all that we hold, and back; then a re-read of everybody in whom they differ."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert

from ..db.drift_tables import reconciliation_seen, reconciliation_suspect
from ..db.engine import Tx
from ..db.tables import billing, customer, money_fact, purchase, subscription
from ..stripe_gateway import StripeClient
from ..stripe_gateway.lists import (
    Listed,
    Page,
    list_charges,
    list_customers,
    list_disputes,
    list_refunds,
    list_sessions,
    list_subscriptions,
)
from .compare import compare
from .explain import explain
from .work import Work, reread

CHARGES_BACK = timedelta(days=35)
"""How far back charges are listed: more than a month, so that each is seen in a hundred sweeps. What becomes of older
ones the lists of refunds and disputes show, which are read to the end."""
FEW = 20
"""Up to so many of our customers may be missing at Stripe before it is asked whether this is our account at all."""

_ENDED = ("canceled", "incomplete_expired")


class WrongAccount(Exception):
    """Stripe shows hardly any of our customers: another account's key, or another mode's."""


LISTS: dict[str, Callable[[StripeClient, str | None], Awaitable[Page[Listed]]]] = {
    "customers": list_customers,
    "subscriptions": list_subscriptions,
    "sessions": list_sessions,
    "refunds": list_refunds,
    "disputes": list_disputes,
}
STAGES = ("customers", "subscriptions", "sessions", "charges", "refunds", "disputes", "back", "repair", "explain")


async def sweep(work: Work) -> None:
    """Goes on at the stage and the page where the run stopped, if it had been begun before."""
    for stage in STAGES[STAGES.index(work.stage or "customers") :]:
        following = ([*STAGES, "done"])[STAGES.index(stage) + 1]
        if stage == "back":
            await _back(work, following)
        elif stage == "repair":
            await reread(work, stage, then=following)
        elif stage == "explain":
            await explain(work)
        else:
            await _walk(work, stage, following)


async def _walk(work: Work, name: str, following: str) -> None:
    """One list to its end, a page and a transaction at a time."""
    cursor = work.cursor if work.stage == name else None
    while True:
        page = await _page(work, name, cursor)
        cursor = page.last
        async with work.step(name if cursor else following, cursor) as tx:
            await compare(work, tx, name, page.items)
        if cursor is None:
            return


async def _page(work: Work, name: str, cursor: str | None) -> Page[Listed]:
    if name == "charges":
        return await list_charges(work.stripe, cursor, since=work.run.started_at - CHARGES_BACK)
    return await LISTS[name](work.stripe, cursor)


async def _back(work: Work, following: str) -> None:
    """Whom we hold and Stripe did not show: a deleted customer, or what cannot be; each is read again.

    Those who came while the lists were read are among them, for whom that does no harm. Raises WrongAccount.
    """
    run = work.run
    mine: ColumnElement[bool] = customer.c.stripe_customer_id.is_not(None)
    if run.asked.project_id is not None:
        mine = and_(mine, customer.c.project_id == run.asked.project_id)

    def unseen(id_: ColumnElement[Any]) -> ColumnElement[bool]:
        seen = reconciliation_seen
        return ~select(seen.c.id).where(seen.c.run_id == run.id, seen.c.id == id_).exists()

    older = and_(mine, customer.c.created_at < run.created_at)
    lost = select(customer.c.stripe_customer_id).where(older, unseen(customer.c.stripe_customer_id))
    of_objects = [
        select(customer.c.stripe_customer_id)
        .join(table, table.c.customer_id == customer.c.id)
        .where(mine, unseen(table.c.id), condition)
        for table, condition in (
            (subscription, subscription.c.status.not_in(_ENDED)),
            (purchase, literal(True)),
        )
    ]
    async with work.step(following) as tx:
        held = await tx.scalar(select(func.count()).select_from(customer).where(older)) or 0
        missing = await tx.scalar(select(func.count()).select_from(lost.subquery())) or 0
        if missing > FEW and missing * 2 > held:
            raise WrongAccount(
                f"Stripe shows {held - missing} of our {held} customers: is STRIPE_SECRET_KEY of the account that made"
                " them? Nothing was changed."
            )
        every = lost.union(*of_objects).subquery()
        already = select(reconciliation_suspect.c.stripe_customer_id).where(reconciliation_suspect.c.run_id == run.id)
        not_shown = await tx.scalar(select(func.count()).select_from(every)) or 0
        await tx.execute(
            insert(reconciliation_suspect).from_select(
                ["run_id", "stripe_customer_id"],
                select(literal(run.id), every.c.stripe_customer_id).where(every.c.stripe_customer_id.not_in(already)),
            )
        )
        work.counts.update({"back.held": held, "back.not_shown": not_shown})
        await _read_money(work, tx, mine)


async def _read_money(work: Work, tx: Tx, mine: ColumnElement[bool]) -> None:
    """Whoever was last read by a version that kept no bills is read again, for the metrics."""
    whose = select(literal(work.run.id), customer.c.stripe_customer_id)
    subscribed = whose.join(subscription, subscription.c.customer_id == customer.c.id).where(
        mine, ~select(billing.c.id).where(billing.c.id == subscription.c.id).exists()
    )
    bought = whose.join(purchase, purchase.c.customer_id == customer.c.id).where(
        mine,
        cast(purchase.c.evidence, JSONB)["payment"] != text("'null'::jsonb"),
        ~select(money_fact.c.id).where(money_fact.c.customer_id == customer.c.id).exists(),
    )
    await tx.execute(
        insert(reconciliation_suspect)
        .from_select(["run_id", "stripe_customer_id"], subscribed.union(bought))
        .on_conflict_do_nothing()
    )
