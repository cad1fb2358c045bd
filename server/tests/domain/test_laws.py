"""Laws of access that hold for any evidence, tried on thousands of customers that nobody thought of."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollhouse.snapshots import Snapshot
from tollhouse.wire import decode
from tollhouse_server.domain.catalog import (
    Catalog,
    Combine,
    Feature,
    Kind,
    OnDispute,
    OnPause,
    OnRefund,
    Policy,
    Value,
)
from tollhouse_server.domain.changes import diff
from tollhouse_server.domain.doubles import doubles, may_be_cancelled, policy_of
from tollhouse_server.domain.entitlements import answer, compute, dump, load, next_change
from tollhouse_server.domain.evidence import (
    DisputeStatus,
    Evidence,
    Grant,
    Payment,
    PaymentStatus,
    Purchase,
    PurchaseItem,
    Source,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from tollhouse_server.domain.explain import explain
from tollhouse_server.domain.merging import fits, merge
from tollhouse_server.domain.money import Money
from tollhouse_server.domain.owning import OVER
from tollhouse_server.domain.rules import Rule
from tollhouse_server.domain.standing import standing
from tollhouse_server.domain.time import Period
from tollhouse_server.state import customer_snapshot

LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Few different instants, so that edges meet: that is where the mistakes are.
days = st.integers(0, 12).map(lambda number: datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=5 * number))
optional_days = st.none() | days
products = st.sampled_from(
    ["pro", "basic", "patient", "lifetime", "week", "seats", "old", "never-in-the-catalog", None]
)
quantities = st.integers(0, 3)
policies = st.builds(
    Policy,
    grace=st.sampled_from([timedelta(0), timedelta(days=5)]),
    renewal_leeway=st.sampled_from([timedelta(0), timedelta(days=5)]),
    on_pause=st.sampled_from(OnPause),
    on_full_refund=st.sampled_from(OnRefund),
    on_partial_refund=st.sampled_from(OnRefund),
    on_dispute=st.sampled_from(OnDispute),
)
Default = str | None
defaults = st.sampled_from([None, "basic", "pro", "lifetime", "week"])
"""What everybody has: nothing, limits, one seat of everything, what is unlimited, what would lapse if bought."""


@st.composite
def payments(draw: st.DrawFn) -> Payment:
    refunded, dispute = draw(st.sampled_from([0, 100, 900])), draw(st.none() | st.sampled_from(DisputeStatus))
    refunded_at, disputed_at = draw(days) if refunded else None, draw(days) if dispute else None
    return Payment(Money(900, "eur"), refunded, refunded_at, dispute, disputed_at)


@st.composite
def subscription_items(draw: st.DrawFn) -> SubscriptionItem:
    start = draw(days)
    product = draw(products)
    return SubscriptionItem(f"price_{product}", product, None, draw(quantities), start, start + timedelta(days=30))


VALUES: dict[str, list[Value]] = {
    "export": [True], "pages": [7, "unlimited"], "credits": [7, "unlimited"], "gone": [True, 7],
}  # fmt: skip
CLOSED: dict[str, list[Value]] = {"export": [False], "pages": [0], "credits": [0], "gone": [False, 0]}


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    product = draw(st.sampled_from(["pro", "week", "never-in-the-catalog", None]))
    feature = None if product else draw(st.sampled_from(list(VALUES)))
    value = draw(st.sampled_from([True, 7, "unlimited"])) if feature else None
    ends_at, revoked_at = draw(optional_days), draw(optional_days)
    return Grant("gr", draw(days), "a gift", "Ada", feature, value, product, ends_at, revoked_at)


@st.composite
def overrides(draw: st.DrawFn) -> Grant:
    """Also to a closed value, and to one that the feature no longer takes."""
    feature = draw(st.sampled_from(list(VALUES)))
    value = draw(st.sampled_from([*VALUES[feature], *CLOSED[feature], 3]))
    given_at, ends_at, revoked_at = draw(optional_days), draw(optional_days), draw(optional_days)
    return Grant(
        "ov", draw(days), "an exception", "Ada", feature, value,
        ends_at=ends_at, revoked_at=revoked_at, override=True, given_at=given_at,
    )  # fmt: skip


subscriptions = st.builds(
    Subscription,
    id=st.just("sub"),
    status=st.sampled_from(SubscriptionStatus) | st.just(SubscriptionStatus.ACTIVE),
    items=st.lists(subscription_items(), max_size=2).map(tuple),
    started_at=days,
    trial_end=optional_days,
    cancel_at=optional_days,
    cancel_at_period_end=st.booleans(),
    collection_paused=st.booleans(),
    paid_through=optional_days,
    unpaid_since=optional_days,
    payment=st.none() | payments(),
)
purchases = st.builds(
    Purchase,
    id=st.just("cs"),
    payment_status=st.sampled_from(PaymentStatus),
    items=st.lists(
        st.builds(lambda product, quantity: PurchaseItem(f"price_{product}", product, None, quantity),
                  products, quantities),
        min_size=1, max_size=2,
    ).map(tuple),
    since=days,
    payment=st.none() | payments(),
)  # fmt: skip


def numbered(sources: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Up to two sources, each with an id of its own."""
    return st.lists(sources, max_size=2).map(
        lambda some: tuple(replace(one, id=f"{one.id}_{number}") for number, one in enumerate(some))
    )


evidences = st.builds(Evidence, numbered(subscriptions), numbered(purchases), numbered(grants() | overrides()))
FEATURES = ("credits", "export", "pages")
OPENING_NOTHING = (Rule.OPENS_OTHER_FEATURES, Rule.PRODUCT_UNKNOWN)


def size(value: Value) -> float:
    return float("inf") if value == "unlimited" else float(value)


def counts_slowly(catalog: Catalog, evidence: Evidence) -> Iterator[tuple[Source, str | None, int, Period | None]]:
    """Each line of each source: its product, how many of it, and when it counts; passes one after the other."""
    for source in (*evidence.subscriptions, *evidence.grants):
        lines = [(source.product, 1)] if isinstance(source, Grant) else [(i.product, i.quantity) for i in source.items]
        for code, quantity in lines:
            yield source, code, quantity, standing(source, catalog.policy_of(code)).period
    ends: dict[str, datetime] = {}
    for purchase in sorted(evidence.purchases, key=lambda one: (one.since, one.id)):
        for item in sorted(purchase.items, key=lambda one: (one.stripe_price, one.quantity)):
            product = catalog.products.get(item.product or "")
            whole = standing(purchase, catalog.policy_of(item.product)).period
            if product and product.lasts and whole:
                stacks = not any(opens.per_seat for opens in product.opens.values())
                begins = max(whole.start, ends.get(product.code, whole.start)) if stacks else whole.start
                over = begins + product.lasts * (item.quantity if stacks else 1)
                whole = Period.maybe(begins, over if whole.end is None else min(over, whole.end))
                if whole and whole.end and stacks:
                    ends[product.code] = whole.end
            yield purchase, item.product, item.quantity, whole


def told_slowly(catalog: Catalog, evidence: Evidence, feature: Feature, at: datetime) -> Value:
    """What the feature is worth, worked out from nothing but standings and comparisons."""
    values: list[Value] = []
    exactly: list[tuple[datetime, str, Value]] = []
    for source, code, quantity, period in counts_slowly(catalog, evidence):
        product = catalog.products.get(code or "")
        opens = product.opens.get(feature.code) if product else None
        if not (period and period.start <= at and (period.end is None or at < period.end)):
            continue
        if isinstance(source, Grant) and source.feature is not None:
            if source.feature == feature.code and source.value is not None and fits(feature, source.value):
                values.append(source.value)
                if source.override:
                    exactly.append((source.given_at or source.starts_at, source.id, source.value))
        elif opens is not None:
            values.append(opens.value * quantity if opens.per_seat else opens.value)
    if exactly:
        return max(exactly)[2]
    everybodys = catalog.products[catalog.default_product].opens.get(feature.code) if catalog.default_product else None
    least: Value = everybodys.value if everybodys else 0
    if feature.kind is Kind.SWITCH:
        return any([*values, least])
    if "unlimited" in [*values, least]:
        return "unlimited"
    return max((sum if feature.combine is Combine.SUM else max)([0, *values]), least)


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days)
def test_an_answer_is_what_counts_at_that_instant(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, default: Default, at: datetime
) -> None:
    """Cutting time into stretches gives the same values as judging each instant by itself."""
    catalog = make.catalog(policy, default)
    computed = compute(catalog, evidence, policy, at)
    for code in FEATURES:
        read, slowly = (
            answer(computed, catalog.features[code], at),
            told_slowly(catalog, evidence, catalog.features[code], at),
        )
        assert (read.value, read.allowed) == (slowly, bool(slowly))


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days, later=days)
def test_time_changes_nothing_that_was_not_foretold(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, default: Default, at: datetime, later: datetime
) -> None:
    """A snapshot read at a later instant answers as one computed then; until `next_change` it does not change."""
    at, later = min(at, later), max(at, later)
    catalog = make.catalog(policy, default)
    early, late = (compute(catalog, evidence, policy, instant) for instant in (at, later))
    assert late == tuple(one for one in early if one.period.end is None or later < one.period.end)
    change = next_change(early, at)
    for code in FEATURES:
        feature = catalog.features[code]
        now, then = answer(early, feature, at), answer(early, feature, later)
        assert then == answer(late, feature, later)
        if change is None or later < change:
            assert now == then
        if now.valid_until is None or later < now.valid_until:
            assert (now.allowed, now.value) == (then.allowed, then.value)
        elif later == now.valid_until:
            # Where an override that closed ends and nothing opens, the reason is all that changes.
            assert (now.allowed, now.value, now.reason) != (then.allowed, then.value, then.reason)
            assert now.reason == "overridden" or (now.allowed, now.value) != (then.allowed, then.value)


@LAW
@given(source=subscriptions | grants() | purchases.map(lambda one: replace(one, items=one.items[:1])), policy=policies)
def test_nothing_is_open_at_the_instant_it_ends(make: SimpleNamespace, source: Source, policy: Policy) -> None:
    """What one source opens is open a microsecond before its end and closed at the end itself."""
    catalog = make.catalog(policy)
    evidence = Evidence(*([source] if isinstance(source, kind) else () for kind in (Subscription, Purchase, Grant)))
    for stretch in compute(catalog, evidence, policy, datetime(2000, 1, 1, tzinfo=UTC)):
        if stretch.period.end is not None:
            feature, at = catalog.features[stretch.feature], stretch.period.end
            assert answer([stretch], feature, at - timedelta(microseconds=1)).allowed
            assert not answer(compute(catalog, evidence, policy, at), feature, at).allowed


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days, random=st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_never_matters(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, default: Default, at: datetime, random: Random
) -> None:
    """Sources and their items may come in any order."""

    def shuffled(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(values, len(values)))

    other = Evidence(
        shuffled(tuple(replace(one, items=shuffled(one.items)) for one in evidence.subscriptions)),
        shuffled(tuple(replace(one, items=shuffled(one.items)) for one in evidence.purchases)),
        shuffled(evidence.grants),
    )
    catalog = make.catalog(policy, default)
    assert compute(catalog, evidence, policy, at) == compute(catalog, other, policy, at)


@LAW
@given(evidence=evidences, more=grants() | purchases | subscriptions, policy=policies, default=defaults, at=days)
def test_more_evidence_never_takes_anything_away(
    make: SimpleNamespace, evidence: Evidence, more: Source, policy: Policy, default: Default, at: datetime
) -> None:
    """A further source that is no override closes no feature, lowers no limit, and ends none sooner than it ended."""
    added = replace(
        evidence,
        subscriptions=evidence.subscriptions + ((more,) if isinstance(more, Subscription) else ()),
        purchases=evidence.purchases + ((more,) if isinstance(more, Purchase) else ()),
        grants=evidence.grants + ((more,) if isinstance(more, Grant) else ()),
    )
    catalog = make.catalog(policy, default)
    before, after = (compute(catalog, one, policy, at) for one in (evidence, added))
    for code in FEATURES:
        for instant in (at, *(one.period.start for one in after if one.period.start > at)):
            less, greater = (answer(one, catalog.features[code], instant) for one in (before, after))
            assert size(less.value) <= size(greater.value)


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days)
def test_explain_agrees(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, default: Default, at: datetime
) -> None:
    """The verdict is the answer, and the sources that count make up its value and hold its rule."""
    catalog = make.catalog(policy, default)
    computed = compute(catalog, evidence, policy, at)
    for code in FEATURES:
        feature = catalog.features[code]
        told, read = explain(catalog, evidence, feature, at), answer(computed, feature, at)
        assert (told.allowed, told.value, told.valid_until, told.rule) == (
            read.allowed, read.value, read.valid_until, read.reason,
        )  # fmt: skip
        counting = [source for source in told.sources if source.counts]
        least = [source.value for source in counting if source.kind == "default"]
        values = [source.value for source in counting if source.kind != "default"]
        assert merge(feature, values, *least) == read.value
        assert not read.allowed or (read.source, read.reason) in {(source.id, source.rule) for source in counting}
        assert {source.id for source in told.sources} == {
            *(one.id for one in evidence.sources if getattr(one, "items", 1)),
            *([default] if default else []),
        }
        for source in told.sources:
            has_none = source.kind in ("grant", "default") or source.rule in OPENING_NOTHING
            assert source.policy == (None if has_none else catalog.policy_of(source.products[0]))


@LAW
@given(evidence=evidences, other=evidences, policy=policies, default=defaults, at=days)
def test_diff_tells_exactly_what_is_different(
    make: SimpleNamespace, evidence: Evidence, other: Evidence, policy: Policy, default: Default, at: datetime
) -> None:
    """Nothing differs from itself, and every feature whose answer differs is told of."""
    catalog = make.catalog(policy, default)
    before, after = (compute(catalog, one, policy, at) for one in (evidence, other))
    assert diff(before, before, at) == ()
    differing = set()
    for code in FEATURES:
        old, new = (answer(one, catalog.features[code], at) for one in (before, after))
        if (old.value, old.valid_until) != (new.value, new.valid_until):
            differing.add(code)
    assert {change.feature for change in diff(before, after, at)} == differing


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days)
def test_a_snapshot_survives_being_stored(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, default: Default, at: datetime
) -> None:
    """What is read back from JSON is what was stored."""
    computed = compute(make.catalog(policy, default), evidence, policy, at)
    assert load(json.loads(json.dumps(dump(computed)))) == computed


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days)
def test_stretches_are_disjoint_ordered_and_no_longer_than_needed(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, default: Default, at: datetime
) -> None:
    """Of one feature, each stretch begins where or after the last one ended, and differs from it where they touch."""
    computed = compute(make.catalog(policy, default), evidence, policy, at)
    assert [one.feature for one in computed] == sorted(one.feature for one in computed)
    for before, after in pairwise(computed):
        if before.feature == after.feature:
            assert before.period.end is not None
            assert before.period.end <= after.period.start
            assert before.period.end < after.period.start or (before.value, before.reasons) != (
                after.value,
                after.reasons,
            )


@LAW
@given(evidence=evidences, policy=policies, default=defaults, at=days, later=days, past=st.integers(0, 2))
def test_a_copy_in_an_app_answers_as_the_service_does(
    make: SimpleNamespace,
    evidence: Evidence,
    policy: Policy,
    default: Default,
    at: datetime,
    later: datetime,
    past: int,
) -> None:
    """The client reads a snapshot, at any later instant, exactly as the service answers from the same entitlements."""
    at, later = min(at, later), max(at, later) + timedelta(microseconds=past)
    catalog = make.catalog(policy, default)
    computed = compute(catalog, evidence, policy, at)
    told = customer_snapshot("app", "ada", 7, catalog, computed, at).model_dump_json(by_alias=True)
    copy = decode(Snapshot, json.loads(told))
    for code, feature in catalog.features.items():
        served, read = answer(computed, feature, later), copy.check(code, later)
        value = inf if served.value == "unlimited" else served.value
        assert (read.allowed, read.value, read.valid_until, read.reason, read.source, read.version) == (
            served.allowed, value, served.valid_until, served.reason, served.source, 7,
        )  # fmt: skip
        assert type(read.value) is type(value)


LIMITS = st.integers(0, 9) | st.just("unlimited")


@LAW
@given(values=st.lists(LIMITS, max_size=4), others=st.lists(LIMITS, max_size=4), combine=st.sampled_from(Combine))
def test_merging_minds_neither_order_nor_grouping(values: list[Value], others: list[Value], combine: Combine) -> None:
    """Merging is commutative and associative, and a further value lowers nothing."""
    feature = Feature("pages", "Pages", Kind.LIMIT, combine)
    merged = merge(feature, values + others)
    assert merged == merge(feature, others + values)
    assert merged == merge(feature, [merge(feature, values), merge(feature, others)])
    assert size(merged) >= size(merge(feature, values))


@LAW
@given(evidence=evidences, policy=policies, at=days, new=st.booleans(), random=st.randoms(use_true_random=False))
def test_of_doubles_the_oldest_is_never_ended(
    make: SimpleNamespace, evidence: Evidence, policy: Policy, at: datetime, new: bool, random: Random
) -> None:
    """In any order the same are found; where the newer may go, access through the older goes on at that instant."""
    catalog = make.catalog(policy)
    ids = frozenset(one.id for one in evidence.subscriptions) if new else frozenset[str]()
    found = doubles(catalog, evidence, ids)
    subscriptions = random.sample(evidence.subscriptions, len(evidence.subscriptions))
    assert doubles(catalog, Evidence(tuple(subscriptions)), ids) == found
    for one in found:
        assert (one.older.started_at, one.older.id) < (one.newer.started_at, one.newer.id)
        assert one.older.status not in OVER and one.newer.status not in OVER
        if may_be_cancelled(catalog, one, ids, at):
            period = standing(one.older, policy_of(catalog, one.older, one.plan)).period
            assert period is not None and at in period
    assert not {one.newer.id for one in found} & {one.older.id for one in found}
