"""What one customer may do, as stored: gathered from evidence, read in one row, kept current by refresh."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row, ScalarSelect, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from .catalogs import KnownPrices, products_by_stripe_price
from .db.engine import Tx
from .db.tables import bundled, correction, customer, grant, project, purchase, snapshot, subscription
from .domain.entitlements import Entitlement, dump, load, next_change
from .domain.evidence import (
    Bundled,
    Correction,
    Evidence,
    Grant,
    PlannedItem,
    Purchase,
    PurchaseItem,
    Subscription,
    SubscriptionItem,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A customer's entitlements as stored. `version` only grows; 0 is a user of whom nothing was ever stored."""

    version: int
    catalog_version: int
    entitlements: tuple[Entitlement, ...]
    computed_at: datetime | None = None
    """None: never."""


Item = TypeVar("Item", SubscriptionItem, PurchaseItem, PlannedItem)

NOTHING = Snapshot(0, 0, ())


async def gather(tx: Tx, customer_id: uuid.UUID, project_id: uuid.UUID) -> Evidence:
    """All evidence of the customer, each price led back to its product, with what other projects' bundles bring."""
    known = await products_by_stripe_price(tx, project_id)
    return (await gather_all(tx, [customer_id], known))[customer_id]


async def gather_all(tx: Tx, customers: Sequence[uuid.UUID], known: KnownPrices) -> dict[uuid.UUID, Evidence]:
    """The same of several customers of one project in as many queries; `known` are its `products_by_stripe_price`."""
    found: dict[uuid.UUID, tuple[list[Subscription], list[Purchase], list[Grant]]] = {
        one: ([], [], []) for one in customers
    }
    for place, table in enumerate((subscription, purchase)):
        columns = [table.c.customer_id, table.c.evidence, *([_corrected()] if table is subscription else ())]
        rows = await tx.execute(select(*columns).where(table.c.customer_id.in_(customers)).order_by(table.c.id))
        for customer_id, evidence, *kind in rows:
            one = replace(evidence, correction=Correction(*kind)) if any(kind) else evidence
            found[customer_id][place].append(one)
    for row_of_grant in await tx.execute(select(grant).where(grant.c.customer_id.in_(customers)).order_by(grant.c.id)):
        found[row_of_grant.customer_id][2].append(as_grant(row_of_grant))
    brought: dict[uuid.UUID, tuple[Bundled, ...]] = {}
    for of_bundle in await tx.execute(
        select(bundled).where(bundled.c.customer_id.in_(customers)).order_by(bundled.c.source_customer_id)
    ):
        brought[of_bundle.customer_id] = (*brought.get(of_bundle.customer_id, ()), *of_bundle.lines)
    return {
        one: with_products(Evidence(tuple(subs), tuple(bought), tuple(given), bundled=brought.get(one, ())), known)
        for one, (subs, bought, given) in found.items()
    }


def _corrected() -> ScalarSelect[Any]:
    """Why we have a subscription ended; of two reasons a double's, as what is ended for it is no trial any more."""
    mine = (correction.c.subscription_id == subscription.c.id, correction.c.state != "reported")
    return select(func.min(correction.c.kind)).where(*mine).scalar_subquery()


def with_products(evidence: Evidence, known: KnownPrices) -> Evidence:
    """The evidence with each price led back to its product."""
    return replace(
        evidence,
        subscriptions=tuple(_subscription(one, known) for one in evidence.subscriptions),
        purchases=tuple(replace(one, items=_with_products(one.items, known)) for one in evidence.purchases),
    )


def _subscription(one: Subscription, known: KnownPrices) -> Subscription:
    """Its scheduled change too."""
    change = one.scheduled_change
    if change is not None:
        change = replace(change, items=_with_products(change.items, known))
    return replace(one, items=_with_products(one.items, known), scheduled_change=change)


def _with_products(items: Sequence[Item], known: KnownPrices) -> tuple[Item, ...]:
    return tuple(_with_product(item, known) for item in items)


def _with_product(item: Item, known: KnownPrices) -> Item:
    product, lookup_key = known.get(item.stripe_price, (None, item.lookup_key))
    return replace(item, product=product, lookup_key=lookup_key)


def as_grant(row: Row[Any]) -> Grant:
    """From a row of the table of grants."""
    return Grant(
        id=row.id,
        starts_at=row.starts_at,
        reason=row.reason,
        operator=row.operator,
        feature=row.feature,
        value=row.value,
        product=row.product,
        ends_at=row.ends_at,
        revoked_at=row.revoked_at,
        override=row.override,
        given_at=row.created_at,
    )


async def read(tx: Tx, project_id: uuid.UUID, user_id: str) -> Snapshot:
    """The stored snapshot by its primary key; NOTHING for a user we have never met."""
    row = (
        await tx.execute(
            select(
                snapshot.c.version, snapshot.c.catalog_version, snapshot.c.entitlements, snapshot.c.computed_at
            ).where(snapshot.c.project_id == project_id, snapshot.c.user_id == user_id)
        )
    ).one_or_none()
    if row is None:
        return NOTHING
    return Snapshot(row.version, row.catalog_version, load(row.entitlements), row.computed_at)


async def write(tx: Tx, owner: Row[Any], new: Snapshot, at: datetime) -> None:
    """Stores the snapshot of the customer whose row, locked, is `owner`."""
    values = {
        "version": new.version,
        "catalog_version": new.catalog_version,
        "entitlements": dump(new.entitlements),
        "computed_at": at,
        "next_change_at": next_change(new.entitlements, at),
    }
    await tx.execute(
        insert(snapshot)
        .values(project_id=owner.project_id, user_id=owner.user_id, customer_id=owner.id, **values)
        .on_conflict_do_update(index_elements=[snapshot.c.project_id, snapshot.c.user_id], set_=values)
    )


async def outdated(tx: Tx, at: datetime, *, limit: int) -> list[tuple[uuid.UUID, str]]:
    """Customers whose snapshot time or a newer catalog has overtaken, each with which of them it was, in words."""
    rows = await tx.execute(
        select(snapshot.c.customer_id, snapshot.c.next_change_at <= at, project.c.catalog_version)
        .join(project, project.c.id == snapshot.c.project_id)
        .where(or_(snapshot.c.next_change_at <= at, snapshot.c.catalog_version < project.c.catalog_version))
        .limit(limit)
    )
    return [(id_, "time passed" if by_time else f"catalog version {version}") for id_, by_time, version in rows]


async def evidence_of(tx: Tx, project_id: uuid.UUID, user_id: str) -> Evidence:
    """What is known of the app's user; nothing of one who never became a customer."""
    found = await tx.scalar(
        select(customer.c.id).where(and_(customer.c.project_id == project_id, customer.c.user_id == user_id))
    )
    return Evidence() if found is None else await gather(tx, found, project_id)


async def stripe_customer_of(tx: Tx, project_id: uuid.UUID, user_id: str) -> str | None:
    """The Stripe customer (`cus_…`) of the app's user; None for one who has none."""
    found: str | None = await tx.scalar(
        select(customer.c.stripe_customer_id).where(customer.c.project_id == project_id, customer.c.user_id == user_id)
    )
    return found
