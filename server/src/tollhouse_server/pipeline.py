"""One customer's events, from the inbox to the entitlements: the architecture in one function."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from . import audit, corrections, drift, inbox, logs, projection
from .audit import Cause
from .clock import Clock
from .db.engine import Database, Tx
from .domain.errors import UnknownStatus
from .domain.facts import CustomerFacts, PriceFacts
from .drift import Found
from .inbox import Claim
from .projection import Owner
from .refresh import Refresh
from .stripe_gateway import StripeClient
from .stripe_gateway.catalog_plan import PRODUCT_ID_PREFIX
from .stripe_gateway.fetch import fetch_customer, fetch_customer_of_charge, fetch_prices
from .stripe_gateway.parse import UnexpectedShape
from .telemetry import APPLY_SECONDS, EVENT_SECONDS, EVENTS, REREADS
from .trial_memory import NO_MEMORY, TrialMemory

log = structlog.get_logger(__name__)


class LostCustomer(Exception):
    """Stripe does not know a customer that our books hold: another account's key, or a mode mixed up."""


PARKED = (UnexpectedShape, UnknownStatus, LostCustomer)
"""What a further try cannot mend: the event is buried at once and the last known state stands."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What the work needs from outside."""

    database: Database
    stripe: StripeClient
    clock: Clock
    refresh: Refresh
    max_attempts: int
    lease: timedelta
    """How long one customer may take."""
    pause: timedelta
    """How long after a claim of a customer's events the next one comes at the earliest."""
    memory: TrialMemory = NO_MEMORY

    async def process_next(self) -> bool:
        """Does all pending work of the customer that has waited longest; False where nothing is due."""
        claims = await self.claim(most=1)
        for claim in claims:
            await self.work_on(claim)
        return bool(claims)

    async def claim(self, *, most: int) -> list[Claim]:
        """The customers that have waited longest, for whoever works on each of them at once."""
        async with self.database.transaction() as tx:
            return await inbox.claim(tx, lease=self.lease, pause=self.pause, most=most)

    async def until_next(self) -> timedelta | None:
        """How long until there is something to do that is not due yet; None where there is nothing."""
        async with self.database.statement() as tx:
            return await inbox.until_next(tx)

    async def work_on(self, claim: Claim) -> None:
        """Every way it can end leaves a trace in the inbox; killed anywhere, the lease runs out and another takes over.

        Raises only what PostgreSQL raises where it cannot even say that.
        """
        with logs.concerning(subject=claim.subject, events=claim.event_ids):
            await self._work_on(claim)

    async def _work_on(self, claim: Claim) -> None:
        started = time.perf_counter()
        try:
            outcome = await self._apply(claim)
        except PARKED as error:
            outcome = await self._give_up(claim, error)
        except Exception as error:  # whatever it is, it belongs into the row, not into a log alone
            outcome = await (self._give_up if claim.attempts + 1 >= self.max_attempts else self._try_later)(
                claim, error
            )
        EVENTS.labels(outcome).inc(len(claim.event_ids))
        APPLY_SECONDS.observe(time.perf_counter() - started)
        log.info("events worked on", outcome=outcome)

    async def _apply(self, claim: Claim) -> str:
        """Reads Stripe with no transaction open; then the change and the settling are one transaction."""
        REREADS.labels("event").inc()
        if claim.subject.startswith(("prod_", PRODUCT_ID_PREFIX)):
            prices = await fetch_prices(self.stripe, claim.subject)
            async with self.database.transaction() as tx:
                ours = await self._write_prices(tx, claim, prices)
                outcome = inbox.APPLIED if ours else inbox.FOREIGN
                await drift.settle_missing(tx, claim.found, None, ours=ours, at=self.clock.now())
                took = await inbox.settle(tx, claim, outcome)
            _observe(took)
            return outcome
        facts = await self._read(claim.subject)
        async with self.database.transaction() as tx:
            why = Cause("stripe", ", ".join(claim.event_ids))
            owner, found = await self._write(tx, facts, claim.read, why, look=bool(claim.found))
            await drift.settle_missing(tx, claim.found, found, ours=owner is not None, at=self.clock.now())
            outcome = inbox.APPLIED if owner else inbox.FOREIGN
            took = await inbox.settle(tx, claim, outcome, project_id=owner.project_id if owner else None)
        _observe(took)
        return outcome

    async def sync(self, stripe_customer_id: str, why: Cause) -> None:
        """The same for one customer now, with or without an event."""
        REREADS.labels("sync").inc()
        facts, read = await self.read(stripe_customer_id)
        async with self.database.transaction() as tx:
            await self._write(tx, facts, read, why)

    async def read(self, stripe_customer_id: str) -> tuple[CustomerFacts | None, int]:
        """What Stripe says of a customer, and the number of this read. Raises what a read of Stripe raises."""
        async with self.database.transaction() as tx:
            read = await inbox.next_read(tx)
        return await self._read(stripe_customer_id), read

    async def write(self, tx: Tx, facts: CustomerFacts | None, read: int, why: Cause) -> Found | None:
        """Writes what was read, as `sync` does, and tells what it mended; None for nobody of ours."""
        return (await self._write(tx, facts, read, why, look=True))[1]

    async def _read(self, subject: str) -> CustomerFacts | None:
        customer_id: str | None = subject
        if not subject.startswith("cus_"):
            customer_id = await fetch_customer_of_charge(self.stripe, subject)
        if customer_id is None:
            return None
        facts = await fetch_customer(self.stripe, customer_id)
        if facts is None:
            async with self.database.transaction() as tx:
                if await projection.holds(tx, customer_id):
                    raise LostCustomer(
                        f"Stripe does not know {customer_id}; is STRIPE_SECRET_KEY of the account that made it?"
                    )
        return facts

    async def _write(
        self, tx: Tx, facts: CustomerFacts | None, read: int, why: Cause, *, look: bool = False
    ) -> tuple[Owner | None, Found | None]:
        """The one way in which what Stripe says becomes what people may do. `look`: tells what it mended."""
        if facts is None:
            return None, None
        at, before = self.clock.now(), None
        if look and (known := await projection.owner_of(tx, facts)):
            before = await drift.look(tx, known, facts.id)
        owner = await projection.write(tx, facts, read)
        if owner is None:
            return None, None
        if owner.unlinked:
            await audit.record(
                tx,
                "customer.unlinked",
                why,
                at=at,
                project_id=owner.project_id,
                customer_id=owner.customer_id,
                before={"stripe_customer": owner.unlinked},
                after={"stripe_customer": None},
            )
        await corrections.find(tx, self.memory, owner, facts, why, at)
        await self.refresh(tx, owner.customer_id, why, at=at)
        if before is None:
            return owner, None
        return owner, await drift.compare(tx, owner, facts, before, await drift.look(tx, owner, facts.id), at)

    async def _write_prices(self, tx: Tx, claim: Claim, prices: Sequence[PriceFacts]) -> bool:
        """Whether they are any project's."""
        ours = await projection.write_prices(tx, claim.subject, prices)
        for one in ours:
            if one.before != one.after:
                why, said = Cause("stripe", ", ".join(claim.event_ids)), {"stripe_product": claim.subject}
                before, after = said | {"on_sale": one.before}, said | {"on_sale": one.after}
                await audit.record(
                    tx,
                    "prices.changed",
                    why,
                    at=self.clock.now(),
                    project_id=one.project_id,
                    before=before,
                    after=after,
                )
        return bool(ours)

    async def _give_up(self, claim: Claim, error: Exception) -> str:
        async with self.database.transaction() as tx:
            await inbox.bury(tx, claim, error)
        log.error("events buried", error=f"{type(error).__name__}: {error}")
        return "buried"

    async def _try_later(self, claim: Claim, error: Exception) -> str:
        async with self.database.transaction() as tx:
            await inbox.defer(tx, claim, error)
        log.warning("events deferred", error=f"{type(error).__name__}: {error}")
        return "deferred"


def _observe(took: list[timedelta]) -> None:
    for one in took:
        EVENT_SECONDS.observe(one.total_seconds())
