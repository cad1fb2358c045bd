"""The state of a customer, and why it is so."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from .. import history, snapshot
from ..audit import Cause
from ..catalogs import Project, as_told, current_catalog
from ..db.engine import Tx
from ..domain.catalog import Policy
from ..domain.explain import Explanation, explain
from ..history import Served
from ..state import CustomerState, customer_state
from ..stripe_gateway import StripeRefused, StripeUnavailable
from .authentication import InsufficientScope, MayCheck, MayCheckout, Unauthenticated
from .context import Ctx
from .entitlements import EXAMPLE_ENTITLEMENTS, FeatureNotFound, example, find_feature
from .problems import StoreUnavailable, ValidationFailed, documented
from .types import Answer, FeatureCode, FeatureValue, Instant, UserIdInPath
from .versions import AtLeast, NotYetConsistent, no_older, say_version, versioned

router = APIRouter(tags=["Customers"], responses=documented(InsufficientScope))


class PolicyState(Answer):
    grace_days: float
    renewal_leeway_days: float
    on_pause: str
    on_full_refund: str
    on_partial_refund: str
    on_dispute: str


class SourceState(Answer):
    kind: str
    id: str
    products: list[str]
    counts: bool
    value: FeatureValue
    starts: Instant | None = Field(serialization_alias="from")
    until: Instant | None
    rule: str
    sentence: str
    stripe_ids: list[str]
    event_ids: list[str] = Field([], description="Stripe's events that last changed what it gives.")
    policy: PolicyState | None = Field(None, description="By which it was judged; null where none has a say.")


class ServedState(Answer):
    """What was answered at an instant in the past, as the audit trail has it."""

    allowed: bool
    value: FeatureValue
    valid_until: Instant | None
    rule: str
    source: str | None
    version: int | None = Field(description="Null where the database was restored since.")
    changed_at: Instant = Field(description="When that began to be so.")
    audit_id: int
    actor: str
    cause: str = Field(description="What made it so: of `stripe`, its event ids.")
    differs: bool = Field(description="Whether what is known now says otherwise for that instant.")


class ExplanationState(Answer):
    """Why a feature is open or closed."""

    feature: str
    at: Instant
    allowed: bool
    value: FeatureValue
    valid_until: Instant | None
    rule: str
    sentence: str
    next_change_at: Instant | None
    policy: PolicyState
    sources: list[SourceState]
    served: ServedState | None = Field(
        None, description="Of an instant in the past: what was served then. Null: nothing had ever changed until then."
    )


EXAMPLE_CUSTOMER = {
    **EXAMPLE_ENTITLEMENTS,
    "subscriptions": [
        {
            "id": "sub_1SXaBcDeFgHiJk",
            "product": "pro",
            "price": "pdf-tool.pro.monthly",
            "quantity": 1,
            "status": "active",
            "renews": True,
            "ends_at": None,
            "current_period_end": "2026-12-22T09:00:00Z",
            "trial_end": None,
            "items": [
                {
                    "product": "pro",
                    "price": "pdf-tool.pro.monthly",
                    "quantity": 1,
                    "current_period_end": "2026-12-22T09:00:00Z",
                }
            ],
            "billing_issue": False,
            "correction": None,
            "scheduled_change": None,
        }
    ],
    "purchases": [],
    "grants": [],
}
EXAMPLE_EXPLANATION = {
    "feature": "premium_export",
    "at": "2026-11-22T09:00:00Z",
    "allowed": True,
    "value": True,
    "valid_until": "2026-12-25T09:00:00Z",
    "rule": "subscription-active",
    "sentence": "Allowed until 25 Dec 2026. Active: the period ends on 22 Dec 2026; a renewal has time to arrive.",
    "next_change_at": "2026-12-25T09:00:00Z",
    "policy": {
        "grace_days": 7,
        "renewal_leeway_days": 3,
        "on_pause": "keep_paid",
        "on_full_refund": "end",
        "on_partial_refund": "keep",
        "on_dispute": "suspend",
    },
    "sources": [
        {
            "kind": "subscription",
            "id": "sub_1SXaBcDeFgHiJk",
            "products": ["pro"],
            "counts": True,
            "value": True,
            "from": "2026-11-22T08:59:00Z",
            "until": "2026-12-25T09:00:00Z",
            "rule": "subscription-active",
            "sentence": "Active: the period ends on 22 Dec 2026.",
            "stripe_ids": ["sub_1SXaBcDeFgHiJk", "price_1SXaBc"],
            "event_ids": ["evt_1SXaBc"],
            "policy": None,
        }
    ],
    "served": None,
}


@router.get(
    "/customers/{user_id}",
    summary="Everything about this user",
    responses={
        **versioned(example(EXAMPLE_CUSTOMER)),
        **documented(Unauthenticated, NotYetConsistent, ValidationFailed, StoreUnavailable),
    },
)
async def read_customer(
    user_id: UserIdInPath, project: MayCheck, ctx: Ctx, response: Response, at_least: AtLeast = None
) -> CustomerState:
    """Features, subscriptions, purchases and grants. A user of whom nothing is known has none; that is no error."""

    async def read() -> CustomerState:
        async with ctx.database.transaction(project=project.id) as tx:
            return await read_state(tx, project, user_id, at=ctx.clock.now())

    state = await no_older(at_least, read, lambda state: state.version)
    say_version(response, state.version)
    return state


@router.post(
    "/customers/{user_id}/sync",
    summary="Read Stripe again for this user",
    responses={
        **versioned(example(EXAMPLE_CUSTOMER)),
        **documented(Unauthenticated, ValidationFailed, StripeRefused, StripeUnavailable, StoreUnavailable),
    },
)
async def sync_customer(user_id: UserIdInPath, project: MayCheckout, ctx: Ctx, response: Response) -> CustomerState:
    """For the page people return to from the portal, which may come before the webhook."""
    async with ctx.database.transaction(project=project.id) as tx:
        stripe_customer_id = await snapshot.stripe_customer_of(tx, project.id, user_id)
    if stripe_customer_id is not None:
        await ctx.pipeline.sync(stripe_customer_id, Cause("app", "sync of the customer"))
    async with ctx.database.transaction(project=project.id) as tx:
        state = await read_state(tx, project, user_id, at=ctx.clock.now())
    say_version(response, state.version)
    return state


@router.get(
    "/customers/{user_id}/explain",
    summary="Why is a feature open or closed?",
    responses={
        **example(EXAMPLE_EXPLANATION),
        **documented(Unauthenticated, FeatureNotFound, ValidationFailed, StoreUnavailable),
    },
)
async def explain_feature(
    user_id: UserIdInPath,
    feature: Annotated[FeatureCode, Query(description="The feature's code.")],
    project: MayCheck,
    ctx: Ctx,
    at: Annotated[Instant | None, Query(description="At which instant; now if absent.")] = None,
) -> ExplanationState:
    """Every source that was considered, the rule by which it counts or not, and when that next changes.

    Of an instant in the past also what was served then, which later news of Stripe's does not change.
    """
    now = ctx.clock.now()
    async with ctx.database.transaction(project=project.id) as tx:
        catalog = await current_catalog(tx, project)
        known = find_feature(catalog, feature)
        explained = explain(catalog, await snapshot.evidence_of(tx, project.id, user_id), known, at or now)
        was = await history.served(tx, project.id, user_id, known, at) if at is not None and at < now else None
        events = await history.events_about(tx, project.id, user_id, explained)
    return explanation_state(explained, was, events)


async def read_state(tx: Tx, project: Project, user_id: str, *, at: datetime) -> CustomerState:
    """The state object, read from PostgreSQL in the caller's transaction."""
    catalog = await current_catalog(tx, project)
    stored = await snapshot.read(tx, project.id, user_id)
    evidence = await snapshot.evidence_of(tx, project.id, user_id)
    entitlements = as_told(catalog, stored.version, stored.entitlements)
    return customer_state(user_id, stored.version, catalog, entitlements, evidence, at)


def _served(was: Served, explained: Explanation) -> ServedState:
    said = was.answer
    return ServedState(
        allowed=said.allowed,
        value=said.value,
        valid_until=said.valid_until,
        rule=said.reason,
        source=said.source,
        version=was.version,
        changed_at=was.changed_at,
        audit_id=was.audit_id,
        actor=was.actor,
        cause=was.cause,
        differs=(said.allowed, said.value) != (explained.allowed, explained.value),
    )


def explanation_state(explained: Explanation, was: Served | None, events: Mapping[str, list[str]]) -> ExplanationState:
    return ExplanationState(
        feature=explained.feature,
        at=explained.at,
        allowed=explained.allowed,
        value=explained.value,
        valid_until=explained.valid_until,
        rule=explained.rule,
        sentence=explained.sentence,
        next_change_at=explained.next_change_at,
        policy=_policy(explained.policy),
        sources=[
            SourceState(
                kind=source.kind,
                id=source.id,
                products=list(source.products),
                counts=source.counts,
                value=source.value,
                starts=source.period.start if source.period else None,
                until=source.period.end if source.period else None,
                rule=source.rule,
                sentence=source.sentence,
                stripe_ids=list(source.stripe_ids),
                event_ids=events.get(source.id, []),
                policy=_policy(source.policy) if source.policy else None,
            )
            for source in explained.sources
        ],
        served=_served(was, explained) if was else None,
    )


def _policy(policy: Policy) -> PolicyState:
    return PolicyState(
        grace_days=policy.grace.total_seconds() / 86_400,
        renewal_leeway_days=policy.renewal_leeway.total_seconds() / 86_400,
        on_pause=policy.on_pause,
        on_full_refund=policy.on_full_refund,
        on_partial_refund=policy.on_partial_refund,
        on_dispute=policy.on_dispute,
    )
