"""What holds for every proration with flexible billing: changes cancel out, and give back no more than was paid."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tollhouse_sandbox import invoicing
from tollhouse_sandbox.invoicing import Debit

END = 2_592_000

amounts = st.decimals(0, 100_000, places=2)
sides = st.tuples(amounts, st.integers(0, 50), st.sampled_from(["eur", "jpy"]))
moments = st.integers(0, END)


def side(amount, quantity, currency="eur"):
    """What is sold for the period, as `prorations` takes it."""
    price = {"id": "price_1", "product": "prod_1", "currency": currency, "unit_amount_decimal": str(amount)}
    return price, quantity, "Pro"


def billed(sold):
    """The bill of a whole period."""
    return Debit(invoicing.cost(sold[0], sold[1]), 0, END)


def changed(debit, old, new, at):
    """The sum of a change's lines, and what the item is then billed for."""
    lines = invoicing.prorations(old, new, (0, END), at, debit=debit)
    charged = [line.amount for line in lines if line.amount > 0]
    return sum(line.amount for line in lines), Debit(sum(charged), at, END)


def cost_of(steps, first):
    """What a row of (new, moment) costs after the first period was billed."""
    debit, sold, total = billed(first), first, 0
    for new, at in steps:
        cost, debit = changed(debit, sold, new, at)
        total, sold = total + cost, new
    return total


@given(sides, sides, moments)
def test_a_change_and_its_reverse_cancel_out(old, new, at):
    """At one instant, to the minor unit, in currencies with decimals and without."""
    old, new = side(*old), side(*new)
    assert cost_of([(new, at), (old, at)], old) == 0


@given(sides, sides, sides, moments)
def test_two_steps_cost_what_one_does(first, second, third, at):
    """Split in two at one instant, a change costs the same."""
    first, second, third = side(*first), side(*second), side(*third)
    assert cost_of([(second, at), (third, at)], first) == cost_of([(third, at)], first)


@given(sides, st.lists(st.tuples(sides, moments), max_size=5), moments)
def test_no_more_is_given_back_than_was_paid(first, steps, last):
    """Whatever changes when, and whenever it ends: all that was billed for the period stays at or above nothing."""
    steps = [(side(*sold), at) for sold, at in steps]
    steps.sort(key=lambda step: step[1])
    end = max([last, *(at for _, at in steps)])
    assert billed(side(*first)).amount + cost_of([*steps, (None, end)], side(*first)) >= 0


@given(sides, sides, moments)
def test_nothing_is_lost_by_rounding(old, new, at):
    """Each line is whole, and at most half a minor unit from its exact share."""
    old, new = side(*old), side(*new)
    lines = invoicing.prorations(old, new, (0, END), at, debit=billed(old))
    left = Decimal(END - at) / END
    exact = (invoicing.cost(new[0], new[1]) - invoicing.cost(old[0], old[1])) * left
    assert all(isinstance(line.amount, int) for line in lines)
    assert abs(sum(line.amount for line in lines) - exact) <= 1


@given(sides, sides, moments)
def test_classic_and_flexible_agree_after_a_plain_bill(old, new, at):
    """They differ only where something else was billed than is sold now."""
    old, new = side(*old), side(*new)
    period = (0, END)
    assert invoicing.prorations(old, new, period, at) == invoicing.prorations(old, new, period, at, debit=billed(old))
