"""Events come twice, shuffled, late or forged; the end is the same."""

import json
import random
import time
from typing import Any

import pytest
import stripe

from tollhouse import Tollhouse
from tollhouse_server.projection import concerning
from tollhouse_server.testing import World

Events = list[dict[str, Any]]


def a_months_worth(world: World, app: Tollhouse) -> Events:
    """The events, oldest first, of two customers who buy, renew, cancel and refund while no webhook is delivered."""
    world.hold_webhooks()
    ada, grace = world.customer("ada", app), world.customer("grace", app)
    subscribed = ada.buys("pdf-tool.pro.monthly")
    bought = grace.buys("pdf-tool.lifetime.once")
    world.passes(days=32)
    subscription = world.stripe.v1.subscriptions.list({"customer": ada.stripe_id}).data[0]
    world.stripe.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    charge = world.stripe.v1.charges.list({"customer": grace.stripe_id}).data[0]
    world.stripe.v1.refunds.create({"charge": charge.id})
    assert subscribed != bought
    listed = world.stripe.v1.events.list({"limit": 100}).auto_paging_iter()
    return [event.to_dict(for_json=True) for event in listed][::-1]


def posted(world: World, event: dict[str, Any], *, secret: str | None = None, timestamp: int | None = None) -> int:
    """The status with which the service answers the event, signed as Stripe does."""
    body = json.dumps(event)
    real = world.service.settings.webhook_secrets[0]
    header = stripe.WebhookSignature.generate_signature_header(body, secret or real, timestamp or int(time.time()))
    headers = {"Stripe-Signature": header}
    return world.operator.post("/v1/stripe/webhook", content=body, headers=headers).status_code


def standing(world: World, app: Tollhouse) -> list[tuple[bool, object, object]]:
    return [
        (check.allowed, check.value, check.valid_until)
        for user in ("ada", "grace")
        for check in (app.check(user, "premium_export"), app.check(user, "pages_per_day"))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_duplicate_shuffled_and_late_webhooks_give_the_same_end(world: World, pdf_tool: Tollhouse, seed: int) -> None:
    """Whatever the order, the number and the delay of the deliveries, what is open is what Stripe's last state says."""
    events = a_months_worth(world, pdf_tool)
    order = random.Random(seed)
    deliveries = events + order.sample(events, len(events) // 2)
    order.shuffle(deliveries)
    for event in deliveries:
        assert posted(world, event) == 200
        if order.random() < 0.1:
            world.service.work()
    world.service.work()

    ada, grace = world.customer("ada").state(), world.customer("grace", pdf_tool).state()
    assert (ada.subscriptions[0].status, ada.subscriptions[0].renews) == ("active", False)
    assert ada.entitlements["premium_export"].valid_until == ada.subscriptions[0].current_period_end
    assert grace.purchases[0].refunded == 19_900
    assert [allowed for allowed, _, _ in standing(world, pdf_tool)] == [True, True, False, False]
    before = standing(world, pdf_tool)
    for event in events:  # three days later Stripe sends them all once more
        posted(world, event)
    world.service.work()
    assert standing(world, pdf_tool) == before


def test_one_event_is_enough(world: World, pdf_tool: Tollhouse) -> None:
    """The last event alone tells as much as all of them: it says who is dirty, and Stripe says the rest."""
    events = a_months_worth(world, pdf_tool)
    ada = world.customer("ada")
    event = next(one for one in events[::-1] if concerning(one["type"], one["data"]["object"]) == ada.stripe_id)
    assert posted(world, event) == 200
    world.service.work()
    assert ada.may("premium_export").valid_until == ada.state().subscriptions[0].current_period_end


@pytest.mark.parametrize("version", ["2024-06-20", "2026-08-26.dahlia"])
def test_events_in_an_older_shape(world: World, pdf_tool: Tollhouse, version: str) -> None:
    """An endpoint that was made years ago is told in its own version: periods, payments and discounts are elsewhere in
    it, and access is what it would be."""
    world.sandbox.fault("old_shape", version=version)
    ada, grace = world.customer("ada"), world.customer("grace")
    ada.buys("pdf-tool.pro.monthly")
    grace.buys("pdf-tool.lifetime.once")
    assert ada.may("premium_export").reason == "subscription-active"
    assert grace.may("premium_export").allowed
    world.passes(days=32)
    world.arrive()
    (subscription,) = ada.state().subscriptions
    at_stripe = world.stripe.v1.subscriptions.retrieve(subscription.id)
    assert subscription.current_period_end.timestamp() == at_stripe["items"].data[0].current_period_end
    assert ada.may("premium_export").reason == "subscription-active"
    world.stripe.v1.refunds.create({"charge": world.stripe.v1.charges.list({"customer": grace.stripe_id}).data[0].id})
    world.stripe.v1.subscriptions.cancel(subscription.id)
    world.arrive()
    assert not grace.may("premium_export").allowed
    assert not ada.may("premium_export").allowed
    events = world.operator.get("/v1/admin/events", params={"limit": 200}).json()["data"]
    assert {one["state"] for one in events} == {"settled"}


def test_forged_webhooks_change_nothing(world: World, pdf_tool: Tollhouse) -> None:
    """Without Stripe's secret, or with a signature too old or from the future, an event is refused and not stored."""
    events = a_months_worth(world, pdf_tool)
    before = world.operator.get("/v1/admin/events").json()
    now = int(time.time())
    for event in events:
        assert posted(world, event, secret="whsec_guessed_by_somebody_else") == 400
        assert posted(world, event, timestamp=now - 301) == 400
        assert posted(world, event, timestamp=now + 360) == 400
    world.service.work()
    assert not any(allowed for allowed, _, _ in standing(world, pdf_tool))
    assert world.operator.get("/v1/admin/events").json() == before


def test_what_the_fleet_shares_an_account_with_is_left_alone(world: World, pdf_tool: Tollhouse) -> None:
    """Events of customers, charges and prices that are not ours are stored, answered 200 and change nothing."""
    stranger = world.stripe.v1.customers.create({"email": "someone@else.test"})
    world.stripe.v1.customers.update(stranger.id, {"name": "Someone Else"})
    product = world.stripe.v1.products.create({"name": "Somebody else's"})
    world.stripe.v1.prices.create({"product": product.id, "currency": "eur", "unit_amount": 100})
    world.arrive()
    events = world.operator.get("/v1/admin/events", params={"limit": 200}).json()["data"]
    theirs = [one for one in events if one["subject"] in (stranger.id, product.id)]
    assert theirs and {one["outcome"] for one in theirs} == {"foreign"}
    assert not [one for one in events if one["state"] != "settled"]
