"""Opening the page on which a customer manages what was bought."""

from fastapi import APIRouter
from pydantic import Field

from ..commands.open_portal import CustomerNotFound, open_portal
from ..domain.errors import UrlNotAllowed
from ..stripe_gateway import StripeRefused, StripeUnavailable
from .authentication import InsufficientScope, MayCheckout, Unauthenticated
from .checkouts import Url
from .context import Ctx
from .problems import MalformedJson, StoreUnavailable, UnsupportedMediaType, ValidationFailed, documented
from .types import Answer, Body, UserId

router = APIRouter(tags=["Portal"], responses=documented(InsufficientScope))


class OpenPortal(Body):
    user_id: UserId
    return_url: Url = Field(description="Where the person goes back to.")


class PortalSession(Answer):
    url: str = Field(description="Send the person there at once: it is valid for a short time.")


@router.post(
    "/portal-sessions",
    status_code=201,
    summary="Open the customer portal",
    responses={
        201: {"content": {"application/json": {"example": {"url": "https://billing.stripe.com/p/session/test_YWNjd"}}}},
        **documented(
            MalformedJson,
            UnsupportedMediaType,
            Unauthenticated,
            CustomerNotFound,
            UrlNotAllowed,
            ValidationFailed,
            StripeRefused,
            StripeUnavailable,
            StoreUnavailable,
        ),
    },
)
async def open_portal_session(body: OpenPortal, project: MayCheckout, ctx: Ctx) -> PortalSession:
    """Cancel, resume, change the payment method, see invoices: for anyone who ever opened a checkout.

    Who has a plan can change it there to another one of its group.
    """
    url = await open_portal(ctx.database, ctx.stripe, project, body.user_id, body.return_url, at=ctx.clock.now())
    return PortalSession(url=url)
