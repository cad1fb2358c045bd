"""The items of subscriptions, one by one: /v1/subscription_items. Each change is an update of the subscription."""

from tollhouse_sandbox import subscription_updates
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import has_ended
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, paged
from tollhouse_sandbox.params import flag, moment, text
from tollhouse_sandbox.rendering import subscription_item
from tollhouse_sandbox.resources.subscriptions import ITEM, PAYMENT_BEHAVIOR, PRORATION
from tollhouse_sandbox.store import Json

_HOW = {"payment_behavior": PAYMENT_BEHAVIOR, "proration_behavior": PRORATION, "proration_date": moment}


def _list(call: Call) -> Page:
    subscription = call.account.require("subscription", call.params["subscription"], param="subscription")
    shown = (subscription_item(call.account, item) for item in subscription["items"])
    return paged(call, "subscription_item", shown)


def _find(call: Call) -> tuple[Json, Json]:
    for subscription in call.account.store.newest_first("subscription", item=call.path["id"]):
        for item in subscription["items"]:
            if item["id"] == call.path["id"]:
                return subscription, item
    raise missing("subscription_item", call.path["id"])


def _retrieve(call: Call) -> Json:
    return subscription_item(call.account, _find(call)[1])


def _change(call: Call, subscription: Json, **item: object) -> Json:
    if has_ended(subscription["status"]):
        raise StripeError("The items of a subscription that has ended cannot be changed.")
    how = {name: call.params[name] for name in _HOW if name in call.params}
    return subscription_updates.update(call.account, subscription, {"items": [item], **how})


def _create(call: Call) -> Json:
    subscription = call.account.require("subscription", call.params["subscription"], param="subscription")
    if "price" not in call.params and "price_data" not in call.params:
        raise StripeError("Missing required param: price.", code="parameter_missing", param="price")
    changed = _change(call, subscription, **{name: call.params[name] for name in ITEM if name in call.params})
    return subscription_item(call.account, changed["items"][-1])


def _update(call: Call) -> Json:
    subscription, item = _find(call)
    _change(call, subscription, id=item["id"], **{name: call.params[name] for name in ITEM if name in call.params})
    return _retrieve(call)


def _delete(call: Call) -> Json:
    subscription, item = _find(call)
    _change(call, subscription, id=item["id"], deleted=True)
    return {**item, "deleted": True}


_PATH = "/v1/subscription_items"
OPERATIONS = [
    Operation("POST", _PATH, _create, {**ITEM, **_HOW, "subscription": text}, ("subscription",)),
    Operation("GET", _PATH, _list, {**PAGING, "subscription": text}, ("subscription",)),
    Operation("GET", _PATH + "/{id}", _retrieve),
    Operation("POST", _PATH + "/{id}", _update, {**ITEM, **_HOW}),
    Operation("DELETE", _PATH + "/{id}", _delete, {**_HOW, "clear_usage": flag}),
]
