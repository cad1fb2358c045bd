"""The pure rules, and what must hold for all declarations: states, periods, proration, parameters, expansion."""

import importlib
import inspect
import re
import typing
from datetime import UTC, datetime
from decimal import Decimal
from types import UnionType

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tollhouse_sandbox import cards, invoicing, lifecycle, money, rendering, resources
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import difference
from tollhouse_sandbox.form import flatten, nest, parse
from tollhouse_sandbox.lifecycle import Cause, Status

MOMENTS = st.integers(1_600_000_000, 2_500_000_000)


def at(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp())


# Periods


@pytest.mark.parametrize(
    ("anchor", "start", "interval", "count", "end"),
    [
        (at(2026, 1, 31), at(2026, 1, 31), "month", 1, at(2026, 2, 28)),
        (at(2026, 1, 31), at(2026, 2, 28), "month", 1, at(2026, 3, 31)),
        (at(2028, 2, 29), at(2028, 2, 29), "year", 1, at(2029, 2, 28)),
        (at(2028, 2, 29), at(2031, 2, 28), "year", 1, at(2032, 2, 29)),
        (at(2026, 11, 30, 12), at(2026, 11, 30, 12), "month", 3, at(2027, 2, 28, 12)),
        (at(2026, 3, 1), at(2026, 3, 1), "week", 2, at(2026, 3, 15)),
        (at(2026, 3, 1), at(2026, 3, 1), "day", 1, at(2026, 3, 2)),
        (at(2026, 6, 15), at(2026, 6, 1), "month", 1, at(2026, 6, 15)),
    ],
)
def test_period_ends(anchor, start, interval, count, end):
    """Months keep the anchor's day and fall back to the month's last; a period may lead up to a later anchor."""
    assert lifecycle.period_end(anchor, start, interval, count) == end


@given(MOMENTS, st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 12), st.integers(1, 30))
def test_periods_follow_each_other(anchor, interval, count, turns):
    """Each period ends after it starts, and the n-th end does not depend on the way there."""
    start = anchor
    for _ in range(turns):
        end = lifecycle.period_end(anchor, start, interval, count)
        assert end > start
        start = end
    months = turns * count * (12 if interval == "year" else 1)
    if interval in ("month", "year"):
        first, last = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(start, UTC)
        assert (last.year * 12 + last.month) - (first.year * 12 + first.month) == months
        assert last.day <= first.day and last.time() == first.time()


# States


def test_ended_states_are_final():
    """Nothing leads out of canceled or incomplete_expired, and every living state can be canceled."""
    for status in Status:
        if lifecycle.has_ended(status):
            assert not [pair for pair in lifecycle.TRANSITIONS if pair[0] is status]
        else:
            assert lifecycle.after(status, Cause.CANCELED) is Status.CANCELED


def test_every_state_can_be_reached(field_hint):
    """The table leads to each of Stripe's eight states."""
    reached = {None}
    for _ in Status:
        reached |= {after for (before, _), after in lifecycle.TRANSITIONS.items() if before in reached}
    assert reached - {None} == set(Status)
    literal = typing.get_args(field_hint("subscription", "status"))[0]
    assert {str(status) for status in Status} == set(typing.get_args(literal))


def test_an_impossible_change_is_an_error():
    """A pair the table does not know raises instead of inventing a state."""
    with pytest.raises(StripeError, match="that is canceled: paid"):
        lifecycle.after(Status.CANCELED, Cause.PAID)


def test_the_earliest_thing_is_due_and_ends_come_first():
    """Of simultaneous things the cancellation wins, so a subscription that ends is not renewed."""
    subscription = {"status": "active", "cancel_at": 100, "pause_collection": None, "_announced": None}
    items = [{"current_period_start": 0, "current_period_end": 100}]
    assert lifecycle.next_due(subscription, items) == lifecycle.Due(100, "cancel")
    assert lifecycle.next_due({**subscription, "cancel_at": 101}, items).action == "renew"
    paused = {**subscription, "status": "paused", "cancel_at": None, "_resumption": None}
    assert lifecycle.next_due(paused, items) is None


# Money


@given(st.integers(-10_000_000, 10_000_000), st.integers(0, 1000), st.integers(1, 1000))
def test_shares(amount, part, whole):
    """A share is at most half a unit away from the exact value, and symmetric for credits."""
    share = money.share(amount, part, whole)
    assert abs(Decimal(share) - Decimal(amount) * part / whole) <= Decimal("0.5")
    assert money.share(-amount, part, whole) == -share


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (900, "eur", "€9.00"),
        (-150, "usd", "-$1.50"),
        (123_456, "gbp", "£1,234.56"),
        (500, "jpy", "500 JPY"),
        (1, "chf", "0.01 CHF"),
    ],
)
def test_written_amounts(amount, currency, written):
    """Two decimals except where a currency has none; known signs in front, codes behind."""
    assert money.written(amount, currency) == written


PRICE = {
    "id": "price_1",
    "product": "prod_1",
    "currency": "eur",
    "unit_amount": 1000,
    "unit_amount_decimal": "1000",
    "recurring": None,
}


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_proration_of_a_quantity(moment, old, new):
    """Credit and charge add up to the difference for the time left, to the cent."""
    lines = invoicing.prorations((PRICE, old, "Pro"), (PRICE, new, "Pro"), (0, 1000), moment)
    left = 1000 - moment
    assert sum(line.amount for line in lines) == (new - old) * left
    assert [line.amount for line in lines] == ([-old * left, new * left] if left else [])


@given(st.lists(st.integers(-5000, 5000), max_size=5), st.integers(-5000, 5000))
def test_totals(amounts, balance):
    """Nothing is lost between total, amount due and the customer's balance; what is due is never negative."""
    totals = invoicing.totals([{"amount": amount, "discount_amounts": []} for amount in amounts], balance)
    assert totals.amount_due - -totals.balance == totals.total + balance
    assert totals.amount_due >= 0 >= totals.balance


def test_rates():
    """How a price reads on a line."""
    monthly = {**PRICE, "recurring": {"interval": "month", "interval_count": 1}}
    quarterly = {**PRICE, "recurring": {"interval": "month", "interval_count": 3}}
    assert [invoicing.rate(price) for price in (PRICE, monthly, quarterly)] == [
        "€10.00",
        "€10.00 / month",
        "€10.00 / every 3 months",
    ]


# Cards


def test_cards():
    """Every test card is found by its id and number, tokens too; nothing else is a card."""
    for card in cards.CARDS.values():
        assert cards.named(card.name) is card
        assert cards.named(card.number).number == card.number
    assert cards.named("tok_visa").name == "pm_card_visa"
    assert cards.named("tok_none") is None and cards.named("1234") is None


# Form encoding


@given(
    st.recursive(
        st.text(max_size=5),
        lambda inner: st.dictionaries(st.text("abcxyz019_", min_size=1, max_size=4), inner, min_size=1, max_size=3),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, dict))
)
def test_form_round_trip(nested):
    """Flattening and nesting are inverse."""
    assert nest(flatten(nested)) == nested


def test_form_details():
    """Brackets, empty brackets, empty values, and percent encoding."""
    assert parse("a[b][0]=x&a%5Bb%5D%5B1%5D=y&c=&d[]=1&d[]=2&e=%26+%3D") == {
        "a": {"b": {"0": "x", "1": "y"}},
        "c": "",
        "d": {"0": "1", "1": "2"},
        "e": "& =",
    }
    with pytest.raises(StripeError):
        parse("a]b=1")


def test_differences():
    """Old values of what changed: nested key by key, lists whole, null for what was not there."""
    before = {"a": 1, "b": {"x": 1, "y": 2}, "c": [1], "same": {"z": 1}, "gone": 5}
    now = {"a": 2, "b": {"x": 1, "y": 3}, "c": [1, 2], "same": {"z": 1}, "new": 7}
    assert difference(before, now) == {"a": 1, "b": {"y": 2}, "c": [1], "gone": 5, "new": None}


# Declarations against the SDK


_CALL = re.compile(r'"(get|post|delete)",\s*"(/v1[^"]*)"')
_PARAMS = re.compile(r'params: (?:Optional\[)?"(\w+)"')


def _sdk_calls(service):
    """Every (method, path) of the SDK's services with the names of the parameters it declares."""
    source = inspect.getsource(inspect.getmodule(type(service)))
    for name, member in vars(type(service)).items():
        if inspect.isfunction(member) and not name.startswith("_") and not name.endswith("_async"):
            written = inspect.getsource(member)
            method, path = _CALL.search(written).groups()
            yield (method.upper(), _anonymous(path)), _declared(source, written)
    for name in inspect.get_annotations(type(service)):
        yield from _sdk_calls(getattr(service, name))


def _anonymous(path):
    return re.sub(r"{\w+}", "{}", path)


def _declared(source, written):
    named = _PARAMS.search(written)
    if named is None:
        return set()
    module = re.search(rf"from (stripe\.params[\w.]*) import \(?\s*{named[1]}\b", source)[1]
    return set(inspect.get_annotations(getattr(importlib.import_module(module), named[1])))


OF_THE_CLI = {
    ("POST", "/v1/events/{}/retry"),
    ("GET", "/v1/payment_pages/{}"),
    ("POST", "/v1/payment_pages/{}/confirm"),
}
"""What only Stripe's CLI calls."""


def test_every_accepted_parameter_exists():
    """What the sandbox accepts, the SDK can send; and each call it answers is a call of the SDK."""
    known = dict(_sdk_calls(stripe.StripeClient("sk_test_x").v1))
    assert len(known) > 400
    for operation in resources.OPERATIONS:
        call = (operation.method, _anonymous(operation.path))
        if call in OF_THE_CLI:
            continue
        assert call in known, f"the SDK has no {call}"
        invented = set(operation.accepts) - known[call]
        assert not invented, f"{operation.method} {operation.path}: {sorted(invented)}"


def test_every_expandable_field_is_one(field_hint):
    """What the sandbox lets a caller expand, the SDK declares as an id or an object of that kind."""
    for kind, fields in rendering.EXPANDABLE.items():
        for path, target in fields.items():
            hint = field_hint(kind, path)
            lists = [each for each in (hint, *typing.get_args(hint)) if typing.get_origin(each) is list]
            if lists:
                (hint,) = typing.get_args(lists[0])
            members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
            assert str in members, f"{kind}.{path}"
            assert any(getattr(member, "OBJECT_NAME", None) == target for member in members), f"{kind}.{path}"


def test_every_operation_has_its_own_path():
    """No two declarations answer the same call."""
    calls = [(each.method, each.path) for each in resources.OPERATIONS]
    assert len(calls) == len(set(calls))


GARBAGE = ["", "x", "-1", "99999999999999999999", "{}"]


@pytest.mark.no_cover  # tracing triples what it takes, and it covers nothing that others do not
def test_no_garbage_is_an_internal_error(here):
    """Whatever is sent for a parameter, as a value, a list or an object, is taken or refused, never a 500."""
    for operation in resources.OPERATIONS:
        path = re.sub(r"{\w+}", "pm_card_visa", operation.path)
        for name in [*operation.accepts, "expand"]:
            bodies = [f"{name}={value}" for value in GARBAGE]
            bodies += [f"{name}[]=x", f"{name}[0][id]=x", f"{name}[gte]=x", f"{name}=1&{name}[a]=2"]
            for body in bodies:
                assert here.status(operation.method, path, body) < 500, f"{operation.method} {path} {body}"
