"""What a subscription was worth when: its past is put together from instants of Stripe's, and judged by `standing`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain.billing import Bill, Billing, Rate, Seen, monthly, rates, to_be_noted, worth
from tollhouse_server.domain.catalog import Interval, OnPause, Policy
from tollhouse_server.domain.evidence import DisputeStatus, Payment, Subscription, SubscriptionStatus
from tollhouse_server.domain.money import Money
from tollhouse_server.domain.worth import stretches

Told = list[tuple[float, float | None, str, Fraction]]


class Case:
    """A subscription of 900 a month from day 0, renewed on day 30, each bill paid at once unless said otherwise."""

    def __init__(self, make: SimpleNamespace) -> None:
        self.make, self.day = make, make.day

    def rate(self, start: float, end: float, gross: int = 900, **more: Any) -> Rate:
        return Rate("si_1", self.day(start), self.day(end), Fraction(gross), **more)

    def bill(self, made: float = 0, paid: float | None = 0, *rates: Rate, **more: Any) -> Bill:
        usual = {
            "opens_period": True,
            "first": made == 0,
            "due": 900,
            "paid_at": None if paid is None else self.day(paid),
            "charged_at": None if paid is None else self.day(paid),
            "rates": rates or (self.rate(made, made + 30),),
        }
        return Bill(f"in_{made}", self.day(made), **{**usual, **more})

    def billing(self, *bills: Bill, worth: int = 900, **more: Any) -> Billing:
        return Billing("sub_1", "eur", Fraction(worth), bills or (self.bill(),), **more)

    def told(
        self,
        one: Subscription,
        billing: Billing,
        seen: Sequence[Seen] = (),
        policy: Policy = Policy(),  # noqa: B008 - frozen
        at: float = 100,
    ) -> Told:
        """The stretches, their edges in days."""

        def number(edge: datetime | None) -> float | None:
            return None if edge is None else (edge - self.day(0)) / timedelta(days=1)

        return [
            (number(one.period.start) or 0.0, number(one.period.end), one.state.value, one.monthly)
            for one in stretches(one, billing, seen, self.make.catalog(policy), self.day(at))
        ]


@pytest.fixture
def case(make: SimpleNamespace) -> Case:
    return Case(make)


@pytest.mark.parametrize(
    ("amount", "interval", "count", "expected"),
    [
        (900, "month", 1, Fraction(900)),
        (2700, "month", 3, Fraction(900)),
        (10_000, "year", 1, Fraction(2500, 3)),
        (24, "year", 2, Fraction(1)),
        (84, "week", 1, Fraction(365)),
        (12, "day", 1, Fraction(365)),
        (24, "day", 2, Fraction(365)),
    ],
)
def test_a_month_is_a_twelfth_of_365_days(amount: int, interval: Interval, count: int, expected: Fraction) -> None:
    """Every interval and count is normalised exactly."""
    assert monthly(amount, interval, count) == expected


def test_it_counts_as_long_as_access_lasts(case: Case) -> None:
    """A running subscription counts until its period ends and the leeway is over, as its access does."""
    assert case.told(case.make.subscription(), case.billing(), at=10) == [(0, 33, "active", 900)]


def test_renewals_make_one_stretch_and_the_end_ends_it(case: Case) -> None:
    """Equal neighbours are joined; at the instant it ended it is worth nothing."""
    bills = case.bill(), case.bill(30, 30), case.bill(60, 60)
    one = case.make.subscription(
        status=SubscriptionStatus.CANCELED, ended_at=case.day(75), items=(case.make.item(begins=60, ends=90),)
    )
    assert case.told(one, case.billing(*bills)) == [(0, 75, "active", 900)]


def test_a_change_counts_from_its_instant(case: Case) -> None:
    """An upgrade on day 10 gives the rest back and bills the new price: the lines add up, also while they wait."""
    credit, debit = case.rate(10, 30, -900, proration=True), case.rate(10, 30, 1900, proration=True)
    now = case.make.subscription()
    billed = case.billing(case.bill(), case.bill(10, 10, credit, debit, opens_period=False, first=False), worth=1900)
    waiting = case.billing(worth=1900, pending=(debit, credit))
    for billing in billed, waiting:
        assert case.told(now, billing) == [(0, 10, "active", 900), (10, 33, "active", 1900)]
    removed = case.billing(worth=0, pending=(credit,))
    assert case.told(now, removed)[1] == (10, 33, "active", 0)


def test_discounts_are_taken_off(case: Case) -> None:
    """By percent and by amount; a proration keeps the share that its period keeps."""
    tenth_off = case.rate(0, 30, keep=Fraction(9, 10))
    change = case.rate(10, 30, -900, proration=True), case.rate(10, 30, 1900, proration=True)
    billing = case.billing(case.bill(0, 0, tenth_off), pending=change)
    assert case.told(case.make.subscription(), billing) == [(0, 10, "active", 810), (10, 33, "active", 1710)]
    amount_off = case.billing(case.bill(0, 0, case.rate(0, 30, off=Fraction(100))), pending=change)
    assert case.told(case.make.subscription(), amount_off) == [(0, 10, "active", 800), (10, 33, "active", 1800)]
    more_than_all = case.billing(case.bill(0, 0, case.rate(0, 30, off=Fraction(1000))))
    assert case.told(case.make.subscription(), more_than_all) == [(0, 33, "active", 0)]
    orphan = case.billing(case.bill(0, 0, case.rate(0, 30, 900, proration=True)))
    assert case.told(case.make.subscription(), orphan) == [(0, 33, "active", 900)]


def test_a_trial_counts_apart(case: Case) -> None:
    """Until its end it is on trial; then it is active with the bill made at that instant."""
    bills = case.bill(0, 0, case.rate(0, 14), due=0, charged_at=None), case.bill(14, 14.1, case.rate(14, 44))
    one = case.make.subscription(trial_end=case.day(14), items=(case.make.item(begins=14, ends=44),))
    billing = case.billing(*bills, trial_start=case.day(0))
    assert case.told(one, billing) == [(0, 14, "trialing", 900), (14, 47, "active", 900)]
    running = case.make.subscription(
        status=SubscriptionStatus.TRIALING, trial_end=case.day(14), items=(case.make.item(ends=14),)
    )
    on_trial = case.billing(bills[0], trial_start=case.day(0))
    assert case.told(running, on_trial, at=5) == [(0, 14, "trialing", 900)]
    left = case.make.subscription(
        status=SubscriptionStatus.CANCELED, trial_end=case.day(14), ended_at=case.day(14), items=running.items
    )
    assert case.told(left, on_trial) == [(0, 14, "trialing", 900)]


def test_past_due_counts_in_grace_and_no_longer(case: Case) -> None:
    """Grace runs from when the bill was made; after it nothing counts until the bill is paid."""
    late = case.bill(30, 40, failed_at=case.day(30.5), last_failed_at=case.day(33))
    one = case.make.subscription(items=(case.make.item(begins=30, ends=60),))
    assert case.told(one, case.billing(case.bill(), late)) == [
        (0, 30.5, "active", 900),
        (30.5, 37, "past_due", 900),
        (40, 63, "active", 900),
    ]


@pytest.mark.parametrize(("products", "until"), [(("basic",), 37), (("basic", "patient"), 50)])
def test_it_counts_as_long_as_the_product_that_forgives_longest(
    case: Case, products: tuple[str, ...], until: float
) -> None:
    """With a product of 20 days' grace of its own among them, all of the subscription counts until then."""
    items = tuple(case.make.item(product, 30, 60) for product in products)
    one = case.make.subscription(status=SubscriptionStatus.PAST_DUE, unpaid_since=case.day(30), items=items)
    told = case.told(one, case.billing(case.bill(), case.bill(30, None, failed_at=case.day(30.5))))
    assert told[-1] == (30.5, until, "past_due", 900)


@pytest.mark.parametrize("ended", [SubscriptionStatus.CANCELED, SubscriptionStatus.PAST_DUE, SubscriptionStatus.UNPAID])
def test_a_lost_payment(case: Case, ended: SubscriptionStatus) -> None:
    """However dunning ends, what counted in grace did count; a voided bill is owed no more."""
    over = case.day(32) if ended is SubscriptionStatus.CANCELED else None
    failing = case.bill(30, None, failed_at=case.day(30.5), last_failed_at=case.day(32))
    one = case.make.subscription(
        status=ended, ended_at=over, unpaid_since=case.day(30), items=(case.make.item(begins=30, ends=60),)
    )
    until = 37 if ended is SubscriptionStatus.PAST_DUE else 32
    assert case.told(one, case.billing(case.bill(), failing)) == [
        (0, 30.5, "active", 900),
        (30.5, until, "past_due", 900),
    ]
    active = case.make.subscription(items=(case.make.item(begins=30, ends=60),))
    voided = case.bill(30, None, failed_at=case.day(30.5), given_up_at=case.day(31))
    assert case.told(active, case.billing(case.bill(), voided))[2] == (31, 63, "active", 900)


def test_it_begins_with_its_first_payment(case: Case) -> None:
    """Incomplete until then; a bank debit counts from when it was begun; one never paid never counted."""
    late = case.bill(0, 0.5, failed_at=case.day(0))
    assert case.told(case.make.subscription(), case.billing(late)) == [(0.5, 33, "active", 900)]
    debit = case.bill(0, 3, charged_at=case.day(0))
    assert case.told(case.make.subscription(), case.billing(debit)) == [(0, 33, "active", 900)]
    never = case.make.subscription(status=SubscriptionStatus.INCOMPLETE_EXPIRED, ended_at=case.day(1))
    assert case.told(never, case.billing(case.bill(0, None))) == []
    unknown = case.billing(case.bill(0, 0, first=False))
    assert case.told(case.make.subscription(), unknown) == [(0, 33, "active", 900)]


def test_a_refunded_period_ends_at_the_refund(case: Case) -> None:
    """What was paid back in full counts no more; the next paid period counts again. A part changes nothing."""

    def paid(refunded: int) -> Payment:
        return Payment(Money(900, "eur"), refunded, case.day(12))

    one = case.make.subscription(items=(case.make.item(begins=30, ends=60),))
    whole = case.billing(case.bill(payment=paid(900)), case.bill(30, 30))
    assert case.told(one, whole) == [(0, 12, "active", 900), (30, 63, "active", 900)]
    part = case.billing(case.bill(payment=paid(100)), case.bill(30, 30))
    assert case.told(one, part) == [(0, 63, "active", 900)]


@pytest.mark.parametrize(("status", "until"), [(DisputeStatus.LOST, 12), (DisputeStatus.NEEDS_RESPONSE, 12)])
def test_a_disputed_period_ends_at_the_dispute(case: Case, status: DisputeStatus, until: float) -> None:
    """While it is open and once it is lost; one that was won leaves no gap."""

    def disputed(status: DisputeStatus) -> tuple[Subscription, Billing]:
        payment = Payment(Money(900, "eur"), dispute=status, disputed_at=case.day(12))
        return case.make.subscription(payment=payment), case.billing(case.bill(payment=payment))

    assert case.told(*disputed(status)) == [(0, until, "active", 900)]
    assert case.told(*disputed(DisputeStatus.WON)) == [(0, 33, "active", 900)]


def test_a_pause_is_known_from_when_it_was_seen(case: Case) -> None:
    """What was paid for goes on counting, as access does; under the other policy nothing counts while it is paused."""
    one = case.make.subscription(items=(case.make.item(begins=30, ends=60),))
    billing = case.billing(case.bill(), case.bill(30, 30))
    seen = Seen(case.day(10), Fraction(900), True), Seen(case.day(40), Fraction(900), False)
    assert case.told(one, billing, seen) == [
        (0, 10, "active", 900),
        (10, 40, "paused", 900),
        (40, 63, "active", 900),
    ]
    ends = Policy(on_pause=OnPause.END)
    assert case.told(one, billing, seen, ends) == [(0, 10, "active", 900), (40, 63, "active", 900)]


def test_a_pause_that_stripe_dates(case: Case) -> None:
    """It counts from Stripe's instant, not from when it was seen; while it lasts it is paused."""
    one = case.make.subscription(status=SubscriptionStatus.PAUSED, paid_through=case.day(30))
    billing = case.billing(paused_at=case.day(9))
    seen = (Seen(case.day(10), Fraction(900), True),)
    expected = [(0, 9, "active", 900), (9, 30, "paused", 900)]
    assert case.told(one, billing, seen) == case.told(one, billing) == expected
    collection = case.make.subscription(collection_paused=True, paid_through=case.day(30))
    assert case.told(collection, case.billing(), seen)[1] == (10, 30, "paused", 900)


def test_what_no_bill_explains_counts_from_when_it_was_seen(case: Case) -> None:
    """A change without proration: until the next period is billed, or until another change of the kind."""
    one = case.make.subscription(items=(case.make.item(begins=30, ends=60),))
    billing = case.billing(case.bill(0, 0, case.rate(0, 30, keep=Fraction(1, 2))), case.bill(30, 30))
    seen = Seen(case.day(10), Fraction(1900), False), Seen(case.day(20), Fraction(1000), False)
    assert case.told(one, billing, seen) == [
        (0, 10, "active", 450),
        (10, 20, "active", 950),
        (20, 30, "active", 500),
        (30, 63, "active", 900),
    ]
    twice = seen[0], seen[0], seen[1]
    assert case.told(one, billing, twice) == case.told(one, billing, seen)
    without_bills = Billing("sub_1", "eur", Fraction(900))
    assert case.told(case.make.subscription(), without_bills, (Seen(case.day(1), Fraction(900), False),)) == [
        (0, 1, "active", 0),
        (1, 33, "active", 900),
    ]


def test_only_what_needs_it_is_entered_in_the_ledger(case: Case) -> None:
    """Nothing where the bills say it all, once where they do not, and nothing of what is over."""
    one = case.make.subscription()
    assert to_be_noted(one, case.billing(), (), case.day(5)) is None
    changed = case.billing(worth=1900)
    noted = to_be_noted(one, changed, (), case.day(5))
    assert noted == Seen(case.day(5), Fraction(1900), False)
    assert to_be_noted(one, changed, (noted,), case.day(6)) is None
    assert to_be_noted(one, changed, (), case.day(31)) is None, "the period is over: its renewal will be billed"
    paused = case.make.subscription(collection_paused=True)
    pause = to_be_noted(paused, case.billing(), (), case.day(5))
    assert pause == Seen(case.day(5), Fraction(900), True)
    assert to_be_noted(paused, case.billing(), (pause,), case.day(6)) is None
    resumed = to_be_noted(one, case.billing(), (pause,), case.day(7))
    assert resumed == Seen(case.day(7), Fraction(900), False)
    over = case.make.subscription(status=SubscriptionStatus.CANCELED, ended_at=case.day(5))
    assert to_be_noted(over, changed, (), case.day(5)) is None


def test_stripes_clock_may_be_ahead_of_ours(case: Case) -> None:
    """What Stripe has billed has begun, whatever our clock says: nothing is noted, and the trial is over."""
    one = case.make.subscription(trial_end=case.day(14), items=(case.make.item(begins=14, ends=44),))
    bills = case.bill(0, 0, case.rate(0, 14), due=0), case.bill(14, 14, case.rate(14, 44, 1000))
    billing = case.billing(*bills, worth=1000, trial_start=case.day(0))
    assert to_be_noted(one, billing, (), case.day(13.99)) is None
    assert case.told(one, billing, at=13.99) == [(0, 14, "trialing", 900), (14, 47, "active", 1000)]
    assert worth(rates(billing, ()), case.day(13)) == 900
