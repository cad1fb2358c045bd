"""Opens a payment page, or says why none is needed.

The intent is a row before Stripe hears of it, and its id is Stripe's idempotency key: whoever dies between two steps,
the same request asked again goes on where it stopped. For one customer and plan group one page at most can be paid on.
"""

import asyncio
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from sqlalchemy import Result, Row, insert, select, update

from .. import snapshot
from ..audit import Cause
from ..catalogs import Project, current_catalog
from ..db.engine import Database, Tx
from ..db.tables import checkout, customer
from ..domain.catalog import Catalog
from ..domain.errors import Problem
from ..domain.evidence import Subscription
from ..domain.owning import changes_to, holder
from ..domain.trials import known_by
from ..pipeline import Pipeline
from ..stripe_gateway import StripeClient, StripeRefused, StripeUnavailable
from ..stripe_gateway.sessions import (
    OpenSession,
    checkout_parameters,
    create_checkout,
    expire_checkout,
    find_checkout,
)
from ..trial_memory import TrialMemory
from .change_contact import Contact
from .checkout_terms import Discount, check_currency, check_discount, currency_for, find_discount
from .confirm_plan_change import confirm_plan_change
from .decide_trial import Trial, decide_trial
from .find_buyer import Buyer, find_buyer
from .find_offer import Offer, find_offer
from .note_page import forget, note_page
from .return_urls import check_url, returning_to

LASTS = timedelta(hours=23)
"""How long a page may be paid on; Stripe allows 24 hours at most, by its own clock."""

PATIENCE = timedelta(seconds=8)
"""How long Stripe is waited for while a person waits; what it does later is found out later."""

log = structlog.get_logger(__name__)


class CheckoutConflict(Problem):
    """Another payment page of this customer is open and cannot be closed now.

    Two pages could both be paid on, so none was opened: try again in a moment.
    """

    status = 409
    code = "checkout-conflict"


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """What the app asks for. `trial_days=None` is the price's own; 0 is none."""

    user_id: str
    price: str
    quantity: int
    success_url: str
    cancel_url: str
    trial_days: int | None = None
    allow_promotion_codes: bool = False
    email: str | None = None
    name: str | None = None
    currency: str | None = None
    """None: that of what the customer pays already, if the price is sold in it, else the price's own."""
    discount: Discount | None = None


Outcome = Literal["new", "pending", "opening", "plan_change", "already_owned"]


@dataclass(frozen=True, slots=True)
class OpenedCheckout:
    """`id` is None where no checkout was opened: nothing is left to buy, or a page of the portal changes the plan.

    `url` is None where nothing is left to buy, and while it is `opening`: Stripe was asked for the page, and what it
    did is not known yet.
    """

    id: str | None
    url: str | None
    outcome: Outcome
    expires_at: datetime | None
    subscription: str | None = None
    """The one (`sub_…`) that is changed, of a `plan_change`."""
    trial_days: int = 0
    trial_refused: Literal["used"] | None = None


ALREADY_OWNED = OpenedCheckout(None, None, "already_owned", None)


@dataclass(frozen=True, slots=True)
class CheckoutDesk:
    """What opening a checkout needs from outside."""

    database: Database
    stripe: StripeClient
    pipeline: Pipeline

    async def open(self, owner: Project, wanted: CheckoutRequest, *, at: datetime) -> OpenedCheckout:
        """Raises PriceNotFound, PriceOfAnotherProject, UrlNotAllowed, StripeUnavailable, StripeRefused."""
        async with self.database.transaction(project=owner.id) as tx:
            catalog = await current_catalog(tx, owner)
            offer = await find_offer(tx, owner, catalog, wanted.price)
            check_currency(offer.price, wanted.currency)
            check_discount(wanted.discount, allow_promotion_codes=wanted.allow_promotion_codes)
            check_url(owner, wanted.success_url, "/success_url")
            check_url(owner, wanted.cancel_url, "/cancel_url")
        contact = Contact(wanted.email, wanted.name)
        buyer = await find_buyer(self.database, self.stripe, owner, wanted.user_id, contact, at=at)
        if wanted.discount is not None:
            found = await find_discount(self.stripe, wanted.discount, buyer.stripe_customer_id)
            wanted = replace(wanted, discount=found)
        decided = await self._intend(owner, catalog, offer, buyer, wanted, at)
        if decided.must_look:
            # Whether a page was paid meanwhile, or the plan changed, Stripe knows before its webhook tells us.
            await self._close(decided.rivals)
            await self.pipeline.sync(buyer.stripe_customer_id, Cause("app", "a checkout was opened beside another"))
            decided = await self._intend(owner, catalog, offer, buyer, wanted, at, before=decided.intent)
        if decided.rivals:
            raise CheckoutConflict("Another payment page of this customer cannot be closed now: try again in a moment.")
        if decided.changes is not None:
            return await self._change_plan(owner, offer, buyer, wanted, decided.changes.id, at)
        intent = decided.intent
        if intent is None:
            return ALREADY_OWNED
        if intent.state == "open":
            return _opened(intent, intent.url, "pending", intent.expires_at)
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                session, stands = await self._session(intent)
        except (StripeUnavailable, TimeoutError) as failed:
            if isinstance(failed, StripeUnavailable) and not failed.sent:
                raise
            log.warning("whether Stripe opened a checkout is not known yet", checkout=intent.id)
            return _opened(intent, None, "opening", intent.expires_at)
        if not stands:  # ended meanwhile, so another page of the group may be open
            await expire_checkout(self.stripe, session.session_id)
            raise CheckoutConflict("Opening the payment page took too long, so it was closed again: try again.")
        return _opened(intent, session.url, "new", session.expires_at)

    async def resume(self, owner: Project, intent: Row[Any], *, at: datetime) -> None:
        """Goes on with an opening that was cut short, for somebody who waits for its page.

        Not where it would sell what is owned by now. Raises StripeUnavailable, and then it is as it was.
        """
        async with self.database.transaction(project=owner.id) as tx:
            catalog = await current_catalog(tx, owner)
            sold = catalog.prices.get(intent.lookup_key)
            evidence = await snapshot.gather(tx, intent.customer_id, owner.id)
        if sold is None or intent.expires_at <= at or holder(catalog, evidence, catalog.products[sold.product], at):
            await self.look_up(intent)
        else:
            await self._late_session(intent)

    async def look_up(self, intent: Row[Any]) -> None:
        """Ends an opening that was cut short as Stripe has it: with the page it made, or expired where it made none."""
        try:
            session_id = await find_checkout(self.stripe, intent.request["customer"], intent.id)
        except StripeRefused:  # it does not even know the customer any more
            session_id = None
        if session_id is None:
            await forget(self.database, intent)
            return
        async with self.database.transaction(project=intent.project_id) as tx:
            await tx.execute(
                update(checkout)
                .where(checkout.c.id == intent.id, checkout.c.state == "opening")
                .values(state="open", stripe_session_id=session_id)
            )
        await self.pipeline.sync(intent.request["customer"], Cause("timetable", "a checkout was cut short"))

    async def _intend(
        self,
        owner: Project,
        catalog: Catalog,
        offer: Offer,
        buyer: Buyer,
        wanted: CheckoutRequest,
        at: datetime,
        *,
        before: Row[Any] | None = None,
    ) -> "_Decided":
        """`before` is this request's own intent, of which Stripe was not asked yet."""
        async with self.database.transaction(project=owner.id) as tx:
            decided = await _decide(tx, owner, catalog, offer, buyer, wanted, self.pipeline.memory, at)
            if decided.changes is None or before is None or before.state != "opening":
                return decided
            await tx.execute(update(checkout).where(checkout.c.id == before.id).values(state="expired"))
            return replace(decided, rivals=[row for row in decided.rivals if row.id != before.id])

    async def _change_plan(
        self,
        owner: Project,
        offer: Offer,
        buyer: Buyer,
        wanted: CheckoutRequest,
        subscription_id: str,
        at: datetime,
    ) -> OpenedCheckout:
        url = await confirm_plan_change(
            self.database,
            self.stripe,
            owner,
            buyer.stripe_customer_id,
            subscription_id,
            offer.product,
            offer.price,
            offer.stripe_price_id,
            wanted.quantity,
            changed_url=wanted.success_url,
            return_url=wanted.cancel_url,
            at=at,
        )
        return ALREADY_OWNED if url is None else OpenedCheckout(None, url, "plan_change", None, subscription_id)

    async def _session(self, intent: Row[Any]) -> tuple[OpenSession, bool]:
        """The intent's page, and whether the intent stands: the page of one that was ended is shown to nobody."""
        try:
            session = await create_checkout(self.stripe, intent.id, intent.request)
        except StripeRefused:
            await forget(self.database, intent)
            raise
        return session, await note_page(self.database, intent, session)

    async def _close(self, rivals: list[Row[Any]]) -> None:
        """Has Stripe close the rivals' pages, so that nobody can pay on them any more; one that was paid stays paid."""
        for rival in rivals:
            session_id = rival.stripe_session_id or await self._late_session(rival)
            if session_id is not None:
                await expire_checkout(self.stripe, session_id)

    async def _late_session(self, intent: Row[Any]) -> str | None:
        """The session of an intent whose opening was cut short; None where Stripe has refused it since."""
        try:
            return (await self._session(intent))[0].session_id
        except StripeRefused:
            return None


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a request comes to: a page of its own, a change of the plan that is held, or neither as nothing is left."""

    intent: Row[Any] | None
    rivals: list[Row[Any]]
    """The open pages of the group that must be closed first."""
    changes: Subscription | None = None

    @property
    def must_look(self) -> bool:
        """Whether Stripe has to be read before this holds."""
        pending = self.intent is not None and self.intent.state == "open"
        return bool(self.rivals) or pending or self.changes is not None


def _opened(row: Row[Any], url: str | None, outcome: Outcome, expires_at: datetime) -> OpenedCheckout:
    days = row.request.get("subscription_data", {}).get("trial_period_days", 0)
    return OpenedCheckout(row.id, url, outcome, expires_at, None, days, row.trial_refused)


async def _decide(
    tx: Tx,
    owner: Project,
    catalog: Catalog,
    offer: Offer,
    buyer: Buyer,
    wanted: CheckoutRequest,
    memory: TrialMemory,
    at: datetime,
) -> _Decided:
    locked = select(customer.c.email).where(customer.c.id == buyer.customer_id).with_for_update(key_share=True)
    known = known_by(wanted.user_id, wanted.email or await tx.scalar(locked))
    evidence = await snapshot.gather(tx, buyer.customer_id, owner.id)
    same_group = (checkout.c.customer_id == buyer.customer_id) & (checkout.c.group == offer.group)
    held = holder(catalog, evidence, offer.product, at) is not None
    changes = changes_to(catalog, evidence, offer.price, at) if held else None
    if held and changes is None:
        # An intent whose page nobody was shown must not be taken up again by a later request.
        await tx.execute(update(checkout).where(same_group, checkout.c.state == "opening").values(state="expired"))
        return _Decided(None, [])
    # When a page ends Stripe's clock says, and not ours. On one of a customer deleted at Stripe nobody can pay.
    theirs = checkout.c.request["customer"].astext == buyer.stripe_customer_id
    found = select(checkout).where(same_group, theirs, checkout.c.state.in_(("opening", "open")))
    rows = list((await tx.execute(found)).all())
    if changes is not None:
        return _Decided(None, rows, changes)
    asked = asdict(wanted), offer.stripe_price_id
    unexpired = (row for row in rows if row.expires_at > at)
    same = next((row for row in unexpired if (row.asked, row.request["line_items"][0]["price"]) == asked), None)
    rivals = [row for row in rows if row is not same]
    if same is None:
        trial = await decide_trial(tx, memory, owner, catalog, offer.price, wanted.trial_days, known)
        same = await _new_intent(tx, owner, offer, buyer, wanted, trial, at)
    return _Decided(same, rivals)


async def _new_intent(
    tx: Tx, owner: Project, offer: Offer, buyer: Buyer, wanted: CheckoutRequest, trial: Trial, at: datetime
) -> Row[Any]:
    checkout_id = f"chk_{secrets.token_urlsafe(18)}"
    recurring = offer.price.interval is not None
    request = checkout_parameters(
        checkout_id=checkout_id,
        stripe_customer_id=buyer.stripe_customer_id,
        stripe_price_id=offer.stripe_price_id,
        quantity=wanted.quantity,
        recurring=recurring,
        success_url=returning_to(wanted.success_url, checkout_id),
        cancel_url=wanted.cancel_url,
        expires_at=at + LASTS,
        trial_days=trial.days,
        trial_card=offer.price.trial_card,
        currency=await currency_for(tx, buyer.customer_id, offer.price, wanted.currency),
        discount=wanted.discount.at_stripe if wanted.discount else None,
        allow_promotion_codes=wanted.allow_promotion_codes,
        automatic_tax=offer.automatic_tax,
        project=owner.slug,
        user_id=wanted.user_id,
    )
    made: Result[Any] = await tx.execute(
        insert(checkout)
        .values(
            id=checkout_id,
            project_id=owner.id,
            customer_id=buyer.customer_id,
            lookup_key=wanted.price,
            group=offer.group,
            asked=asdict(wanted),
            request=request,
            trial_refused=trial.refused,
            state="opening",
            created_at=at,
            expires_at=at + LASTS,
        )
        .returning(checkout)
    )
    return made.one()
