"""Every transition of the subscription's life, walked on a desk by API calls and the clock, and no other."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sandbox.tests.conftest import Desk
from sandbox.tests.lives import DAY, FAILING, GOOD, Life

from tollhouse_sandbox.lifecycle import TRANSITIONS, Cause, Status, has_ended


@pytest.fixture
def life(here):
    return Life(here)


SENT = {"collection_method": "send_invoice", "days_until_due": "7"}
TRIAL = {"trial_period_days": "30"}
NO_CREDIT = {"bill_for[unused_time_from][type]": "none"}


def in_debt(life):
    """A trial whose first invoice collects what the customer still owes, and fails to."""
    life.here.post(f"customers/{life.customer}", {"balance": "500"})
    life.begin(FAILING, **TRIAL)


def dunned(life, ending):
    """A renewal that fails and is never tried again."""
    life.settings(after_dunning=ending, retries_after=[])
    life.begin()
    life.fails_to_renew()


def debited(life):
    """Renewed by a bank debit that is still under way."""
    life.begin("pm_sepaDebit")
    life.passes(4 * DAY)
    life.renews()


def past_due(life):
    life.begin()
    life.fails_to_renew()


def paused(life):
    life.begin()
    life.tell("/pause", **NO_CREDIT)


def trial_without_card(life, ending):
    life.begin(None, **TRIAL, **{"trial_settings[end_behavior][missing_payment_method]": ending})


def resumed_with(life, card, **how):
    paused(life)
    life.card(card)
    life.tell("/resume", **how)


def sent_in_debt(life):
    """A trial whose first bill is sent, for what the customer still owes."""
    life.here.post(f"customers/{life.customer}", {"balance": "500"})
    life.begin(None, **SENT, **TRIAL)


def sent_and_late(life):
    """A bill that was due, while the next one is on its way."""
    life.settings(overdue_after=100 * DAY)
    life.begin(None, **SENT)
    life.passes(8 * DAY)


def sent_and_lapsed(life):
    """A first bill whose dunning is over, and a second one that is not yet due."""
    life.settings(overdue_after=DAY, after_dunning="unpaid")
    life.begin(None, collection_method="send_invoice", days_until_due="40")
    life.passes(42 * DAY)


REACHED = {
    Status.INCOMPLETE: lambda life: life.begin(FAILING),
    Status.TRIALING: lambda life: life.begin(**TRIAL),
    Status.ACTIVE: lambda life: life.begin(),
    Status.PAST_DUE: past_due,
    Status.UNPAID: lambda life: dunned(life, "unpaid"),
    Status.PAUSED: lambda life: dunned(life, "pause"),
}
"""How a subscription comes into each state. A paused one was paused by dunning: it has an invoice to be paid."""

UNTIL = {
    (Status.TRIALING, Cause.PAYMENT_FAILED): lambda life: None,
    (Status.TRIALING, Cause.WRITTEN_OFF): in_debt,
    (Status.TRIALING, Cause.VOIDED): in_debt,
    (Status.TRIALING, Cause.OVERDUE): sent_in_debt,
    (Status.ACTIVE, Cause.OVERDUE): lambda life: life.begin(None, **SENT),
    (Status.PAST_DUE, Cause.OVERDUE): sent_and_late,
    (Status.UNPAID, Cause.OVERDUE): sent_and_lapsed,
    (Status.TRIALING, Cause.TRIAL_END_WITHOUT_PAYMENT_METHOD): lambda life: trial_without_card(life, "pause"),
    (Status.ACTIVE, Cause.WRITTEN_OFF): debited,
    (Status.ACTIVE, Cause.VOIDED): debited,
    (Status.PAST_DUE, Cause.LEFT_UNPAID): lambda life: [
        life.settings(after_dunning="unpaid", retries_after=[DAY]),
        past_due(life),
    ],
    (Status.PAST_DUE, Cause.FINAL_PAYMENT_FAILURE): lambda life: [
        life.settings(after_dunning="pause", retries_after=[DAY]),
        past_due(life),
    ],
    (Status.PAUSED, Cause.RESUMED): paused,
    (Status.PAUSED, Cause.RESUMED_UNPAID): paused,
}
"""How it comes into the state where what then happens needs more than that."""

HAPPENS = {
    Cause.SUBSCRIBED: lambda life: life.begin(FAILING),
    Cause.SUBSCRIBED_ON_TRIAL: lambda life: life.begin(**TRIAL),
    Cause.SUBSCRIBED_BY_INVOICE: lambda life: life.begin(None, **SENT),
    Cause.OVERDUE: lambda life: life.passes(8 * DAY),
    Cause.TRIAL_BEGUN: lambda life: life.tell(trial_end=str(life.now + 40 * DAY)),
    Cause.PAID: lambda life: [life.card(GOOD), life.bill("pay")],
    Cause.WRITTEN_OFF: lambda life: life.bill("mark_uncollectible"),
    Cause.VOIDED: lambda life: life.bill("void"),
    Cause.PAYMENT_FAILED: lambda life: life.bill("pay", expects=402),
    Cause.FIRST_PAYMENT_MISSED: lambda life: life.passes(23 * 3600),
    Cause.LEFT_UNPAID: lambda life: life.passes(DAY),
    Cause.TRIAL_ENDED: lambda life: life.passes(30 * DAY),
    Cause.TRIAL_END_WITHOUT_PAYMENT_METHOD: lambda life: life.passes(30 * DAY),
    Cause.PAUSE_REQUESTED: lambda life: life.tell("/pause"),
    Cause.FIRST_PAYMENT_FAILURE: lambda life: [life.settings(after_first_failure="pause"), life.fails_to_renew()],
    Cause.FINAL_PAYMENT_FAILURE: lambda life: life.passes(DAY),
    Cause.SYSTEM: lambda life: life.here.control(f"pause/{life.id}"),
    Cause.RESUMED: lambda life: life.tell("/resume", payment_behavior="resume_on_payment_success"),
    Cause.RESUMED_UNPAID: lambda life: [
        life.card(FAILING),
        life.tell("/resume"),
        life.bill("pay", expects=402),
    ],
    Cause.CANCELED: lambda life: life.cancel(),
}

HAPPENS_THERE = {
    (Status.TRIALING, Cause.PAID): lambda life: None,  # its first invoice, of nothing
    (Status.TRIALING, Cause.PAYMENT_FAILED): in_debt,
    (Status.ACTIVE, Cause.PAID): lambda life: life.renews(),
    (Status.ACTIVE, Cause.PAYMENT_FAILED): lambda life: life.fails_to_renew(),
    (Status.PAST_DUE, Cause.PAYMENT_FAILED): lambda life: life.passes(3 * DAY),
    (Status.PAST_DUE, Cause.OVERDUE): lambda life: life.passes(30 * DAY),
    (Status.UNPAID, Cause.OVERDUE): lambda life: life.passes(30 * DAY),
}
"""How it happens in the states where it happens in another way."""

PAUSES = {cause for (_, cause), then in TRANSITIONS.items() if then is Status.PAUSED} - {
    Cause.PAID,
    Cause.WRITTEN_OFF,
    Cause.VOIDED,
    Cause.PAYMENT_FAILED,
}
"""The causes that pause, and whose name is then the reason."""


@pytest.mark.parametrize(("before", "cause"), TRANSITIONS, ids=str)
def test_every_transition(life, before, cause):
    """Each cell of the table comes about by what its row says, is told by an event, and a pause says why."""
    if before:
        UNTIL.get((before, cause), REACHED[before])(life)
        assert not life.id or life.status == before
    since = life.mark()
    HAPPENS_THERE.get((before, cause), HAPPENS[cause])(life)
    then = TRANSITIONS[before, cause]
    body = life.body
    assert body["status"] == then
    if before not in (None, then):
        told = [event for event in life.events(since) if event["data"]["object"].get("id") == life.id]
        assert told[-1]["data"]["object"]["status"] == then
        last = "deleted" if then is Status.CANCELED else "updated"
        assert told[-1]["type"] == f"customer.subscription.{last}"
        if last == "updated":
            assert told[-1]["data"]["previous_attributes"]["status"] == before
    if cause is Cause.OVERDUE:
        assert "invoice.overdue" in life.happened(since)
    if cause in PAUSES:
        assert body["status_details"]["paused"]["subscription"]["type"] == cause
        assert "customer.subscription.paused" in life.happened(since)
    assert (body["ended_at"] is not None) == has_ended(then)


ASKED_FOR = {
    Cause.PAUSE_REQUESTED: ("/pause", "POST"),
    Cause.RESUMED: ("/resume", "POST"),
    Cause.CANCELED: ("", "DELETE"),
}
REFUSED = [(before, cause) for before in Status for cause in ASKED_FOR if (before, cause) not in TRANSITIONS]


@pytest.mark.parametrize(("before", "cause"), REFUSED, ids=str)
def test_every_other_transition_is_refused(life, before, cause):
    """What can be asked for in some states is refused in the others, without a trace."""
    if before is Status.CANCELED:
        life.begin()
        life.cancel()
    elif before is Status.INCOMPLETE_EXPIRED:
        life.begin(FAILING)
        life.passes(DAY)
    else:
        REACHED[before](life)
    since = life.mark()
    assert life.refuses(*ASKED_FOR[cause])
    assert life.happened(since) == []


# Whatever is done in whatever order


STEPS = {(before, then) for (before, _), then in TRANSITIONS.items() if before}
"""From which state a subscription can come into which, by one thing that happens."""


class AnyLife(RuleBasedStateMachine):
    """A subscription to which anything is done in any order: what is not in the table is refused, never done.

    One call may take two steps (a trial that is ended now and cannot be paid), and tells of the first and last state.
    """

    @initialize(how=st.sampled_from([{}, TRIAL, SENT]), card=st.sampled_from([GOOD, FAILING]))
    def begin(self, how, card):
        self.desk = Desk()
        self.life = Life(self.desk)
        self.life.settings(retries_after=[DAY])
        self.life.begin(card, **how)
        self.seen = 0

    @rule(card=st.sampled_from([GOOD, FAILING, "pm_card_authenticationRequired", "pm_sepaDebit"]))
    def another_card(self, card):
        self.life.card(card)

    @rule(seconds=st.sampled_from([3600, DAY, 8 * DAY, 31 * DAY]))
    def passes(self, seconds):
        self.life.passes(seconds)

    @rule(ending=st.sampled_from(["cancel", "unpaid", "past_due", "pause"]), first=st.sampled_from(["retry", "pause"]))
    def dashboard(self, ending, first):
        self.life.settings(after_dunning=ending, after_first_failure=first)

    @rule(action=st.sampled_from(["pay", "void", "mark_uncollectible"]))
    def bill(self, action):
        self.ask("POST", f"invoices/{self.life.body['latest_invoice']}/{action}")

    @rule(action=st.sampled_from(["/pause", "/resume"]), now=st.booleans())
    def pause(self, action, now):
        pays = "payment_behavior=resume_on_payment_success" if now and action == "/resume" else ""
        self.ask("POST", f"subscriptions/{self.life.id}{action}", pays)

    @rule(
        change=st.sampled_from(
            [
                "trial_end=now",
                "cancel_at_period_end=true",
                "cancel_at_period_end=false",
                "cancel_at=min_period_end",
                "pause_collection[behavior]=void",
                "pause_collection=",
                "collection_method=send_invoice&days_until_due=7",
                "collection_method=charge_automatically",
            ]
        )
    )
    def update(self, change):
        self.ask("POST", f"subscriptions/{self.life.id}", change)

    @rule(days=st.integers(1, 40))
    def trial(self, days):
        self.ask("POST", f"subscriptions/{self.life.id}", f"trial_end={self.life.now + days * DAY}")

    @precondition(lambda self: self.life.status != "active")
    @rule()
    def cancel(self):
        self.ask("DELETE", f"subscriptions/{self.life.id}")

    def ask(self, method, path, body=""):
        assert self.desk.status(method, f"/v1/{path}", body) in (200, 400, 402, 404)

    @invariant()
    def stays_in_the_table(self):
        for event in self.life.events(self.seen):
            was = event["data"].get("previous_attributes", {}).get("status")
            if event["type"] == "customer.subscription.updated" and was:
                then = event["data"]["object"]["status"]
                assert (was, then) in STEPS or any((was, via) in STEPS and (via, then) in STEPS for via in Status)
        self.seen = self.life.mark()

    @invariant()
    def agrees_with_itself(self):
        body = self.life.body
        assert (body["ended_at"] is not None) == has_ended(body["status"])
        assert (body["status_details"] is not None) == (body["status"] == "paused")
        assert body["status"] != "trialing" or body["trial_end"] > self.life.now

    def teardown(self):
        if hasattr(self, "desk"):
            self.desk.close()


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
