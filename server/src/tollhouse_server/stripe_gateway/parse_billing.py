"""Where Stripe's field names of money live: bills, their lines, discounts, trials, charges, as facts of metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from pydantic import ValidationError

from ..domain.billing import Bill, Billing, Rate
from ..domain.evidence import DisputeStatus, Payment
from ..domain.metrics import Fact, FactKind
from ..domain.standing import LOST
from ..domain.time import from_timestamp
from .parse import Raw, Shape, UnexpectedShape, payments_of
from .price_worth import item_of, monthly_worth, price_of, subscription_of

AT_ONCE = 300
"""Seconds within which a bill is paid that nothing held up: a later payment of a card was not the first attempt."""


class _ItemPrice(Shape):
    id: str


class _Item(Shape):
    price: _ItemPrice
    quantity: int | None = None


class _Paused(Shape):
    transitioned_at: int


class _StatusDetails(Shape):
    paused: _Paused | None = None


class _Subscription(Shape):
    id: str
    status: str
    currency: str
    trial_start: int | None
    trial_end: int | None
    ended_at: int | None
    status_details: _StatusDetails | None = None


class _Coupon(Shape):
    duration: str = "forever"  # a deleted one says nothing; it goes on being taken off, by what the lines say
    percent_off: float | int | None = None


class _Source(Shape):
    coupon: _Coupon | str | None


class _Discount(Shape):
    id: str
    source: _Source


class _DiscountAmount(Shape):
    amount: int
    discount: str


class _Period(Shape):
    start: int
    end: int


class _Line(Shape):
    amount: int
    period: _Period
    quantity: int | None = None
    discount_amounts: list[_DiscountAmount] | None = None


class _Pending(Shape):
    period: _Period
    quantity: int
    amount: int


class _Transitions(Shape):
    finalized_at: int | None
    paid_at: int | None
    voided_at: int | None


class _Invoice(Shape):
    id: str
    created: int
    status: str | None
    billing_reason: str | None
    currency: str
    amount_due: int
    amount_paid: int
    attempted: bool
    status_transitions: _Transitions


class _Charge(Shape):
    id: str
    created: int
    amount: int
    currency: str
    status: str
    payment_intent: str | None


class _Refund(Shape):
    id: str
    created: int
    amount: int
    currency: str
    status: str | None


class _Dispute(Shape):
    id: str
    created: int
    amount: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class Money:
    """What one read says of a customer's money."""

    billings: tuple[Billing, ...]
    cash: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class MoneyRead:
    """The objects of one customer that money is told by, their lists whole; prices by their ids."""

    subscriptions: Sequence[Raw]
    invoices: Sequence[Raw]
    pending: Sequence[Raw]
    charges: Sequence[Raw]
    refunds: Sequence[Raw]
    disputes: Sequence[Raw]
    prices: Mapping[str, Raw]


@dataclass(frozen=True, slots=True)
class _Paid:
    """Every attempt to charge, and what became of those that succeeded, by payment intent."""

    charges: Sequence[_Charge]
    payments: Mapping[str, Payment]


def parse_money(read: MoneyRead) -> Money:
    """The customer's billings, and what was paid, given back, failed and recovered. Raises UnexpectedShape."""
    try:
        charges = [_Charge.model_validate(raw) for raw in read.charges]
        payments = {
            intent: payment for intent, (_, payment) in payments_of(read.charges, read.refunds, read.disputes).items()
        }
        billed: dict[str, list[tuple[_Invoice, Raw]]] = {raw["id"]: [] for raw in read.subscriptions}
        for raw in read.invoices:
            billed.setdefault(subscription_of(raw) or "", []).append((_Invoice.model_validate(raw), raw))
        billings, cash = [], list(_cash(read, charges))
        for raw in read.subscriptions:
            shape, bills = _Subscription.model_validate(raw), billed[raw["id"]]
            billing = _billing(read, shape, raw, bills, _Paid(charges, payments))
            billings.append(billing)
            cash += _of_bills(billing, [invoice for invoice, _ in bills])
            cash += _of_trial(billing, shape, [invoice for invoice, _ in bills])
    except (ValidationError, KeyError, TypeError) as wrong:
        raise UnexpectedShape(f"Stripe's objects of money are not as expected: {wrong}") from wrong
    return Money(tuple(billings), tuple(cash))


def changed_since_billed(subscriptions: Sequence[Raw], invoices: Sequence[Raw]) -> bool:
    """Whether some subscription's items are not what its bills say: then changes may wait for the next bill."""
    billed: dict[str, tuple[int, tuple[str | None, int | None] | None]] = {}
    for raw in (line for invoice in invoices for line in invoice["lines"]):
        details = item_of(raw)
        if details is not None:
            item, start = details["subscription_item"], raw["period"]["start"]
            if start >= billed.get(item, (0, None))[0] and raw["amount"] >= 0:
                billed[item] = start, (price_of(raw), raw.get("quantity"))
    return any(
        billed.get(item["id"], (0, None))[1] != (item["price"]["id"], item.get("quantity"))
        for one in subscriptions
        if one["ended_at"] is None
        for item in one["items"]
    )


def _billing(
    read: MoneyRead,
    shape: _Subscription,
    raw: Raw,
    bills: Sequence[tuple[_Invoice, Raw]],
    paid: _Paid,
) -> Billing:
    items = [_Item.model_validate(item) for item in raw["items"]]
    worth = (monthly_worth(read.prices, item.price.id, item.quantity, shape.currency) or Fraction(0) for item in items)
    paused = shape.status_details.paused if shape.status_details else None
    return Billing(
        subscription=shape.id,
        currency=shape.currency,
        worth=sum(worth, Fraction(0)),
        bills=tuple(_bill(read, invoice, one, paid) for invoice, one in bills),
        pending=tuple(_pending(read, shape.id)),
        trial_start=from_timestamp(shape.trial_start) if shape.trial_start else None,
        paused_at=from_timestamp(paused.transitioned_at) if paused and shape.status == "paused" else None,
    )


def _bill(read: MoneyRead, invoice: _Invoice, raw: Raw, money: _Paid) -> Bill:
    intents = [one["payment"].get("payment_intent") for one in raw["payments"]]
    tried = sorted((one for one in money.charges if one.payment_intent in intents), key=lambda one: one.created)
    paid = next((one.created for one in tried if one.status == "succeeded"), None)
    failures = [one.created for one in tried if one.status == "failed"] or list(_silent_failure(invoice, tried, paid))
    moments = invoice.status_transitions
    return Bill(
        id=invoice.id,
        made_at=from_timestamp(invoice.created),
        opens_period=invoice.billing_reason in ("subscription_create", "subscription_cycle"),
        first=invoice.billing_reason == "subscription_create",
        due=invoice.amount_due,
        failed_at=from_timestamp(failures[0]) if failures else None,
        last_failed_at=from_timestamp(failures[-1]) if failures else None,
        charged_at=from_timestamp(paid) if paid else None,
        paid_at=from_timestamp(moments.paid_at) if moments.paid_at else None,
        given_up_at=from_timestamp(moments.voided_at) if moments.voided_at else None,
        payment=next((money.payments[one] for one in intents if one in money.payments), None),
        rates=tuple(_rates(read, raw)),
    )


def _silent_failure(invoice: _Invoice, tried: Sequence[_Charge], paid: int | None) -> Iterator[int]:
    """An attempt that failed without a charge, having nothing to charge: it was made when the bill was finalised."""
    finalised = invoice.status_transitions.finalized_at
    if finalised is None:
        return
    under_way = any(one.status == "pending" for one in tried)
    given_up = paid is None and invoice.status != "paid" and invoice.attempted and not under_way
    if given_up or (paid is not None and paid > finalised + AT_ONCE):
        yield finalised


def _rates(read: MoneyRead, invoice: Raw) -> Iterator[Rate]:
    lasting = _lasting_discounts(invoice)
    for raw in invoice["lines"]:
        details, line = item_of(raw), _Line.model_validate(raw)
        if details is None:
            continue
        gross = monthly_worth(
            read.prices, price_of(raw), 1 if line.quantity is None else line.quantity, invoice["currency"]
        )
        if gross is None:
            continue
        sign = -1 if line.amount < 0 else 1
        rate = Rate(
            details["subscription_item"],
            from_timestamp(line.period.start),
            from_timestamp(line.period.end),
            sign * gross,
            details["proration"],
        )
        yield rate if rate.proration else _discounted(rate, line, lasting)


def _lasting_discounts(invoice: Raw) -> dict[str, Fraction | None]:
    """Discount → the share that it leaves, None for one by amount. One that is taken off once is not among them."""
    found: dict[str, Fraction | None] = {}
    for raw in invoice["discounts"]:
        if isinstance(raw, str):
            continue
        discount = _Discount.model_validate(raw)
        coupon = discount.source.coupon
        if isinstance(coupon, _Coupon) and coupon.duration != "once":
            percent = coupon.percent_off
            found[discount.id] = None if percent is None else 1 - Fraction(str(percent)) / 100
    return found


def _discounted(rate: Rate, line: _Line, lasting: Mapping[str, Fraction | None]) -> Rate:
    """The rate less the line's discounts that last, in Stripe's order: each is taken of what those before it left."""
    for one in line.discount_amounts or ():
        if one.discount not in lasting or not line.amount:
            continue
        keep = lasting[one.discount]
        if keep is None:
            rate = replace(rate, off=rate.off + abs(rate.gross) * Fraction(one.amount, line.amount))
        else:
            rate = replace(rate, keep=rate.keep * keep, off=rate.off * keep)
    return rate


def _pending(read: MoneyRead, subscription: str) -> Iterator[Rate]:
    for raw in read.pending:
        details = (raw["parent"] or {}).get("subscription_details")
        if details is None or details["subscription"] != subscription or not raw["proration"]:
            continue
        item = _Pending.model_validate(raw)
        gross = monthly_worth(read.prices, price_of(raw), item.quantity, raw["currency"])
        if gross is not None:
            start, end = from_timestamp(item.period.start), from_timestamp(item.period.end)
            sign = -1 if item.amount < 0 else 1
            yield Rate(details["subscription_item"] or "", start, end, sign * gross, True)


def _cash(read: MoneyRead, charges: Iterable[_Charge]) -> Iterator[Fact]:
    billed = {one["payment"].get("payment_intent") for raw in read.invoices for one in raw["payments"]}
    for charge in charges:
        if charge.status == "succeeded":
            pays_a_bill = charge.payment_intent is not None and charge.payment_intent in billed
            kind = FactKind.SUBSCRIPTION_PAYMENT if pays_a_bill else FactKind.PURCHASE_PAYMENT
            yield Fact(kind, from_timestamp(charge.created), charge.currency, charge.amount, id=charge.id)
    for refund in map(_Refund.model_validate, read.refunds):
        if refund.status in ("succeeded", "pending", "requires_action"):
            at = from_timestamp(refund.created)
            yield Fact(FactKind.REFUND, at, refund.currency, refund.amount, id=refund.id)
    for dispute in map(_Dispute.model_validate, read.disputes):
        if DisputeStatus.parse(dispute.status) in LOST:
            at = from_timestamp(dispute.created)
            yield Fact(FactKind.DISPUTE_LOST, at, dispute.currency, dispute.amount, id=dispute.id)


def _of_bills(billing: Billing, invoices: Sequence[_Invoice]) -> Iterator[Fact]:
    for bill, invoice in zip(billing.bills, invoices, strict=True):
        if bill.failed_at is None:
            continue
        yield Fact(FactKind.PAYMENT_FAILED, bill.failed_at, invoice.currency, bill.due, id=bill.id)
        if bill.paid_at is not None:
            yield Fact(FactKind.PAYMENT_RECOVERED, bill.paid_at, invoice.currency, invoice.amount_paid, id=bill.id)


def _of_trial(billing: Billing, shape: _Subscription, invoices: Sequence[_Invoice]) -> Iterator[Fact]:
    if not shape.trial_start or not shape.trial_end:
        return
    ended = min(shape.trial_end, shape.ended_at or shape.trial_end)
    paid_for = any(one.created >= ended and one.status == "paid" and one.amount_paid > 0 for one in invoices)
    kinds = [(FactKind.TRIAL_STARTED, shape.trial_start), (FactKind.TRIAL_ENDED, ended)]
    kinds += [(FactKind.TRIAL_CONVERTED, ended)] if paid_for else []
    for kind, at in kinds:
        yield Fact(kind, from_timestamp(at), shape.currency, id=billing.subscription)
