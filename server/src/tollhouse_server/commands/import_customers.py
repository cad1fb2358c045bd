"""Adopts the customers of a Stripe account that others have filled: whose each is, then all that Stripe says of them.

May be cut short anywhere and begun again: who was linked and read is done, who was only linked is read.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from .. import audit
from ..catalogs import Project, products_by_stripe_price
from ..customers import ensure_customer
from ..db.engine import Database, Tx
from ..db.tables import customer, project, snapshot
from ..domain.adoption import AccountCustomer, Held, Judged, Linking, judge
from ..domain.errors import Problem
from ..pipeline import Pipeline
from ..stripe_gateway import StripeClient
from ..stripe_gateway.lists import (
    ListedSession,
    ListedSubscription,
    list_account_customers,
    list_sessions,
    list_subscriptions,
)
from ..stripe_gateway.sessions import stamp_customer

AT_ONCE = 8
"""Customers read beside each other; how fast Stripe is asked the client's pace decides."""

Tell = Callable[[str, int, int | None], None]
"""Hears how far it is: the stage, how many are done, of how many if that is known."""


class ImportConflict(Problem):
    """The user has got another Stripe customer since the plan was made.

    Import again: the new plan says which.
    """

    status = 409
    code = "import-conflict"


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would do, and what of the account it leaves alone."""

    judged: tuple[Judged, ...]
    subscriptions: Counter[str]
    """Of those to be adopted, by Stripe's status."""
    purchases: int
    """Their paid one-time checkouts."""
    unknown_prices: Counter[str]
    """Stripe prices of their subscriptions that no product of the catalog has, with how many subscriptions."""
    nobodys_purchases: int
    """Paid one-time checkouts that name no Stripe customer: nobody can be given what they bought by itself."""

    @property
    def to_do(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.judged if one.to_do)


@dataclass(frozen=True, slots=True)
class Failure:
    """A customer who was not adopted; importing again tries once more."""

    customer: str
    user_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an import did."""

    adopted: int
    with_access: int
    """Of those, how many have some feature now or later."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Importer:
    """What an import needs from outside. `stripe` and the pipeline's client should be paced: they ask a lot."""

    database: Database
    stripe: StripeClient
    pipeline: Pipeline
    tell: Tell

    async def plan(self, owner: Project, linking: Linking) -> ImportPlan:
        """Reads the account's lists and changes nothing. Raises StripeUnavailable, StripeRefused."""
        customers = await self._customers()
        async with self.database.transaction() as tx:
            held = await _held(tx)
            known = await products_by_stripe_price(tx, owner.id)
        judged = judge(owner.slug, customers, linking, held)
        wanted = {one.customer for one in judged if one.to_do}
        statuses: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        async for sub in self._subscriptions(wanted):
            statuses[sub.evidence.status.value] += 1
            unknown.update({item.stripe_price for item in sub.evidence.items} - set(known))
        purchases, nobodys = await self._purchases(wanted)
        return ImportPlan(judged, statuses, purchases, unknown, nobodys)

    async def carry_out(self, owner: Project, plan: ImportPlan, why: audit.Cause, *, at: datetime) -> Adopted:
        """Links and reads everybody who is to be adopted; one who cannot be does not keep the others from it."""
        hands = asyncio.Semaphore(AT_ONCE)
        failures: list[Failure] = []
        done = 0
        wanted = plan.to_do

        async def adopt(one: Judged) -> None:
            nonlocal done
            async with hands:
                try:
                    await self._adopt(owner, one.customer, str(one.user_id), why, at)
                except Exception as error:  # told below, each with its customer
                    failures.append(Failure(one.customer, str(one.user_id), f"{type(error).__name__}: {error}"))
                done += 1
                self.tell("read", done, len(wanted))

        async with asyncio.TaskGroup() as group:
            for one in wanted:
                group.create_task(adopt(one))
        failed = {one.customer for one in failures}
        users = [one.user_id for one in wanted if one.customer not in failed]
        async with self.database.transaction() as tx:
            with_access = await _with_access(tx, owner, users)
            after = {"adopted": len(users), "failed": len(failures)}
            await audit.record(tx, "customers.imported", why, at=at, project_id=owner.id, after=after)
        return Adopted(len(users), with_access, tuple(failures))

    async def _adopt(self, owner: Project, stripe_id: str, user_id: str, why: audit.Cause, at: datetime) -> None:
        async with self.database.transaction() as tx:
            customer_id = await ensure_customer(tx, owner, user_id)
            linked = await tx.execute(
                update(customer)
                .where(customer.c.id == customer_id, customer.c.stripe_customer_id.is_(None))
                .values(stripe_customer_id=stripe_id)
            )
            if linked.rowcount:
                ours = {"project_id": owner.id, "customer_id": customer_id}
                before: dict[str, None] = {"stripe_customer": None}
                after = {"stripe_customer": stripe_id}
                await audit.record(tx, "customer.linked", why, at=at, before=before, after=after, **ours)
            has = await tx.scalar(select(customer.c.stripe_customer_id).where(customer.c.id == customer_id))
            if has != stripe_id:
                raise ImportConflict(f"{user_id} has {has} by now, not {stripe_id}: import again.")
        # So that a restored backup, and whoever looks at Stripe, knows whose it is.
        await stamp_customer(self.stripe, stripe_id, project=owner.slug, user_id=user_id)
        await self.pipeline.sync(stripe_id, why)

    async def _customers(self) -> list[AccountCustomer]:
        found: list[AccountCustomer] = []
        last: str | None = None
        while True:
            page = await list_account_customers(self.stripe, last)
            found += page.items
            self.tell("customers", len(found), None)
            if (last := page.last) is None:
                return found

    async def _subscriptions(self, wanted: set[str]) -> AsyncIterator[ListedSubscription]:
        last: str | None = None
        seen = 0
        while wanted:
            page = await list_subscriptions(self.stripe, last)
            seen += len(page.items)
            self.tell("subscriptions", seen, None)
            for one in page.items:
                if isinstance(one, ListedSubscription) and one.customer in wanted:
                    yield one
            if (last := page.last) is None:
                return

    async def _purchases(self, wanted: set[str]) -> tuple[int, int]:
        last: str | None = None
        seen = theirs = nobodys = 0
        while True:
            page = await list_sessions(self.stripe, last)
            seen += len(page.items)
            self.tell("checkouts", seen, None)
            for one in page.items:
                if isinstance(one, ListedSession) and one.sells_once and one.payment_status != "unpaid":
                    theirs += one.customer in wanted
                    nobodys += one.customer is None
            if (last := page.last) is None:
                return theirs, nobodys


async def _held(tx: Tx) -> dict[str, Held]:
    rows = await tx.execute(
        select(customer.c.stripe_customer_id, project.c.slug, customer.c.user_id, customer.c.read_number > 0)
        .join(project, project.c.id == customer.c.project_id)
        .where(customer.c.stripe_customer_id.is_not(None))
    )
    return {stripe_id: Held(slug, user_id, read) for stripe_id, slug, user_id, read in rows}


async def _with_access(tx: Tx, owner: Project, users: Sequence[str | None]) -> int:
    found = await tx.scalar(
        select(func.count())
        .select_from(snapshot)
        .where(
            snapshot.c.project_id == owner.id,
            snapshot.c.user_id.in_(users),
            func.jsonb_array_length(snapshot.c.entitlements) > 0,
        )
    )
    return int(found or 0)
