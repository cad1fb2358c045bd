"""Changes a customer's plan, ends a subscription, and takes an end or a change back.

As with checkouts: a row before Stripe hears of it, whose id is Stripe's idempotency key. For one customer one change at
a time is under way; what became of one that was cut short is read from Stripe.
"""

import secrets
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from sqlalchemy import Result, Row, insert, select, update

from .. import audit, snapshot
from ..audit import Cause
from ..catalogs import Project, current_catalog
from ..db.engine import Database, Tx
from ..db.tables import customer, plan_change
from ..domain import changing
from ..domain.catalog import Price
from ..domain.changing import OtherCurrency, Verb, When
from ..domain.errors import Problem
from ..domain.evidence import Evidence, PlannedItem, Subscription
from ..domain.time import from_timestamp
from ..pipeline import Pipeline
from ..stripe_gateway import StripeClient, StripeRefused, StripeUnavailable
from ..stripe_gateway.changes import Cost, Running, carry_out, preview, read_running, request_of
from .find_offer import find_offer
from .open_portal import CustomerNotFound

STUCK_AFTER = timedelta(minutes=2)
"""Longer than any request that could still be at it."""
BATCH = 100

log = structlog.get_logger(__name__)


class ChangeInProgress(Problem):
    """Another change of this customer's subscriptions is under way, or its outcome is not known yet.

    Try again in a moment; what became of it is found out within minutes.
    """

    status = 409
    code = "change-in-progress"
    retry_after = 5


class PaymentDeclined(Problem):
    """The card was declined, so nothing was changed.

    Send the user to the portal for another card, then ask again.
    """

    status = 402
    code = "payment-declined"


class AuthenticationNeeded(Problem):
    """The bank wants the cardholder to confirm the payment, so nothing was changed.

    Send the user to the portal: they change the plan there and confirm it.
    """

    status = 402
    code = "authentication-needed"


@dataclass(frozen=True, slots=True)
class PlanChangeWish:
    """What the app asks for. `proration_date` is that of a preview, whose amounts are then what is charged."""

    user_id: str
    price: str
    quantity: int | None
    when: When
    proration_date: datetime | None = None


Outcome = Literal["preview", "changed", "scheduled", "withdrawn", "unchanged"]


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """What was done, or would be. `at` is when it takes effect; `cost` is a preview's."""

    outcome: Outcome
    subscription: str
    quantity: int
    at: datetime
    cost: Cost | None = None
    proration_date: datetime | None = None


_OUTCOMES: dict[Verb, Outcome] = {
    Verb.CHANGE_NOW: "changed",
    Verb.CHANGE_LATER: "scheduled",
    Verb.WITHDRAW: "withdrawn",
}


@dataclass(frozen=True, slots=True)
class _Owner:
    id: uuid.UUID
    stripe_id: str


@dataclass(frozen=True, slots=True)
class SubscriptionDesk:
    """What changing a subscription needs from outside."""

    database: Database
    stripe: StripeClient
    pipeline: Pipeline

    async def change_plan(
        self, owner: Project, wanted: PlanChangeWish, *, at: datetime, only_preview: bool
    ) -> PlanChanged:
        """Raises what `changing.line_to_change` does, PriceNotFound, ChangeInProgress, PaymentDeclined, …"""
        ours = await self._fresh(owner, wanted.user_id)
        async with self.database.transaction(project=owner.id) as tx:
            catalog = await current_catalog(tx, owner)
            offer = await find_offer(tx, owner, catalog, wanted.price)
            evidence = await snapshot.gather(tx, ours.id, owner.id)
        sold, stripe_price = offer.price, offer.stripe_price_id
        line = changing.line_to_change(catalog, evidence, sold)
        quantity = line.item.quantity if wanted.quantity is None else wanted.quantity
        verb = changing.verb_of_change(line, stripe_price, quantity, wanted.when)
        running = await read_running(self.stripe, line.subscription.id)
        _check_currency(sold, running)
        planned = wanted.when == "period_end" and verb is not Verb.WITHDRAW
        effective = from_timestamp(running.period_end) if planned else at
        said = PlanChanged("unchanged", running.id, quantity, effective)
        pinned = wanted.proration_date or at.replace(microsecond=0)
        if only_preview:
            cost = await preview(
                self.stripe,
                running,
                old=line.item.stripe_price,
                price=stripe_price,
                quantity=quantity,
                at=pinned,
                now=verb is Verb.CHANGE_NOW,
            )
            shown = pinned if verb is Verb.CHANGE_NOW else None
            return PlanChanged("preview", running.id, quantity, effective, cost, shown)
        if verb is None:
            return said
        asked = request_of(
            verb,
            running,
            old=line.item.stripe_price,
            price=stripe_price,
            quantity=quantity,
            proration_date=wanted.proration_date,
        )
        new = PlannedItem(stripe_price, sold.product, sold.lookup_key, quantity)
        await self._do(owner, ours, verb, asked, asdict(new), at)
        return PlanChanged(_OUTCOMES[verb], running.id, quantity, effective)

    async def cancel(self, owner: Project, user_id: str, when: When, named: str | None, *, at: datetime) -> None:
        """Ends a subscription, now or with its period; one that has ended or will is left alone."""
        ours = await self._fresh(owner, user_id)
        subscription = changing.subscription_to_end(await self._evidence(owner, ours), named)
        await self._without_price(owner, ours, subscription, changing.verb_of_end(subscription, when), at)

    async def resume(self, owner: Project, user_id: str, named: str | None, *, at: datetime) -> None:
        """Takes back whatever would end a subscription, change it, or stop its payments; nothing is no error."""
        ours = await self._fresh(owner, user_id)
        subscription = changing.subscription_to_end(await self._evidence(owner, ours), named)
        await self._without_price(owner, ours, subscription, changing.verb_of_resumption(subscription), at)

    async def _without_price(
        self, owner: Project, ours: _Owner, subscription: Subscription, verb: Verb | None, at: datetime
    ) -> None:
        if verb is None:
            return
        running = await read_running(self.stripe, subscription.id)
        asked = request_of(verb, running, old="", price="", quantity=0, proration_date=None)
        await self._do(owner, ours, verb, asked, None, at)

    async def _fresh(self, owner: Project, user_id: str) -> _Owner:
        """The customer, just read from Stripe: what is refused is refused for what is so now."""
        async with self.database.transaction(project=owner.id) as tx:
            query = select(customer.c.id, customer.c.stripe_customer_id)
            row = (
                await tx.execute(query.where(customer.c.project_id == owner.id, customer.c.user_id == user_id))
            ).one_or_none()
        if row is None or row.stripe_customer_id is None:
            raise CustomerNotFound("This user never opened a checkout, so there is nothing to change: offer one.")
        await self.pipeline.sync(row.stripe_customer_id, Cause("app", "a change of a subscription was asked for"))
        return _Owner(row.id, row.stripe_customer_id)

    async def _evidence(self, owner: Project, ours: _Owner) -> Evidence:
        async with self.database.transaction(project=owner.id) as tx:
            return await snapshot.gather(tx, ours.id, owner.id)

    async def _do(
        self,
        owner: Project,
        ours: _Owner,
        verb: Verb,
        asked: dict[str, Any],
        new: dict[str, Any] | None,
        at: datetime,
    ) -> None:
        change = await self._intend(owner, ours, verb, asked, new, at)
        try:
            await carry_out(self.stripe, change.id, verb, change.request)
        except StripeRefused as refused:
            await self._settle(change, "refused", str(refused), at)
            raise _told(refused) from refused
        except StripeUnavailable as failed:
            if not failed.sent:
                await self._settle(change, "refused", "Stripe was not reached", at)
            raise
        await self._settle(change, "done", None, at)
        await self.pipeline.sync(ours.stripe_id, Cause("app", f"change {change.id}"))

    async def _intend(
        self,
        owner: Project,
        ours: _Owner,
        verb: Verb,
        asked: dict[str, Any],
        new: dict[str, Any] | None,
        at: datetime,
    ) -> Row[Any]:
        """The row of this change: a new one, or that of the same change which was cut short."""
        async with self.database.transaction(project=owner.id) as tx:
            await tx.execute(select(customer.c.id).where(customer.c.id == ours.id).with_for_update(key_share=True))
            under_way = (
                await tx.execute(
                    select(plan_change).where(plan_change.c.customer_id == ours.id, plan_change.c.state == "opening")
                )
            ).one_or_none()
            if under_way is not None:
                if (under_way.verb, under_way.request) == (verb, asked):
                    return under_way
                if not await _came_about(tx, under_way):
                    raise ChangeInProgress("Another change of this customer is under way: try again in a moment.")
                await _settle(tx, under_way, "done", None, at)
            made: Result[Any] = await tx.execute(
                insert(plan_change)
                .values(
                    id=f"pch_{secrets.token_urlsafe(18)}",
                    project_id=owner.id,
                    customer_id=ours.id,
                    subscription_id=asked["subscription"],
                    verb=verb.value,
                    wanted=new,
                    request=asked,
                    state="opening",
                    created_at=at,
                )
                .returning(plan_change)
            )
            return made.one()

    async def _settle(self, change: Row[Any], state: str, error: str | None, at: datetime) -> None:
        async with self.database.transaction(project=change.project_id) as tx:
            await _settle(tx, change, state, error, at)

    async def finish(self, *, at: datetime) -> int:
        """Ends the changes that were cut short, as Stripe has them. Returns how many; may run in several replicas."""
        async with self.database.transaction() as tx:
            joined = plan_change.join(customer, customer.c.id == plan_change.c.customer_id)
            stuck = (
                await tx.execute(
                    select(plan_change, customer.c.stripe_customer_id)
                    .select_from(joined)
                    .where(plan_change.c.state == "opening", plan_change.c.created_at < at - STUCK_AFTER)
                    .order_by(plan_change.c.created_at)
                    .limit(BATCH)
                )
            ).all()
        done = 0
        for change in stuck:
            try:
                await self._find_out(change, at)
                done += 1
            except Exception:  # Stripe is away, or this one is odd: the next turn tries again
                log.exception("a change that was cut short cannot be looked up", change=change.id)
        return done

    async def _find_out(self, change: Row[Any], at: datetime) -> None:
        if change.stripe_customer_id is None:
            await self._settle(change, "refused", "the customer was deleted at Stripe", at)
            return
        await self.pipeline.sync(change.stripe_customer_id, Cause("timetable", f"change {change.id} was cut short"))
        async with self.database.transaction(project=change.project_id) as tx:
            done = await _came_about(tx, change)
        if not done:
            await self._settle(change, "refused", "Stripe had not done it", at)
            return
        if change.verb == Verb.CHANGE_NOW:  # what was planned before goes with it; asked again, this is done once
            await carry_out(self.stripe, change.id, Verb.WITHDRAW, change.request)
        await self._settle(change, "done", None, at)
        await self.pipeline.sync(change.stripe_customer_id, Cause("timetable", f"change {change.id}"))


async def _came_about(tx: Tx, change: Row[Any]) -> bool:
    """Whether Stripe has done it, as far as it was last read."""
    evidence = await snapshot.gather(tx, change.customer_id, change.project_id)
    wanted = PlannedItem(**change.wanted) if change.wanted else None
    held = next((one for one in evidence.subscriptions if one.id == change.subscription_id), None)
    return held is not None and changing.came_about(Verb(change.verb), held, wanted)


async def _settle(tx: Tx, change: Row[Any], state: str, error: str | None, at: datetime) -> None:
    settled = await tx.execute(
        update(plan_change)
        .where(plan_change.c.id == change.id, plan_change.c.state == "opening")
        .values(state=state, error=error, settled_at=at)
    )
    if settled.rowcount and state == "done":
        said = {"change": change.id, "subscription": change.subscription_id, "verb": change.verb}
        await audit.record(
            tx,
            "subscription.changed",
            Cause("app", change.id),
            at=at,
            project_id=change.project_id,
            customer_id=change.customer_id,
            after={**said, **({"price": change.wanted["lookup_key"]} if change.wanted else {})},
        )


def _check_currency(sold: Price, running: Running) -> None:
    if running.currency not in sold.currencies:
        raise OtherCurrency(
            f"{sold.lookup_key} is not sold in {running.currency.upper()}, in which the subscription is paid."
        )


_AUTHENTICATION = frozenset(
    {
        "authentication_required",
        "invoice_payment_intent_requires_action",
        "payment_intent_authentication_failure",
        "subscription_payment_intent_requires_action",
    }
)


def _told(refused: StripeRefused) -> Problem:
    """A refusal of the bank's by its own name; any other is Stripe's."""
    if refused.stripe_code in _AUTHENTICATION:
        return AuthenticationNeeded("The bank wants the payment confirmed, so nothing was changed: use the portal.")
    if refused.declined:
        return PaymentDeclined(f"Nothing was changed. {refused.detail.removeprefix('Stripe refused: ')}")
    return refused
