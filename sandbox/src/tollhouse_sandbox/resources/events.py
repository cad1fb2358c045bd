"""Events: /v1/events, the last 30 days of them."""

from tollhouse_sandbox.errors import StripeError
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


def _resend(call: Call) -> Json:
    """What the CLI's `events resend` calls: the event is sent to one endpoint once more."""
    event = call.target("event")
    if "webhook_endpoint" not in call.params:
        raise StripeError(
            "No CLI listens to this sandbox: name the webhook_endpoint that is to hear the event again.",
            code="parameter_missing",
            param="webhook_endpoint",
        )
    if event["created"] < call.account.now - KEPT_FOR:
        raise StripeError("Events can be sent again for 30 days.", param="id")
    endpoint = call.account.require("webhook_endpoint", call.params["webhook_endpoint"], param="webhook_endpoint")
    if endpoint["status"] != "enabled":
        raise StripeError(f"The webhook endpoint {endpoint['id']} is disabled.", param="webhook_endpoint")
    call.account.on_resend(event, endpoint)
    return call.target("event")


OPERATIONS = [
    Operation(
        "GET",
        "/v1/events",
        _list,
        {**DATED, "type": text, "types": list_of(text, at_most=20), "delivery_success": flag},
    ),
    Operation("GET", "/v1/events/{id}", lambda call: call.target("event")),
    Operation("POST", "/v1/events/{id}/retry", _resend, {"webhook_endpoint": text, "for_stripecli": flag}),
]
