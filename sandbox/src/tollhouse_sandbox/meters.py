"""Meters: what customers use is told in meter events and added up per customer over any stretch of time."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from tollhouse_sandbox import events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.store import Json

METER = "billing.meter"
_USAGE = "_usage"
"""The kind of one stored meter event; Stripe does not give them out again."""

TOLD_WITHIN = 35 * DAY
"""Seconds after which usage can no longer be told."""
AHEAD = 5 * 60
"""Seconds by which usage may be dated in the future."""
CANCELED_WITHIN = DAY
"""Seconds in which a meter event can be taken back, and in which its identifier is not to be used again."""


def create(account: Account, given: Json) -> Json:
    """Stores a meter. Raises 400 when an active one already counts events of that name."""
    _check_free(account, given["event_name"])
    meter = account.born(
        METER,
        customer_mapping=given.get("customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"}),
        default_aggregation=given["default_aggregation"],
        display_name=given["display_name"],
        event_name=given["event_name"],
        event_time_window=given.get("event_time_window"),
        status="active",
        status_transitions={"deactivated_at": None},
        updated=account.now,
        value_settings=given.get("value_settings", {"event_payload_key": "value"}),
    )
    events.emit(account, f"{METER}.created", meter)
    return meter


def _named(account: Account, name: str) -> Json | None:
    """The active meter that counts events of a name."""
    named = account.store.newest_first(METER, event_name=name)
    return next((meter for meter in named if meter["status"] == "active"), None)


def _check_free(account: Account, name: str) -> None:
    if _named(account, name):
        raise StripeError(f"There is already an active meter with the event name {name}.", param="event_name")


def rename(account: Account, meter: Json, name: str) -> Json:
    before = events.picture(account, meter)
    meter = account.store.change(meter, display_name=name, updated=account.now)
    events.updated(account, f"{METER}.updated", meter, before)
    return meter


def switch(account: Account, meter: Json, status: str) -> Json:
    """Makes a meter `active` or `inactive`: an inactive one takes no events. Raises 400 when it is that already."""
    if meter["status"] == status:
        raise StripeError(f"The meter {meter['id']} is already {status}.")
    if status == "active":
        _check_free(account, meter["event_name"])
    ended = None if status == "active" else account.now
    meter = account.store.change(
        meter, status=status, status_transitions={"deactivated_at": ended}, updated=account.now
    )
    events.emit(account, f"{METER}.{'reactivated' if status == 'active' else 'deactivated'}", meter)
    return meter


def tell(account: Account, given: Json) -> Json:
    """Takes a meter event. Raises 400 for one that no active meter counts or that says too little, as v2 words it."""
    name, payload = given["event_name"], given["payload"]
    meter = _named(account, name)
    if meter is None:
        raise StripeError(f"No active meter was found for the event name {name}.", code="no_meter", param="event_name")
    customer = payload.get(meter["customer_mapping"]["event_payload_key"])
    if account.store.get("customer", customer or "") is None:
        raise StripeError(
            f"The payload names no customer in {meter['customer_mapping']['event_payload_key']}.",
            code="meter_event_customer_not_found",
            param="payload",
        )
    identifier = given.get("identifier") or ids.new("billing.meter_event")
    timestamp = given.get("timestamp", account.now)
    _check_time(account, timestamp)
    earlier = account.store.get(_USAGE, identifier)
    if earlier and earlier["told"] > account.now - CANCELED_WITHIN:
        raise StripeError(f"An event already exists with identifier {identifier}.", param="identifier")
    usage = {
        "object": _USAGE,
        "id": identifier,
        "canceled": False,
        "told": account.now,
        "stream": _stream(meter["id"], str(customer)),
        "timestamp": timestamp,
        "value": str(_value(meter, payload)),
    }
    account.store.put(usage)
    return {
        "object": "billing.meter_event",
        "created": account.now,
        "event_name": name,
        "identifier": identifier,
        "livemode": False,
        "payload": payload,
        "timestamp": timestamp,
    }


def _stream(meter: str, customer: str) -> str:
    return f"{meter} {customer}"


def _check_time(account: Account, timestamp: int) -> None:
    if timestamp < account.now - TOLD_WITHIN:
        raise StripeError(
            "The timestamp must be within the past 35 days.", code="timestamp_too_far_in_past", param="timestamp"
        )
    if timestamp > account.now + AHEAD:
        raise StripeError(
            "The timestamp must not be more than 5 minutes in the future.",
            code="timestamp_in_future",
            param="timestamp",
        )


def _value(meter: Json, payload: Json) -> Decimal:
    """What an event is worth: a whole number, not negative. A meter that counts asks for none."""
    key = meter["value_settings"]["event_payload_key"]
    if meter["default_aggregation"]["formula"] == "count":
        return Decimal(1)
    if key not in payload:
        raise StripeError(f"The payload has no {key}.", code="meter_event_value_not_found", param="payload")
    try:
        value = Decimal(payload[key])
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0 or value != value.to_integral_value():
        raise StripeError(f"Invalid value: {payload[key]}", code="meter_event_invalid_value", param="payload")
    return value


def take_back(account: Account, name: str, identifier: str) -> Json:
    """Cancels a meter event of the last day. Raises 400 when there is none."""
    usage = account.store.get(_USAGE, identifier)
    meter = account.store.get(METER, usage["stream"].partition(" ")[0]) if usage else None
    if usage is None or meter is None or meter["event_name"] != name or usage["canceled"]:
        raise StripeError(f"No such meter event: '{identifier}'", code="resource_missing", param="cancel[identifier]")
    if usage["told"] <= account.now - CANCELED_WITHIN:
        raise StripeError("Only an event of the last 24 hours can be canceled.", param="cancel[identifier]")
    account.store.change(usage, canceled=True)
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": name,
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


def usage(account: Account, meter: Json, customer: str, start: int, end: int) -> Decimal:
    """What a customer used from `start` up to and without `end`, as the meter adds up."""
    told = [
        one
        for one in account.store.oldest_first(_USAGE, stream=_stream(meter["id"], customer))
        if start <= one["timestamp"] < end and not one["canceled"]
    ]
    if meter["default_aggregation"]["formula"] == "last":
        return Decimal(max(told, key=lambda one: int(one["timestamp"]))["value"]) if told else Decimal(0)
    return sum((Decimal(one["value"]) for one in told), Decimal(0))


WINDOWS = {"hour": 3600, "day": DAY}


def summaries(account: Account, meter: Json, customer: str, start: int, end: int, window: str | None) -> Iterator[Json]:
    """The usage of a stretch of time, whole or by hours or days; the newest first. Raises 400 for uneven ends."""
    step = WINDOWS[window] if window else end - start
    even = WINDOWS[window] if window else 60
    if start >= end:
        raise StripeError("`end_time` must be later than `start_time`.", param="end_time")
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % even:
            raise StripeError(f"`{name}` must be aligned with {window or 'minute'} boundaries.", param=name)
    for begin in range(end - step, start - 1, -step):
        yield {
            "id": f"mtrusg_{meter['id'].removeprefix('mtr_')}{begin}",
            "object": "billing.meter_event_summary",
            "aggregated_value": float(usage(account, meter, customer, begin, begin + step)),
            "end_time": begin + step,
            "livemode": False,
            "meter": meter["id"],
            "start_time": begin,
        }
