"""Changing a user's plan, ending a subscription, and taking that back."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from ..catalogs import Project
from ..commands.change_subscription import (
    AuthenticationNeeded,
    ChangeInProgress,
    PaymentDeclined,
    PlanChangeWish,
)
from ..commands.find_offer import PriceNotFound, PriceOfAnotherProject
from ..commands.open_portal import CustomerNotFound
from ..domain.changing import (
    NoSubscription,
    OtherCurrency,
    OtherPlanGroup,
    PriceNotRecurring,
    SeveralItems,
    SeveralSubscriptions,
    SubscriptionEnds,
    SubscriptionNotFound,
    SubscriptionNotLive,
)
from ..domain.errors import Problem
from ..state import CustomerState
from ..stripe_gateway import StripeRefused, StripeUnavailable
from .authentication import InsufficientScope, MayCheckout, Unauthenticated
from .context import Context, Ctx
from .customers import EXAMPLE_CUSTOMER, read_state
from .entitlements import example
from .problems import MalformedJson, StoreUnavailable, UnsupportedMediaType, ValidationFailed, documented
from .types import Answer, Body, Instant, Text, UserIdInPath
from .versions import say_version, versioned

router = APIRouter(tags=["Plan changes"], responses=documented(InsufficientScope))

SubscriptionId = Annotated[Text, Field(max_length=255, examples=["sub_1SXaBcDeFgHiJk"])]


class ChangePlan(Body):
    """To which price, how many, and when."""

    price: Annotated[Text, Field(max_length=200, description="The lookup key.", examples=["pdf-tool.team.monthly"])]
    quantity: Annotated[int, Field(ge=1, le=999_999, strict=True)] | None = Field(
        None, description="As it is now if absent."
    )
    when: Literal["now", "period_end"] = Field(
        "now", description="`now` charges the difference at once; `period_end` changes nothing before the renewal."
    )
    preview: bool = Field(False, description="Changes nothing, and tells what it would cost.")
    proration_date: Instant | None = Field(
        None, description="The one that a preview told: what it showed is then what is charged."
    )


class CancelSubscription(Body):
    when: Literal["now", "period_end"] = Field(
        "period_end", description="`now` ends access at once and gives nothing back."
    )
    subscription: SubscriptionId | None = Field(None, description="Which, where the user has several.")


class ResumeSubscription(Body):
    subscription: SubscriptionId | None = Field(None, description="Which, where the user has several.")


class CostLineState(Answer):
    description: str
    amount: int = Field(description="Minor units; below zero where it is given back.")


class CostState(Answer):
    """In minor units (cents) of `currency`."""

    currency: str
    due_now: int = Field(description="What is charged at once.")
    credit: int = Field(description="What is given back, and set off against later bills.")
    lines: list[CostLineState] = Field(description="What `due_now` or `credit` is made of.")
    renewal: int = Field(description="What the next renewal costs with the new plan.")
    renews_at: Instant


class PlanChangeState(Answer):
    outcome: Literal["preview", "changed", "scheduled", "withdrawn", "unchanged"] = Field(
        description="`withdrawn`: a change was planned, and the plan stays what it is instead."
    )
    subscription: str
    price: str
    quantity: int
    at: Instant = Field(description="When it takes effect.")
    cost: CostState | None = Field(description="Of a preview only.")
    proration_date: Instant | None = Field(description="Of a preview only: send it back with the real change.")
    customer: CustomerState


EXAMPLE_CHANGE = {
    "outcome": "preview",
    "subscription": "sub_1SXaBcDeFgHiJk",
    "price": "pdf-tool.team.monthly",
    "quantity": 1,
    "at": "2026-12-07T09:00:00Z",
    "cost": {
        "currency": "eur",
        "due_now": 1050,
        "credit": 0,
        "lines": [
            {"description": "Unused time on Pro after 07 Dec 2026", "amount": -450},
            {"description": "Remaining time on Team after 07 Dec 2026", "amount": 1500},
        ],
        "renewal": 3000,
        "renews_at": "2026-12-22T09:00:00Z",
    },
    "proration_date": "2026-12-07T09:00:00Z",
    "customer": EXAMPLE_CUSTOMER,
}

_COMMON: tuple[type[Problem], ...] = (
    MalformedJson,
    UnsupportedMediaType,
    Unauthenticated,
    CustomerNotFound,
    ChangeInProgress,
    NoSubscription,
    SeveralSubscriptions,
    SubscriptionNotLive,
    PaymentDeclined,
    AuthenticationNeeded,
    ValidationFailed,
    StripeRefused,
    StripeUnavailable,
    StoreUnavailable,
)


@router.post(
    "/customers/{user_id}/plan-change",
    summary="Change the plan",
    responses={
        **versioned(example(EXAMPLE_CHANGE)),
        **documented(
            *_COMMON,
            PriceNotFound,
            PriceOfAnotherProject,
            PriceNotRecurring,
            OtherPlanGroup,
            OtherCurrency,
            SeveralItems,
            SubscriptionEnds,
        ),
    },
)
async def change_plan(
    user_id: UserIdInPath, body: ChangePlan, project: MayCheckout, ctx: Ctx, response: Response
) -> PlanChangeState:
    """To another price of the plan group, or to another quantity. Preview it, show what it costs, then ask for it.

    A card that is declined changes nothing. What is planned for the period's end is replaced by what is asked next, and
    withdrawn by asking for the plan that the user has. What is so already is no error (`unchanged`).
    """
    wish = PlanChangeWish(user_id, body.price, body.quantity, body.when, body.proration_date)
    done = await ctx.subscription_desk.change_plan(project, wish, at=ctx.clock.now(), only_preview=body.preview)
    return PlanChangeState(
        outcome=done.outcome,
        subscription=done.subscription,
        price=body.price,
        quantity=done.quantity,
        at=done.at,
        cost=CostState.model_validate(done.cost) if done.cost else None,
        proration_date=done.proration_date,
        customer=await _state(ctx, project, user_id, response),
    )


@router.post(
    "/customers/{user_id}/cancel",
    summary="End a subscription",
    responses={
        **versioned(example(EXAMPLE_CUSTOMER)),
        **documented(*_COMMON, SubscriptionNotFound),
    },
)
async def cancel_subscription(
    user_id: UserIdInPath, body: CancelSubscription, project: MayCheckout, ctx: Ctx, response: Response
) -> CustomerState:
    """With its period, or now. What was planned for it goes with it. Asking twice is no error."""
    await ctx.subscription_desk.cancel(project, user_id, body.when, body.subscription, at=ctx.clock.now())
    return await _state(ctx, project, user_id, response)


@router.post(
    "/customers/{user_id}/resume",
    summary="Let a subscription go on",
    responses={
        **versioned(example(EXAMPLE_CUSTOMER)),
        **documented(*_COMMON, SubscriptionNotFound),
    },
)
async def resume_subscription(
    user_id: UserIdInPath, body: ResumeSubscription, project: MayCheckout, ctx: Ctx, response: Response
) -> CustomerState:
    """Takes back a scheduled end, in whatever way it was set, and a planned change; ends a pause. Twice is no error."""
    await ctx.subscription_desk.resume(project, user_id, body.subscription, at=ctx.clock.now())
    return await _state(ctx, project, user_id, response)


async def _state(ctx: Context, project: Project, user_id: str, response: Response) -> CustomerState:
    async with ctx.database.transaction(project=project.id) as tx:
        state = await read_state(tx, project, user_id, at=ctx.clock.now())
    say_version(response, state.version)
    return state
