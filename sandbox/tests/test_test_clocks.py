"""Test clocks: customers with a time of their own, beside the account's."""

from datetime import UTC, datetime

import pytest
import stripe

START = int(datetime(2026, 1, 31, tzinfo=UTC).timestamp())
DAY = 86_400


@pytest.fixture
def clock(api):
    """Begins in January 2026, which is not the account's time."""
    return api.test_helpers.test_clocks.create(params={"frozen_time": START, "name": "a year"})


@pytest.fixture
def member(shop, clock):
    """Who lives by it, with a card."""
    return shop.customer(test_clock=clock.id)


def advanced(desk, api, clock, to):
    """The clock once it has arrived."""
    api.test_helpers.test_clocks.advance(clock.id, params={"frozen_time": to})
    desk.drain()
    return api.test_helpers.test_clocks.retrieve(clock.id)


def test_a_clock_of_its_own(desk, api, shop, clock, member):
    """What is made of its customers carries the clock and its time, what is of others the account's."""
    price = shop.price()
    theirs = shop.subscribe(price, member)
    other = shop.subscribe(price)
    assert (clock.name, clock.status, clock.deletes_after) == ("a year", "ready", clock.created + 30 * DAY)
    assert (member.test_clock, theirs.test_clock, other.test_clock) == (clock.id, clock.id, None)
    assert theirs.created == theirs.start_date == START
    invoice = api.invoices.retrieve(theirs.latest_invoice, params={"expand": ["test_clock"]})
    assert (invoice.test_clock.id, invoice.created) == (clock.id, START)
    assert other.created == int(desk.now().timestamp())
    assert shop.last_event().created == other.created


def test_time_passes_for_its_customers_alone(desk, api, shop, clock, member):
    """The clock moves them and nobody else; the account's moves all but them."""
    price = shop.price()
    theirs, other = shop.subscribe(price, member), shop.subscribe(price)
    since = shop.last_event()
    arrived = advanced(desk, api, clock, START + 40 * DAY)
    assert (arrived.status, arrived.frozen_time) == ("ready", START + 40 * DAY)
    assert arrived.status_details.to_dict() == {}
    happened = shop.happened(since)
    assert happened[0] == "test_helpers.test_clock.advancing"
    assert happened[-1] == "test_helpers.test_clock.ready"
    assert happened.count("invoice.paid") == 1
    renewed = api.subscriptions.retrieve(theirs.id)["items"].data[0]
    assert datetime.fromtimestamp(renewed.current_period_start, UTC).date().isoformat() == "2026-02-28"
    assert api.subscriptions.retrieve(other.id).latest_invoice == other.latest_invoice
    desk.advance(days=20)
    desk.advance(days=20)
    assert api.subscriptions.retrieve(other.id).latest_invoice != other.latest_invoice
    assert api.test_helpers.test_clocks.list().data == []  # kept for thirty days


def test_a_year_in_leaps(desk, api, shop, clock, member):
    """Every renewal on the way is done, at its own time."""
    subscription = shop.subscribe(shop.price(), member)
    at = START
    while at < START + 366 * DAY:
        at += 59 * DAY
        advanced(desk, api, clock, at)
    invoices = api.invoices.list(params={"subscription": subscription.id, "limit": 100}).data
    assert [one.status for one in invoices] == ["paid"] * 14
    days = [datetime.fromtimestamp(one.created, UTC).date().isoformat() for one in invoices[::-1]]
    assert days[:4] + days[-2:] == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2027-01-31", "2027-02-28"]


def test_while_it_advances(here):
    """A change of what is its customers' is refused until it has arrived; it can be read, and calls go on."""
    clock = here.post("test_helpers/test_clocks", {"frozen_time": str(START)})
    customer = here.post("customers", {"test_clock": clock["id"]})
    path = f"test_helpers/test_clocks/{clock['id']}"
    going = here.post(f"{path}/advance", {"frozen_time": str(START + DAY)})
    assert (going["status"], going["frozen_time"]) == ("advancing", START)
    assert going["status_details"] == {"advancing": {"target_frozen_time": START + DAY}}
    assert here.status("POST", f"/v1/{path}/advance", f"frozen_time={START + 2 * DAY}") == 429
    assert here.status("POST", f"/v1/customers/{customer['id']}", "name=Ada") == 429
    assert here.status("DELETE", f"/v1/{path}") == 429
    assert here.get(f"customers/{customer['id']}")["id"] == customer["id"]
    here.post("customers")
    here.run(here.sandbox.drain())
    assert here.get(path)["status"] == "ready"


def test_one_that_cannot_arrive(here):
    """Where the sandbox itself fails, nothing is half done: the clock says so, and can only be deleted."""
    clock = here.post("test_helpers/test_clocks", {"frozen_time": str(START)})
    customer = here.post("customers", {"test_clock": clock["id"]})
    product = here.post("products", {"name": "A"})["id"]
    price = here.post(
        "prices", {"product": product, "currency": "eur", "unit_amount": "0", "recurring[interval]": "month"}
    )
    subscription = here.post("subscriptions", {"customer": customer["id"], "items[0][price]": price["id"]})
    path = f"test_helpers/test_clocks/{clock['id']}"
    here.post(f"{path}/advance", {"frozen_time": str(START + 40 * DAY)})
    store = here.sandbox.account.store
    store.remove(store.get("price", price["id"]))  # which the API never does
    here.run(here.sandbox.drain())
    assert here.get(path)["status"] == "internal_failure"
    assert store.get("subscription", subscription["id"])["latest_invoice"] == subscription["latest_invoice"]
    assert here.status("POST", f"/v1/{path}/advance", f"frozen_time={START + 41 * DAY}") == 400


@pytest.mark.parametrize("interval", ["day", "week", "month", "year", None])
def test_how_far_it_goes(here, interval):
    """Two periods of the shortest subscription, or two years; forward only."""
    clock = here.post("test_helpers/test_clocks", {"frozen_time": str(START)})
    customer = here.post("customers", {"test_clock": clock["id"]})
    if interval:
        product = here.post("products", {"name": "A"})["id"]
        price = {"product": product, "currency": "eur", "unit_amount": "0", "recurring[interval]": interval}
        items = {"items[0][price]": here.post("prices", price)["id"]}
        here.post("subscriptions", {"customer": customer["id"], **items})
    ends = {"day": (2026, 2, 2), "week": (2026, 2, 14), "month": (2026, 3, 31), "year": (2028, 1, 31)}
    furthest = int(datetime(*ends[interval or "year"], tzinfo=UTC).timestamp())
    path = f"/v1/test_helpers/test_clocks/{clock['id']}/advance"
    for refused in (START - 1, START, furthest + 1):
        assert here.status("POST", path, f"frozen_time={refused}") == 400
    assert here.status("POST", path, f"frozen_time={furthest}") == 200


def test_lists_leave_them_out(api, shop, clock, member):
    """Customers and subscriptions with a clock are listed only for it, or for the customer."""
    mine = shop.subscribe(shop.price(), member)
    assert member.id not in [one.id for one in api.customers.list().data]
    assert [one.id for one in api.customers.list(params={"test_clock": clock.id}).data] == [member.id]
    assert api.subscriptions.list().data == []
    for wanted in ({"test_clock": clock.id}, {"customer": member.id}):
        assert [one.id for one in api.subscriptions.list(params=wanted).data] == [mine.id]
    assert [one.id for one in api.test_helpers.test_clocks.list().data] == [clock.id]


def test_deleting_it(api, shop, clock, member):
    """Its customers go with it, and their subscriptions end."""
    subscription = shop.subscribe(shop.price(), member)
    since = shop.last_event()
    assert api.test_helpers.test_clocks.delete(clock.id).deleted
    assert shop.happened(since) == [
        "customer.subscription.deleted",
        "customer.deleted",
        "test_helpers.test_clock.deleted",
    ]
    assert api.customers.retrieve(member.id).deleted
    ended = api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", START)
    with pytest.raises(stripe.InvalidRequestError) as gone:
        api.test_helpers.test_clocks.retrieve(clock.id)
    assert gone.value.code == "resource_missing"


def test_a_customer_is_given_one_later(desk, api, shop):
    """And then lives by it with all there is already: what was due by the account's time no longer is."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    now = int(desk.now().timestamp())
    clock = api.test_helpers.test_clocks.create(params={"frozen_time": now, "customer": customer.id})
    changed = shop.last_event()
    assert (changed.type, changed.data.previous_attributes.test_clock) == ("customer.updated", None)
    assert api.subscriptions.retrieve(subscription.id).test_clock == clock.id
    desk.advance(days=29)
    assert len(api.invoices.list(params={"customer": customer.id}).data) == 1
    advanced(desk, api, clock, now + 33 * DAY)
    assert len(api.invoices.list(params={"customer": customer.id}).data) == 2
    with pytest.raises(stripe.InvalidRequestError, match="already has a test clock"):
        api.test_helpers.test_clocks.create(params={"frozen_time": now, "customer": customer.id})


def test_hosted_pages_and_deliveries(desk, api, shop, member, endpoint, receiver):
    """A page is paid at the time of its customer's clock; the events of it are delivered at the account's."""
    session = shop.checkout(shop.price(), customer=member.id, subscription_data={"trial_period_days": 7})
    assert session.expires_at == START + DAY
    desk.pay(session.url)
    desk.drain()
    subscription = api.subscriptions.list(params={"customer": member.id}).data[0]
    assert (subscription.status, subscription.trial_end) == ("trialing", START + 7 * DAY)
    completed = receiver.events[receiver.types.index("checkout.session.completed")]
    assert completed["created"] == int(desk.now().timestamp())
