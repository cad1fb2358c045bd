"""What a customer is entitled to, and the summary that tells when it changes."""

import pytest
import stripe

SUMMARY = "entitlements.active_entitlement_summary.updated"


def feature(shop, key, product=None):
    """A feature that a product has."""
    made = shop.api.entitlements.features.create(params={"name": key, "lookup_key": key})
    shop.api.products.features.create(product or shop.product.id, params={"entitlement_feature": made.id})
    return made


def keys(shop, customer):
    listed = shop.api.entitlements.active_entitlements.list(params={"customer": customer})
    return {each.lookup_key for each in listed.data}


def told(shop):
    """What each summary said: the keys before and after."""
    summaries = [event.data for event in shop.events() if event.type == SUMMARY]
    before = [{each["lookup_key"] for each in data.previous_attributes.entitlements.data} for data in summaries]
    after = [{each["lookup_key"] for each in data.object.entitlements.data} for data in summaries]
    return list(zip(before, after, strict=True))


def test_a_checkout_entitles_and_the_end_takes_it_back(shop):
    """The summary comes after the page is complete, and again after the end; an entitlement keeps its id meanwhile."""
    export = feature(shop, "export")
    shop.desk.pay(shop.checkout(shop.price()).id)
    assert shop.happened()[-2:] == ["checkout.session.completed", SUMMARY]
    subscription = shop.api.subscriptions.list().data[0]
    params = {"customer": subscription.customer, "expand": ["data.feature"]}
    held = shop.api.entitlements.active_entitlements.list(params=params).data[0]
    assert (held.feature.id, held.lookup_key) == (export.id, "export")
    shop.desk.advance(days=20)
    assert shop.api.entitlements.active_entitlements.retrieve(held.id).feature == export.id
    shop.api.subscriptions.cancel(subscription.id)
    assert shop.happened()[-2:] == ["customer.subscription.deleted", SUMMARY]
    assert told(shop) == [(set(), {"export"}), ({"export"}, set())]
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        shop.api.entitlements.active_entitlements.retrieve(held.id)


def test_which_states_entitle(shop):
    """On trial, active and past due they do; unpaid, paused and incomplete they do not."""
    feature(shop, "export")
    price, customer = shop.price(), shop.customer()
    trial = shop.subscribe(price, customer, trial_period_days=14)
    assert keys(shop, customer.id) == {"export"}
    shop.desk.after_dunning("unpaid")
    shop.give_card(customer, "pm_card_chargeCustomerFail")
    shop.desk.advance(days=16)
    assert shop.api.subscriptions.retrieve(trial.id).status == "past_due"
    assert keys(shop, customer.id) == {"export"}
    shop.desk.advance(days=16)
    assert shop.api.subscriptions.retrieve(trial.id).status == "unpaid"
    assert keys(shop, customer.id) == set()
    shop.give_card(customer, "pm_card_visa")
    shop.api.invoices.pay(shop.api.subscriptions.retrieve(trial.id).latest_invoice)
    assert keys(shop, customer.id) == {"export"}
    shop.api.subscriptions.pause(trial.id, params={"type": "subscription"})
    assert keys(shop, customer.id) == set()
    incomplete = shop.subscribe(price, shop.customer("pm_card_chargeCustomerFail"))
    assert (incomplete.status, keys(shop, incomplete.customer)) == ("incomplete", set())


def test_plans_change_and_features_come_and_go(shop):
    """A change of plan tells both sides at once; a feature attached later reaches all who have the product."""
    team = shop.api.products.create(params={"name": "Team"})
    feature(shop, "export")
    feature(shop, "seats", team.id)
    subscription = shop.subscribe(shop.price())
    dearer = shop.price(1900, product=team.id)
    item = {"id": subscription["items"].data[0].id, "price": dearer.id}
    shop.api.subscriptions.update(subscription.id, params={"items": [item]})
    assert told(shop)[-1] == ({"export"}, {"seats"})
    late = feature(shop, "audit", team.id)
    assert told(shop)[-1] == ({"seats"}, {"seats", "audit"})
    attached = shop.api.products.features.list(team.id).data[0]
    assert attached.entitlement_feature.id == late.id
    count = len(told(shop))
    shop.subscribe(dearer, shop.api.customers.retrieve(subscription.customer))  # nothing new by a second one
    assert len(told(shop)) == count
    shop.api.subscriptions.cancel(subscription.id)
    assert len(told(shop)) == count
    shop.api.products.features.delete(team.id, attached.id)
    assert told(shop)[-1] == ({"seats", "audit"}, {"seats"})


def test_a_summary_holds_ten(shop):
    """Who has more must read the list, which is paged."""
    for nth in range(12):
        feature(shop, f"feature-{nth}")
    subscription = shop.subscribe(shop.price())
    summary = next(event for event in shop.events() if event.type == SUMMARY).data.object
    assert (len(summary.entitlements.data), summary.entitlements.has_more) == (10, True)
    page = {"customer": subscription.customer, "limit": 5}
    listed = shop.api.entitlements.active_entitlements.list(params=page)
    assert len({each.id for each in listed.auto_paging_iter()}) == 12
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: customer"):
        shop.api.entitlements.active_entitlements.list(params={})
