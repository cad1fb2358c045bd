"""Pausing a whole subscription and resuming it: what is credited, what is billed, and when it runs again."""

import pytest
from sandbox.tests.lives import DAY, FAILING, GOOD, Life

PAID_AT_ONCE = [
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
PAUSED = ["customer.subscription.paused", "customer.subscription.updated"]
RESUMED = ["customer.subscription.resumed", "customer.subscription.updated"]


@pytest.fixture
def life(here):
    return Life(here)


@pytest.fixture
def halfway(life):
    """An active subscription of 9.00 in the middle of its first period."""
    item = life.begin()["items"]["data"][0]
    life.passes((item["current_period_end"] - item["current_period_start"]) // 2)
    return life


def pending(life):
    return sorted(item["amount"] for item in life.here.get("invoiceitems?pending=true")["data"])


@pytest.mark.parametrize(
    ("since", "credit"), [(None, [-450]), ("now", [-450]), ("item_current_period_start", [-900]), ("none", [])]
)
def test_the_unused_time_is_credited(halfway, since, credit):
    """By default from now on, as an invoice item of the next invoice; nothing is billed while it is paused."""
    mark = halfway.mark()
    halfway.tell("/pause", **({"bill_for[unused_time_from][type]": since} if since else {}))
    assert pending(halfway) == credit
    assert halfway.happened(mark) == [*["invoiceitem.created" for _ in credit], *PAUSED]
    told = halfway.events(mark)[-1]["data"]["previous_attributes"]
    assert told == {"status": "active", "status_details": None}
    mark = halfway.mark()
    halfway.passes(90 * DAY)
    assert halfway.happened(mark) == []


def test_the_credit_at_once(halfway):
    """`invoicing_behavior=invoice` makes the unused time a credit of the customer."""
    halfway.tell("/pause", invoicing_behavior="invoice")
    assert pending(halfway) == []
    assert halfway.here.get(f"customers/{halfway.customer}")["balance"] == -450


def test_words_that_stripe_does_not_know(life):
    """They are refused, and so is resuming what is not paused."""
    life.begin()
    assert life.refuses("/pause", type="nap")
    assert life.refuses("/pause", **{"bill_for[unused_time_from][type]": "tomorrow"})
    assert life.refuses("/resume")


def test_resuming_waits_for_a_payment(halfway):
    """By default a new period from now is invoiced and not charged; paid, the subscription runs again."""
    halfway.tell("/pause")
    halfway.passes(60 * DAY)
    mark, now = halfway.mark(), halfway.now
    waiting = halfway.tell("/resume")
    assert (waiting["status"], halfway.latest["status"], halfway.latest["amount_due"]) == ("paused", "open", 450)
    assert halfway.happened(mark) == [*PAID_AT_ONCE[:3], "customer.subscription.updated"]
    assert halfway.refuses("/resume")
    mark = halfway.mark()
    halfway.bill("pay")
    assert halfway.happened(mark) == [*PAID_AT_ONCE[3:], *RESUMED]
    body = halfway.body
    item = body["items"]["data"][0]
    assert (body["status"], body["status_details"]) == ("active", None)
    assert (body["billing_cycle_anchor"], item["current_period_start"]) == (now, now)
    told = halfway.events(mark)[-1]["data"]["previous_attributes"]
    assert (told["status"], told["status_details"]["paused"]["type"]) == ("paused", "subscription")


def test_a_resumption_nobody_pays(halfway):
    """After 23 hours its invoice is voided and the subscription stays paused; the same if somebody voids it."""
    halfway.tell("/pause")
    for give_up in (lambda: halfway.passes(23 * 3600), lambda: halfway.bill("void")):
        halfway.tell("/resume")
        mark = halfway.mark()
        give_up()
        assert halfway.happened(mark) == ["payment_intent.canceled", "invoice.updated", "invoice.voided"]
        assert (halfway.status, halfway.latest["status"]) == ("paused", "void")
    halfway.tell("/resume")
    halfway.bill("mark_uncollectible")
    assert halfway.status == "active"


def test_resuming_on_payment(halfway):
    """`resume_on_payment_success` charges at once and again until it is paid, and only then it runs."""
    halfway.tell("/pause")
    halfway.card(FAILING)
    assert halfway.tell("/resume", payment_behavior="resume_on_payment_success")["status"] == "paused"
    assert halfway.latest["next_payment_attempt"] == halfway.now + 3 * DAY
    halfway.passes(2 * DAY)
    assert halfway.status == "paused"
    halfway.card(GOOD)
    mark = halfway.mark()
    halfway.passes(DAY)
    assert halfway.happened(mark) == [*PAID_AT_ONCE[3:], *RESUMED]
    assert halfway.status == "active"


def test_resuming_at_once_in_one_call(halfway):
    """With a good card the call that resumes also pays."""
    halfway.tell("/pause")
    mark = halfway.mark()
    assert halfway.tell("/resume", payment_behavior="resume_on_payment_success")["status"] == "active"
    assert halfway.happened(mark) == [*PAID_AT_ONCE, *RESUMED]


def test_a_resumption_on_an_attempt_that_fails(halfway):
    """It runs, past due, and is not tried again by itself."""
    halfway.tell("/pause")
    halfway.card(FAILING)
    halfway.tell("/resume")
    mark = halfway.mark()
    halfway.bill("pay", expects=402)
    assert halfway.happened(mark)[-2:] == RESUMED
    assert (halfway.status, halfway.latest["next_payment_attempt"]) == ("past_due", None)


@pytest.mark.parametrize(("proration", "items"), [("create_prorations", [-450, 225]), ("none", [-450])])
def test_resuming_in_the_running_period(halfway, proration, items):
    """With the anchor unchanged it goes on at once; its rest is charged with the next invoice, or never."""
    halfway.tell("/pause")
    item = halfway.body["items"]["data"][0]
    halfway.passes((item["current_period_end"] - halfway.now) // 2)
    mark = halfway.mark()
    how = {"billing_cycle_anchor[type]": "unchanged", "proration_behavior": proration}
    assert halfway.tell("/resume", **how)["status"] == "active"
    assert halfway.happened(mark) == [*["invoiceitem.created" for each in items if each > 0], *RESUMED]
    assert pending(halfway) == items
    assert halfway.body["items"]["data"][0]["current_period_end"] == item["current_period_end"]


def test_resuming_in_a_later_period(halfway):
    """With the anchor unchanged the period is the one that runs now; `always_invoice` bills its rest."""
    anchor = halfway.body["billing_cycle_anchor"]
    halfway.tell("/pause", **{"bill_for[unused_time_from][type]": "none"})
    halfway.passes(60 * DAY)
    how = {"billing_cycle_anchor[type]": "unchanged", "proration_behavior": "always_invoice"}
    resumed = halfway.tell("/resume", payment_behavior="resume_on_payment_success", **how)
    item = resumed["items"]["data"][0]
    assert (resumed["status"], resumed["billing_cycle_anchor"]) == ("active", anchor)
    assert item["current_period_start"] < halfway.now < item["current_period_end"]
    share = (item["current_period_end"] - halfway.now) / (item["current_period_end"] - item["current_period_start"])
    assert halfway.latest["amount_paid"] == round(900 * share)


def test_a_trial_without_a_card_can_be_resumed(life):
    """Paused at the trial's end for want of a card; with one it is resumed."""
    settings = {"trial_settings[end_behavior][missing_payment_method]": "pause", "trial_period_days": "7"}
    life.begin(None, **settings)
    life.passes(20 * DAY)
    assert life.status == "paused"
    life.card(GOOD)
    assert life.tell("/resume", payment_behavior="resume_on_payment_success")["status"] == "active"
