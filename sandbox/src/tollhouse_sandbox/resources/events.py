"""Events: /v1/events, the last 30 days of them."""

from tollhouse_sandbox.events import matches
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, page
from tollhouse_sandbox.params import flag, list_of, text
from tollhouse_sandbox.store import Json

KEPT_FOR = 30 * DAY
"""Seconds for which events can be listed."""


def _list(call: Call) -> Page:
    wanted = call.params
    types = wanted.get("types") or ([wanted["type"]] if "type" in wanted else None)
    since = call.account.now - KEPT_FOR

    def keep(event: Json) -> bool:
        return (
            event["created"] >= since
            and (types is None or any(matches(pattern, event["type"]) for pattern in types))
            and wanted.get("delivery_success", not event["pending_webhooks"]) == (not event["pending_webhooks"])
        )

    return page(call, "event", keep)


OPERATIONS = [
    Operation(
        "GET",
        "/v1/events",
        _list,
        {**DATED, "type": text, "types": list_of(text, at_most=20), "delivery_success": flag},
    ),
    Operation("GET", "/v1/events/{id}", lambda call: call.target("event")),
]
