"""Trials: how they begin, are prolonged and end, with a card and without."""

import pytest
from sandbox.tests.lives import DAY, FAILING, GOOD, Life

FREE = ["invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded"]
BILLED = [
    "invoice.created",
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
]
WARNED, UPDATED = "customer.subscription.trial_will_end", "customer.subscription.updated"
AT_END = "trial_settings[end_behavior]"


@pytest.fixture
def life(here):
    return Life(here)


def told(life, mark):
    """The previous attributes of the last event, which updates the subscription."""
    event = life.events(mark)[-1]
    assert event["type"] == UPDATED
    return event["data"]["previous_attributes"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"trial_from_plan": "true", "trial_period_days": "7"},
        {"trial_from_plan": "true", "trial_end": "2000000000"},
        {"trial_period_days": "7", "trial_end": "2000000000"},
        {"trial_period_days": "731"},
        {"trial_end": "1000000000"},
        {f"{AT_END}[missing_payment_method]": "forgive", "trial_period_days": "7"},
        {f"{AT_END}[billing_cycle_anchor]": "later", "trial_period_days": "7"},
    ],
)
def test_trials_that_stripe_refuses(life, wrong):
    """Two ends at once, an end in the past or more than two years away, and words it does not know."""
    data = {"customer": life.customer, "items[0][price]": life.price, **wrong}
    body = "&".join(f"{name}={value}" for name, value in data.items())
    assert life.here.status("POST", "/v1/subscriptions", body) == 400
    assert life.here.get("subscriptions?status=all")["data"] == []


def test_the_flag_of_the_plan_alone_does_nothing(life):
    """Prices have no trials, so there is none to take."""
    assert life.begin(trial_from_plan="true")["status"] == "active"


def test_how_a_trial_begins(life):
    """It has an invoice of nothing, its warning comes three days before its end, or at once if it is shorter."""
    assert life.begin(None, trial_period_days="14")["status"] == "trialing"
    assert life.happened()[-5:] == ["customer.subscription.created", *FREE]
    line = life.latest["lines"]["data"][0]
    assert (line["amount"], line["description"]) == (0, "Free trial for 1 × PDF Tool Pro")
    life.begin(None, trial_period_days="2")
    assert life.happened()[-6:] == ["customer.subscription.created", *FREE, WARNED]


@pytest.mark.parametrize(
    ("missing", "status", "events"),
    [
        ("create_invoice", "past_due", [WARNED, *FREE[:2], "payment_intent.created", "invoice.updated"]),
        ("cancel", "canceled", [WARNED, "customer.subscription.deleted"]),
        ("pause", "paused", [WARNED, "customer.subscription.paused", UPDATED]),
    ],
)
def test_ending_a_trial_now_without_a_card(life, missing, status, events):
    """What `trial_settings` says happens at once, after the warning."""
    life.begin(None, trial_period_days="30")
    life.tell(**{f"{AT_END}[missing_payment_method]": missing})
    mark = life.mark()
    assert life.tell(trial_end="now")["status"] == status
    assert life.happened(mark)[: len(events)] == events
    if status != "canceled":
        assert told(life, mark)["status"] == "trialing"


def test_ending_a_trial_now_with_a_card(life):
    """It warns, unless it has warned already, bills a period from now and says `subscription_update`."""
    life.begin(trial_period_days="20")
    mark = life.mark()
    body = life.tell(trial_end="now")
    assert life.happened(mark) == [WARNED, *BILLED, UPDATED]
    assert (body["status"], body["billing_cycle_anchor"], body["trial_end"]) == ("active", life.now, life.now)
    assert (life.latest["billing_reason"], life.latest["amount_paid"]) == ("subscription_update", 900)
    assert {"status", "trial_end", "items", "billing_cycle_anchor", "latest_invoice"} == set(told(life, mark))
    life.begin(trial_period_days="2")
    mark = life.mark()
    life.tell(trial_end="now")
    assert life.happened(mark) == [*BILLED, UPDATED]


def test_ending_a_trial_now_with_a_bad_card(life):
    """It is past due at once, or with `error_if_incomplete` the trial goes on as if nothing had been asked."""
    life.begin(FAILING, trial_period_days="30")
    before = life.body
    path = f"/v1/subscriptions/{life.id}"
    assert life.here.status("POST", path, "trial_end=now&payment_behavior=error_if_incomplete") == 402
    assert life.body == before
    assert life.tell(trial_end="now")["status"] == "past_due"


def test_prolonging_a_trial(life):
    """The later end is that of the period and the anchor too; a warning that was given is given again in time."""
    body = life.begin(trial_period_days="2")
    later = body["trial_end"] + 20 * DAY
    mark = life.mark()
    body = life.tell(trial_end=str(later))
    assert life.happened(mark) == [UPDATED]
    assert set(told(life, mark)) == {"trial_end", "items", "billing_cycle_anchor"}
    assert body["items"]["data"][0]["current_period_end"] == body["billing_cycle_anchor"] == later
    mark = life.mark()
    life.passes(later - 3 * DAY - life.now)
    assert life.happened(mark)[-1] == WARNED
    life.passes(3 * DAY)
    assert life.status == "active"


def test_a_trial_for_who_pays_already(life):
    """The unused time is credited, an invoice says the trial is free, and it warns as any other."""
    item = life.begin()["items"]["data"][0]
    life.passes((item["current_period_end"] - item["current_period_start"]) // 2)
    mark, end = life.mark(), life.now + 2 * DAY
    body = life.tell(trial_end=str(end))
    assert life.happened(mark) == ["invoiceitem.created", *FREE, WARNED, UPDATED]
    assert (body["status"], body["trial_start"], body["trial_end"]) == ("trialing", life.now, end)
    assert [line["amount"] for line in life.latest["lines"]["data"]] == [-450, 0]
    assert life.here.get(f"customers/{life.customer}")["balance"] == -450
    life.passes(2 * DAY + 3600)
    assert (life.status, life.latest["amount_paid"]) == ("active", 450)


def test_a_trial_that_leaves_the_anchor(life):
    """With `unchanged` the rest of the period that runs at the trial's end is billed, and the anchor stays."""
    body = life.begin(trial_period_days="10", **{f"{AT_END}[billing_cycle_anchor]": "unchanged"})
    assert body["billing_cycle_anchor"] == body["created"]
    life.passes(10 * DAY + 3600)
    body, invoice = life.body, life.latest
    item = body["items"]["data"][0]
    assert (body["status"], body["billing_cycle_anchor"]) == ("active", body["created"])
    share = (item["current_period_end"] - body["trial_end"]) / (item["current_period_end"] - body["created"])
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_cycle", round(900 * share))


def test_a_trial_of_a_subscription_that_is_sent_bills(life):
    """Nobody needs a card: the bill of the first period is sent an hour after the trial."""
    sent = {"collection_method": "send_invoice", "days_until_due": "7"}
    life.begin(None, trial_period_days="10", **sent, **{f"{AT_END}[missing_payment_method]": "cancel"})
    life.passes(10 * DAY + 3600)
    assert life.status == "active"
    assert (life.latest["status"], life.latest["amount_due"]) == ("open", 900)
    life.card(GOOD)
    life.bill("pay")
    assert life.status == "active"
