"""Each row of the table of access: what Stripe says, whether it counts, until when, by which rule."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tollhouse_server.domain import standing as standing_module
from tollhouse_server.domain.catalog import OnDispute, OnPause, OnRefund, Policy
from tollhouse_server.domain.errors import UnknownStatus
from tollhouse_server.domain.evidence import Correction, DisputeStatus, PaymentStatus, SubscriptionStatus
from tollhouse_server.domain.rules import Rule
from tollhouse_server.domain.standing import SUBSCRIPTION_RULES, before_change, standing, standing_of_default
from tollhouse_server.domain.time import Period

NEVER = object()
"""In a table: the evidence does not count at any time."""


def day(number: float) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number)


def expected_period(until: object) -> Period | None:
    if until is NEVER:
        return None
    assert until is None or isinstance(until, (int, float))
    return Period(day(0), None if until is None else day(until))


S = SubscriptionStatus
KEEP_PAUSED, END_PAUSED = Policy(), Policy(on_pause=OnPause.END)
NO_PAUSE = Policy(on_pause=OnPause.KEEP)

SUBSCRIPTIONS: list[tuple[str, dict[str, Any], Policy, object, Rule]] = [
    # A trial ends with the trial, or with an earlier scheduled end.
    ("trial", {"status": S.TRIALING, "trial_end": day(14)}, Policy(), 14, Rule.SUBSCRIPTION_TRIALING),
    ("trial-cancelled", {"status": S.TRIALING, "trial_end": day(14), "cancel_at": day(9)}, Policy(), 9,
     Rule.SUBSCRIPTION_TRIALING),
    ("trial-cancelled-later", {"status": S.TRIALING, "trial_end": day(14), "cancel_at": day(20)}, Policy(), 14,
     Rule.SUBSCRIPTION_TRIALING),
    ("trial-without-end", {"status": S.TRIALING}, Policy(), 30, Rule.SUBSCRIPTION_TRIALING),
    # An active one outlasts its period by the leeway, unless it is set to end.
    ("active", {}, Policy(), 33, Rule.SUBSCRIPTION_ACTIVE),
    ("active-no-leeway", {}, Policy(renewal_leeway=timedelta(0)), 30, Rule.SUBSCRIPTION_ACTIVE),
    ("portal-cancelled", {"cancel_at": day(30)}, Policy(), 30, Rule.SUBSCRIPTION_ENDS),
    ("classic-cancelled", {"cancel_at_period_end": True}, Policy(), 30, Rule.SUBSCRIPTION_ENDS),
    ("both-cancelled", {"cancel_at": day(12), "cancel_at_period_end": True}, Policy(), 12, Rule.SUBSCRIPTION_ENDS),
    ("ends-within-leeway", {"cancel_at": day(32)}, Policy(), 32, Rule.SUBSCRIPTION_ENDS),
    ("ends-with-leeway", {"cancel_at": day(33)}, Policy(), 33, Rule.SUBSCRIPTION_ENDS),
    ("ends-in-a-year", {"cancel_at": day(365)}, Policy(), 33, Rule.SUBSCRIPTION_ACTIVE),
    # An unpaid one keeps access for the grace, from when the unpaid period began.
    ("past-due", {"status": S.PAST_DUE, "unpaid_since": day(2)}, Policy(), 9, Rule.SUBSCRIPTION_PAST_DUE_GRACE),
    ("past-due-unknown-since", {"status": S.PAST_DUE}, Policy(), 7, Rule.SUBSCRIPTION_PAST_DUE_GRACE),
    ("past-due-set-to-end", {"status": S.PAST_DUE, "unpaid_since": day(2), "cancel_at": day(5)}, Policy(), 5,
     Rule.SUBSCRIPTION_PAST_DUE_GRACE),
    ("past-due-ends-later", {"status": S.PAST_DUE, "unpaid_since": day(2), "cancel_at_period_end": True}, Policy(), 9,
     Rule.SUBSCRIPTION_PAST_DUE_GRACE),
    ("past-due-no-grace", {"status": S.PAST_DUE}, Policy(grace=timedelta(0)), NEVER, Rule.SUBSCRIPTION_PAST_DUE_GRACE),
    # A paused one keeps what was paid for, or nothing, as the project decides.
    ("paused", {"status": S.PAUSED, "paid_through": day(30)}, KEEP_PAUSED, 30, Rule.SUBSCRIPTION_PAUSED_PAID),
    ("paused-never-paid", {"status": S.PAUSED}, KEEP_PAUSED, NEVER, Rule.SUBSCRIPTION_PAUSED),
    ("paused-end", {"status": S.PAUSED, "paid_through": day(30)}, END_PAUSED, NEVER, Rule.SUBSCRIPTION_PAUSED),
    ("paused-after-trial", {"status": S.PAUSED, "trial_end": day(14)}, KEEP_PAUSED, 14, Rule.SUBSCRIPTION_PAUSED_PAID),
    ("paused-set-to-end", {"status": S.PAUSED, "paid_through": day(30), "cancel_at": day(8)}, KEEP_PAUSED, 8,
     Rule.SUBSCRIPTION_PAUSED_PAID),
    ("collection-paused", {"collection_paused": True, "paid_through": day(30)}, KEEP_PAUSED, 30,
     Rule.SUBSCRIPTION_PAUSED_PAID),
    ("collection-paused-end", {"collection_paused": True, "paid_through": day(30)}, END_PAUSED, NEVER,
     Rule.SUBSCRIPTION_PAUSED),
    ("collection-paused-on-trial", {"status": S.TRIALING, "trial_end": day(14), "collection_paused": True},
     KEEP_PAUSED, 14, Rule.SUBSCRIPTION_PAUSED_PAID),
    ("collection-paused-past-due", {"status": S.PAST_DUE, "collection_paused": True, "paid_through": day(1)},
     KEEP_PAUSED, 1, Rule.SUBSCRIPTION_PAUSED_PAID),
    # Where a pause changes nothing, only a status of `paused` ends: nothing was ever paid, or not for now.
    ("collection-paused-kept", {"collection_paused": True, "paid_through": day(1)}, NO_PAUSE, 33,
     Rule.SUBSCRIPTION_ACTIVE),
    ("collection-paused-kept-on-trial", {"status": S.TRIALING, "trial_end": day(14), "collection_paused": True},
     NO_PAUSE, 14, Rule.SUBSCRIPTION_TRIALING),
    ("collection-paused-kept-past-due", {"status": S.PAST_DUE, "collection_paused": True, "unpaid_since": day(2)},
     NO_PAUSE, 9, Rule.SUBSCRIPTION_PAST_DUE_GRACE),
    ("paused-kept-after-trial", {"status": S.PAUSED, "trial_end": day(14)}, NO_PAUSE, 14,
     Rule.SUBSCRIPTION_PAUSED_PAID),
    # The rest gives nothing, also when its collection is paused.
    ("incomplete", {"status": S.INCOMPLETE}, Policy(), NEVER, Rule.SUBSCRIPTION_NOT_LIVE),
    ("incomplete-expired", {"status": S.INCOMPLETE_EXPIRED}, Policy(), NEVER, Rule.SUBSCRIPTION_NOT_LIVE),
    ("unpaid", {"status": S.UNPAID}, Policy(), NEVER, Rule.SUBSCRIPTION_NOT_LIVE),
    ("canceled", {"status": S.CANCELED, "ended_at": day(3)}, Policy(), NEVER, Rule.SUBSCRIPTION_NOT_LIVE),
    ("double", {"status": S.CANCELED, "correction": Correction.DOUBLE}, Policy(), NEVER, Rule.SUBSCRIPTION_DOUBLE),
    ("trial-again", {"status": S.CANCELED, "correction": Correction.TRIAL_AGAIN}, Policy(), NEVER,
     Rule.SUBSCRIPTION_TRIAL_AGAIN),
    ("double-not-ended-yet", {"correction": Correction.DOUBLE}, Policy(), 33, Rule.SUBSCRIPTION_ACTIVE),
    ("canceled-collection-paused", {"status": S.CANCELED, "collection_paused": True, "paid_through": day(30)},
     Policy(), NEVER, Rule.SUBSCRIPTION_NOT_LIVE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "policy", "until", "rule"),
    [row[1:] for row in SUBSCRIPTIONS],
    ids=[row[0] for row in SUBSCRIPTIONS],
)
def test_subscription(
    make: SimpleNamespace, changes: dict[str, Any], policy: Policy, until: object, rule: Rule
) -> None:
    """A subscription counts from its start until the instant its row says, by the rule its row says."""
    judged = standing(make.subscription(**changes), policy)
    assert (judged.period, judged.rule) == (expected_period(until), rule)


def test_every_status_is_decided() -> None:
    """No status of Stripe's is without a rule, and one that is not known raises instead of getting one."""
    assert set(SUBSCRIPTION_RULES) == set(SubscriptionStatus)
    with pytest.raises(UnknownStatus, match="sleeping"):
        SubscriptionStatus.parse("sleeping")
    assert SubscriptionStatus.parse("past_due") is SubscriptionStatus.PAST_DUE


def test_the_latest_item_decides(make: SimpleNamespace) -> None:
    """With items billed at different intervals, access follows the period that ends last."""
    items = (make.item(ends=30), make.item(ends=365), make.item(begins=20, ends=50))
    assert standing(make.subscription(items=items), Policy()).period == Period(day(0), day(368))
    past_due = make.subscription(items=items, status=S.PAST_DUE)
    assert standing(past_due, Policy()).period == Period(day(0), day(27))


def test_a_renewal_that_fails_gives_no_free_month(make: SimpleNamespace) -> None:
    """At a failed renewal Stripe has turned the period already; access ends with the grace, not with that period."""
    renewed = make.subscription(status=S.PAST_DUE, items=(make.item(begins=30, ends=60),), unpaid_since=day(30))
    assert standing(renewed, Policy()).period == Period(day(0), day(37))


FULL, PARTIAL = {"refunded": 900, "refunded_at": day(10)}, {"refunded": 100, "refunded_at": day(10)}
D = DisputeStatus
END_PARTIAL = Policy(on_partial_refund=OnRefund.END)

PAYMENTS: list[tuple[str, dict[str, Any], Policy, object, Rule | None]] = [
    # The last column is None where the payment changes nothing.
    ("kept", {}, Policy(), None, None),
    ("full-refund", FULL, Policy(), 10, Rule.REFUNDED),
    ("full-refund-kept", FULL, Policy(on_full_refund=OnRefund.KEEP), None, None),
    ("full-refund-at-once", {**FULL, "refunded_at": day(0)}, Policy(), NEVER, Rule.REFUNDED),
    ("partial-refund", PARTIAL, Policy(), None, None),
    ("partial-refund-ends", PARTIAL, END_PARTIAL, 10, Rule.REFUNDED),
    ("full-refund-is-not-partial", FULL, Policy(on_full_refund=OnRefund.KEEP, on_partial_refund=OnRefund.END),
     None, None),
    ("dispute", {"dispute": D.NEEDS_RESPONSE, "disputed_at": day(5)}, Policy(), 5, Rule.DISPUTED),
    ("dispute-in-review", {"dispute": D.UNDER_REVIEW, "disputed_at": day(5)}, Policy(), 5, Rule.DISPUTED),
    ("dispute-kept", {"dispute": D.NEEDS_RESPONSE, "disputed_at": day(5)}, Policy(on_dispute=OnDispute.KEEP),
     None, None),
    ("inquiry", {"dispute": D.WARNING_NEEDS_RESPONSE, "disputed_at": day(5)}, Policy(), None, None),
    ("inquiry-in-review", {"dispute": D.WARNING_UNDER_REVIEW, "disputed_at": day(5)}, Policy(), None, None),
    ("inquiry-closed", {"dispute": D.WARNING_CLOSED, "disputed_at": day(5)}, Policy(), None, None),
    ("dispute-prevented", {"dispute": D.PREVENTED, "disputed_at": day(5)}, Policy(), None, None),
    ("dispute-won", {"dispute": D.WON, "disputed_at": day(5)}, Policy(), None, None),
    ("dispute-lost", {"dispute": D.LOST, "disputed_at": day(5)}, Policy(), 5, Rule.DISPUTE_LOST),
    ("dispute-lost-kept-while-open", {"dispute": D.LOST, "disputed_at": day(5)}, Policy(on_dispute=OnDispute.KEEP), 5,
     Rule.DISPUTE_LOST),
    ("appeal", {"dispute": D.APPEAL_NEEDS_RESPONSE, "disputed_at": day(5)}, Policy(), 5, Rule.DISPUTE_LOST),
    ("appeal-in-review", {"dispute": D.APPEAL_UNDER_REVIEW, "disputed_at": day(5)}, Policy(), 5, Rule.DISPUTE_LOST),
    ("refunded-then-lost", {**FULL, "dispute": D.LOST, "disputed_at": day(15)}, Policy(), 10, Rule.REFUNDED),
    ("lost-then-refunded", {**FULL, "dispute": D.LOST, "disputed_at": day(5)}, Policy(), 5, Rule.DISPUTE_LOST),
    ("lost-at-once-then-refunded", {**FULL, "dispute": D.LOST, "disputed_at": day(0)}, Policy(), NEVER,
     Rule.DISPUTE_LOST),
]  # fmt: skip
PAYMENT_TABLE = pytest.mark.parametrize(
    ("changes", "policy", "until", "rule"), [row[1:] for row in PAYMENTS], ids=[row[0] for row in PAYMENTS]
)


@PAYMENT_TABLE
def test_what_becomes_of_a_purchase_s_payment(
    make: SimpleNamespace, changes: dict[str, Any], policy: Policy, until: object, rule: Rule | None
) -> None:
    """A purchase for life stands as far as its payment does."""
    judged = standing(make.purchase(payment=make.payment(**changes)), policy)
    assert (judged.period, judged.rule) == (expected_period(until), rule or Rule.PURCHASE_PAID)


@PAYMENT_TABLE
def test_what_becomes_of_a_subscription_s_payment(
    make: SimpleNamespace, changes: dict[str, Any], policy: Policy, until: object, rule: Rule | None
) -> None:
    """The payment of the current period decides over a subscription in the same way; otherwise it lasts its 33 days."""
    judged = standing(make.subscription(payment=make.payment(**changes)), policy)
    assert (judged.period, judged.rule) == (
        expected_period(33 if until is None else until),
        rule or Rule.SUBSCRIPTION_ACTIVE,
    )


def test_a_refund_after_the_end_changes_nothing(make: SimpleNamespace) -> None:
    """What had ended before the refund ended by its own rule."""
    for refunded_at in (day(33), day(40)):
        paid = make.payment(refunded=900, refunded_at=refunded_at)
        judged = standing(make.subscription(payment=paid), Policy())
        assert (judged.period, judged.rule) == (Period(day(0), day(33)), Rule.SUBSCRIPTION_ACTIVE)
    canceled = standing(make.subscription(status=S.CANCELED, payment=paid), Policy())
    assert canceled.rule is Rule.SUBSCRIPTION_NOT_LIVE


def test_what_gives_nothing_anyway_keeps_its_own_reason(make: SimpleNamespace) -> None:
    """A dispute about the payment of a canceled subscription suspends nothing."""
    disputed = make.payment(dispute=D.NEEDS_RESPONSE, disputed_at=day(5))
    judged = standing(make.subscription(status=S.CANCELED, payment=disputed), Policy())
    assert judged.rule is Rule.SUBSCRIPTION_NOT_LIVE


PURCHASES: list[tuple[str, dict[str, Any], timedelta | None, object, Rule]] = [
    ("for-life", {}, None, None, Rule.PURCHASE_PAID),
    ("free", {"payment_status": PaymentStatus.NO_PAYMENT_REQUIRED}, None, None, Rule.PURCHASE_PAID),
    ("thirty-days", {}, timedelta(days=30), 30, Rule.PURCHASE_PAID),
    ("completed-but-unpaid", {"payment_status": PaymentStatus.UNPAID}, None, NEVER, Rule.PURCHASE_UNPAID),
]


@pytest.mark.parametrize(
    ("changes", "lasts", "until", "rule"), [row[1:] for row in PURCHASES], ids=[row[0] for row in PURCHASES]
)
def test_purchase(
    make: SimpleNamespace, changes: dict[str, Any], lasts: timedelta | None, until: object, rule: Rule
) -> None:
    """A purchase counts once it is paid or needs no payment, for as long as its product lasts."""
    judged = standing(make.purchase(**changes), Policy(), lasts)
    assert (judged.period, judged.rule) == (expected_period(until), rule)


GRANTS: list[tuple[str, dict[str, Any], object, Rule]] = [
    ("for-good", {}, None, Rule.GRANTED),
    ("until", {"ends_at": day(9)}, 9, Rule.GRANTED),
    ("revoked", {"revoked_at": day(4)}, 4, Rule.GRANT_REVOKED),
    ("revoked-before-its-end", {"ends_at": day(9), "revoked_at": day(4)}, 4, Rule.GRANT_REVOKED),
    ("revoked-after-its-end", {"ends_at": day(9), "revoked_at": day(12)}, 9, Rule.GRANTED),
    ("override", {"override": True, "ends_at": day(9)}, 9, Rule.OVERRIDDEN),
    ("override-that-closes", {"override": True, "value": False}, None, Rule.OVERRIDDEN),
    ("override-revoked", {"override": True, "value": False, "revoked_at": day(4)}, 4, Rule.GRANT_REVOKED),
    ("revoked-before-it-began", {"revoked_at": day(-1)}, NEVER, Rule.GRANT_REVOKED),
    ("ends-before-it-begins", {"ends_at": day(-1), "revoked_at": day(2)}, NEVER, Rule.GRANTED),
]


@pytest.mark.parametrize(("changes", "until", "rule"), [row[1:] for row in GRANTS], ids=[row[0] for row in GRANTS])
def test_grant(make: SimpleNamespace, changes: dict[str, Any], until: object, rule: Rule) -> None:
    """A grant counts from its start until it ends or is revoked, whichever is first."""
    judged = standing(make.grant(**changes), Policy())
    assert (judged.period, judged.rule) == (expected_period(until), rule)


def test_sentences_give_dates_people_read(make: SimpleNamespace) -> None:
    """A standing says in plain words what happened and until when."""
    failed = standing(make.subscription(status=S.PAST_DUE, unpaid_since=day(2)), Policy())
    assert failed.sentence == "Payment failed on 3 Nov 2026; access is kept in grace until 10 Nov 2026."
    assert standing(make.purchase(), Policy()).sentence == "Bought on 1 Nov 2026: access lasts for ever."
    assert standing(make.grant(), Policy()).sentence == "Granted from 1 Nov 2026, for ever (a gift)."
    dead = standing(make.subscription(status=S.INCOMPLETE_EXPIRED), Policy())
    assert dead.sentence == "The subscription is incomplete expired: it gives no access."


def test_a_sentence_has_no_gaps(make: SimpleNamespace) -> None:
    """Whatever the rule, everything its sentence speaks of is filled in."""
    judged = [standing(make.subscription(**changes), policy) for _, changes, policy, _, _ in SUBSCRIPTIONS]
    judged += [standing(make.purchase(payment=make.payment(**row[1])), row[2]) for row in PAYMENTS]
    judged += [standing(make.purchase(**row[1]), Policy()) for row in PURCHASES]
    judged += [standing(make.grant(**row[1]), Policy()) for row in GRANTS]
    judged.append(standing_of_default(make.catalog().products["basic"]))
    judged.append(standing(make.purchase(), Policy(), timedelta(days=7), after=day(3)))
    judged.append(before_change(standing(make.subscription(), Policy()), make.day(30)))
    assert all("{" not in one.sentence and "None" not in one.sentence for one in judged)
    of_explanations = {Rule.NO_SOURCE, Rule.NOT_YET, Rule.OPENS_OTHER_FEATURES, Rule.PRODUCT_UNKNOWN}
    assert {one.rule for one in judged} == set(Rule) - of_explanations - {Rule.VALUE_DOES_NOT_FIT}


def test_the_readme_names_every_rule() -> None:
    """The page for product owners lists each rule by the name that answers carry, and no other."""
    readme = Path(standing_module.__file__).with_name("README.md").read_text()
    named = set(re.findall(r"\| `([a-z-]+)` \|$", readme, re.MULTILINE))
    assert named == {str(rule) for rule in Rule}
