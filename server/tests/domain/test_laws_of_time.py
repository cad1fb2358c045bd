"""Laws of passes, of what happens later, and of cutting time into stretches; tried on thousands of histories."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollhouse_server.domain.catalog import Policy, Value
from tollhouse_server.domain.entitlements import Entitlement, Reason, answer, compute
from tollhouse_server.domain.evidence import DisputeStatus, Evidence, Grant, Payment, PaymentStatus, Purchase
from tollhouse_server.domain.evidence import PurchaseItem as Item
from tollhouse_server.domain.merging import merge
from tollhouse_server.domain.money import Money
from tollhouse_server.domain.openings import Opening, openings
from tollhouse_server.domain.stacking import stacked
from tollhouse_server.domain.time import Period, boundaries

LAW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
START, EVER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)
FEATURES = ("credits", "export", "pages")

# Few different instants, so that edges meet: that is where the mistakes are.
instants = st.integers(0, 40).map(lambda number: START + timedelta(days=number))
products = st.sampled_from(["week", "week", "week", "seats", "lifetime", "basic"])


@st.composite
def payments(draw: st.DrawFn) -> Payment:
    refunded, dispute = draw(st.sampled_from([0, 0, 100, 900])), draw(st.none() | st.sampled_from(DisputeStatus))
    refunded_at, disputed_at = draw(instants) if refunded else None, draw(instants) if dispute else None
    return Payment(Money(900, "eur"), refunded, refunded_at, dispute, disputed_at)


items = st.builds(
    lambda product, quantity: Item(f"price_{product}", product, None, quantity), products, st.integers(0, 3)
)
bought = st.builds(
    Purchase,
    id=st.just("cs"),
    payment_status=st.sampled_from([PaymentStatus.PAID, PaymentStatus.PAID, PaymentStatus.UNPAID]),
    items=st.lists(items, min_size=1, max_size=2).map(tuple),
    since=instants,
    payment=st.none() | payments(),
)
kept = bought.map(lambda one: replace(one, payment=None, payment_status=PaymentStatus.PAID))


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    override = draw(st.booleans())
    value: Value = draw(st.sampled_from([0, 3, 7, "unlimited"] if override else [3, 7, "unlimited"]))
    starts_at, ends_at, given_at = draw(instants), draw(st.none() | instants), draw(st.none() | instants)
    feature = draw(st.sampled_from(["pages", "credits"]))
    return Grant("gr", starts_at, "why", "Ada", feature, value, ends_at=ends_at, override=override, given_at=given_at)


def numbered(sources: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(sources, max_size=most).map(
        lambda some: tuple(replace(one, id=f"{one.id}_{number}") for number, one in enumerate(some))
    )


def read(make: SimpleNamespace, evidence: Evidence, at: datetime) -> dict[str, tuple[Value, bool]]:
    """What is answered at `at`, of all time."""
    catalog = make.catalog()
    history = compute(catalog, evidence, Policy(), EVER)
    found = (answer(history, catalog.features[code], at) for code in FEATURES)
    return {one.feature: (one.value, one.allowed) for one in found}


def size(value: Value) -> float:
    return float("inf") if value == "unlimited" else float(value)


@LAW
@given(purchases=numbered(bought, 5), more=bought, at=instants)
def test_a_further_purchase_takes_nothing_away(
    make: SimpleNamespace, purchases: tuple[Purchase, ...], more: Purchase, at: datetime
) -> None:
    """Whatever was bought, refunded and disputed, of it and of the others, and wherever it comes in the row."""
    before = read(make, Evidence(purchases=purchases), at)
    after = read(make, Evidence(purchases=(*purchases, more)), at)
    assert all(size(before[code][0]) <= size(after[code][0]) for code in FEATURES)


@LAW
@given(purchases=numbered(kept, 5))
def test_no_day_that_was_paid_for_is_lost(make: SimpleNamespace, purchases: tuple[Purchase, ...]) -> None:
    """The passes of a product do not overlap, and last together as long as all of them by themselves."""
    passes = sorted(
        (stands.period for stands in stacked(make.catalog(), purchases, Policy()).values() if stands.period),
        key=lambda period: period.start,
    )
    assert all(one.end and one.end <= following.start for one, following in pairwise(passes))
    weeks = sum(item.quantity for purchase in purchases for item in purchase.items if item.product == "week")
    assert sum(((one.end or one.start) - one.start for one in passes), timedelta()) == weeks * timedelta(days=7)


@LAW
@given(purchases=numbered(bought, 4), place=st.integers(0, 3), disputed_at=instants, at=instants)
def test_a_dispute_that_is_won_restores_everything(
    make: SimpleNamespace, purchases: tuple[Purchase, ...], place: int, disputed_at: datetime, at: datetime
) -> None:
    """All is as if it had never been, of the passes that moved up meanwhile too."""
    if place >= len(purchases):
        return
    won = Payment(Money(900, "eur"), dispute=DisputeStatus.WON, disputed_at=disputed_at)
    with_it, without = (
        Evidence(purchases=(*purchases[:place], replace(purchases[place], payment=paid), *purchases[place + 1 :]))
        for paid in (won, None)
    )
    assert read(make, with_it, at) == read(make, without, at)


@LAW
@given(data=st.data(), purchases=numbered(kept, 4), given=numbered(grants(), 3), happens=instants, at=instants)
def test_what_happens_later_changes_nothing_before(
    make: SimpleNamespace,
    data: st.DataObject,
    purchases: tuple[Purchase, ...],
    given: tuple[Grant, ...],
    happens: datetime,
    at: datetime,
) -> None:
    """What was served at any instant is what is computed for it today: a refund, a dispute, a revocation, another
    purchase and an override act from their own instant on."""
    if not at < happens:
        return
    paid = Money(900, "eur")
    events: list[Evidence] = [Evidence(purchases=(*purchases, replace(data.draw(kept), since=happens)), grants=given)]
    override = Grant("ov", happens, "why", "Ada", "pages", 0, override=True)
    events.append(Evidence(purchases=purchases, grants=(*given, override)))
    for number, one in enumerate(purchases):
        for payment in (
            Payment(paid, 900, happens),
            Payment(paid, dispute=DisputeStatus.UNDER_REVIEW, disputed_at=happens),
            Payment(paid, dispute=DisputeStatus.LOST, disputed_at=happens),
        ):
            changed = replace(one, payment=payment)
            events.append(Evidence(purchases=(*purchases[:number], changed, *purchases[number + 1 :]), grants=given))
    for number, grant in enumerate(given):
        revoked = (*given[:number], replace(grant, revoked_at=happens), *given[number + 1 :])
        events.append(Evidence(purchases=purchases, grants=revoked))
    served = read(make, Evidence(purchases=purchases, grants=given), at)
    assert [read(make, evidence, at) for evidence in events] == [served] * len(events)


@LAW
@given(purchases=numbered(bought, 4), given=numbered(grants(), 3), at=instants)
def test_a_whole_history_says_at_each_instant_what_was_computed_then(
    make: SimpleNamespace, purchases: tuple[Purchase, ...], given: tuple[Grant, ...], at: datetime
) -> None:
    """Reading all of time at an instant is the answer that was served at it, with its reason and its end."""
    catalog, evidence = make.catalog(), Evidence(purchases=purchases, grants=given)
    history, then = (compute(catalog, evidence, Policy(), instant) for instant in (EVER, at))
    for code in FEATURES:
        assert answer(history, catalog.features[code], at) == answer(then, catalog.features[code], at)


def cut_slowly(make: SimpleNamespace, evidence: Evidence, code: str) -> list[Entitlement]:
    """The definition of stretches: time cut at every edge, each piece judged alone, equal neighbours made one."""
    catalog = make.catalog()
    passes = stacked(catalog, evidence.purchases, Policy())
    opened = list(openings(catalog, evidence, Policy(), catalog.features[code], passes))
    counting = [(opening.standing.period, opening) for opening in opened if opening.standing.period]
    edges = boundaries(period for period, _ in counting)
    stretches: list[Entitlement] = []
    for start, end in zip(edges, [*edges[1:], None], strict=False):
        told = judged(make, code, [opening for period, opening in counting if start in period])
        last = stretches[-1] if stretches else None
        if told and last and last.period.end == start and (last.value, last.reasons) == told:
            stretches[-1] = replace(last, period=Period(last.period.start, end))
        elif told:
            stretches.append(Entitlement(code, told[0], Period(start, end), told[1]))
    return stretches


def judged(make: SimpleNamespace, code: str, opened: list[Opening]) -> tuple[Value, tuple[Reason, ...]] | None:
    overriding = [one for one in opened if one.overrides]
    if overriding:
        last = max(overriding, key=lambda one: (one.overrides, one.source_id))
        return last.value, (Reason(last.source_id, "grant", "overridden"),)
    value = merge(make.catalog().features[code], [one.value for one in opened])
    opened.sort(key=lambda one: (-size(one.value), one.kind, one.source_id, one.standing.rule))
    reasons = tuple(dict.fromkeys(Reason(one.source_id, one.kind, str(one.standing.rule)) for one in opened))
    return (value, reasons) if value else None


@LAW
@given(purchases=numbered(bought, 5), given=numbered(grants(), 5))
def test_going_through_time_once_is_judging_each_piece(
    make: SimpleNamespace, purchases: tuple[Purchase, ...], given: tuple[Grant, ...]
) -> None:
    """The one pass over the edges finds the very stretches of the definition, in their order, with their reasons."""
    evidence = Evidence(purchases=purchases, grants=given)
    computed = compute(make.catalog(), evidence, Policy(), EVER)
    for code in FEATURES:
        assert [one for one in computed if one.feature == code] == cut_slowly(make, evidence, code)
