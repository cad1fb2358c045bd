"""Webhooks: signed, delivered to those who want them, tried again, and listed as what they are."""

import asyncio
import json
import threading
import time

import pytest
import stripe

from tollhouse_sandbox import delivery
from tollhouse_sandbox.errors import StripeError


def test_the_library_accepts_the_signature(desk, api, receiver, endpoint, faults_of):
    """`construct_event` verifies a delivery with the secret of the create answer; its time is the wall clock's."""
    desk.advance(days=400)
    api.customers.create(params={"email": "a@example.com"})
    desk.drain()
    ((body, headers),) = receiver.received
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret)
    assert (event.type, event.data.object["email"]) == ("customer.created", "a@example.com")
    signed_at = int(headers["Stripe-Signature"].split(",")[0].removeprefix("t="))
    assert abs(signed_at - time.time()) < 10
    assert abs(event.created - desk.now().timestamp()) < 10
    assert faults_of(json.loads(body)) == []
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert body.startswith(b'{\n  "id": "evt_')
    assert list(json.loads(body)) == [
        "id",
        "object",
        "api_version",
        "created",
        "data",
        "livemode",
        "pending_webhooks",
        "request",
        "type",
    ]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_other")


def test_what_happens_while_events_are_lost_is_never_told(desk, api, shop):
    """It happens all the same; nobody hears of it, then or later, and the list of events does not know it."""
    subscription = shop.subscribe(shop.price())
    last = shop.last_event()
    desk.lose_events()
    api.subscriptions.cancel(subscription.id)
    desk.lose_events(False)
    assert api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert shop.last_event().id == last.id
    api.customers.update(subscription.customer, params={"name": "Ada"})
    assert shop.happened(last) == ["customer.updated"]


def test_the_secret_is_shown_once(api, endpoint):
    """Only the create answer has it; lists and reads do not."""
    assert endpoint.secret.startswith("whsec_")
    assert "secret" not in api.webhook_endpoints.retrieve(endpoint.id)
    assert "secret" not in api.webhook_endpoints.list().data[0]


def test_only_wanted_events_are_sent(desk, api, receiver):
    """An endpoint hears the types it enabled, and the event says how many endpoints are still to hear of it."""
    api.webhook_endpoints.create(params={"url": receiver.url, "enabled_events": ["product.created"]})
    api.customers.create()
    api.products.create(params={"name": "x"})
    desk.drain()
    assert receiver.types == ["product.created"]
    assert receiver.events[0]["pending_webhooks"] == 1
    product, customer = api.events.list().data
    assert (product.pending_webhooks, customer.pending_webhooks) == (0, 0)
    assert product.request.id.startswith("req_") and product.request.idempotency_key


def test_failed_deliveries_are_tried_again(desk, api, receiver, endpoint):
    """Anything but 2xx fails, a redirect too; retries come by the clock, each with a fresh signature."""
    receiver.answer = lambda nth: {1: 500, 2: 302, 3: 404}.get(nth, 204)
    api.customers.create()
    desk.drain()
    assert len(receiver.received) == 1
    assert [each.type for each in api.events.list(params={"delivery_success": False}).data] == ["customer.created"]
    desk.advance(minutes=4)
    assert len(receiver.received) == 1
    desk.advance(minutes=2)
    assert len(receiver.received) == 2
    desk.advance(hours=3)
    assert len(receiver.received) == 4
    assert len({event["id"] for event in receiver.events}) == 1
    assert api.events.list(params={"delivery_success": False}).data == []
    assert api.events.list(params={"delivery_success": True}).data[0].pending_webhooks == 0
    for body, headers in receiver.received:
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret)


def test_retries_end_after_three_days(desk, api, receiver, endpoint):
    """An endpoint that never answers 2xx is given up, and the event stays listed as undelivered."""
    receiver.answer = lambda _: 500
    api.customers.create()
    desk.advance(days=10)
    assert len(receiver.received) == 1 + len(delivery.RETRIES_AFTER)
    assert 2 * 86_400 < sum(delivery.RETRIES_AFTER) < 3 * 86_400
    (event,) = api.events.list(params={"delivery_success": False}).data
    assert event.pending_webhooks == 1


@pytest.mark.parametrize(("schedule", "waits"), [("sandbox", [600, 3600, 10_800]), ([1, 2], [1, 2]), ([], [])], ids=str)
def test_another_schedule(desk, api, receiver, endpoint, schedule, waits):
    """Retries can come as in Stripe's sandboxes, three in a few hours, or after seconds that a test chose."""
    desk.webhook_retries(schedule)
    receiver.answer = lambda _: 500
    api.customers.create()
    desk.drain()
    for nth, seconds in enumerate(waits, 1):
        assert len(receiver.received) == nth
        desk.advance(seconds=seconds)
    desk.advance(days=10)
    assert len(receiver.received) == 1 + len(waits)


def test_a_rolled_secret(desk, api, receiver, endpoint):
    """Until the old secret expires there is a signature by each; a third joins them; then only the newest signs."""

    def signers(secrets):
        api.customers.create()
        desk.drain()
        body, headers = receiver.received[-1]
        found = []
        for secret in secrets:
            try:
                stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], secret)
            except stripe.SignatureVerificationError:
                continue
            found.append(secret)
        assert headers["Stripe-Signature"].count("v1=") == len(found)
        return found

    first = endpoint.secret
    second = desk.roll_secret(endpoint.id, expires_in=3600)
    assert signers([first, second]) == [first, second]
    third = desk.roll_secret(endpoint.id, expires_in=86_400)
    assert signers([first, second, third]) == [first, second, third]
    desk.advance(hours=1)
    assert signers([first, second, third]) == [second, third]
    fourth = desk.roll_secret(endpoint.id)
    desk.advance(days=1)
    assert signers([second, third, fourth]) == [fourth]
    with pytest.raises(StripeError, match="86400"):
        desk.roll_secret(endpoint.id, expires_in=86_401)


def test_an_event_is_sent_again(desk, api, receiver, endpoint):
    """On order, as the CLI does it: what arrived comes once more; what was given up counts as delivered at last."""
    client = stripe.StripeClient("sk_test_x", base_addresses={"api": desk.url})

    def resend(event, **params):
        client.raw_request("post", f"/v1/events/{event}/retry", **params)

    desk.webhook_retries([60])
    receiver.answer = lambda nth: 200 if nth in (1, 2, 5) else 500
    heard = api.customers.create()
    desk.drain()
    [event] = api.events.list().data
    resend(event.id, webhook_endpoint=endpoint.id)
    desk.drain()
    assert [one["id"] for one in receiver.events] == [event.id, event.id]
    assert api.events.retrieve(event.id).pending_webhooks == 0
    api.customers.update(heard.id, params={"name": "Ada"})
    desk.advance(minutes=2)
    [missed] = api.events.list(params={"delivery_success": False}).data
    resend(missed.id, webhook_endpoint=endpoint.id)
    desk.drain()
    assert len(receiver.received) == 5
    assert api.events.list(params={"delivery_success": False}).data == []
    for params in ({}, {"for_stripecli": True}, {"webhook_endpoint": "we_none"}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            resend(event.id, **params)
        assert refused.value.param == "webhook_endpoint"
    desk.advance(days=31)
    with pytest.raises(stripe.InvalidRequestError, match="30 days"):
        resend(event.id, webhook_endpoint=endpoint.id)


def test_an_endpoint_that_is_down(desk, api, receiver):
    """A refused connection is a failed attempt like another."""
    receiver.close()
    api.webhook_endpoints.create(params={"url": receiver.url, "enabled_events": ["*"]})
    api.customers.create()
    desk.advance(days=1)
    assert len(api.events.list(params={"delivery_success": False}).data) == 1


def test_disabling_stops_deliveries(desk, api, receiver, endpoint):
    """A disabled endpoint hears nothing and is not retried; what it missed is in the event list."""
    receiver.answer = lambda _: 500
    api.customers.create()
    desk.drain()
    assert api.webhook_endpoints.update(endpoint.id, params={"disabled": True}).status == "disabled"
    api.products.create(params={"name": "missed"})
    desk.advance(days=1)
    assert receiver.types == ["customer.created"]
    assert [each.type for each in api.events.list().data] == ["product.created", "customer.created"]
    receiver.answer = lambda _: 200
    api.webhook_endpoints.update(endpoint.id, params={"disabled": False, "metadata": {"a": "b"}, "url": receiver.url})
    api.products.create(params={"name": "heard"})
    desk.drain()
    assert receiver.types[-1] == "product.created"


def test_deleting_an_endpoint(desk, api, receiver, endpoint):
    """A deleted endpoint is gone, together with its retries."""
    receiver.answer = lambda _: 500
    api.customers.create()
    desk.drain()
    assert api.webhook_endpoints.delete(endpoint.id).deleted is True
    desk.advance(days=1)
    assert len(receiver.received) == 1
    assert api.webhook_endpoints.list().data == []


def test_the_receiver_may_call_the_api(desk, api, connect, receiver, endpoint):
    """A receiver that re-reads the object while it is being called gets its answer, and what it makes is delivered."""
    inner = connect(desk.url)
    read = []

    def re_read(event):
        if event["type"] == "customer.created":
            read.append(inner.customers.retrieve(event["data"]["object"]["id"]).email)
            inner.products.create(params={"name": "made by the receiver"})

    receiver.when_called = re_read
    api.customers.create(params={"email": "a@example.com"})
    desk.drain()
    assert read == ["a@example.com"]
    assert receiver.types == ["customer.created", "product.created"]


def test_deliveries_of_a_long_advance(shop, receiver):
    """A year's renewals are all delivered while the clock moves, each at its own time."""
    shop.api.webhook_endpoints.create(params={"url": receiver.url, "enabled_events": ["invoice.paid"]})
    shop.subscribe(shop.price())
    shop.desk.advance(days=366)
    paid = [event["created"] for event in receiver.events]
    assert len(paid) == 13
    assert paid == sorted(paid)


def test_events_are_listed_by_type(shop):
    """One type, a group, or several types; each event can be read on its own; old ones are dropped from the list."""
    customer = shop.customer(card=None, email="a@example.com")
    shop.api.customers.update(customer.id, params={"name": "Ann"})

    def found(**params):
        return [each.type for each in shop.api.events.list(params=params).data]

    assert found(type="customer.updated") == ["customer.updated"]
    assert found(type="customer.*") == found(types=["customer.created", "customer.updated"])
    assert len(found(type="customer.*")) == 2
    event = shop.last_event()
    assert shop.api.events.retrieve(event.id).data.object["name"] == "Ann"
    assert found(created={"gt": event.created}) == []
    shop.desk.advance(days=31)
    assert found() == []
    assert shop.api.events.retrieve(event.id).id == event.id


def test_an_event_is_a_picture(shop):
    """What an event shows never changes, whatever happens to its object later."""
    customer = shop.customer(card=None, email="first@example.com")
    event = shop.last_event()
    shop.api.customers.update(customer.id, params={"email": "second@example.com"})
    assert shop.api.events.retrieve(event.id).data.object["email"] == "first@example.com"


def test_the_signature_itself():
    """The header has Stripe's form: the library's own signer makes the same v1."""
    header = delivery.signature(b'{"a": 1}', 1_700_000_000, "whsec_x")
    ours = dict(part.split("=") for part in header.split(","))
    theirs = stripe.WebhookSignature.generate_signature_header('{"a": 1}', "whsec_x", 1_700_000_000)
    assert f"v1={ours['v1']}" in theirs
    assert set(ours) == {"t", "v1", "v0"}


def test_real_time_deliveries_need_no_drain(desk, api, receiver, endpoint):
    """While the clock runs, an event is on its way as soon as it exists."""
    desk.freeze(False)
    heard = threading.Event()
    receiver.when_called = lambda _event: heard.set()
    api.customers.create()
    assert heard.wait(5)


def test_nothing_is_left_running():
    """Closing deliveries without ever having sent one is fine."""
    from tollhouse_sandbox.sandbox import Sandbox

    async def scenario():
        await Sandbox().close()

    asyncio.run(scenario())
