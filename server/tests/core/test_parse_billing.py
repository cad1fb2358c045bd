"""Stripe's bills and charges as facts of the metrics: what is derived from which field."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tollhouse_server.domain.billing import Bill, Billing, Rate
from tollhouse_server.domain.metrics import FactKind
from tollhouse_server.stripe_gateway.parse import UnexpectedShape
from tollhouse_server.stripe_gateway.parse_billing import (
    Money,
    MoneyRead,
    changed_since_billed,
    parse_money,
)
from tollhouse_server.stripe_gateway.price_worth import prices_of

Raw = dict[str, Any]

DAY = 86_400
JAN, FEB, MAR = 1_800_000_000, 1_800_000_000 + 30 * DAY, 1_800_000_000 + 60 * DAY
PENCE = Decimal("900")


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def price(id_: str = "price_1", amount: object = PENCE, **recurring: Any) -> Raw:
    every = {"interval": "month", "interval_count": 1, "usage_type": "licensed", **recurring}
    return {"id": id_, "currency": "eur", "unit_amount_decimal": amount, "recurring": every}


def subscription(**more: Any) -> Raw:
    usual = {
        "id": "sub_1", "status": "active", "currency": "eur", "trial_start": None, "trial_end": None, "ended_at": None,
        "status_details": None, "items": [{"id": "si_1", "price": price(), "quantity": 2}],
    }  # fmt: skip
    return {**usual, **more}


def line(amount: int = 1800, price_id: str | None = "price_1", *, proration: bool = False, **more: Any) -> Raw:
    usual = {
        "amount": amount, "quantity": 2, "period": {"start": FEB, "end": MAR}, "discount_amounts": [],
        "pricing": {"price_details": {"price": price_id}} if price_id else None,
        "parent": {"subscription_item_details": {"subscription_item": "si_1", "proration": proration}},
    }  # fmt: skip
    return {**usual, **more}


def moments(**more: int | None) -> Raw:
    return {"finalized_at": FEB + 3600, "paid_at": FEB + 3600, "voided_at": None, **more}


def invoice(*lines: Raw, **more: Any) -> Raw:
    usual = {
        "id": "in_1", "created": FEB, "status": "paid", "billing_reason": "subscription_cycle", "currency": "eur",
        "amount_due": 1800, "amount_paid": 1800, "attempted": True, "status_transitions": moments(), "discounts": [],
        "parent": {"subscription_details": {"subscription": "sub_1"}}, "lines": list(lines or [line()]),
        "payments": [{"status": "paid", "payment": {"type": "payment_intent", "payment_intent": "pi_1"}}],
    }  # fmt: skip
    return {**usual, **more}


def charge(created: int = FEB + 3600, status: str = "succeeded", **more: Any) -> Raw:
    usual = {
        "id": f"ch_{created}", "created": created, "amount": 1800, "amount_refunded": 0, "currency": "eur",
        "status": status, "payment_intent": "pi_1",
    }  # fmt: skip
    return {**usual, **more}


def read(
    *subscriptions: Raw,
    invoices: Sequence[Raw] = (),
    pending: Sequence[Raw] = (),
    charges: Sequence[Raw] = (),
    refunds: Sequence[Raw] = (),
    disputes: Sequence[Raw] = (),
    prices: Sequence[Raw] = (price(),),
) -> Money:
    known = {one["id"]: one for one in prices}
    return parse_money(MoneyRead(subscriptions, invoices, pending, charges, refunds, disputes, known))


def billing(*invoices: Raw, **more: Any) -> Billing:
    return read(subscription(), invoices=invoices, **more).billings[0]


def bill(raw: Raw, *charges: Raw) -> Bill:
    return billing(raw, charges=charges).bills[0]


def rate(raw: Raw, **of_invoice: Any) -> Rate:
    return billing(invoice(raw, **of_invoice)).bills[0].rates[0]


def test_a_bill_of_today() -> None:
    """Its lines are rates of the price, not of the line's amount; its payment is the charge's."""
    one = bill(invoice(), charge())
    assert one.rates == (Rate("si_1", at(FEB), at(MAR), Fraction(1800)),)
    assert (one.made_at, one.opens_period, one.first, one.due) == (at(FEB), True, False, 1800)
    assert (one.paid_at, one.charged_at, one.failed_at) == (at(FEB + 3600), at(FEB + 3600), None)
    assert one.payment is not None and one.payment.money.amount == 1800
    assert billing(invoice()).worth == 1800
    assert read(subscription(items=[{"id": "si_1", "price": price()}])).billings[0].worth == 900


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (price(amount=Decimal("0.5")), 1),
        (price(interval="year"), 150),
        (price(interval="week", interval_count=2), Fraction(1800 * 365, 168)),
        (price(usage_type="metered"), None),
        (price(amount=None), None),
        ({"id": "price_1", "currency": "eur", "unit_amount_decimal": PENCE, "recurring": None}, None),
        (price("price_of_another"), None),
    ],
)
def test_only_what_recurs_and_is_known_has_a_rate(known: Raw, expected: Fraction | None) -> None:
    """Parts of a cent and every interval; nothing of what is metered, priced in tiers, bought once or unknown."""
    rates = billing(invoice(), prices=[known]).bills[0].rates
    assert [one.gross for one in rates] == ([] if expected is None else [expected])


def test_lines_that_give_back_take_away() -> None:
    """A credit is negative; a line of no subscription item or no price is none of ours."""
    credit = rate(line(-600, proration=True))
    assert (credit.gross, credit.proration) == (-1800, True)
    others = line(parent=None), line(price_id=None), line(pricing={"price_details": None})
    assert billing(invoice(*others)).bills[0].rates == ()


def discount(id_: str, coupon: object) -> Raw:
    return {"id": id_, "source": {"coupon": coupon}}


TENTH = {"duration": "forever", "percent_off": 10.0}
EURO = {"duration": "repeating", "percent_off": None}
ONCE = {"duration": "once", "percent_off": 50}


@pytest.mark.parametrize(
    ("coupons", "taken", "net"),
    [
        ([TENTH], [180], 1620),
        ([EURO], [100], 1700),
        ([ONCE], [900], 1800),
        ([TENTH, EURO], [180, 100], 1520),
        ([EURO, TENTH], [100, 170], 1530),
        ([{"deleted": True}], [100], 1700),
        ([None], [100], 1800),
    ],
)
def test_discounts_that_last_are_taken_off(coupons: list[object], taken: list[int], net: int) -> None:
    """By percent and amount, one after the other; not one that is taken off once. A deleted coupon's amount stays."""
    amounts = [{"amount": amount, "discount": f"di_{place}"} for place, amount in enumerate(taken)]
    discounts = [discount(f"di_{place}", coupon) for place, coupon in enumerate(coupons)]
    assert rate(line(discount_amounts=amounts), discounts=discounts).net == net
    assert rate(line(discount_amounts=amounts), discounts=["di_0"]).net == 1800
    assert rate(line(discount_amounts=None), discounts=discounts).net == 1800
    assert rate(line(0, discount_amounts=amounts), discounts=discounts).net == 1800, "on trial nothing is taken off"


def test_when_a_bill_failed() -> None:
    """With the first charge that failed; without a charge when it was finalised; not while a debit is under way."""
    first, last, good = charge(FEB + 3600, "failed"), charge(FEB + DAY, "failed"), charge(FEB + 2 * DAY)
    tried = bill(invoice(status_transitions=moments(paid_at=FEB + 2 * DAY)), good, last, first)
    assert (tried.failed_at, tried.last_failed_at) == (at(FEB + 3600), at(FEB + DAY))
    late = bill(invoice(status_transitions=moments(paid_at=FEB + 2 * DAY)), good)
    assert late.failed_at == at(FEB + 3600), "no card at first"
    unpaid = invoice(status="open", status_transitions=moments(paid_at=None))
    assert bill(unpaid).failed_at == at(FEB + 3600)
    assert bill(unpaid, charge(status="pending")).failed_at is None
    assert bill({**unpaid, "attempted": False}).failed_at is None
    draft = invoice(status="draft", status_transitions=moments(finalized_at=None, paid_at=None))
    assert bill(draft).failed_at is None
    void = invoice(status="void", status_transitions=moments(paid_at=None, voided_at=FEB + DAY))
    assert bill(void).given_up_at == at(FEB + DAY)


def test_changes_that_wait_for_a_bill() -> None:
    """Prorations of this subscription, and nothing else that waits."""

    def waiting(amount: int, subscription_id: str = "sub_1", **more: Any) -> Raw:
        details = {"subscription": subscription_id, "subscription_item": "si_1"}
        parent = {"subscription_details": details}
        usual = {"amount": amount, "currency": "eur", "quantity": 1, "proration": True}
        usual |= {"period": {"start": JAN, "end": FEB}}
        return {**usual, "pricing": {"price_details": {"price": "price_1"}}, "parent": parent, **more}

    others = waiting(1, "sub_2"), waiting(1, proration=False), waiting(1, parent=None), waiting(1, pricing=None)
    pending = billing(pending=[waiting(-300), waiting(600), *others]).pending
    assert [(one.gross, one.starts_at, one.proration) for one in pending] == [
        (-900, at(JAN), True),
        (900, at(JAN), True),
    ]


def test_what_was_paid_and_given_back() -> None:
    """Charges that succeeded, by what they paid; refunds that were not refused; disputes that were lost."""
    money = {"created": FEB, "currency": "eur", "amount": 100}
    bought, no_intent = charge(JAN, payment_intent="pi_2"), charge(JAN + 1, payment_intent=None)
    declined = charge(JAN + 2, "failed", payment_intent="pi_3")
    told = read(
        subscription(),
        invoices=[invoice()],
        charges=[charge(), bought, no_intent, declined, charge(JAN + 3, "pending", payment_intent="pi_4")],
        refunds=[
            {"id": f"re_{status}", "status": status, "charge": "ch_1", **money} for status in ("succeeded", "failed")
        ],
        disputes=[{"id": f"dp_{status}", "status": status, "charge": "ch_1", **money} for status in ("lost", "won")],
    ).cash
    assert {(one.kind, one.id, one.amount) for one in told} == {
        (FactKind.SUBSCRIPTION_PAYMENT, f"ch_{FEB + 3600}", 1800),
        (FactKind.PURCHASE_PAYMENT, f"ch_{JAN}", 1800),
        (FactKind.PURCHASE_PAYMENT, f"ch_{JAN + 1}", 1800),
        (FactKind.REFUND, "re_succeeded", 100),
        (FactKind.DISPUTE_LOST, "dp_lost", 100),
    }


def test_bills_that_failed_and_trials() -> None:
    """A failed bill once, and once more when it is paid; a trial is converted by a bill that was paid with money."""
    failed = invoice(status_transitions=moments(paid_at=FEB + DAY))
    tried = [charge(FEB + 3600, "failed"), charge(FEB + DAY)]
    trial = {"trial_start": JAN, "trial_end": FEB}

    def kinds(raw: Raw, *invoices: Raw) -> set[tuple[FactKind, datetime]]:
        told = read(raw, invoices=invoices, charges=tried).cash
        return {(one.kind, one.at) for one in told if one.kind != FactKind.SUBSCRIPTION_PAYMENT}

    begun, ended = (FactKind.TRIAL_STARTED, at(JAN)), (FactKind.TRIAL_ENDED, at(FEB))
    assert kinds(subscription(**trial), failed) == {
        begun, ended, (FactKind.TRIAL_CONVERTED, at(FEB)),
        (FactKind.PAYMENT_FAILED, at(FEB + 3600)), (FactKind.PAYMENT_RECOVERED, at(FEB + DAY)),
    }  # fmt: skip
    free = invoice(amount_due=0, amount_paid=0, payments=[])
    before = invoice(created=JAN, payments=[])
    still_open = invoice(status="open", payments=[], attempted=False, status_transitions=moments(paid_at=None))
    for unpaid in (free, before, still_open):
        assert kinds(subscription(**trial), unpaid) - {(FactKind.PURCHASE_PAYMENT, at(FEB + DAY))} == {begun, ended}
    early = subscription(**trial, ended_at=JAN + DAY)
    assert (FactKind.TRIAL_ENDED, at(JAN + DAY)) in kinds(early)


def test_a_pause_that_stripe_dates() -> None:
    """Only of a subscription that is paused now."""
    paused = {"paused": {"transitioned_at": FEB}}
    assert read(subscription(status="paused", status_details=paused)).billings[0].paused_at == at(FEB)
    assert read(subscription(status_details=paused)).billings[0].paused_at is None
    assert read(subscription(status_details={"paused": None})).billings[0].paused_at is None


def test_the_bills_of_others_are_not_mixed_up() -> None:
    """Of another subscription, or of none."""
    other = invoice(parent={"subscription_details": {"subscription": "sub_2"}})
    assert billing(other, invoice(parent=None)).bills == ()


@pytest.mark.parametrize("broken", [{"amount_due": None}, {"status_transitions": {}}, {"lines": [{"parent": None}]}])
def test_a_shape_that_was_not_promised_is_refused(broken: Raw) -> None:
    """Rather than guessed at: the read is buried and the last known state stands."""
    with pytest.raises(UnexpectedShape):
        billing(invoice(**broken))
    with pytest.raises(UnexpectedShape):
        read(subscription(currency=None))


def test_when_waiting_changes_are_asked_for() -> None:
    """Where some item is not what the newest line that bills it says; never for one that is over."""
    older = line(900, "price_0", period={"start": JAN, "end": FEB}, quantity=1)
    assert not changed_since_billed([subscription()], [invoice(line(), older)])
    assert not changed_since_billed([subscription()], [invoice(line(), line(-900, "price_9", proration=True))])
    assert changed_since_billed([subscription()], [invoice(older)])
    assert changed_since_billed([subscription()], [invoice(line(parent=None))])
    assert not changed_since_billed([subscription(ended_at=FEB)], [])


def test_which_prices_must_be_asked_for() -> None:
    """Those that only old bills of subscriptions name."""
    old, foreign = invoice(line(price_id="price_0"), line()), invoice(line(price_id="price_9"), parent=None)
    shown, further = prices_of([subscription()], [old, foreign])
    assert (set(shown), further) == ({"price_1"}, {("price_0", "eur")})
