"""Subscription schedules: what is planned, when it happens, what it costs, and who may still change what."""

import httpx
import pytest
import stripe

DAY = 86_400
RENEWED = ["customer.subscription.updated", "invoice.created"]


@pytest.fixture
def prices(shop):
    """A big plan and a small one."""
    return shop.price(3000), shop.price(900)


@pytest.fixture
def sold(shop, prices):
    """A subscription of the big plan, just begun."""
    return shop.subscribe(prices[0])


def schedule(shop, subscription):
    return shop.api.subscription_schedules.create(params={"from_subscription": subscription.id})


def phase(start, end, price, **more):
    ends = {"end_date": end} if end else {}
    return {"start_date": start, **ends, "items": [{"price": price.id, "quantity": 1}], **more}


def item_of(subscription):
    return subscription["items"].data[0]


def downgrade(shop, subscription, prices, **more):
    """Plans the small price from the period's end on."""
    item = item_of(subscription)
    start, end = item.current_period_start, item.current_period_end
    params = {"phases": [phase(start, end, prices[0]), phase(end, None, prices[1])], **more}
    return shop.api.subscription_schedules.update(schedule(shop, subscription).id, params=params)


def now_of(shop):
    """The desk's clock, in Unix seconds."""
    return int(shop.desk.now().timestamp())


def passes(shop, subscription, seconds=0):
    """Moves to the end of the running period, and so many seconds on."""
    end = item_of(shop.api.subscriptions.retrieve(subscription.id)).current_period_end
    shop.desk.advance(seconds=end - now_of(shop) + seconds)


def told(shop, since, kind):
    """What changed, by the events of a type."""
    return [each.data.previous_attributes for each in shop.events(since) if each.type == kind]


def test_a_schedule_of_a_subscription(shop, sold, prices):
    """It has one phase, what runs now; the subscription names it, and can be asked to show it."""
    since = shop.last_event()
    made = schedule(shop, sold)
    item = item_of(sold)
    assert (made.status, made.end_behavior, made.subscription) == ("active", "release", sold.id)
    assert made.current_phase.to_dict() == {
        "start_date": item.current_period_start,
        "end_date": item.current_period_end,
    }
    assert [(each.price, each.quantity) for each in made.phases[0]["items"]] == [(prices[0].id, 1)]
    assert shop.happened(since) == ["subscription_schedule.created", "customer.subscription.updated"]
    assert [each.to_dict() for each in told(shop, since, "customer.subscription.updated")] == [{"schedule": None}]
    shown = shop.api.subscriptions.retrieve(sold.id, params={"expand": ["schedule"]})
    assert shown.schedule.id == made.id
    listed = shop.api.subscription_schedules.list(params={"customer": sold.customer}).data
    assert [each.id for each in listed] == [made.id]
    assert shop.api.subscription_schedules.list(params={"scheduled": True}).data == []


def test_a_price_from_the_periods_end_on(shop, sold, prices):
    """Until that instant everything stays; then the renewal bills the new price, and nothing is prorated."""
    downgrade(shop, sold, prices)
    passes(shop, sold, -1)
    assert item_of(shop.api.subscriptions.retrieve(sold.id)).price.id == prices[0].id
    since = shop.last_event()
    shop.desk.advance(seconds=1)
    now = shop.api.subscriptions.retrieve(sold.id)
    assert item_of(now).price.id == prices[1].id
    assert item_of(now).current_period_start == item_of(sold).current_period_end
    assert item_of(now).id == item_of(sold).id
    assert shop.happened(since) == ["subscription_schedule.updated", *RENEWED]
    (changed,) = told(shop, since, "customer.subscription.updated")
    assert changed["items"]["data"][0]["price"]["id"] == prices[0].id
    shop.desk.advance(hours=2)
    bill = shop.api.invoices.retrieve(shop.api.subscriptions.retrieve(sold.id).latest_invoice)
    assert (bill.billing_reason, bill.status, bill.total) == ("subscription_cycle", "paid", 900)
    assert shop.api.invoice_items.list().data == []


def test_another_interval_from_the_periods_end_on(shop, sold, prices):
    """From monthly to yearly: the year begins where the month ends, and is billed whole."""
    yearly = shop.price(9000, "year")
    downgrade(shop, sold, (prices[0], yearly))
    passes(shop, sold, 2 * 3600)
    now = shop.api.subscriptions.retrieve(sold.id)
    assert item_of(now).price.id == yearly.id
    assert now.billing_cycle_anchor == item_of(now).current_period_start == item_of(sold).current_period_end
    assert 364 * DAY <= item_of(now).current_period_end - item_of(now).current_period_start <= 366 * DAY
    assert shop.api.invoices.retrieve(now.latest_invoice).total == 9000


def test_the_preview_of_a_planned_change(shop, sold, prices):
    """The upcoming invoice is that of the plan to come."""
    downgrade(shop, sold, prices)
    upcoming = shop.api.invoices.create_preview(params={"subscription": sold.id})
    assert (upcoming.total, upcoming.created) == (900, item_of(sold).current_period_end)


def test_a_phase_in_the_middle_of_a_period(shop, sold, prices):
    """Its own `proration_behavior` says what becomes of the difference."""
    item = item_of(sold)
    start, end = item.current_period_start, item.current_period_end
    half = (start + end) // 2
    made = schedule(shop, sold)
    later = phase(half, end, prices[1], proration_behavior="create_prorations")
    shop.api.subscription_schedules.update(made.id, params={"phases": [phase(start, half, prices[0]), later]})
    shop.desk.advance(seconds=half - now_of(shop))
    assert item_of(shop.api.subscriptions.retrieve(sold.id)).price.id == prices[1].id
    assert sorted(each.amount for each in shop.api.invoice_items.list().data) == [-1500, 450]


def test_a_change_of_the_running_phase(shop, sold, prices):
    """Other items in the phase that runs change the subscription at once, prorated as the update says."""
    item = item_of(sold)
    made = schedule(shop, sold)
    phases = [phase(item.current_period_start, item.current_period_end, prices[1])]
    shop.api.subscription_schedules.update(made.id, params={"phases": phases, "proration_behavior": "none"})
    assert item_of(shop.api.subscriptions.retrieve(sold.id)).price.id == prices[1].id
    assert shop.api.invoice_items.list().data == []


def test_a_change_of_the_subscription_itself(shop, sold, prices):
    """Is written into the phase that runs; what is planned stays."""
    made = downgrade(shop, sold, prices)
    items = [{"id": item_of(sold).id, "quantity": 3}]
    shop.api.subscriptions.update(sold.id, params={"items": items, "proration_behavior": "none"})
    now = shop.api.subscription_schedules.retrieve(made.id)
    assert [(each["items"][0].price, each["items"][0].quantity) for each in now.phases] == [
        (prices[0].id, 3),
        (prices[1].id, 1),
    ]


def test_the_end_of_the_last_phase_releases(shop, sold, prices):
    """The subscription goes on by itself; a week before, the end is announced."""
    made = downgrade(shop, sold, prices)
    passes(shop, sold)
    since = shop.last_event()
    passes(shop, sold, 1)
    over = shop.api.subscription_schedules.retrieve(made.id)
    assert (over.status, over.released_subscription, over.subscription) == ("released", sold.id, None)
    assert over.released_at == over.phases[-1].end_date
    now = shop.api.subscriptions.retrieve(sold.id)
    assert (now.status, now.schedule) == ("active", None)
    happened = [each for each in shop.happened(since) if each.startswith("subscription_schedule")]
    assert happened == ["subscription_schedule.expiring", "subscription_schedule.released"]


def test_the_end_of_the_last_phase_cancels(shop, sold, prices):
    """With `end_behavior` cancel the subscription says in its last phase when it ends, and ends then."""
    made = downgrade(shop, sold, prices, end_behavior="cancel")
    assert shop.api.subscriptions.retrieve(sold.id).cancel_at is None
    passes(shop, sold)
    last = shop.api.subscription_schedules.retrieve(made.id).phases[-1]
    assert shop.api.subscriptions.retrieve(sold.id).cancel_at == last.end_date
    since = shop.last_event()
    passes(shop, sold)
    assert shop.api.subscriptions.retrieve(sold.id).status == "canceled"
    over = shop.api.subscription_schedules.retrieve(made.id)
    assert (over.status, over.completed_at, over.canceled_at) == ("completed", last.end_date, None)
    assert shop.happened(since)[-2:] == ["subscription_schedule.completed", "customer.subscription.deleted"]


def test_a_release(shop, sold, prices):
    """Nothing that was planned happens; released twice is refused."""
    made = downgrade(shop, sold, prices)
    since = shop.last_event()
    assert shop.api.subscription_schedules.release(made.id).status == "released"
    assert shop.happened(since) == ["subscription_schedule.released", "customer.subscription.updated"]
    passes(shop, sold, 1)
    assert item_of(shop.api.subscriptions.retrieve(sold.id)).price.id == prices[0].id
    for call in ("release", "cancel", "update"):
        with pytest.raises(stripe.InvalidRequestError, match="currently in the `released` status"):
            getattr(shop.api.subscription_schedules, call)(made.id)


def test_a_release_may_keep_the_end(shop, sold):
    """A subscription that is set to end gets a schedule that ends it; a release takes that end back, unless told."""
    for keeps in (False, True):
        shop.api.subscriptions.update(sold.id, params={"cancel_at_period_end": True})
        made = schedule(shop, sold)
        assert (made.end_behavior, made.phases[0].end_date) == ("cancel", item_of(sold).current_period_end)
        shop.api.subscription_schedules.release(made.id, params={"preserve_cancel_date": keeps})
        assert (shop.api.subscriptions.retrieve(sold.id).cancel_at is not None) is keeps


def test_a_cancellation(shop, sold, prices):
    """Of the schedule: the subscription ends now, its rest is credited. Of the subscription: the schedule ends too."""
    made = downgrade(shop, sold, prices)
    since = shop.last_event()
    assert shop.api.subscription_schedules.cancel(made.id).status == "canceled"
    assert shop.api.subscriptions.retrieve(sold.id).status == "canceled"
    assert shop.happened(since)[-2:] == ["subscription_schedule.canceled", "customer.subscription.deleted"]
    assert shop.api.customers.retrieve(sold.customer).balance == -3000
    other = shop.subscribe(prices[0])
    made = downgrade(shop, other, prices)
    shop.api.subscriptions.cancel(other.id)
    assert shop.api.subscription_schedules.retrieve(made.id).status == "canceled"


def test_dunning_aborts_it(shop, sold, prices):
    """A subscription that ends because nobody pays takes its schedule with it."""
    made = downgrade(shop, sold, prices)
    shop.give_card(shop.api.customers.retrieve(sold.customer), "pm_card_chargeCustomerFail")
    since = shop.last_event()
    passes(shop, sold, 25 * DAY)
    assert shop.api.subscription_schedules.retrieve(made.id).status == "canceled"
    assert "subscription_schedule.aborted" in shop.happened(since)


@pytest.mark.parametrize("change", [{"cancel_at_period_end": True}, {"cancel_at_period_end": False}, {"cancel_at": ""}])
def test_its_end_is_for_the_schedule_to_say(shop, sold, prices, change):
    """As Stripe refuses it, word for word."""
    made = downgrade(shop, sold, prices)
    with pytest.raises(stripe.InvalidRequestError, match=f"managed by the subscription schedule `{made.id}`"):
        shop.api.subscriptions.update(sold.id, params=change)


def test_discounts_are_those_of_the_phase(shop, prices):
    """A phase that does not name the subscription's discounts ends them; one that does keeps them."""
    coupon = shop.api.coupons.create(params={"percent_off": 50, "duration": "forever"})
    for kept in (True, False):
        sold = shop.subscribe(prices[0], discounts=[{"coupon": coupon.id}])
        item = item_of(sold)
        start, end = item.current_period_start, item.current_period_end
        named = {"discounts": [{"discount": sold.discounts[0]}]}
        later = phase(end, None, prices[1], **(named if kept else {}))
        params = {"phases": [phase(start, end, prices[0], **named), later]}
        shop.api.subscription_schedules.update(schedule(shop, sold).id, params=params)
        passes(shop, sold, 7200)
        bill = shop.api.invoices.retrieve(shop.api.subscriptions.retrieve(sold.id).latest_invoice)
        assert bill.total == (450 if kept else 900)


def test_what_is_refused(shop, sold, prices):
    """A second schedule, a phase that begins elsewhere, a gap, the past, another currency, one that lasts for ever."""
    made = schedule(shop, sold)
    with pytest.raises(stripe.InvalidRequestError, match="already attached to a schedule"):
        schedule(shop, sold)
    item = item_of(sold)
    start, end = item.current_period_start, item.current_period_end
    now = phase(start, end, prices[0])
    usd = shop.price(900, currency="usd")
    for phases, says in (
        ([phase(start + 1, end, prices[0])], "start date of the current phase"),
        ([now, phase(end + 1, None, prices[1])], "must be the end date of the phase before"),
        ([phase(start, start, prices[0])], "start date of the current phase|from 1 to 10"),
        ([phase(start, None, prices[0]), phase(end, None, prices[1])], "Missing required param"),
        ([now, {**phase(end, end + DAY, prices[1]), "duration": {"interval": "day"}}], "only specify one"),
        ([now, phase(end, None, usd)], "only supports `usd`"),
        ([now, phase(end, None, shop.price(5, None))], "one_time"),
        ([now, {"start_date": end}], "Missing required param: phases.1..items"),
        ([now, phase(end, None, prices[1], billing_thresholds={"amount_gte": 5})], "unknown parameter"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=says):
            shop.api.subscription_schedules.update(made.id, params={"phases": phases})
    assert shop.api.subscription_schedules.retrieve(made.id) == made


def test_on_a_test_clock(shop, prices):
    """A schedule lives by its customer's clock."""
    clock = shop.api.test_helpers.test_clocks.create(params={"frozen_time": now_of(shop)})
    sold = shop.subscribe(prices[0], shop.customer(test_clock=clock.id))
    made = downgrade(shop, sold, prices)
    assert made.test_clock == clock.id
    end = item_of(sold).current_period_end
    shop.api.test_helpers.test_clocks.advance(clock.id, params={"frozen_time": end + 60})
    shop.desk.drain()
    assert item_of(shop.api.subscriptions.retrieve(sold.id)).price.id == prices[1].id


def test_on_trial(shop, prices):
    """A plan that begins when the trial ends: the first bill is that of the new plan."""
    sold = shop.subscribe(prices[0], trial_period_days=14)
    made = downgrade(shop, sold, prices)
    assert made.phases[0].trial_end == sold.trial_end
    shop.desk.advance(seconds=sold.trial_end - now_of(shop) + 7200)
    now = shop.api.subscriptions.retrieve(sold.id)
    assert (now.status, item_of(now).price.id) == ("active", prices[1].id)
    assert shop.api.invoices.retrieve(now.latest_invoice).total == 900


def test_the_portal_leaves_what_is_planned_alone(shop, sold, prices):
    """While a change is planned the portal cancels nothing; in the last phase it does, and releases the schedule."""
    customer = sold.customer
    made = downgrade(shop, sold, prices)
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": sold.id}}
    with pytest.raises(stripe.InvalidRequestError, match="cannot cancel"):
        shop.api.billing_portal.sessions.create(params={"customer": customer, "flow_data": flow})
    passes(shop, sold)
    session = shop.api.billing_portal.sessions.create(params={"customer": customer, "flow_data": flow})
    assert httpx.post(session.url, data={"action": "cancel", "subscription": sold.id}).status_code == 303
    now = shop.api.subscriptions.retrieve(sold.id)
    assert (now.cancel_at, now.schedule) == (item_of(now).current_period_end, None)
    assert shop.api.subscription_schedules.retrieve(made.id).status == "released"
