"""Where Stripe's field names live: its objects, at the pinned version, as evidence. A missing field raises."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, ValidationError

from ..domain.evidence import (
    DisputeStatus,
    Payment,
    PaymentStatus,
    Purchase,
    PurchaseItem,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from ..domain.facts import CheckoutFacts, CustomerFacts, GivenBack, PriceFacts
from ..domain.money import Money
from ..domain.time import from_timestamp
from .parse_schedule import schedule_id, scheduled_change
from .shapes import Raw as Raw
from .shapes import Shape as Shape
from .shapes import UnexpectedShape as UnexpectedShape

PROJECT = "tollhouse_project"
USER = "tollhouse_user_id"
CHECKOUT = "tollhouse_checkout"
"""Metadata keys that Tollhouse stamps on what it makes in Stripe."""


class _Price(Shape):
    id: str
    lookup_key: str | None


class _Product(Shape):
    active: bool = False  # a deleted one says nothing else


class _WholePrice(Shape):
    id: str
    active: bool
    product: _Product


class _Item(Shape):
    price: _Price
    quantity: int | None = None
    current_period_start: int
    current_period_end: int


class _Subscription(Shape):
    id: str
    status: str
    start_date: int
    trial_end: int | None
    cancel_at: int | None
    cancel_at_period_end: bool
    pause_collection: dict[str, Any] | None
    ended_at: int | None


class _LinePeriod(Shape):
    start: int
    end: int


class _ItemDetails(Shape):
    proration: bool


class _LineParent(Shape):
    subscription_item_details: _ItemDetails | None


class _Line(Shape):
    period: _LinePeriod
    parent: _LineParent | None


class _SubscriptionDetails(Shape):
    subscription: str


class _InvoiceParent(Shape):
    subscription_details: _SubscriptionDetails | None


class _PaymentOfInvoice(Shape):
    payment_intent: str | None = None


class _InvoicePayment(Shape):
    status: str
    payment: _PaymentOfInvoice


class _Invoice(Shape):
    id: str
    created: int
    status: str | None
    billing_reason: str | None
    parent: _InvoiceParent | None

    @property
    def subscription(self) -> str | None:
        details = self.parent.subscription_details if self.parent else None
        return details.subscription if details else None


class _Charge(Shape):
    id: str
    created: int
    amount: int
    amount_refunded: int
    currency: str
    status: str
    payment_intent: str | None


class _Refund(Shape):
    charge: str | None
    created: int
    status: str | None


class _Dispute(Shape):
    charge: str
    created: int
    status: str


class _PaymentIntent(Shape):
    id: str
    status: str


class _Session(Shape):
    id: str
    created: int
    mode: str
    status: str
    payment_status: str
    payment_intent: _PaymentIntent | None
    url: str | None
    expires_at: int


class _LineItem(Shape):
    price: _Price | None
    quantity: int | None


class _Stamped(Shape):
    id: str
    metadata: dict[str, str]


class _Fingerprint(Shape):
    fingerprint: str | None = None


class _Customer(Shape):
    id: str
    deleted: bool = False
    email: str | None = None
    name: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


STANDING_REFUNDS = ("succeeded", "pending", "requires_action")
"""The statuses of a refund that takes money off its charge; a failed or canceled one takes none."""


def parse_customer(
    customer: Raw,
    subscriptions: Sequence[Raw],
    invoices: Sequence[Raw],
    sessions: Sequence[Raw],
    charges: Sequence[Raw],
    refunds: Sequence[Raw],
    disputes: Sequence[Raw],
) -> CustomerFacts:
    """One customer's facts. Raises UnexpectedShape or UnknownStatus; then nothing of the read may be used."""
    try:
        payments = payments_of(charges, refunds, disputes)
        owner = _Customer.model_validate(customer)
        return CustomerFacts(
            id=owner.id,
            deleted=owner.deleted,
            email=owner.email,
            name=owner.name,
            project=owner.metadata.get(PROJECT),
            user_id=owner.metadata.get(USER),
            subscriptions=tuple(_subscription(raw, invoices, payments) for raw in subscriptions),
            checked_out=tuple(
                one.id for one in map(_Stamped.model_validate, subscriptions) if CHECKOUT in one.metadata
            ),
            purchases=tuple(
                _purchase(raw, payments) for raw in sessions if raw["mode"] == "payment" and raw["status"] == "complete"
            ),
            checkouts=tuple(_checkout(raw) for raw in sessions),
            given_back=tuple(_given_back(charges, refunds, disputes)),
        )
    except (ValidationError, KeyError) as wrong:
        raise UnexpectedShape(f"Stripe's objects of {customer.get('id')} are not as expected: {wrong}") from wrong


def fingerprint_of(method: Raw) -> str | None:
    """What a payment method (`pm_…`) is known again by, for any kind that has it: the same card, the same account."""
    try:
        return _Fingerprint.model_validate(method.get(method["type"], {})).fingerprint
    except (ValidationError, KeyError) as wrong:
        raise UnexpectedShape(f"Stripe's payment method {method.get('id')} is not as expected: {wrong}") from wrong


def parse_listed_subscription(raw: Raw) -> Subscription:
    """A subscription by itself. What only its invoices tell is missing; `as_listed` takes the same off one of ours."""
    try:
        return _subscription(raw, (), {})
    except (ValidationError, KeyError) as wrong:
        raise UnexpectedShape(f"Stripe's subscription {raw.get('id')} is not as expected: {wrong}") from wrong


def as_listed(held: Subscription) -> Subscription:
    """What a list can say of the subscription: the payments of its periods are told by invoices and charges alone."""
    items = tuple(replace(item, product=None) for item in held.items)
    return replace(held, items=items, paid_through=None, unpaid_since=None, payment=None, scheduled_change=None)


def parse_price(raw: Raw) -> PriceFacts:
    """A price's facts; its product must be expanded, as a price of an archived product cannot be bought either."""
    try:
        shape = _WholePrice.model_validate(raw)
    except ValidationError as wrong:
        raise UnexpectedShape(f"Stripe's price {raw.get('id')} is not as expected: {wrong}") from wrong
    return PriceFacts(id=shape.id, active=shape.active and shape.product.active)


def payments_of(
    charges: Sequence[Raw], refunds: Sequence[Raw], disputes: Sequence[Raw]
) -> dict[str, tuple[_Charge, Payment]]:
    """Each payment intent's successful charge, and what became of the money."""
    refunded_at: dict[str, int] = {}
    for refund in map(_Refund.model_validate, refunds):
        if refund.charge and refund.status in STANDING_REFUNDS:
            refunded_at[refund.charge] = max(refund.created, refunded_at.get(refund.charge, 0))
    latest_dispute = {d.charge: d for d in sorted(map(_Dispute.model_validate, disputes), key=lambda d: d.created)}
    payments = {}
    for charge in map(_Charge.model_validate, charges):
        if charge.payment_intent is None or charge.status != "succeeded":
            continue
        dispute = latest_dispute.get(charge.id)
        payments[charge.payment_intent] = (
            charge,
            Payment(
                money=Money(charge.amount, charge.currency),
                refunded=charge.amount_refunded,
                refunded_at=from_timestamp(refunded_at.get(charge.id, charge.created))
                if charge.amount_refunded
                else None,
                dispute=DisputeStatus.parse(dispute.status) if dispute else None,
                disputed_at=from_timestamp(dispute.created) if dispute else None,
            ),
        )
    return payments


def _given_back(charges: Sequence[Raw], refunds: Sequence[Raw], disputes: Sequence[Raw]) -> Iterator[GivenBack]:
    for charge in map(_Charge.model_validate, charges):
        of_it = [one for one in refunds if one["charge"] == charge.id and one["status"] in STANDING_REFUNDS]
        disputed = [one for one in disputes if one["charge"] == charge.id]
        if charge.amount_refunded or of_it or disputed:
            yield GivenBack(
                charge.id,
                charge.amount_refunded,
                tuple(sorted((one["id"], one["status"]) for one in of_it)),
                tuple(sorted((one["id"], one["status"]) for one in disputed)),
            )


def _subscription(raw: Raw, invoices: Sequence[Raw], payments: Mapping[str, tuple[_Charge, Payment]]) -> Subscription:
    shape = _Subscription.model_validate(raw)
    items = tuple(_item(item) for item in raw["items"])
    mine = [(bill, one) for one in invoices if (bill := _Invoice.model_validate(one)).subscription == shape.id]
    paid = [(bill, one) for bill, one in mine if bill.status == "paid"]
    last_paid = max((bill.created for bill, _ in paid), default=0)
    owed = [bill.created for bill, _ in mine if bill.status in ("open", "uncollectible") and bill.created > last_paid]
    paid_through = max((end for _, one in paid for end in _period_ends(one)), default=None)
    turned = max((item.current_period_start for item in items), default=from_timestamp(0))
    return Subscription(
        id=shape.id,
        status=SubscriptionStatus.parse(shape.status),
        items=items,
        started_at=from_timestamp(shape.start_date),
        trial_end=from_timestamp(shape.trial_end) if shape.trial_end else None,
        cancel_at=from_timestamp(shape.cancel_at) if shape.cancel_at else None,
        cancel_at_period_end=shape.cancel_at_period_end,
        collection_paused=shape.pause_collection is not None,
        paid_through=from_timestamp(paid_through) if paid_through else None,
        unpaid_since=from_timestamp(min(owed)) if owed else None,
        payment=_payment_of_period(paid, payments) if paid_through and from_timestamp(paid_through) > turned else None,
        ended_at=from_timestamp(shape.ended_at) if shape.ended_at else None,
        schedule=schedule_id(raw.get("schedule")),
        scheduled_change=scheduled_change(raw.get("schedule")),
    )


def _item(raw: Raw) -> SubscriptionItem:
    item = _Item.model_validate(raw)
    return SubscriptionItem(
        stripe_price=item.price.id,
        product=None,  # the catalog knows; see snapshot.gather
        lookup_key=item.price.lookup_key,
        quantity=1 if item.quantity is None else item.quantity,
        current_period_start=from_timestamp(item.current_period_start),
        current_period_end=from_timestamp(item.current_period_end),
    )


def _period_ends(invoice: Raw) -> Iterable[int]:
    """The ends of the periods that an invoice's lines pay for; a proration may be credit for the rest of one left."""
    for line in map(_Line.model_validate, invoice["lines"]):
        details = line.parent.subscription_item_details if line.parent else None
        if details is not None and not details.proration:
            yield line.period.end


def _payment_of_period(
    paid: Sequence[tuple[_Invoice, Raw]], payments: Mapping[str, tuple[_Charge, Payment]]
) -> Payment | None:
    """The payment of the latest invoice that pays for a period: refunding that of an upgrade ends nothing."""
    periods = [
        (bill, raw) for bill, raw in paid if bill.billing_reason in ("subscription_create", "subscription_cycle")
    ]
    if not periods:
        return None
    _, raw = max(periods, key=lambda pair: pair[0].created)
    for one in map(_InvoicePayment.model_validate, raw["payments"]):
        intent = one.payment.payment_intent
        if one.status == "paid" and intent is not None and intent in payments:
            return payments[intent][1]
    return None


def _purchase(raw: Raw, payments: Mapping[str, tuple[_Charge, Payment]]) -> Purchase:
    session = _Session.model_validate(raw)
    intent = session.payment_intent
    charge, payment = payments.get(intent.id, (None, None)) if intent else (None, None)
    lines = [_LineItem.model_validate(line) for line in raw["line_items"]]
    return Purchase(
        id=session.id,
        payment_status=PaymentStatus.parse(session.payment_status),
        items=tuple(
            PurchaseItem(line.price.id, None, line.price.lookup_key, 1 if line.quantity is None else line.quantity)
            for line in lines
            if line.price is not None
        ),
        since=from_timestamp(charge.created if charge else session.created),
        payment=payment,
        settling=intent is not None and intent.status == "processing",
    )


def _checkout(raw: Raw) -> CheckoutFacts:
    session = _Session.model_validate(raw)
    if session.status not in ("open", "complete", "expired"):
        raise UnexpectedShape(f"checkout session {session.id} has the unknown status {session.status!r}")
    return CheckoutFacts(
        session_id=session.id,
        state=session.status,  # type: ignore[arg-type]  # narrowed above
        payment_status=PaymentStatus.parse(session.payment_status),
        url=session.url,
        expires_at=from_timestamp(session.expires_at),
    )
