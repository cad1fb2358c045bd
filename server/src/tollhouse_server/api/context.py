"""What the routes are given: made once by app.py, found on every request."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ..cache import Cache
from ..clock import Clock
from ..commands.change_subscription import SubscriptionDesk
from ..commands.open_checkout import CheckoutDesk
from ..db.change_feed import ChangeFeed
from ..db.engine import Database
from ..intake import Intake
from ..notifications.post import Post
from ..notifications.signing import Signer
from ..passwords import Passwords
from ..pipeline import Pipeline
from ..reconcile import Reconciler
from ..refresh import Refresh
from ..snapshot_signing import SnapshotSigner
from ..stripe_gateway import StripeClient
from .fan_out import FanOut
from .rate_limits import RateLimits


@dataclass(frozen=True, slots=True)
class Context:
    database: Database
    cache: Cache
    changes: ChangeFeed
    intake: Intake
    fan_out: FanOut
    stripe: StripeClient
    pipeline: Pipeline
    clock: Clock
    refresh: Refresh
    signer: Signer
    snapshot_signer: SnapshotSigner
    post: Post
    reconciler: Reconciler
    webhook_secrets: tuple[str, ...]
    livemode: bool
    admin_api_key: str | None
    rate_limits: RateLimits
    passwords: Passwords

    @property
    def checkout_desk(self) -> CheckoutDesk:
        return CheckoutDesk(self.database, self.stripe, self.pipeline)

    @property
    def subscription_desk(self) -> SubscriptionDesk:
        return SubscriptionDesk(self.database, self.stripe, self.pipeline)


async def _context(request: Request) -> Context:  # async: FastAPI runs the others in a thread
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]
