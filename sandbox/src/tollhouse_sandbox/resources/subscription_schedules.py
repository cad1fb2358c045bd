"""Subscription schedules: /v1/subscription_schedules. They begin with a subscription that exists."""

from tollhouse_sandbox import phases, schedules
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import has_ended
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    choice,
    clearable,
    flag,
    list_of,
    metadata,
    moment,
    moments,
    positive,
    shape,
    text,
    within,
)
from tollhouse_sandbox.resources.discounts import DISCOUNTS
from tollhouse_sandbox.resources.prices import PRICE_DATA
from tollhouse_sandbox.resources.subscriptions import PRORATION
from tollhouse_sandbox.store import Json

_ITEM = shape({"metadata": metadata, "price": text, "price_data": PRICE_DATA, "quantity": positive})
_DURATION = shape({"interval": choice("day", "month", "week", "year"), "interval_count": positive}, ("interval",))
_PHASE = shape(
    {
        "discounts": clearable(DISCOUNTS),
        "duration": _DURATION,
        "end_date": moment,
        "items": list_of(_ITEM, at_most=20),
        "metadata": metadata,
        "proration_behavior": PRORATION,
        "start_date": moment,
    },
    ("items",),
)
_UPDATE = {
    "end_behavior": choice("cancel", "release"),
    "metadata": metadata,
    "phases": list_of(_PHASE, at_most=100),
    "proration_behavior": PRORATION,
}
_ENDS = ("canceled_at", "completed_at", "released_at")


def _create(call: Call) -> Json:
    name = "from_subscription"
    subscription = call.account.require("subscription", call.params[name], param=name)
    if has_ended(subscription["status"]):
        raise missing("subscription", subscription["id"], param=name, status=400)
    if subscription["status"] in ("incomplete", "paused"):
        raise StripeError(f"A subscription that is {subscription['status']} cannot be scheduled.", param=name)
    return schedules.begin(call.account, subscription)


def _list(call: Call) -> Page:
    wanted = call.params

    def keep(schedule: Json) -> bool:
        return (
            fits(schedule, wanted, "customer")
            and all(schedule[name] and within(schedule[name], wanted[name]) for name in _ENDS if name in wanted)
            and (not wanted.get("scheduled") or schedule["status"] == "not_started")
        )

    return page(call, schedules.KIND, keep)


def _update(call: Call) -> Json:
    return phases.plan(call.account, call.target(schedules.KIND), call.params)


def _release(call: Call) -> Json:
    schedule = call.target(schedules.KIND)
    schedules.check_living(schedule, "release")
    return schedules.release(call.account, schedule, keeps_end=call.params.get("preserve_cancel_date", False))


def _cancel(call: Call) -> Json:
    given = call.params
    return phases.cancel(
        call.account,
        call.target(schedules.KIND),
        prorate=given.get("prorate", True),
        invoice_now=given.get("invoice_now", True),
    )


_PATH = "/v1/subscription_schedules"
OPERATIONS = [
    Operation("POST", _PATH, _create, {"from_subscription": text}, ("from_subscription",)),
    Operation("GET", _PATH, _list, {**DATED, "customer": text, "scheduled": flag, **dict.fromkeys(_ENDS, moments)}),
    Operation("GET", _PATH + "/{id}", lambda call: call.target(schedules.KIND)),
    Operation("POST", _PATH + "/{id}", _update, _UPDATE),
    Operation("POST", _PATH + "/{id}/release", _release, {"preserve_cancel_date": flag}),
    Operation("POST", _PATH + "/{id}/cancel", _cancel, {"invoice_now": flag, "prorate": flag}),
]
