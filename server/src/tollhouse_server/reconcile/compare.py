"""One page of one of Stripe's lists beside what we hold: who differs is suspected, and read again later.

Nothing is decided here. A suspicion costs a re-read, which finds what really differs; so a page that is older than a
webhook that came meanwhile does no harm.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select, true, tuple_, type_coerce

from ..db.columns import Json
from ..db.engine import Tx
from ..db.tables import checkout, customer, project, purchase, subscription
from ..domain.evidence import Subscription
from ..stripe_gateway.lists import (
    Listed,
    ListedCharge,
    ListedCustomer,
    ListedReturn,
    ListedSession,
    ListedSubscription,
)
from ..stripe_gateway.parse import as_listed
from . import runs
from .work import Work

Held = Mapping[str, Any]
"""Our customers of a page, by Stripe's id."""

Differing = tuple[Iterable[str], Iterable[Listed]]
"""Ids that we hold too, and the objects that are not with us as they are listed."""

_stored_subscription = TypeAdapter(Subscription)


async def compare(work: Work, tx: Tx, name: str, listed: Sequence[Listed]) -> None:
    """Compares a page of the list of this name. Objects of customers who are not ours are counted and left alone."""
    held = await _held(work, tx, {one.customer for one in listed if one.customer})
    mine = [one for one in listed if one.customer in held]
    seen, differing = await _COMPARISONS[name](tx, mine, held)
    suspects = {one.customer for one in differing if one.customer}
    if name == "customers":
        suspects |= await _unknown(work, tx, [one for one in listed if one.customer not in held])
    await runs.saw(tx, work.run, sorted(seen))
    await runs.suspect(tx, work.run, sorted(suspects))
    work.counts.update({f"{name}.listed": len(listed), f"{name}.ours": len(mine), f"{name}.differ": len(suspects)})


async def _held(work: Work, tx: Tx, ids: set[str]) -> Held:
    query = select(customer.c.stripe_customer_id, customer.c.id, customer.c.project_id, customer.c.given_back).where(
        customer.c.stripe_customer_id.in_(ids)
    )
    if work.run.asked.project_id is not None:
        query = query.where(customer.c.project_id == work.run.asked.project_id)
    return {row.stripe_customer_id: row for row in (await tx.execute(query)).all()}


async def _unknown(work: Work, tx: Tx, listed: Sequence[Listed]) -> set[str]:
    """Customers whom we made and do not know: a restored backup, or a crash before our commit."""
    stamped = {
        (one.project, one.user_id): one.id
        for one in listed
        if isinstance(one, ListedCustomer) and one.project and one.user_id
    }
    if not stamped:
        return set()
    wanted = work.run.asked.project_id
    projects = await tx.execute(
        select(project.c.slug).where(
            project.c.slug.in_({slug for slug, _ in stamped}),
            true() if wanted is None else project.c.id == wanted,
        )
    )
    slugs = set(projects.scalars())
    # A user has one Stripe customer: a second one with the same stamp is not silently taken for the first.
    taken = await tx.execute(
        select(project.c.slug, customer.c.user_id)
        .join(project, project.c.id == customer.c.project_id)
        .where(
            tuple_(project.c.slug, customer.c.user_id).in_(list(stamped)), customer.c.stripe_customer_id.is_not(None)
        )
    )
    others = {(row.slug, row.user_id) for row in taken}
    return {id_ for (slug, user), id_ in stamped.items() if slug in slugs and (slug, user) not in others}


async def _customers(tx: Tx, mine: Sequence[Listed], held: Held) -> Differing:  # noqa: ARG001
    return [one.id for one in mine], []


async def _subscriptions(tx: Tx, mine: Sequence[Listed], held: Held) -> Differing:  # noqa: ARG001
    rows = await tx.execute(
        select(subscription.c.id, type_coerce(subscription.c.evidence, Json).label("evidence")).where(
            subscription.c.id.in_([one.id for one in mine])
        )
    )
    stored = {row.id: row.evidence for row in rows}

    def differs(one: Listed) -> bool:
        if not isinstance(one, ListedSubscription) or one.id not in stored:
            return True
        try:
            held = _stored_subscription.validate_python(stored[one.id])
        except ValidationError:  # what we stored is not what it should be: Stripe has it right
            return True
        owed = held.unpaid_since is not None
        return as_listed(held) != as_listed(one.evidence) or one.owed not in (None, owed)

    return stored, [one for one in mine if differs(one)]


async def _sessions(tx: Tx, mine: Sequence[Listed], held: Held) -> Differing:  # noqa: ARG001
    ids = [one.id for one in mine]
    settling = type_coerce(purchase.c.evidence, Json)["settling"].as_boolean()
    rows = await tx.execute(
        select(purchase.c.id, purchase.c.payment_status, func.coalesce(settling, False).label("settling")).where(
            purchase.c.id.in_(ids)
        )
    )
    bought = {row.id: (row.payment_status, row.settling) for row in rows}
    opened = await tx.execute(
        select(checkout.c.stripe_session_id, checkout.c.state, checkout.c.payment_status).where(
            checkout.c.stripe_session_id.in_(ids)
        )
    )
    states = {row.stripe_session_id: (row.state, row.payment_status) for row in opened}

    def differs(one: Listed) -> bool:
        if not isinstance(one, ListedSession):
            return True
        if one.sells_once and bought.get(one.id) != (one.payment_status, one.settling):
            return True
        return one.id in states and states[one.id] != (one.state, one.payment_status)

    return bought, [one for one in mine if differs(one)]


async def _charges(tx: Tx, mine: Sequence[Listed], held: Held) -> Differing:
    """What became of the money; and whether what it paid for is there at all."""
    paid_for = {one.checkout for one in mine if isinstance(one, ListedCharge) and one.succeeded and one.checkout}
    rows = await tx.execute(
        select(checkout.c.id)
        .outerjoin(purchase, purchase.c.id == checkout.c.stripe_session_id)
        .where(checkout.c.id.in_(paid_for), purchase.c.id.is_(None))
    )
    without = set(rows.scalars())

    def differs(one: Listed) -> bool:
        if not isinstance(one, ListedCharge):
            return True
        known = _given_back(held, one.customer, one.id)
        same = (one.refunded, one.disputed) == (known.get("refunded", 0), bool(known.get("disputes")))
        return not same or (one.succeeded and one.checkout in without)

    return [], [one for one in mine if differs(one)]


async def _returns(mine: Sequence[Listed], held: Held, field: str) -> Differing:
    def differs(one: Listed) -> bool:
        if not isinstance(one, ListedReturn):
            return True
        known = _given_back(held, one.customer, one.charge)
        return known.get(field, {}).get(one.id) != one.status  # type: ignore[no-any-return]

    return [], [one for one in mine if differs(one)]


async def _refunds(tx: Tx, mine: Sequence[Listed], held: Held) -> Differing:  # noqa: ARG001
    return await _returns(mine, held, "refunds")


async def _disputes(tx: Tx, mine: Sequence[Listed], held: Held) -> Differing:  # noqa: ARG001
    return await _returns(mine, held, "disputes")


def _given_back(held: Held, customer_id: str | None, charge: str) -> Mapping[str, Any]:
    """What we hold of the charge; nothing of one that was neither refunded nor disputed when it was last read."""
    found: Mapping[str, Any] = (held[customer_id or ""].given_back or {}).get(charge, {})
    return found


_COMPARISONS: dict[str, Callable[[Tx, Sequence[Listed], Held], Awaitable[Differing]]] = {
    "customers": _customers,
    "subscriptions": _subscriptions,
    "sessions": _sessions,
    "charges": _charges,
    "refunds": _refunds,
    "disputes": _disputes,
}
