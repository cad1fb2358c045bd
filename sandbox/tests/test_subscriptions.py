"""The life of a subscription, told as stories on the sandbox's clock."""

from datetime import UTC, datetime

import pytest
import stripe

DAY = 86_400
PAID = [
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
]
FAILED = ["charge.failed", "payment_intent.payment_failed", "invoice.updated", "invoice.payment_failed"]


def item(subscription):
    return subscription["items"].data[0]


def period(subscription):
    return item(subscription).current_period_start, item(subscription).current_period_end


def test_created_by_api_with_a_good_card(shop):
    """It is active at once; its periods are on the item, at this API version."""
    subscription = shop.subscribe(shop.price(), metadata={"user": "u1"})
    assert subscription.status == "active"
    assert "current_period_end" not in subscription
    start, end = period(subscription)
    assert start == subscription.created == subscription.billing_cycle_anchor
    assert 28 * DAY <= end - start <= 31 * DAY
    assert (subscription.cancel_at, subscription.cancel_at_period_end, subscription.canceled_at) == (None, False, None)
    invoice = shop.api.invoices.retrieve(subscription.latest_invoice, params={"expand": ["payments"]})
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.payments.data[0].payment.payment_intent.startswith("pi_")
    line = invoice.lines.data[0]
    assert line.parent.subscription_item_details.subscription_item == item(subscription).id
    assert line.pricing.price_details.price == item(subscription).price.id
    assert (line.period.start, line.period.end) == (start, end)
    assert line.description == "1 × PDF Tool Pro (at €9.00 / month)"


def test_renewal(shop):
    """It is announced; the period turns, the invoice is a draft for an hour, then paid and the latest one."""
    subscription = shop.subscribe(shop.price())
    _, end = period(subscription)
    since = shop.last_event()
    shop.desk.advance_to(datetime.fromtimestamp(end - 7 * DAY, UTC))
    (announced,) = shop.events(since)
    assert (announced.type, announced.data.object.billing_reason) == ("invoice.upcoming", "upcoming")
    assert "id" not in announced.data.object
    assert (announced.data.object.amount_due, announced.data.object.lines.data[0].period.start) == (900, end)
    since = shop.last_event()
    shop.desk.advance_to(datetime.fromtimestamp(end, UTC))
    turned = shop.api.subscriptions.retrieve(subscription.id)
    assert item(turned).current_period_start == end
    assert turned.latest_invoice == subscription.latest_invoice
    draft = shop.api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert (draft.status, draft.billing_reason, draft.automatically_finalizes_at) == (
        "draft",
        "subscription_cycle",
        end + 3600,
    )
    update, drafted = shop.events(since)
    assert (update.type, drafted.type) == ("customer.subscription.updated", "invoice.created")
    previous = update.data.previous_attributes
    assert list(previous.to_dict()) == ["items"]
    assert previous["items"]["data"][0]["current_period_end"] == end
    assert update.request.id is None

    since = shop.last_event()
    shop.desk.advance(hours=1)
    assert shop.happened(since) == [*PAID, "customer.subscription.updated"]
    renewed = shop.api.subscriptions.retrieve(subscription.id)
    assert (renewed.latest_invoice, renewed.status) == (draft.id, "active")
    assert shop.api.invoices.retrieve(draft.id).status == "paid"


def test_a_year_of_renewals_keeps_its_day(shop):
    """Twelve months give thirteen invoices, one per month, on the anchor's day."""
    subscription = shop.subscribe(shop.price())
    anchor = datetime.fromtimestamp(subscription.billing_cycle_anchor, UTC)
    shop.desk.advance_to(anchor.replace(year=anchor.year + 1, hour=23))
    invoices = list(shop.api.invoices.list(params={"subscription": subscription.id, "limit": 100}).auto_paging_iter())
    assert len(invoices) == 13
    start, end = (
        datetime.fromtimestamp(each, UTC) for each in period(shop.api.subscriptions.retrieve(subscription.id))
    )
    assert (start.year, start.day, end.month) == (anchor.year + 1, anchor.day, anchor.month % 12 + 1)


def test_a_failing_card_is_retried_and_then_the_subscription_ends(shop):
    """past_due, tries after 3, 5 and 7 more days, then canceled with the reason payment_failed."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    _, end = period(subscription)
    since = shop.last_event()
    shop.desk.advance_to(datetime.fromtimestamp(end + 3600, UTC))
    late = shop.api.subscriptions.retrieve(subscription.id)
    assert (late.status, item(late).current_period_start) == ("past_due", end)
    invoice = shop.api.invoices.retrieve(late.latest_invoice)
    assert (invoice.status, invoice.attempt_count, invoice.attempted) == ("open", 1, True)
    assert invoice.next_payment_attempt == end + 3600 + 3 * DAY
    assert shop.happened(since) == [
        "invoice.upcoming",
        "customer.subscription.updated",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        *FAILED,
        "customer.subscription.updated",
    ]
    assert shop.last_event().data.previous_attributes["status"] == "active"

    for days, attempts in ((3, 2), (5, 3)):
        since = shop.last_event()
        shop.desk.advance(days=days)
        assert shop.happened(since) == FAILED
        assert shop.api.invoices.retrieve(invoice.id).attempt_count == attempts
    since = shop.last_event()
    shop.desk.advance(days=7)
    assert shop.happened(since) == [*FAILED, "customer.subscription.deleted"]
    ended = shop.api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    assert ended.ended_at == end + 3600 + 15 * DAY
    left = shop.api.invoices.retrieve(invoice.id)
    assert (left.status, left.next_payment_attempt, left.auto_advance) == ("open", None, False)
    since = shop.last_event()
    shop.desk.advance(days=90)
    assert shop.happened(since) == []


@pytest.mark.parametrize(
    ("choice", "status", "event"),
    [
        ("cancel", "canceled", "deleted"),
        ("unpaid", "unpaid", "updated"),
        ("past_due", "past_due", None),
        ("pause", "paused", "paused"),
    ],
)
def test_how_dunning_ends_is_a_setting(shop, choice, status, event):
    """As at Stripe an account sets when it tries again, what becomes of the subscription, and of the invoice."""
    chosen = {"retries_after": [60, 3600], "after_dunning": choice, "uncollectible_after_dunning": True}
    assert chosen.items() <= shop.desk.settings(**chosen).items()
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    shop.desk.advance_to(datetime.fromtimestamp(period(subscription)[1] + 3600, UTC))
    for seconds in (60, 3600):
        assert shop.api.subscriptions.retrieve(subscription.id).status == "past_due"
        since = shop.last_event()
        shop.desk.advance(seconds=seconds)
    told = {"paused": ["customer.subscription.paused", "customer.subscription.updated"], None: []}
    ended = told.get(event, [f"customer.subscription.{event}"])
    assert shop.happened(since) == [*FAILED, *ended, "invoice.updated", "invoice.marked_uncollectible"]
    stuck = shop.api.subscriptions.retrieve(subscription.id, params={"expand": ["latest_invoice"]})
    assert (stuck.status, stuck.latest_invoice.attempt_count) == (status, 3)
    assert stuck.latest_invoice.status_details.uncollectible.reason == "max_payment_attempts"
    if choice == "pause":
        assert stuck.status_details.paused.subscription.type == "final_payment_failure"


def test_an_unpaid_subscription_drafts_on(shop):
    """Its invoices stay drafts until somebody finalises one; paying that one makes it active again."""
    shop.desk.settings(retries_after=[], after_dunning="unpaid")
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    shop.desk.advance_to(datetime.fromtimestamp(period(subscription)[1] + 3600, UTC))
    shop.give_card(customer, "pm_card_visa")
    shop.desk.advance(days=40)
    assert shop.api.subscriptions.retrieve(subscription.id).status == "unpaid"
    draft, left, _ = shop.api.invoices.list(params={"subscription": subscription.id}).data
    assert (draft.status, draft.auto_advance, left.status) == ("draft", False, "open")
    shop.api.invoices.finalize_invoice(draft.id)
    since = shop.last_event()
    shop.api.invoices.pay(draft.id)
    assert shop.happened(since)[-1] == "customer.subscription.updated"
    assert shop.last_event().data.previous_attributes.to_dict() == {"status": "unpaid"}
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"


def test_a_retry_with_a_new_card_recovers(shop):
    """A good card is charged at the next retry, and the subscription is active again."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    _, end = period(subscription)
    shop.desk.advance_to(datetime.fromtimestamp(end + 3600, UTC))
    shop.give_card(customer, "pm_card_visa")
    since = shop.last_event()
    shop.desk.advance(days=3)
    assert shop.happened(since) == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "customer.subscription.updated",
    ]
    recovered = shop.api.subscriptions.retrieve(subscription.id)
    assert recovered.status == "active"
    assert shop.last_event().data.previous_attributes["status"] == "past_due"


def test_paying_a_late_invoice_by_hand(shop):
    """`invoices.pay` recovers at once; a card that is refused is a 402, and the failed charge stays on record."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    shop.desk.advance_to(datetime.fromtimestamp(period(subscription)[1] + 3600, UTC))
    invoice = shop.api.subscriptions.retrieve(subscription.id).latest_invoice
    charges = len(shop.api.charges.list(params={"customer": customer.id}).data)
    with pytest.raises(stripe.CardError) as refused:
        shop.api.invoices.pay(invoice)
    assert (refused.value.http_status, refused.value.code) == (402, "card_declined")
    assert len(shop.api.charges.list(params={"customer": customer.id}).data) == charges + 1
    paid = shop.api.invoices.pay(invoice, params={"payment_method": "pm_card_visa"})
    assert paid.status == "paid"
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        shop.api.invoices.pay(invoice)


def test_a_renewal_that_needs_the_customer(shop):
    """A card that always asks for 3-D Secure makes a renewal past due until the customer agreed."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    shop.give_card(customer, "pm_card_authenticationRequired")
    since = shop.last_event()
    shop.desk.advance(days=32)
    assert shop.api.subscriptions.retrieve(subscription.id).status == "past_due"
    asked = ["payment_intent.requires_action", "invoice.updated", "invoice.payment_failed"]
    assert shop.happened(since)[-5:] == [*asked, "invoice.payment_action_required", "customer.subscription.updated"]
    invoice = shop.api.subscriptions.retrieve(subscription.id).latest_invoice
    (paid_by,) = shop.api.invoice_payments.list(params={"invoice": invoice}).data
    since = shop.last_event()
    shop.desk.authenticate(paid_by.payment.payment_intent)
    assert shop.happened(since)[-1] == "customer.subscription.updated"
    assert shop.last_event().data.previous_attributes.to_dict() == {"status": "past_due"}
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"


def test_renewing_by_bank_debit(shop):
    """A renewal by debit stays open while the debit is under way, and the subscription stays active."""
    customer = shop.customer("pm_sepaDebit")
    subscription = shop.subscribe(shop.price(), customer)
    shop.desk.advance(days=32)
    renewed = shop.api.subscriptions.retrieve(subscription.id, params={"expand": ["latest_invoice"]})
    assert (renewed.status, renewed.latest_invoice.status) == ("active", "open")
    shop.desk.advance(days=3)
    assert shop.api.invoices.retrieve(renewed.latest_invoice.id).status == "paid"


def test_trial_warning_and_end(shop):
    """Three days before its end a trial warns; at its end it becomes active and is billed an hour later."""
    subscription = shop.subscribe(shop.price(), trial_period_days=14)
    assert subscription.status == "trialing"
    since = shop.last_event()
    shop.desk.advance(days=11)
    assert shop.happened(since) == ["invoice.upcoming", "customer.subscription.trial_will_end"]
    since = shop.last_event()
    shop.desk.advance(days=3)
    update, drafted = shop.events(since)
    assert (update.type, drafted.type) == ("customer.subscription.updated", "invoice.created")
    assert update.data.previous_attributes["status"] == "trialing"
    active = shop.api.subscriptions.retrieve(subscription.id)
    assert (active.status, item(active).current_period_start) == ("active", subscription.trial_end)
    shop.desk.advance(hours=1)
    invoice = shop.api.subscriptions.retrieve(subscription.id, params={"expand": ["latest_invoice"]}).latest_invoice
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 900, "subscription_cycle")


@pytest.mark.parametrize(
    ("behavior", "status", "event"),
    [
        ("create_invoice", "past_due", "customer.subscription.updated"),
        ("cancel", "canceled", "customer.subscription.deleted"),
        ("pause", "paused", "customer.subscription.paused"),
    ],
)
def test_a_trial_that_ends_without_a_card(shop, behavior, status, event):
    """`trial_settings` decides what becomes of a trial nobody gave a card for."""
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    subscription = shop.subscribe(shop.price(), shop.customer(card=None), trial_period_days=7, trial_settings=settings)
    shop.desk.advance(days=7, hours=1)
    assert shop.api.subscriptions.retrieve(subscription.id).status == status
    assert event in shop.happened()


def test_cancelling_at_period_end_by_api_sets_all_three(shop):
    """cancel_at, cancel_at_period_end and canceled_at; taken back they are null again; in the end it is deleted."""
    subscription = shop.subscribe(shop.price())
    _, end = period(subscription)
    shop.desk.advance(days=1)
    since = shop.last_event()
    scheduled = shop.api.subscriptions.update(
        subscription.id,
        params={
            "cancel_at_period_end": True,
            "cancellation_details": {"comment": "too dear", "feedback": "too_expensive"},
        },
    )
    assert (scheduled.cancel_at, scheduled.cancel_at_period_end) == (end, True)
    assert scheduled.canceled_at == int(shop.desk.now().timestamp())
    details = scheduled.cancellation_details
    assert (details.reason, details.comment, details.feedback) == (
        "cancellation_requested",
        "too dear",
        "too_expensive",
    )
    (update,) = shop.events(since)
    previous = update.data.previous_attributes
    assert (previous["cancel_at"], previous["cancel_at_period_end"], previous["canceled_at"]) == (None, False, None)
    assert update.request.id.startswith("req_")
    undone = shop.api.subscriptions.update(subscription.id, params={"cancel_at_period_end": False})
    assert (undone.cancel_at, undone.cancel_at_period_end, undone.canceled_at) == (None, False, None)
    shop.api.subscriptions.update(subscription.id, params={"cancel_at_period_end": True})
    since = shop.last_event()
    shop.desk.advance_to(datetime.fromtimestamp(end, UTC))
    assert shop.happened(since) == ["customer.subscription.deleted"]
    ended = shop.api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at, ended.cancel_at, ended.cancel_at_period_end) == ("canceled", end, None, False)


def test_cancel_at_a_date(shop):
    """A date sets cancel_at alone; the words for period ends are understood; a past date is refused."""
    subscription = shop.subscribe(shop.price())
    date = subscription.created + 10 * DAY
    dated = shop.api.subscriptions.update(subscription.id, params={"cancel_at": date})
    assert (dated.cancel_at, dated.cancel_at_period_end) == (date, False)
    worded = shop.api.subscriptions.update(subscription.id, params={"cancel_at": "min_period_end"})
    assert (worded.cancel_at, worded.cancel_at_period_end) == (period(subscription)[1], False)
    assert shop.api.subscriptions.update(subscription.id, params={"cancel_at": ""}).cancel_at is None
    with pytest.raises(stripe.InvalidRequestError, match="future"):
        shop.api.subscriptions.update(subscription.id, params={"cancel_at": 1})
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        shop.api.subscriptions.update(subscription.id, params={"cancel_at": date, "cancel_at_period_end": True})
    shop.api.subscriptions.update(subscription.id, params={"cancel_at": date})
    shop.desk.advance(days=11)
    assert shop.api.subscriptions.retrieve(subscription.id).ended_at == date


def test_cancel_fields_at_creation(shop):
    """A subscription can be born with its end."""
    whole = shop.subscribe(shop.price(), cancel_at_period_end=True)
    assert (whole.cancel_at, whole.cancel_at_period_end) == (period(whole)[1], True)
    dated = shop.subscribe(shop.price(), cancel_at="min_period_end")
    assert (dated.cancel_at, dated.cancel_at_period_end) == (period(dated)[1], False)


def test_cancelling_now(shop):
    """DELETE ends at once, is final, and unpaid time is not billed again."""
    subscription = shop.subscribe(shop.price())
    since = shop.last_event()
    gone = shop.api.subscriptions.cancel(subscription.id, params={"cancellation_details": {"comment": "bye"}})
    assert (gone.status, gone.cancel_at, gone.cancel_at_period_end) == ("canceled", None, False)
    assert gone.ended_at == gone.canceled_at == int(shop.desk.now().timestamp())
    assert gone.cancellation_details.comment == "bye"
    assert shop.happened(since) == ["customer.subscription.deleted"]
    with pytest.raises(stripe.InvalidRequestError) as again:
        shop.api.subscriptions.cancel(subscription.id)
    assert (again.value.http_status, again.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="can only update"):
        shop.api.subscriptions.update(subscription.id, params={"cancel_at_period_end": True})
    assert shop.api.subscriptions.update(subscription.id, params={"metadata": {"a": "b"}}).metadata["a"] == "b"
    shop.desk.advance(days=60)
    assert len(shop.api.invoices.list(params={"subscription": subscription.id}).data) == 1


def test_cancelling_now_with_the_rest_given_back(shop):
    """`prorate` and `invoice_now` credit the unused time to the customer's balance."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(3000), customer)
    start, end = period(subscription)
    shop.desk.advance_to(datetime.fromtimestamp((start + end) // 2, UTC))
    shop.api.subscriptions.cancel(subscription.id, params={"prorate": True, "invoice_now": True})
    assert shop.api.customers.retrieve(customer.id).balance == -1500


@pytest.mark.parametrize(
    ("behavior", "invoice_status"),
    [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")],
)
def test_paused_collection(shop, behavior, invoice_status):
    """`pause_collection` changes no status and sends only updates; its invoices are given up or kept as drafts."""
    subscription = shop.subscribe(shop.price())
    since = shop.last_event()
    resumes = period(subscription)[1] + 10 * DAY
    paused = shop.api.subscriptions.update(
        subscription.id, params={"pause_collection": {"behavior": behavior, "resumes_at": resumes}}
    )
    assert (paused.status, paused.pause_collection.behavior) == ("active", behavior)
    assert shop.happened(since) == ["customer.subscription.updated"]
    shop.desk.advance(days=35)
    invoice = shop.api.invoices.list(params={"subscription": subscription.id}).data[0]
    assert (invoice.billing_reason, invoice.status) == ("subscription_cycle", invoice_status)
    assert "customer.subscription.paused" not in shop.happened()
    shop.desk.advance(days=10)
    assert shop.api.subscriptions.retrieve(subscription.id).pause_collection is None


def test_first_payment_fails_by_api(shop):
    """It is incomplete, becomes active when paid, and expires after 23 hours otherwise."""
    customer, price = shop.customer("pm_card_chargeCustomerFail"), shop.price()
    since = shop.last_event()
    first = shop.subscribe(price, customer)
    assert first.status == "incomplete"
    happened = shop.happened(since)
    assert happened[0] == "customer.subscription.created" and happened[-1] == "invoice.payment_failed"
    second = shop.subscribe(shop.price(), customer)
    assert shop.api.invoices.pay(first.latest_invoice, params={"payment_method": "pm_card_visa"}).status == "paid"
    assert shop.api.subscriptions.retrieve(first.id).status == "active"
    shop.desk.advance(hours=23)
    assert shop.api.subscriptions.retrieve(second.id).status == "incomplete_expired"
    assert shop.api.invoices.retrieve(second.latest_invoice).status == "void"
    assert shop.happened()[-2:] == ["invoice.updated", "invoice.voided"]


def test_default_incomplete_waits_for_the_page(shop):
    """`default_incomplete` hands out a secret and becomes active when the intent is confirmed."""
    subscription = shop.subscribe(shop.price(), payment_behavior="default_incomplete")
    invoice = shop.api.invoices.retrieve(
        subscription.latest_invoice, params={"expand": ["confirmation_secret", "payments"]}
    )
    assert (subscription.status, invoice.attempt_count) == ("incomplete", 0)
    intent = invoice.payments.data[0].payment.payment_intent
    assert invoice.confirmation_secret.client_secret.startswith(intent)
    shop.api.payment_intents.confirm(intent, params={"payment_method": "pm_card_visa"})
    assert shop.api.subscriptions.retrieve(subscription.id).status == "active"


def test_error_if_incomplete_leaves_nothing(shop):
    """A refused first payment is a 402 without a subscription."""
    customer = shop.customer("pm_card_chargeCustomerFail")
    since = shop.last_event()
    with pytest.raises(stripe.CardError):
        shop.subscribe(shop.price(), customer, payment_behavior="error_if_incomplete")
    assert shop.api.subscriptions.list(params={"status": "all"}).data == []
    assert "charge.failed" not in shop.happened(since)


def test_a_customer_without_a_card_cannot_subscribe(shop):
    """Stripe's own sentence; with a trial, or for nothing, it is possible."""
    customer = shop.customer(card=None)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        shop.subscribe(shop.price(), customer)
    assert shop.subscribe(shop.price(0), customer).status == "active"
    assert shop.subscribe(shop.price(), customer, trial_period_days=3).status == "trialing"


def test_lists_and_filters(shop):
    """Canceled ones are left out unless asked for; customer, price and status narrow the list."""
    customer, price = shop.customer(), shop.price()
    first, second = shop.subscribe(price, customer), shop.subscribe(shop.price())
    shop.api.subscriptions.cancel(first.id)

    def found(**params):
        return [each.id for each in shop.api.subscriptions.list(params=params).data]

    assert found() == [second.id]
    assert found(status="all") == [second.id, first.id]
    assert found(status="all", customer=customer.id) == [first.id] == found(status="ended")
    assert found(status="all", price=price.id) == [first.id]
    assert found(status="trialing") == []
    items = shop.api.subscription_items.list(params={"subscription": second.id}).data
    assert [each.id for each in items] == [item(second).id]
    assert shop.api.subscription_items.retrieve(item(second).id).subscription == second.id


def test_deleting_a_customer_ends_their_subscriptions(shop):
    """The subscriptions are canceled at once; the customer is a tombstone and cannot subscribe."""
    customer = shop.customer(email="gone@example.com")
    subscription = shop.subscribe(shop.price(), customer)
    since = shop.last_event()
    assert shop.api.customers.delete(customer.id).deleted is True
    assert shop.happened(since) == ["customer.subscription.deleted", "customer.deleted"]
    assert shop.api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert shop.api.customers.retrieve(customer.id).deleted is True
    assert shop.api.customers.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        shop.subscribe(shop.price(), customer)
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        shop.api.customers.update(customer.id, params={"name": "x"})
    expanded = shop.api.subscriptions.retrieve(subscription.id, params={"expand": ["customer"]})
    assert expanded.customer.deleted is True


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"items": []}, "parameter_missing"),
        ({"items": [{"quantity": 1}]}, "parameter_missing"),
        ({"items": [{"price": "price_none"}]}, "resource_missing"),
        ({"trial_end": 1}, None),
        ({"default_payment_method": "pm_none"}, "resource_missing"),
        ({"payment_behavior": "pending_if_incomplete"}, None),
        ({"coupon": "x"}, "parameter_unknown"),
    ],
)
def test_what_cannot_be_subscribed_to(shop, params, code):
    """Wrong subscriptions are refused with 400 and leave nothing."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.subscribe(shop.price(), **params)
    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert shop.api.subscriptions.list(params={"status": "all"}).data == []


def test_one_currency_per_subscription(shop):
    """Prices in two currencies cannot be mixed."""
    dollars = shop.price(currency="usd")
    with pytest.raises(stripe.InvalidRequestError, match="only supports `eur`"):
        shop.subscribe(shop.price(), items=[{"price": dollars.id}, {"price": shop.price().id}])


def test_a_trial_until_a_date(shop):
    """`trial_end` as a date, by API and on a page."""
    later = int(shop.desk.now().timestamp()) + 20 * DAY
    assert shop.subscribe(shop.price(), trial_end=later).trial_end == later
    session = shop.checkout(shop.price(), subscription_data={"trial_end": later})
    shop.desk.pay(session.id)
    paid = shop.api.checkout.sessions.retrieve(session.id, params={"expand": ["subscription"]})
    assert paid.subscription.trial_end == later
    running = shop.subscribe(shop.price())
    assert shop.api.subscriptions.update(running.id, params={"trial_end": "now"}).status == "active"


def test_a_card_of_its_own(shop):
    """A subscription's own method is charged before the customer's default; unset, the default is again."""
    customer = shop.customer("pm_card_chargeCustomerFail")
    subscription = shop.subscribe(shop.price(), customer, default_payment_method="pm_card_visa")
    assert subscription.status == "active"
    other = shop.api.subscriptions.update(subscription.id, params={"default_payment_method": "pm_card_mastercard"})
    assert other.default_payment_method != subscription.default_payment_method
    shop.api.subscriptions.update(subscription.id, params={"default_payment_method": ""})
    shop.desk.advance(days=32)
    assert shop.api.subscriptions.retrieve(subscription.id).status == "past_due"


def test_a_scheduled_end_follows_its_period(shop):
    """When a change gives a subscription that ends with its period another period, the end moves with it."""
    subscription = shop.subscribe(shop.price(), cancel_at_period_end=True)
    yearly = shop.price(9000, "year")
    items = [{"id": item(subscription).id, "price": yearly.id}]
    changed = shop.api.subscriptions.update(subscription.id, params={"items": items})
    assert changed.cancel_at == item(changed).current_period_end > subscription.cancel_at


def test_unknown_items(shop):
    """An item that does not exist is 404."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.api.subscription_items.retrieve("si_none")
    assert refused.value.http_status == 404
