"""What a customer's state is to the outside: the API answers it and notifications carry it, in this one form."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from .domain.catalog import Catalog
from .domain.entitlements import Answer as Verdict
from .domain.entitlements import Entitlement, answer, stretches_ahead
from .domain.evidence import Evidence, Purchase, Subscription, SubscriptionStatus
from .domain.owning import OVER
from .domain.standing import scheduled_end
from .domain.time import written

_DATE = re.compile(r"\d{4}-")


def dated(given: object) -> object:
    """Refuses a bare number, which would be taken for Unix seconds, or milliseconds where it is large."""
    if isinstance(given, datetime) or (isinstance(given, str) and _DATE.match(given)):
        return given
    raise ValueError("must be an instant as in 2026-11-22T09:00:00Z")


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999, in UTC") from None


def feature_value(value: object) -> object:
    if isinstance(value, bool) or value == "unlimited" or (isinstance(value, int) and value >= 0):
        return value
    raise ValueError('must be true, false, a whole number from 0 on, or "unlimited"')


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(dated),
    AfterValidator(_utc),
    PlainSerializer(written, return_type=str, when_used="json"),
]
"""RFC 3339, in UTC."""

FeatureValue = Annotated[bool | int | Literal["unlimited"], BeforeValidator(feature_value)]
"""`true` for a switch, a whole number or `"unlimited"` for a limit; `false` and 0 where not allowed."""


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class FeatureAnswer(Answer):
    """Whether a user may use a feature, and how much of it."""

    allowed: bool
    value: FeatureValue
    valid_until: Instant | None = Field(description="When the answer next changes by time alone; null: never.")
    reason: str = Field(
        description="The rule that decided; docs/reference lists them.", examples=["subscription-active"]
    )
    source: str | None = Field(
        description="What gives it: a subscription, a purchase, a grant, or the default product.", examples=["sub_1SXa"]
    )


class ScheduledChangeState(Answer):
    """The plan that a subscription will have."""

    product: str | None
    price: str | None = Field(description="The lookup key.")
    quantity: int
    at: Instant


class SubscriptionItemState(Answer):
    """One line of a subscription: what is paid for, by itself."""

    product: str | None = Field(description="Null for a price that the catalog has never sold.")
    price: str | None = Field(description="The lookup key.")
    quantity: int
    current_period_end: Instant = Field(description="Lines may be billed at different intervals.")


class SubscriptionState(Answer):
    """`product`, `price` and `quantity` are those of its first line; `items` are all of them."""

    id: str
    product: str | None = Field(description="Null for a price that the catalog has never sold.")
    price: str | None = Field(description="The lookup key.")
    quantity: int
    status: str = Field(description="As Stripe has it.")
    renews: bool = Field(description="Whether it will be billed again, as things stand.")
    ends_at: Instant | None = Field(description="When it is scheduled to end, or ended.")
    current_period_end: Instant
    trial_end: Instant | None
    items: list[SubscriptionItemState] = Field(description="At least one; several where plans are billed together.")
    billing_issue: bool = Field(description="A payment failed: ask the user to look into the portal.")
    correction: Literal["double", "trial-again"] | None = Field(
        description="Why Tollhouse itself ends it, or its trial: it is a second one of its plan. Null: it does not."
    )
    scheduled_change: ScheduledChangeState | None = Field(description="A change of plan that is planned.")


class PurchaseState(Answer):
    id: str
    product: str | None
    price: str | None
    quantity: int
    payment_status: str
    purchased_at: Instant
    amount: int = Field(description="Minor units (cents) that were paid; 0 for a free order.")
    refunded: int = Field(description="Minor units given back so far.")
    currency: str | None


class GrantState(Answer):
    id: str
    feature: str | None
    product: str | None
    value: FeatureValue | None
    starts_at: Instant
    ends_at: Instant | None
    reason: str
    override: bool = Field(description="The feature has exactly this value in its time, whatever else gives it.")


class CustomerState(Answer):
    """Everything an app may want to show about one user."""

    user_id: str
    version: int
    checked_at: Instant
    features: dict[str, FeatureAnswer]
    subscriptions: list[SubscriptionState]
    purchases: list[PurchaseState]
    grants: list[GrantState]


class Stretch(Answer):
    """A time in which a feature is open with one value for one reason."""

    value: FeatureValue
    starts: Instant = Field(serialization_alias="from")
    until: Instant | None = Field(description="The first instant at which it is over; null: it never is.")
    reason: str = Field(description="The rule by which it is open.", examples=["subscription-active"])
    source: str = Field(description="What gives it.", examples=["sub_1SXa"])


class FeatureStretches(Answer):
    """When a feature is open, from now on."""

    kind: Literal["switch", "limit"]
    stretches: list[Stretch] = Field(description="In order of time; no two overlap. None: it is closed for good.")
    overridden: list[Stretch] = Field(
        [],
        description="When an override closes it, whatever was bought; absent: at no time. None overlaps those.",
        exclude_if=lambda closing: not closing,
    )


class CustomerSnapshot(Answer):
    """What a user may do from now on, as far as time alone changes it: enough to answer every check until it changes.

    It holds no verdict. Whoever keeps it looks, at each check, which stretch the instant lies in.
    """

    project: str = Field(examples=["pdf-tool"])
    user_id: str
    version: int = Field(description="Grows with every change of what this user may do; 0: only the catalog decides.")
    catalog_version: int = Field(description="The version of the catalog whose features are listed.")
    issued_at: Instant
    features: dict[str, FeatureStretches] = Field(description="Every feature of the catalog.")


def customer_snapshot(
    project: str, user_id: str, version: int, catalog: Catalog, entitlements: tuple[Entitlement, ...], at: datetime
) -> CustomerSnapshot:
    """The snapshot as it is told at `at`: what is over by then is left out."""
    return CustomerSnapshot(
        project=project,
        user_id=user_id,
        version=version,
        catalog_version=catalog.version,
        issued_at=at,
        features={
            code: FeatureStretches(
                kind=feature.kind,
                stretches=[_stretch(one) for one in stretches_ahead(entitlements, code, at) if one.value],
                overridden=[_stretch(one) for one in stretches_ahead(entitlements, code, at) if not one.value],
            )
            for code, feature in catalog.features.items()
        },
    )


def customer_state(
    user_id: str,
    version: int,
    catalog: Catalog,
    entitlements: tuple[Entitlement, ...],
    evidence: Evidence,
    at: datetime,
) -> CustomerState:
    """The state at `at`, of a snapshot and the evidence it was computed from."""
    return CustomerState(
        user_id=user_id,
        version=version,
        checked_at=at,
        features=features_at(catalog, entitlements, at),
        subscriptions=[_subscription(one) for one in evidence.subscriptions],
        purchases=[_purchase(one) for one in evidence.purchases],
        grants=[GrantState.model_validate(one) for one in evidence.grants if one.revoked_at is None],
    )


def features_at(catalog: Catalog, entitlements: tuple[Entitlement, ...], at: datetime) -> dict[str, FeatureAnswer]:
    return {code: feature_answer(answer(entitlements, feature, at)) for code, feature in catalog.features.items()}


def feature_answer(verdict: Verdict) -> FeatureAnswer:
    return FeatureAnswer.model_validate(verdict)


def _stretch(one: Entitlement) -> Stretch:
    first = one.reasons[0]
    return Stretch(
        value=one.value, starts=one.period.start, until=one.period.end, reason=first.rule, source=first.source_id
    )


def _subscription(one: Subscription) -> SubscriptionState:
    ends_at = one.ended_at or scheduled_end(one)
    item = one.items[0] if one.items else None
    return SubscriptionState(
        id=one.id,
        product=item.product if item else None,
        price=item.lookup_key if item else None,
        quantity=item.quantity if item else 0,
        status=one.status,
        renews=ends_at is None and one.status not in OVER,
        ends_at=ends_at,
        current_period_end=one.period_end,
        trial_end=one.trial_end,
        items=[
            SubscriptionItemState(
                product=each.product,
                price=each.lookup_key,
                quantity=each.quantity,
                current_period_end=each.current_period_end,
            )
            for each in one.items
        ],
        billing_issue=one.status in (SubscriptionStatus.PAST_DUE, SubscriptionStatus.UNPAID),
        correction=one.correction,
        scheduled_change=_scheduled_change(one),
    )


def _scheduled_change(one: Subscription) -> ScheduledChangeState | None:
    """Of several lines the one that is new."""
    planned = one.scheduled_change
    if planned is None or not planned.items:
        return None
    had = {(item.stripe_price, item.quantity) for item in one.items}
    new = next((item for item in planned.items if (item.stripe_price, item.quantity) not in had), planned.items[0])
    return ScheduledChangeState(product=new.product, price=new.lookup_key, quantity=new.quantity, at=planned.at)


def _purchase(one: Purchase) -> PurchaseState:
    item = one.items[0] if one.items else None
    return PurchaseState(
        id=one.id,
        product=item.product if item else None,
        price=item.lookup_key if item else None,
        quantity=item.quantity if item else 0,
        payment_status=one.payment_status,
        purchased_at=one.since,
        amount=one.payment.money.amount if one.payment else 0,
        refunded=one.payment.refunded if one.payment else 0,
        currency=one.payment.money.currency if one.payment else None,
    )
