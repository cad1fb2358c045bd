"""Whether a subscription may be changed, and what is done for it; what stands until and from a scheduled change."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse_server.domain import changing
from tollhouse_server.domain.catalog import Catalog, Price
from tollhouse_server.domain.changing import Verb
from tollhouse_server.domain.entitlements import answer, compute
from tollhouse_server.domain.errors import Problem
from tollhouse_server.domain.evidence import Evidence, PlannedItem, ScheduledChange, Subscription, SubscriptionStatus
from tollhouse_server.domain.explain import explain
from tollhouse_server.domain.money import Money


def price(product: str = "basic", interval: Any = "month") -> Price:
    return Price(f"app.{product}.monthly", product, Money(900, "eur"), interval)


def grouped(make: SimpleNamespace) -> Catalog:
    """`pro` and `basic` are plans of one group."""
    catalog = make.catalog()
    plans = {code: replace(catalog.products[code], plan_group="plan") for code in ("pro", "basic")}
    return replace(catalog, products=catalog.products | plans)


def planned(make: SimpleNamespace, product: str = "basic", at: float = 30, quantity: int = 1) -> ScheduledChange:
    return ScheduledChange(make.day(at), (PlannedItem(f"price_{product}", product, None, quantity),))


def refusal(make: SimpleNamespace, *subscriptions: Subscription, to: Price | None = None) -> str:
    with pytest.raises(Problem) as refused:
        changing.line_to_change(grouped(make), Evidence(subscriptions), to or price())
    return refused.value.code


def test_what_a_plan_change_is_refused_with(make: SimpleNamespace) -> None:
    """Each by its own code; where it is not plain which line is meant, nothing is guessed."""
    running = make.subscription()
    two = replace(running, items=(make.item("pro"), make.item("basic")))
    assert refusal(make) == "no-subscription"
    assert refusal(make, running, to=price("lifetime", None)) == "price-not-recurring"
    assert refusal(make, running, to=price("week")) == "other-plan-group"
    assert refusal(make, running, replace(running, id="sub_2")) == "several-subscriptions"
    assert refusal(make, two) == "several-items"
    assert refusal(make, replace(running, cancel_at_period_end=True)) == "subscription-ends"
    for status in (SubscriptionStatus.INCOMPLETE, SubscriptionStatus.UNPAID, SubscriptionStatus.PAUSED):
        assert refusal(make, replace(running, status=status)) == "subscription-not-live"
    for status in (SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED):
        assert refusal(make, replace(running, status=status)) == "no-subscription"


def test_what_a_plan_change_is(make: SimpleNamespace) -> None:
    """What is so already, or planned already, is no change; the plan there is takes back what was planned."""
    running = make.subscription()

    def verb(one: Subscription, product: str, quantity: int, when: changing.When) -> Verb | None:
        line = changing.line_to_change(grouped(make), Evidence((one,)), price())
        return changing.verb_of_change(line, f"price_{product}", quantity, when)

    waiting = replace(running, scheduled_change=planned(make))
    assert verb(running, "pro", 1, "now") is verb(running, "pro", 1, "period_end") is None
    assert verb(running, "pro", 2, "now") is verb(running, "basic", 1, "now") is Verb.CHANGE_NOW
    assert verb(waiting, "basic", 1, "now") is Verb.CHANGE_NOW
    assert verb(running, "basic", 1, "period_end") is verb(waiting, "basic", 2, "period_end") is Verb.CHANGE_LATER
    assert verb(waiting, "basic", 1, "period_end") is None
    assert verb(waiting, "pro", 1, "now") is verb(waiting, "pro", 1, "period_end") is Verb.WITHDRAW


def test_which_subscription_ends(make: SimpleNamespace) -> None:
    """The one that is named, else the only one that runs; one that is over is found for whoever asks twice."""
    running, over = make.subscription(), make.subscription(id="sub_2", status=SubscriptionStatus.CANCELED)

    def found(*subscriptions: Subscription, named: str | None = None) -> str:
        try:
            return changing.subscription_to_end(Evidence(subscriptions), named).id
        except Problem as refused:
            return refused.code

    assert found(running, over) == found(running, over, named="sub_1") == "sub_1"
    assert found(running, over, named="sub_2") == found(over) == "sub_2"
    assert found(running, named="sub_3") == "subscription-not-found"
    assert found(running, replace(running, id="sub_3")) == "several-subscriptions"
    assert found() == found(over, replace(over, id="sub_4")) == "no-subscription"


def test_what_an_end_is(make: SimpleNamespace) -> None:
    """Nothing where it has ended or will by then; a later date is brought forward."""
    running = make.subscription()
    over = replace(running, status=SubscriptionStatus.CANCELED)
    ending, later = replace(running, cancel_at=make.day(30)), replace(running, cancel_at=make.day(300))
    assert changing.verb_of_end(running, "period_end") is Verb.CANCEL_LATER
    assert changing.verb_of_end(later, "period_end") is Verb.CANCEL_LATER
    assert changing.verb_of_end(running, "now") is changing.verb_of_end(ending, "now") is Verb.CANCEL_NOW
    assert changing.verb_of_end(ending, "period_end") is changing.verb_of_end(over, "now") is None


def test_what_a_resumption_is(make: SimpleNamespace) -> None:
    """All that would stop it is taken back; where nothing does, nothing is done; what is over stays over."""
    running = make.subscription()
    for stops in (
        {"cancel_at_period_end": True},
        {"cancel_at": make.day(9)},
        {"scheduled_change": planned(make)},
        {"collection_paused": True},
        {"status": SubscriptionStatus.PAUSED},
    ):
        assert changing.verb_of_resumption(replace(running, **stops)) is Verb.RESUME
    assert changing.verb_of_resumption(running) is None
    with pytest.raises(changing.SubscriptionNotLive):
        changing.verb_of_resumption(replace(running, status=SubscriptionStatus.CANCELED))


def test_whether_it_came_about(make: SimpleNamespace) -> None:
    """What was cut short is judged by what Stripe has: so, or not so."""
    running = make.subscription()
    new = PlannedItem("price_basic", "basic", None, 1)
    changed = replace(running, items=(make.item("basic"),))
    waiting = replace(running, scheduled_change=planned(make))
    ending = replace(running, cancel_at=make.day(30))
    over = replace(running, status=SubscriptionStatus.CANCELED)
    so = {
        Verb.CHANGE_NOW: (changed, running),
        Verb.CHANGE_LATER: (waiting, running),
        Verb.WITHDRAW: (running, waiting),
        Verb.CANCEL_NOW: (over, ending),
        Verb.CANCEL_LATER: (ending, running),
        Verb.RESUME: (running, ending),
    }
    assert set(so) == set(Verb)
    for verb, (yes, no) in so.items():
        assert (changing.came_about(verb, yes, new), changing.came_about(verb, no, new)) == (True, False)


def value(make: SimpleNamespace, one: Subscription, feature: str, at: float) -> object:
    catalog, evidence = make.catalog(), Evidence((one,))
    entitlements = compute(catalog, evidence, catalog.policy, make.day(at))
    return answer(entitlements, catalog.features[feature], make.day(at)).value


def test_a_scheduled_change_takes_effect_at_its_instant(make: SimpleNamespace) -> None:
    """The old limit lasts until exactly then and gets no leeway; the new one begins then, and has it."""
    one = make.subscription(scheduled_change=planned(make))
    moments = (0, 29.999, 30, 32.999, 33)
    assert [value(make, one, "pages", at) for at in moments] == [500, 500, 100, 100, 0]
    assert [value(make, one, "export", at) for at in moments] == [True, True, False, False, False]
    assert [value(make, one, "credits", at) for at in moments] == [10, 10, 5, 5, 0]


def test_a_line_that_stays_is_not_cut(make: SimpleNamespace) -> None:
    """Of several lines only the one that changes does."""
    items = (make.item("pro"), make.item("basic"))
    change = ScheduledChange(
        make.day(30), (PlannedItem("price_pro", "pro", None, 1), PlannedItem("price_basic", "basic", None, 3))
    )
    one = make.subscription(items=items, scheduled_change=change)
    assert [value(make, one, "credits", at) for at in (29, 30)] == [15, 15]
    assert [value(make, one, "export", at) for at in (29, 31)] == [True, True]


def test_a_scheduled_change_is_explained(make: SimpleNamespace) -> None:
    """The plan that is left says until when it lasts, the coming one that it has not begun."""
    one = make.subscription(scheduled_change=planned(make))
    catalog = make.catalog()
    told = explain(catalog, Evidence((one,)), catalog.features["pages"], make.day(3))
    assert (told.rule, told.valid_until) == ("subscription-changes", make.day(30))
    assert [source.products for source in told.sources] == [("pro",), ("basic",)]
    assert told.sources[1].sentence.endswith("This has not begun.")


@pytest.mark.parametrize("status", [SubscriptionStatus.CANCELED, SubscriptionStatus.TRIALING])
def test_what_does_not_last_brings_nothing(make: SimpleNamespace, status: SubscriptionStatus) -> None:
    """A subscription that is over, or whose trial ends with the old plan, opens nothing of the new one."""
    one = make.subscription(status=status, trial_end=make.day(30), scheduled_change=planned(make))
    assert value(make, one, "pages", 30) == 0


@given(at=st.integers(0, 40), product=st.sampled_from(["basic", "lifetime", "week"]), changes=st.integers(1, 40))
def test_computing_again_later_gives_the_same(make: SimpleNamespace, at: int, product: str, changes: int) -> None:
    """What was computed before the change answers after it as what is computed then."""
    one = make.subscription(scheduled_change=planned(make, product, changes))
    catalog, evidence = make.catalog(), Evidence((one,))
    before = compute(catalog, evidence, catalog.policy, make.day(0))
    later = compute(catalog, evidence, catalog.policy, make.day(at))
    for feature in catalog.features.values():
        assert answer(before, feature, make.day(at)) == answer(later, feature, make.day(at))
