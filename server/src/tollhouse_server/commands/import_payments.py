"""Makes grants of one-time payments that no checkout of a Stripe customer tells of: made by an app's own code.

A grant follows no later refund; it is the operator's word, with the payment's id as its reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from .. import audit
from ..catalogs import Project, current_catalog
from ..customers import ensure_customer
from ..db.engine import Database, Tx
from ..db.tables import customer, grant
from ..domain.adoption import PastOutcome, PastPayment, ends_at, judge_payment
from ..domain.giving import GrantRequest
from ..refresh import Refresh
from ..stripe_gateway import StripeClient
from ..stripe_gateway.past_payments import read_payment
from .give_grant import give_grant


@dataclass(frozen=True, slots=True)
class Sold:
    """What the operator says of one payment: who bought which product with it."""

    payment: str
    user_id: str
    product: str

    @property
    def reason(self) -> str:
        """By which a second import knows the first one's grant."""
        return f"imported payment {self.payment}"


@dataclass(frozen=True, slots=True)
class PaymentImporter:
    """What it needs from outside; `stripe` should be paced."""

    database: Database
    stripe: StripeClient
    refresh: Refresh
    tell: Callable[[int, int], None]
    """Hears how many are done, of how many."""

    async def run(
        self, owner: Project, sold: Sequence[Sold], why: audit.Cause, *, at: datetime, apply: bool
    ) -> dict[PastOutcome, list[Sold]]:
        """What became of each; those to `GIVE` are given where `apply` says so. May be cut short and run again.

        Raises StripeUnavailable, StripeRefused, GrantInvalid.
        """
        async with self.database.transaction() as tx:
            products = (await current_catalog(tx, owner)).products
        outcomes: dict[PastOutcome, list[Sold]] = {one: [] for one in PastOutcome}
        for number, one in enumerate(sold, 1):
            if await self._is_given(owner, one):
                outcome = PastOutcome.DONE
            else:
                product = products.get(one.product)
                paid = None if product is None else await read_payment(self.stripe, one.payment)
                outcome = judge_payment(paid, product, at)
                if apply and outcome is PastOutcome.GIVE and paid is not None and product is not None:
                    await self._give(owner, one, paid, ends_at(paid, product), why, at)
            outcomes[outcome].append(one)
            self.tell(number, len(sold))
        return outcomes

    async def _is_given(self, owner: Project, one: Sold) -> bool:
        async with self.database.transaction(project=owner.id) as tx:
            return await _granted(tx, owner, one)

    async def _give(
        self, owner: Project, one: Sold, paid: PastPayment, ends: datetime | None, why: audit.Cause, at: datetime
    ) -> None:
        async with self.database.transaction() as tx:
            customer_id = await ensure_customer(tx, owner, one.user_id)
            # So that of two imports at a time one sees the other's grant.
            await tx.execute(select(customer.c.id).where(customer.c.id == customer_id).with_for_update(key_share=True))
            if not await _granted(tx, owner, one):
                wanted = GrantRequest(one.user_id, one.reason, product=one.product, starts_at=paid.at, ends_at=ends)
                await give_grant(tx, self.refresh, owner, wanted, why, at=at)


async def _granted(tx: Tx, owner: Project, one: Sold) -> bool:
    found = select(grant.c.id).where(grant.c.project_id == owner.id, grant.c.reason == one.reason).limit(1)
    return await tx.scalar(found) is not None
