"""What an event says is dirty, and what we hold of Stripe's objects: newer reads win."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, and_, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from .db.engine import Tx
from .db.tables import billing, checkout, customer, money_fact, price, project, purchase, subscription
from .domain.facts import CustomerFacts, PriceFacts


def concerning(type_: str, obj: Mapping[str, Any]) -> str | None:
    """Which Stripe object to read again, by its id, after an event of this type about `obj`; None for none of ours.

    A customer (`cus_…`) wherever the object names one, else the charge that leads to it; a product for its prices, so
    that two reads of one price never run beside each other.
    """
    match type_.split("."):
        case ["customer", "updated" | "deleted"]:
            return _id(obj.get("id"))
        case ["customer", "subscription", _]:
            return _id(obj.get("customer"))
        case ["subscription_schedule", _]:
            return _id(obj.get("customer"))
        case ["checkout", "session", "completed" | "async_payment_succeeded" | "async_payment_failed" | "expired"]:
            return _id(obj.get("customer"))
        case ["invoice", "paid" | "payment_succeeded" | "payment_failed" | "payment_action_required"]:
            return _id(obj.get("customer"))
        case ["invoice", "voided" | "marked_uncollectible"]:
            return _id(obj.get("customer"))
        case ["charge", "refunded"]:
            return _id(obj.get("customer")) or _id(obj.get("id"))
        case ["charge", "refund", "updated"] | ["refund", _]:
            return _id(obj.get("customer")) or _id(obj.get("charge"))
        case ["charge", "dispute", *_]:
            return _id(obj.get("charge"))
        case ["price", _]:
            return _id(obj.get("product"))
        case ["product", _]:
            return _id(obj.get("id"))
        case _:
            return None


_ANY = {"id": "x", "customer": "cus_x", "charge": "ch_x", "product": "prod_x"}


def types_concerning(known: Iterable[str]) -> list[str]:
    """Those of the `known` types of event that can concern something of ours, in their order."""
    return [type_ for type_ in known if concerning(type_, _ANY) is not None]


def _id(reference: object) -> str | None:
    """The id, whether Stripe sent it bare or expanded."""
    if isinstance(reference, Mapping):
        reference = reference.get("id")
    return reference if isinstance(reference, str) and reference else None


@dataclass(frozen=True, slots=True)
class Owner:
    """The customer of ours whose projection was written. `unlinked` is the Stripe customer it had, where it lost it."""

    customer_id: uuid.UUID
    project_id: uuid.UUID
    user_id: str
    unlinked: str | None = None
    new: frozenset[str] = frozenset()
    """The subscriptions that this write was the first to hold; see `_appeared`."""


async def write(tx: Tx, facts: CustomerFacts, read: int) -> Owner | None:
    """Writes one read of a customer's facts, unless a read that began later is there already. None: nobody of ours.

    Locks the customer's row until the transaction ends.
    """
    row = await _lock(tx, facts)
    if row is None:
        return None
    owner = Owner(row.id, row.project_id, row.user_id)
    if row.read_number < read:
        if facts.deleted:
            owner = replace(owner, unlinked=row.stripe_customer_id)
        await tx.execute(
            update(customer)
            .where(customer.c.id == row.id)
            .values(
                read_number=read,
                email=facts.email or row.email,
                name=facts.name or row.name,
                # A customer deleted at Stripe can buy nothing any more: the next checkout makes another.
                stripe_customer_id=None if facts.deleted else facts.id,
                given_back={
                    one.charge: {
                        "refunded": one.refunded,
                        "refunds": dict(one.refunds),
                        "disputes": dict(one.disputes),
                    }
                    for one in facts.given_back
                },
            )
        )
        owner = replace(owner, new=await _appeared(tx, facts, first=row.read_number == 0))
        await _write_subscriptions(tx, owner, facts)
        await _write_purchases(tx, owner, facts)
        await _write_checkouts(tx, owner, facts)
        await _write_billings(tx, owner, facts)
        await _write_cash(tx, owner, facts)
    return owner


async def owner_of(tx: Tx, facts: CustomerFacts) -> Owner | None:
    """Whose the facts are, locked as `write` does: for who wants to look before anything is written."""
    row = await _lock(tx, facts)
    return None if row is None else Owner(row.id, row.project_id, row.user_id)


async def holds(tx: Tx, stripe_customer_id: str) -> bool:
    """Whether the Stripe customer is one of ours."""
    return bool(await tx.scalar(select(exists().where(customer.c.stripe_customer_id == stripe_customer_id))))


@dataclass(frozen=True, slots=True)
class Priced:
    """A project's prices of one Stripe product: which lookup keys could be bought, and which can now."""

    project_id: uuid.UUID
    before: list[str]
    after: list[str]


async def write_prices(tx: Tx, product_id: str, facts: Sequence[PriceFacts]) -> list[Priced]:
    """Marks the catalogs' prices of a Stripe product as Stripe has them; one for each project that has such prices."""
    active = [one.id for one in facts if one.active]
    # What is neither sold nor for sale is left so: who has it keeps it, and the catalog says what it counts as.
    of_product = and_(price.c.stripe_product_id == product_id, or_(price.c.current, price.c.active))
    # Locked and in one order, so that two reads of one product do not wait for each other.
    found = select(price).where(of_product).order_by(price.c.stripe_price_id).with_for_update(key_share=True)
    rows = (await tx.execute(found)).all()
    await tx.execute(update(price).where(of_product).values(active=price.c.stripe_price_id.in_(active)))
    projects = dict.fromkeys(row.project_id for row in rows)
    owned = {id_: [row for row in rows if row.project_id == id_] for id_ in projects}
    return [
        Priced(
            id_,
            before=sorted(row.lookup_key for row in its if row.active),
            after=sorted(row.lookup_key for row in its if row.stripe_price_id in active),
        )
        for id_, its in owned.items()
    ]


async def _lock(tx: Tx, facts: CustomerFacts) -> Row[Any] | None:
    """The customer's row, locked: by Stripe's id, else by what Tollhouse stamped on the customer in Stripe."""
    row = (
        await tx.execute(
            select(customer).where(customer.c.stripe_customer_id == facts.id).with_for_update(key_share=True)
        )
    ).one_or_none()
    if row is not None or facts.project is None or facts.user_id is None:
        return row
    # Made by us, yet not in our books: a restored backup, or a crash between Stripe's answer and our commit.
    project_id = await tx.scalar(select(project.c.id).where(project.c.slug == facts.project))
    if project_id is None:
        return None
    await tx.execute(
        insert(customer)
        .values(id=uuid.uuid4(), project_id=project_id, user_id=facts.user_id, stripe_customer_id=facts.id)
        .on_conflict_do_nothing()
    )
    row = (
        await tx.execute(
            select(customer)
            .where(customer.c.project_id == project_id, customer.c.user_id == facts.user_id)
            .with_for_update(key_share=True)
        )
    ).one()
    # A user has one Stripe customer: a second one with the same stamp is not silently taken for the first.
    return row if row.stripe_customer_id in (None, facts.id) else None


async def _appeared(tx: Tx, facts: CustomerFacts, *, first: bool) -> frozenset[str]:
    """The subscriptions that came to be since the customer was read last.

    At the `first` read, all that no checkout of ours made may have been there for years: the customer was imported.
    """
    ids = {one.id for one in facts.subscriptions}
    if not ids:
        return frozenset()
    known = set(await tx.scalars(select(subscription.c.id).where(subscription.c.id.in_(ids))))
    return frozenset((ids & set(facts.checked_out) if first else ids) - known)


async def _write_subscriptions(tx: Tx, owner: Owner, facts: CustomerFacts) -> None:
    for one in facts.subscriptions:
        await _upsert(tx, subscription, owner, one.id, {"status": one.status.value, "evidence": one})


async def _write_purchases(tx: Tx, owner: Owner, facts: CustomerFacts) -> None:
    for one in facts.purchases:
        await _upsert(tx, purchase, owner, one.id, {"payment_status": one.payment_status.value, "evidence": one})


async def _upsert(tx: Tx, table: Any, owner: Owner, id_: str, values: dict[str, Any]) -> None:
    await tx.execute(
        insert(table)
        .values(id=id_, project_id=owner.project_id, customer_id=owner.customer_id, **values)
        .on_conflict_do_update(index_elements=[table.c.id], set_=values)
    )


async def _write_checkouts(tx: Tx, owner: Owner, facts: CustomerFacts) -> None:
    for one in facts.checkouts:
        await tx.execute(
            update(checkout)
            .where(checkout.c.stripe_session_id == one.session_id, checkout.c.customer_id == owner.customer_id)
            .values(state=one.state, payment_status=one.payment_status.value, url=one.url, expires_at=one.expires_at)
        )


async def _write_billings(tx: Tx, owner: Owner, facts: CustomerFacts) -> None:
    for one in facts.billings:
        await _upsert(tx, billing, owner, one.subscription, {"billing": one})


async def _write_cash(tx: Tx, owner: Owner, facts: CustomerFacts) -> None:
    """Makes the facts of this Stripe customer those of the read; what is as it was is not written again."""
    mine = and_(money_fact.c.customer_id == owner.customer_id, money_fact.c.stripe_customer_id == facts.id)
    values = (money_fact.c.at, money_fact.c.currency, money_fact.c.amount)
    known = {
        (row.kind, row.id): (row.at, row.currency, row.amount)
        for row in await tx.execute(select(money_fact.c.kind, money_fact.c.id, *values).where(mine))
    }
    read = {(one.kind.value, one.id): (one.at, one.currency, one.amount) for one in facts.cash}
    gone = [and_(money_fact.c.kind == kind, money_fact.c.id == id_) for kind, id_ in known if (kind, id_) not in read]
    # A refund that failed, a charge that was reversed; of a deleted customer Stripe may show nothing any more.
    if gone and not facts.deleted:
        await tx.execute(delete(money_fact).where(mine, or_(*gone)))
    whose = {"project_id": owner.project_id, "customer_id": owner.customer_id, "stripe_customer_id": facts.id}
    for (kind, id_), (at, currency, amount) in read.items():
        if known.get((kind, id_)) != (at, currency, amount):
            found = {**whose, "at": at, "currency": currency, "amount": amount}
            await tx.execute(
                insert(money_fact)
                .values(kind=kind, id=id_, **found)
                .on_conflict_do_update(index_elements=[money_fact.c.kind, money_fact.c.id], set_=found)
            )
