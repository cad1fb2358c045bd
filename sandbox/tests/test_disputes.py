"""Disputes: every status, every ending, and the money that moves with them."""

import pytest
import stripe

from tollhouse_sandbox.errors import StripeError


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        ("won", ["charge.dispute.updated", "charge.dispute.closed", "charge.dispute.funds_reinstated"]),
        ("lost", ["charge.dispute.updated", "charge.dispute.closed"]),
    ],
)
def test_a_dispute(shop, charge, verdict, told):
    """It takes the money when it opens; won gives it back."""
    since = shop.last_event()
    dispute = shop.desk.dispute(charge.id)
    assert shop.happened(since) == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    read = shop.api.disputes.retrieve(dispute["id"], params={"expand": ["charge"]})
    assert (read.status, read.amount, read.charge.disputed) == ("needs_response", 10_000, True)
    assert [each.id for each in shop.api.disputes.list(params={"charge": charge.id}).data] == [read.id]
    assert shop.api.disputes.list(params={"payment_intent": charge.payment_intent}).data[0].id == read.id
    since = shop.last_event()
    shop.desk.decide_dispute(read.id, verdict)
    assert shop.happened(since) == told
    assert shop.api.disputes.retrieve(read.id).status == verdict


def test_inquiries_and_disputes_born_lost(shop, charge):
    """An inquiry takes no money; a dispute may be lost from the first moment; a charge is disputed once."""
    since = shop.last_event()
    inquiry = shop.desk.dispute(charge.id, "warning_needs_response")
    assert shop.happened(since) == ["charge.dispute.created"]
    shop.desk.decide_dispute(inquiry["id"], "warning_closed")
    with pytest.raises(StripeError, match="already disputed"):
        shop.desk.dispute(charge.id)
    shop.desk.pay(shop.checkout(shop.price(1, None)).id)
    since = shop.last_event()
    shop.desk.dispute(shop.api.charges.list().data[0].id, "lost")
    assert shop.happened(since) == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
    ]
    with pytest.raises(StripeError, match="no dispute status"):
        shop.desk.dispute(charge.id, "nonsense")
    with pytest.raises(StripeError, match="no dispute status"):
        shop.desk.decide_dispute(inquiry["id"], "nonsense")


def test_giving_in_to_a_dispute(shop, charge):
    """Closing by API loses it, once."""
    dispute = shop.desk.dispute(charge.id)["id"]
    assert shop.api.disputes.close(dispute).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        shop.api.disputes.close(dispute)
    assert shop.api.disputes.update(dispute, params={"metadata": {"a": "b"}}).metadata["a"] == "b"


def test_the_card_that_is_always_disputed(shop):
    """pm_card_createDispute succeeds and is disputed right afterwards."""
    session = shop.checkout(shop.price(500, None))
    shop.desk.pay(session.id, "pm_card_createDispute")
    shop.desk.drain()
    charge = shop.api.charges.list().data[0]
    assert (charge.status, charge.disputed) == ("succeeded", True)
    happened = shop.happened()
    assert happened.index("checkout.session.completed") < happened.index("charge.dispute.created")


def entries(shop):
    """What moved on the balance, newest first."""
    return [(each.type, each.net, each.reporting_category) for each in shop.api.balance_transactions.list().data]


def balance(shop):
    return shop.api.balance.retrieve().available[0].amount


def test_a_lost_dispute_can_turn_won(shop, charge):
    """The money goes with the dispute and comes back when it is won, even after it was lost; won is the end."""
    dispute = shop.desk.dispute(charge.id, amount=4000)
    assert (balance(shop), entries(shop)[0]) == (6000, ("adjustment", -4000, "dispute"))
    shop.desk.decide_dispute(dispute["id"], "lost")
    since = shop.last_event()
    shop.desk.decide_dispute(dispute["id"], "won")
    assert shop.happened(since) == [f"charge.dispute.{each}" for each in ("updated", "closed", "funds_reinstated")]
    assert (balance(shop), entries(shop)[0]) == (10_000, ("adjustment", 4000, "dispute_reversal"))
    assert [each.net for each in shop.api.disputes.retrieve(dispute["id"]).balance_transactions] == [-4000, 4000]
    with pytest.raises(StripeError, match="cannot become lost"):
        shop.desk.decide_dispute(dispute["id"], "lost")
    rest = shop.desk.dispute(charge.id)
    assert rest["amount"] == 6000


def test_the_end_may_be_heard_of_first(shop, charge):
    """A dispute that is born lost can be told of closed first."""
    since = shop.last_event()
    shop.desk.dispute(charge.id, "lost", closed_first=True)
    assert shop.happened(since) == [f"charge.dispute.{each}" for each in ("closed", "created", "funds_withdrawn")]


@pytest.mark.parametrize(
    ("born", "words", "ends"),
    [
        ("needs_response", "winning_evidence", "won"),
        ("needs_response", "losing_evidence", "lost"),
        ("needs_response", "We sent it.", "under_review"),
        ("appeal_needs_response", "winning_evidence", "won"),
        ("warning_needs_response", "winning_evidence", "warning_closed"),
        ("warning_needs_response", "escalate_inquiry_evidence", "needs_response"),
    ],
)
def test_evidence(shop, charge, born, words, ends):
    """Staged first, then submitted; Stripe's magic words decide the case."""
    dispute = shop.desk.dispute(charge.id, born)["id"]
    evidence = {"uncategorized_text": words, "customer_name": "Ann"}
    staged = shop.api.disputes.update(dispute, params={"evidence": evidence, "submit": False})
    assert (staged.status, staged.evidence_details.has_evidence) == (born, True)
    submitted = shop.api.disputes.update(dispute, params={"submit": True})
    assert (submitted.status, submitted.evidence.customer_name) == (
        born.replace("needs_response", "under_review"),
        "Ann",
    )
    assert submitted.evidence_details.submission_count == 1
    shop.desk.drain()
    assert shop.api.disputes.retrieve(dispute).status == ends


def test_evidence_that_is_refused(shop, charge):
    """It is submitted once, and names no file, as none can be uploaded."""
    dispute = shop.desk.dispute(charge.id)["id"]
    with pytest.raises(stripe.InvalidRequestError, match="No such file upload"):
        shop.api.disputes.update(dispute, params={"evidence": {"receipt": "file_1"}})
    evidence = {"customer_name": "Ann"}
    assert shop.api.disputes.update(dispute, params={"evidence": evidence}).status == "under_review"
    with pytest.raises(stripe.InvalidRequestError, match="cannot submit evidence"):
        shop.api.disputes.update(dispute, params={"evidence": evidence})


def test_an_inquiry_becomes_a_dispute(shop, charge):
    """It takes the money only then, may be refunded only before, and what was being refunded fails."""
    inquiry = shop.desk.dispute(charge.id, "warning_needs_response")
    assert (inquiry["is_charge_refundable"], balance(shop)) == (True, 10_000)
    shop.api.refunds.create(params={"charge": charge.id, "amount": 1000})
    since = shop.last_event()
    escalated = shop.desk.decide_dispute(inquiry["id"], "needs_response")
    assert shop.happened(since) == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
    assert escalated["payment_method_details"]["card"]["case_type"] == "chargeback"
    with pytest.raises(stripe.InvalidRequestError, match="charged back; cannot issue a refund") as refused:
        shop.api.refunds.create(params={"charge": charge.id})
    assert refused.value.code == "charge_disputed"
    shop.desk.decide_dispute(inquiry["id"], "won")
    assert shop.api.refunds.create(params={"charge": charge.id}).amount == 9000


@pytest.mark.parametrize(
    ("card", "days", "ends"),
    [
        ("pm_card_createDisputeProductNotReceived", 7, "lost"),
        ("pm_card_createDisputeInquiry", 120, "warning_closed"),
    ],
)
def test_a_dispute_nobody_answers(here, card, days, ends):
    """It is lost when its time is over; an inquiry merely ends."""
    payment = {"amount": "500", "currency": "eur", "confirm": "true", "payment_method": card}
    charge = here.post("payment_intents", payment)["latest_charge"]
    here.run(here.sandbox.drain())
    assert here.get(f"disputes?charge={charge}")["data"][0]["status"].endswith("needs_response")
    here.run(here.sandbox.advance(days * 86_400))
    assert here.get(f"disputes?charge={charge}")["data"][0]["status"] == ends


def test_prevented_and_disputed_twice(shop, charge):
    """A prevented dispute takes no money; one card is disputed twice, each for a part."""
    assert shop.desk.dispute(charge.id, "prevented")["payment_method_details"]["card"]["case_type"] == "resolution"
    assert shop.happened()[-2:] == ["charge.dispute.created", "charge.dispute.closed"]
    assert balance(shop) == 10_000
    shop.desk.pay(shop.checkout(shop.price(501, None)).id, "pm_card_createMultipleDisputes")
    shop.desk.drain()
    twice = shop.api.disputes.list(params={"charge": shop.api.charges.list().data[0].id}).data
    assert sorted(each.amount for each in twice) == [250, 251]


def test_a_dispute_goes_by_a_test_clock_given_later(shop, charge):
    """Once its customer has a clock, nobody answering in that clock's time loses it."""
    dispute = shop.desk.dispute(charge.id)["id"]
    now = int(shop.desk.now().timestamp())
    clock = shop.api.test_helpers.test_clocks.create(params={"frozen_time": now, "customer": charge.customer})
    shop.api.test_helpers.test_clocks.advance(clock.id, params={"frozen_time": now + 8 * 86_400})
    shop.desk.drain()
    assert shop.api.disputes.retrieve(dispute).status == "lost"
