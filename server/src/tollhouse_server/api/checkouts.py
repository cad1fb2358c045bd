"""Opening a payment page, and what became of it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field
from sqlalchemy import Row, select

from ..audit import Cause
from ..catalogs import Project
from ..commands.checkout_terms import CurrencyConflict, CurrencyNotSold, Discount, DiscountConflict, DiscountNotFound
from ..commands.find_offer import PriceNotFound, PriceOfAnotherProject
from ..commands.open_checkout import CheckoutConflict, CheckoutRequest
from ..db.engine import Tx
from ..db.tables import checkout, customer
from ..domain.errors import Problem, UrlNotAllowed
from ..state import CustomerState
from ..stripe_gateway import StripeRefused, StripeUnavailable
from .authentication import InsufficientScope, MayCheckout, Unauthenticated
from .context import Ctx
from .customers import EXAMPLE_CUSTOMER, read_state
from .entitlements import example
from .problems import MalformedJson, StoreUnavailable, UnsupportedMediaType, ValidationFailed, documented
from .types import Answer, Body, Email, Instant, PersonName, Text, TextInPath, UserId
from .versions import say_version, versioned

router = APIRouter(tags=["Checkouts"], responses=documented(InsufficientScope))


def _without_blanks(url: str) -> str:
    # Python and browsers drop tabs and line ends from a URL: what is checked must be what is opened.
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must not contain blanks, backslashes or control characters: percent-encode them")
    return url


Url = Annotated[
    Text,
    AfterValidator(_without_blanks),
    Field(max_length=2048, examples=["https://pdf.example.com/welcome"]),
]


class CheckoutNotFound(Problem):
    """The project has no checkout of this id."""

    status = 404
    code = "checkout-not-found"


class DiscountWanted(Body):
    """One of the two. A promotion code may have conditions, which Stripe checks; a coupon has none."""

    coupon: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The coupon's id at Stripe.", examples=["LAUNCH"]
    )
    promotion_code: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        None, description="As people type it.", examples=["SUMMER20"]
    )


class OpenCheckout(Body):
    """What is bought, by whom, and where the person goes afterwards."""

    user_id: UserId
    price: Annotated[Text, Field(max_length=200, description="The lookup key.", examples=["pdf-tool.pro.monthly"])]
    quantity: Annotated[int, Field(ge=1, le=999_999, strict=True)] = 1
    success_url: Url = Field(description="Gets `checkout_id=chk_…` added: sync that checkout there.")
    cancel_url: Url
    trial_days: Annotated[int, Field(ge=0, le=730, strict=True)] | None = Field(
        None, description="Overrides the price's own trial; 0 is none."
    )
    currency: Annotated[str, Field(pattern="^[a-z]{3}$", examples=["usd"])] | None = Field(
        None, description="One that the price is sold in; null: what the user pays in already, else the price's own."
    )
    discount: DiscountWanted | None = Field(None, description="Taken off at once; not with allow_promotion_codes.")
    allow_promotion_codes: bool = Field(False, description="Lets people type promotion codes on the page.")
    email: Email | None = Field(None, description="Fills in the payment page, and is kept in step at Stripe.")
    name: PersonName | None = Field(None, description="Kept in step at Stripe, for bills.")


class OpenedCheckout(Answer):
    """Where to send the person. `id` is null where no checkout was opened: `plan_change` and `already_owned`."""

    id: str | None
    url: str | None = Field(description="Null where nothing is left to buy, and while the page is `opening`.")
    outcome: Literal["new", "pending", "opening", "plan_change", "already_owned"]
    expires_at: Instant | None
    subscription: str | None = Field(None, description="Of a `plan_change`: the subscription that is changed.")
    trial_days: int = Field(description="Of the page; 0 where there is no trial.")
    trial_refused: Literal["used"] | None = Field(
        description="Why the page has no trial though the price or the app has one: `used`, as the user or the e-mail "
        "address had one of this plan before."
    )


class CheckoutState(Answer):
    id: str
    user_id: str
    price: str
    quantity: int
    state: Literal["opening", "open", "complete", "expired"] = Field(
        description="`opening`: Stripe was asked for the page, and what it did is not known yet."
    )
    payment_status: Literal["unpaid", "paid", "no_payment_required"] = Field(
        description="A bank debit is complete, yet unpaid for days."
    )
    url: str | None
    created_at: Instant
    expires_at: Instant


class SyncedCheckout(Answer):
    checkout: CheckoutState
    customer: CustomerState


_STATUS = {"new": 201, "pending": 200, "opening": 202, "plan_change": 200, "already_owned": 200}

EXAMPLE_OPENED = {
    "id": "chk_9fKx2mQ0aTz1",
    "url": "https://checkout.stripe.com/c/pay/cs_test_a1…",
    "outcome": "new",
    "expires_at": "2026-11-23T08:00:00Z",
    "subscription": None,
    "trial_days": 14,
    "trial_refused": None,
}
EXAMPLE_CHECKOUT = {
    "id": "chk_9fKx2mQ0aTz1",
    "user_id": "ada",
    "price": "pdf-tool.pro.monthly",
    "quantity": 1,
    "state": "complete",
    "payment_status": "paid",
    "url": None,
    "created_at": "2026-11-22T09:00:00Z",
    "expires_at": "2026-11-23T08:00:00Z",
}


@router.post(
    "/checkouts",
    status_code=201,
    summary="Open a checkout",
    responses={
        201: {"content": {"application/json": {"example": EXAMPLE_OPENED}}},
        200: {
            "model": OpenedCheckout,
            "description": "`pending`: the same request is open already; `plan_change`; or `already_owned`.",
            "content": {"application/json": {"example": {**EXAMPLE_OPENED, "outcome": "pending"}}},
        },
        202: {
            "model": OpenedCheckout,
            "description": "`opening`: Stripe did not answer, and may have opened it. Sync the checkout, or ask again.",
            "content": {"application/json": {"example": {**EXAMPLE_OPENED, "url": None, "outcome": "opening"}}},
        },
        **documented(
            MalformedJson,
            UnsupportedMediaType,
            Unauthenticated,
            PriceNotFound,
            PriceOfAnotherProject,
            CheckoutConflict,
            UrlNotAllowed,
            CurrencyNotSold,
            CurrencyConflict,
            DiscountConflict,
            DiscountNotFound,
            ValidationFailed,
            StripeRefused,
            StripeUnavailable,
            StoreUnavailable,
        ),
    },
)
async def open_checkout(body: OpenCheckout, project: MayCheckout, ctx: Ctx, response: Response) -> OpenedCheckout:
    """Asking twice gives the same page. Asking for another plan of the group closes the page before.

    Who has another plan of the group is led to Stripe's page that shows what changing it costs (`plan_change`); sync
    the customer where it leads back to. Who has the thing already is told so (`already_owned`): send them to the
    portal. Where Stripe does
    not say whether there is a page (202, `opening`), `sync` finds out and asking again goes on: there never are two.
    """
    discount = Discount(body.discount.coupon, body.discount.promotion_code) if body.discount else None
    wanted = CheckoutRequest(**body.model_dump(exclude={"discount"}), discount=discount)
    opened = await ctx.checkout_desk.open(project, wanted, at=ctx.clock.now())
    response.status_code = _STATUS[opened.outcome]
    if opened.id is not None:
        response.headers["Location"] = f"/v1/checkouts/{opened.id}"
    return OpenedCheckout.model_validate(opened)


@router.get(
    "/checkouts/{id}",
    summary="What became of a checkout?",
    responses={
        **example(EXAMPLE_CHECKOUT),
        **documented(Unauthenticated, CheckoutNotFound, ValidationFailed, StoreUnavailable),
    },
)
async def read_checkout(id: TextInPath, project: MayCheckout, ctx: Ctx) -> CheckoutState:  # noqa: A002
    """As far as we know now; `sync` asks Stripe."""
    async with ctx.database.transaction(project=project.id) as tx:
        return _state(await _find(tx, project, id))


@router.post(
    "/checkouts/{id}/sync",
    summary="Read Stripe again for this checkout's customer",
    responses={
        **versioned(example({"checkout": EXAMPLE_CHECKOUT, "customer": EXAMPLE_CUSTOMER})),
        **documented(
            Unauthenticated, CheckoutNotFound, ValidationFailed, StripeRefused, StripeUnavailable, StoreUnavailable
        ),
    },
)
async def sync_checkout(
    id: TextInPath,  # noqa: A002
    project: MayCheckout,
    ctx: Ctx,
    response: Response,
) -> SyncedCheckout:
    """For the page people return to, which may come before the webhook. Answers with what is true now.

    A checkout that is still `opening` is opened by it, if Stripe had not done so.
    """
    async with ctx.database.transaction(project=project.id) as tx:
        row = await _find(tx, project, id)
    if row.state == "opening":
        await ctx.checkout_desk.resume(project, row, at=ctx.clock.now())
    if row.stripe_customer_id is not None:  # else it was deleted at Stripe, and what we know is final
        await ctx.pipeline.sync(row.stripe_customer_id, Cause("app", f"sync of checkout {id}"))
    async with ctx.database.transaction(project=project.id) as tx:
        state = await read_state(tx, project, row.user_id, at=ctx.clock.now())
        say_version(response, state.version)
        return SyncedCheckout(checkout=_state(await _find(tx, project, id)), customer=state)


async def _find(tx: Tx, project: Project, checkout_id: str) -> Row[tuple[object, ...]]:
    query = (
        select(checkout, customer.c.user_id, customer.c.stripe_customer_id)
        .join(customer, customer.c.id == checkout.c.customer_id)
        .where(checkout.c.project_id == project.id, checkout.c.id == checkout_id)
    )
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise CheckoutNotFound("The project has no checkout of this id: use the id that opening it answered with.")
    return row


def _state(row: Row[tuple[object, ...]]) -> CheckoutState:
    return CheckoutState(
        id=row.id,
        user_id=row.user_id,
        price=row.lookup_key,
        quantity=row.asked["quantity"],
        state=row.state,
        payment_status=row.payment_status,
        url=row.url if row.state == "open" else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
