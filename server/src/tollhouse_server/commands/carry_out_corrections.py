"""Does at Stripe what was found to be corrected: once, though it is killed between Stripe's answer and our commit."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from .. import corrections, logs
from ..clock import Clock
from ..corrections import Claim
from ..db.engine import Database
from ..stripe_gateway import StripeClient, StripeRefused
from ..stripe_gateway.ending import PaymentUnderWay, cancel_subscription, end_trial, refund_last_payment

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Corrector:
    """What carrying out takes from outside."""

    database: Database
    stripe: StripeClient
    clock: Clock
    max_attempts: int
    lease: timedelta
    """How long one may take before another worker takes it over."""

    async def carry_out_next(self) -> bool:
        """Carries out the one that has waited longest; False where none is due."""
        async with self.database.transaction() as tx:
            claim = await corrections.claim(tx, lease=self.lease)
        if claim is None:
            return False
        with logs.concerning(correction=claim.id, subscription=claim.subscription):
            await self._carry_out(claim)
        return True

    async def _carry_out(self, claim: Claim) -> None:
        """Every way it can end leaves a trace in the row; killed anywhere, the lease runs out and another goes on."""
        try:
            outcome = await self.act(claim)
        except Exception as error:  # whatever it is, it belongs into the row, not into a log alone
            # What Stripe understood and refused it refuses again: a person must look. For a bank one waits, for days.
            tried = claim.attempts + 1 >= self.max_attempts and not isinstance(error, PaymentUnderWay)
            hopeless = isinstance(error, StripeRefused) or tried
            async with self.database.transaction() as tx:
                if hopeless:
                    await corrections.give_up(tx, claim, error, self.clock.now())
                else:
                    await corrections.defer(tx, claim, error)
            (log.error if hopeless else log.warning)("a correction failed", error=f"{type(error).__name__}: {error}")
            return
        async with self.database.transaction() as tx:
            await corrections.settle(tx, claim, outcome, self.clock.now())
        log.info("a correction is done", **outcome)

    async def act(self, claim: Claim) -> dict[str, Any]:
        """Does it at Stripe, as far as it is not done, and says what is done. No transaction is open."""
        key = f"tollhouse-correction-{claim.id}-{claim.retries}"  # Stripe repeats a refusal: a retry needs another
        if claim.action == "end-trial":
            left = await end_trial(self.stripe, claim.subscription, key)
            return {"done": "trial-ended"} if left is None else {"done": "nothing", "as_it_is": left}
        only_on_trial = claim.action == "cancel"
        left = await cancel_subscription(self.stripe, claim.subscription, claim.id, only_on_trial=only_on_trial)
        if left is not None:
            return {"done": "nothing", "as_it_is": left}
        if only_on_trial:
            return {"done": "cancelled"}
        refunds = await refund_last_payment(self.stripe, claim.subscription, claim.id, key)
        return {"done": "cancelled", "refunded": [{"amount": m.amount, "currency": m.currency} for m in refunds]}
