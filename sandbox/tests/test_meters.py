"""Meters: usage told, taken back, added up."""

import pytest
import stripe

DAY = 86_400


def meter(shop, formula="sum", **params):
    aggregation = {"formula": formula}
    names = {"display_name": "Pages", "event_name": "pages", "default_aggregation": aggregation}
    return shop.api.billing.meters.create(params={**names, **params})


def tell(shop, customer, value=1, **params):
    payload = {"stripe_customer_id": customer.id, "value": str(value)}
    return shop.api.billing.meter_events.create(params={"event_name": "pages", "payload": payload, **params})


def used(shop, meter, customer, start, end, **params):
    params = {"customer": customer.id, "start_time": start, "end_time": end, **params}
    return [
        each.aggregated_value for each in shop.api.billing.meters.event_summaries.list(meter.id, params=params).data
    ]


@pytest.mark.parametrize(("formula", "total"), [("sum", 12), ("count", 3), ("last", 4)])
def test_usage_is_added_up(shop, formula, total):
    """Per customer, by the meter's formula; whole, or by hours and days."""
    pages = meter(shop, formula)
    ann, bob = shop.customer(card=None), shop.customer(card=None)
    begin = int(shop.desk.now().timestamp()) // DAY * DAY - 2 * DAY
    for offset, value in ((0, 5), (DAY, 3), (DAY + 3600, 4)):
        tell(shop, ann, value, timestamp=begin + offset)
    tell(shop, bob, 100, timestamp=begin)
    assert used(shop, pages, ann, begin, begin + 2 * DAY) == [total]
    assert used(shop, pages, ann, begin, begin + DAY) == [5 if formula != "count" else 1]
    assert len(used(shop, pages, ann, begin, begin + 2 * DAY, value_grouping_window="day")) == 2
    by_hour = used(shop, pages, bob, begin, begin + 3 * 3600, value_grouping_window="hour")
    assert by_hour == [0, 0, 100 if formula != "count" else 1]
    with pytest.raises(stripe.InvalidRequestError, match="aligned with day"):
        used(shop, pages, ann, begin + 60, begin + DAY, value_grouping_window="day")


def test_what_is_told_once_counts_once(shop):
    """An identifier counts once; what was told wrongly is taken back within a day."""
    pages, ann = meter(shop), shop.customer(card=None)
    told = tell(shop, ann, 7, identifier="once")
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        tell(shop, ann, 7, identifier="once")
    tell(shop, ann, 2)
    start = told.timestamp // 60 * 60
    assert used(shop, pages, ann, start, start + 60) == [9]
    adjust = {"event_name": "pages", "type": "cancel", "cancel": {"identifier": "once"}}
    assert shop.api.billing.meter_event_adjustments.create(params=adjust).status == "complete"
    assert used(shop, pages, ann, start, start + 60) == [2]
    with pytest.raises(stripe.InvalidRequestError, match="No such meter event"):
        shop.api.billing.meter_event_adjustments.create(params=adjust)


def test_what_cannot_be_told(shop):
    """Nobody's usage, no number, another time, no meter: each has its code."""
    pages, ann = meter(shop), shop.customer(card=None)
    now = int(shop.desk.now().timestamp())
    for change, code in (
        ({"payload": {"stripe_customer_id": "cus_none", "value": "1"}}, "meter_event_customer_not_found"),
        ({"payload": {"stripe_customer_id": ann.id}}, "meter_event_value_not_found"),
        ({"payload": {"stripe_customer_id": ann.id, "value": "-1"}}, "meter_event_invalid_value"),
        ({"payload": {"stripe_customer_id": ann.id, "value": "many"}}, "meter_event_invalid_value"),
        ({"timestamp": now - 36 * DAY}, "timestamp_too_far_in_past"),
        ({"timestamp": now + 3600}, "timestamp_in_future"),
        ({"event_name": "words"}, "no_meter"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            tell(shop, ann, **change)
        assert refused.value.code == code
    shop.api.billing.meters.deactivate(pages.id)
    with pytest.raises(stripe.InvalidRequestError, match="No active meter"):
        tell(shop, ann)


def test_the_life_of_a_meter(shop):
    """Renamed, switched off and on; one active meter per name of an event; each with its event."""
    pages = meter(shop)
    with pytest.raises(stripe.InvalidRequestError, match="already an active meter"):
        meter(shop)
    assert shop.api.billing.meters.update(pages.id, params={"display_name": "Sheets"}).display_name == "Sheets"
    off = shop.api.billing.meters.deactivate(pages.id)
    assert (off.status, bool(off.status_transitions.deactivated_at)) == ("inactive", True)
    assert [each.id for each in shop.api.billing.meters.list(params={"status": "inactive"}).data] == [pages.id]
    assert shop.api.billing.meters.reactivate(pages.id).status_transitions.deactivated_at is None
    with pytest.raises(stripe.InvalidRequestError, match="already active"):
        shop.api.billing.meters.reactivate(pages.id)
    assert shop.api.billing.meters.retrieve(pages.id).status == "active"
    verbs = [each.removeprefix("billing.meter.") for each in shop.happened() if each.startswith("billing.meter.")]
    assert verbs == ["created", "updated", "deactivated", "reactivated"]
