"""Faults on order: of deliveries, of events and of the API's calls; repeatable, bounded, listed, switched off."""

import json
import logging
import time
from collections import Counter

import httpx
import pytest
import stripe

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.faults import Fault


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Whatever is ordered, the server itself finds nothing wrong."""
    server = logging.getLogger("uvicorn.error")
    server.addHandler(caplog.handler)
    yield
    server.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def customers(api, count):
    """So many customers, told apart by their names: "0", "1", …"""
    return [api.customers.create(params={"name": str(number)}).id for number in range(count)]


def names(receiver):
    """Whose creation was told, in the order in which it was."""
    return [event["data"]["object"]["name"] for event in receiver.events if event["type"] == "customer.created"]


# Deliveries


def test_duplicate(desk, api, receiver, endpoint):
    """The same event comes again, with the same id and a signature that counts; it is still one event."""
    desk.fault("duplicate", seconds=120)
    customers(api, 1)
    desk.drain()
    assert len(receiver.received) == 1
    desk.advance(minutes=2)
    first, second = receiver.received
    assert receiver.events[0]["id"] == receiver.events[1]["id"] == api.events.list().data[0].id
    for body, headers in (first, second):
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret)
    [event] = api.events.list(params={"delivery_success": True}).data
    assert event.pending_webhooks == 0


def test_a_duplicate_of_what_was_not_delivered(desk, api, receiver, endpoint):
    """A repetition that arrives does not make the event one that was delivered: its own delivery is tried again."""
    desk.fault("duplicate", times=1, seconds=60)
    receiver.answer = lambda nth: 500 if nth == 1 else 200
    customers(api, 1)
    desk.advance(minutes=2)
    assert len(receiver.received) == 2
    assert len(api.events.list(params={"delivery_success": False}).data) == 1
    desk.advance(minutes=5)
    assert len(receiver.received) == 3
    assert api.events.list(params={"delivery_success": False}).data == []


def test_twin(desk, api, receiver, endpoint, faults_of):
    """A second Event object tells of the same change under an id of its own; both are listed."""
    desk.fault("twin", times=1)
    customers(api, 2)
    desk.drain()
    assert sorted(names(receiver)) == ["0", "0", "1"]
    twins = [event for event in receiver.events if event["data"]["object"]["name"] == "0"]
    assert twins[0]["id"] != twins[1]["id"]
    assert {**twins[0], "id": ""} == {**twins[1], "id": ""}
    assert {event["id"] for event in receiver.events} == {event.id for event in api.events.list().data}
    assert [fault for event in receiver.events for fault in faults_of(event)] == []


def test_drop(desk, api, receiver, endpoint):
    """It is never sent, then or later, and is listed among what was not delivered."""
    desk.fault("drop", type="customer.*", times=1)
    api.products.create(params={"name": "heard"})
    customers(api, 2)
    desk.advance(days=4)
    assert (receiver.types.count("product.created"), names(receiver)) == (1, ["1"])
    [dropped] = api.events.list(params={"delivery_success": False}).data
    assert (dropped.data.object["name"], dropped.pending_webhooks) == ("0", 1)


def test_delay(desk, api, receiver, endpoint):
    """It comes so many seconds of the account's clock later, when others were told long ago."""
    desk.fault("delay", times=1, seconds=3600)
    customers(api, 2)
    desk.drain()
    assert names(receiver) == ["1"]
    desk.advance(minutes=59)
    assert names(receiver) == ["1"]
    desk.advance(minutes=1)
    assert names(receiver) == ["1", "0"]


def test_reorder(desk, api, receiver, endpoint):
    """What is held back comes after all that is due, in an order that the seed decides."""
    orders = []
    for seed in (1, 1, 2):
        receiver.received.clear()
        desk.fault("reorder", seed=seed, times=6)
        customers(api, 8)
        desk.drain()
        orders.append(names(receiver))
    first, again, other = orders
    assert sorted(first[:2]) == ["6", "7"] and sorted(first[2:]) == sorted("012345")
    assert first[2:] == again[2:] != other[2:]
    assert first[2:] != sorted(first[2:])


def test_what_is_held_back_comes_by_itself(desk, api, receiver, endpoint):
    """Where nobody drains and only the clock goes on, it comes some seconds later."""
    desk.fault("reorder", seconds=0)
    desk.freeze(False)
    customers(api, 1)
    deadline = time.monotonic() + 5
    while not receiver.received and time.monotonic() < deadline:
        time.sleep(0.01)
    assert names(receiver) == ["0"]


def test_slow_delivery(desk, api, receiver, endpoint):
    """The request itself takes real seconds, and is whole in the end."""
    desk.fault("slow_delivery", seconds=0.2)
    started = time.monotonic()  # before it is made: the delivery waits for nobody to ask
    customers(api, 1)
    desk.drain()
    assert time.monotonic() - started >= 0.2
    ((body, headers),) = receiver.received
    stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret)


def test_only_the_types_that_are_named(desk, api, receiver, endpoint):
    """A type, or a group of them; the others come as ever."""
    desk.fault("lose", type="product.created")
    desk.fault("duplicate", type="customer.created")
    api.products.create(params={"name": "x"})
    [customer] = customers(api, 1)
    api.customers.update(customer, params={"name": "Ada"})
    desk.drain()
    assert Counter(receiver.types) == {"customer.created": 2, "customer.updated": 1}


def test_the_same_seed_strikes_the_same(desk, api, receiver, endpoint):
    """By chance, but repeatably; faults of one seed do not all strike the same; another seed strikes otherwise."""
    told = []
    for seed in (7, 7, 8):
        receiver.received.clear()
        for kind in ("drop", "twin", "duplicate"):
            desk.fault(kind, seed=seed, chance=0.5)
        customers(api, 12)
        desk.drain()
        told.append(Counter(names(receiver)))
        desk.clear_faults()
    first, again, other = told
    assert first == again != other
    assert len(first) < 12 and set(first.values()) >= {1, 2}


# Calls


def test_reset_after_the_commit(desk, api, connect):
    """The connection is reset before an answer; the call was carried out, as its key finds out."""
    desk.fault("reset", times=1, method="POST", path="/v1/customers", after=True)
    with pytest.raises(stripe.APIConnectionError, match="reset by peer"):
        api.customers.create(params={"name": "Ada"}, options={"idempotency_key": "once"})
    again = api.customers.create(params={"name": "Ada"}, options={"idempotency_key": "once"})
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(api.customers.list().data) == 1


def test_reset_before_anything_is_done(desk, api, connect):
    """The library's own retry does what the first attempt did not."""
    desk.fault("reset", times=1, method="POST")
    made = connect(desk.url, retries=1).customers.create()
    assert "Idempotent-Replayed" not in made.last_response.headers
    assert [one.id for one in api.customers.list().data] == [made.id]


@pytest.mark.parametrize("after", [False, True])
def test_timeout(desk, api, after):
    """Nothing is answered until the caller hangs up; what was done before is done."""
    desk.fault("timeout", times=1, method="POST", after=after)
    impatient = stripe.StripeClient(
        "sk_test_x", base_addresses={"api": desk.url}, http_client=stripe.RequestsClient(timeout=0.2)
    ).v1
    with pytest.raises(stripe.APIConnectionError, match="timed out"):
        impatient.customers.create(options={"idempotency_key": "once"})
    assert len(api.customers.list().data) == after
    made = api.customers.create(options={"idempotency_key": "once"})
    assert [one.id for one in api.customers.list().data] == [made.id]


def test_a_timeout_ends(desk, api):
    """A caller who waits longer than the fault lasts is cut off."""
    desk.fault("timeout", seconds=0.05)
    with pytest.raises(stripe.APIConnectionError, match="reset by peer"):
        api.customers.list()


@pytest.mark.parametrize("after", [False, True])
def test_slow_answer(desk, api, receiver, endpoint, after):
    """The answer is right, and late: with `after` so late that the webhook may be there before it."""
    desk.fault("slow_answer", times=1, seconds=0.2, after=after)
    started = time.monotonic()
    customers(api, 1)
    assert time.monotonic() - started >= 0.2
    assert after <= len(receiver.received)


@pytest.mark.parametrize(("status", "error"), [(429, stripe.RateLimitError), (500, stripe.APIError)])
def test_errors_by_chance(desk, api, status, error):
    """Some calls are answered with an error, the same ones with the same seed, until it is switched off."""

    def fared(seed):
        fault = desk.fault("error", status=status, chance=0.5, seed=seed)
        answers = []
        for _ in range(10):
            try:
                api.customers.list()
                answers.append(True)
            except error:
                answers.append(False)
        desk.clear_faults(fault)
        return answers

    assert fared(1) == fared(1) != fared(2)
    assert set(fared(1)) == {True, False}
    assert all(api.customers.list().data == [] for _ in range(3))


def test_without_a_socket(here):
    """Over ASGI there is no connection to reset: the caller is told by an exception."""
    here.sandbox.faults.order(Fault("reset", times=1))
    with pytest.raises(ConnectionResetError):
        here.get("customers")
    assert here.get("customers")["data"] == []


# Listing, clearing


def test_faults_are_listed_and_cleared(desk, api):
    """Each says what it does and how often it struck; one is switched off by its id, or all are."""
    assert desk.faults() == []
    drop = desk.fault("drop", chance=0.5, seed=3, type="invoice.*")
    slow = desk.fault("slow_answer", times=2, seconds=0)
    api.customers.list()
    common = {"chance": 1.0, "seed": 0, "after": False, "method": None, "path": ""}
    assert desk.faults() == [
        {"id": drop, "kind": "drop", "times": None, "chance": 0.5, "seed": 3, "type": "invoice.*", "struck": 0},
        {"id": slow, "kind": "slow_answer", "times": 1, "seconds": 0, "struck": 1, **common},
    ]
    desk.clear_faults(drop)
    api.customers.list()
    assert desk.faults() == []  # the other has struck as often as it should
    with pytest.raises(StripeError, match=f"No such fault: '{drop}'") as gone:
        desk.clear_faults(drop)
    assert gone.value.status == 404
    desk.fail_next(500, times=3)
    desk.lose_events()
    desk.lose_events(False)
    assert [fault["kind"] for fault in desk.faults()] == ["error"]
    desk.clear_faults()
    assert desk.faults() == []
    desk.fault("lose")
    desk.reset()
    assert desk.faults() == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "kind"),
        ({"kind": "fire"}, "kind"),
        ({"kind": "drop", "status": 500}, "status"),
        ({"kind": "drop", "id": "fault_1"}, "id"),
        ({"kind": "error", "status": 200}, "status"),
        ({"kind": "error", "seconds": 1}, "seconds"),
        ({"kind": "error", "method": "FETCH"}, "method"),
        ({"kind": "error", "after": "yes"}, "after"),
        ({"kind": "error", "path": 1}, "path"),
        ({"kind": "drop", "times": 0}, "times"),
        ({"kind": "drop", "times": True}, "times"),
        ({"kind": "drop", "chance": 0}, "chance"),
        ({"kind": "drop", "chance": 1.1}, "chance"),
        ({"kind": "drop", "seed": "x"}, "seed"),
        ({"kind": "drop", "type": None}, "type"),
        ({"kind": "delay", "seconds": -1}, "seconds"),
        ({"kind": "delay", "seconds": float("nan")}, "seconds"),
        ({"kind": "delay", "seconds": 1e300}, "seconds"),
    ],
)
def test_what_a_fault_cannot_be_told(desk, body, param):
    """A kind that there is not, what the kind does not have, and values that mean nothing are a 400 that names them."""
    answer = httpx.post(f"{desk.url}/_sandbox/faults", content=json.dumps(body), trust_env=False)
    assert (answer.status_code, answer.json()["error"].get("param")) == (400, param)
    assert desk.faults() == []
