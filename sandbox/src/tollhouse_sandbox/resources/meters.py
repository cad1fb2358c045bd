"""Usage: /v1/billing/meters, /v1/billing/meter_events, /v1/billing/meter_event_adjustments."""

from tollhouse_sandbox import customers, meters, test_clocks
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, fits, page, paged
from tollhouse_sandbox.params import Parser, choice, metadata, moment, shape, text
from tollhouse_sandbox.store import Json


def _list(call: Call) -> Page:
    return page(call, meters.METER, lambda meter: fits(meter, call.params, "status"))


def _switched(status: str) -> Operation:
    verb = "reactivate" if status == "active" else "deactivate"
    return Operation(
        "POST",
        f"/v1/billing/meters/{{id}}/{verb}",
        lambda call: meters.switch(call.account, call.target(meters.METER), status),
    )


def _update(call: Call) -> Json:
    meter = call.target(meters.METER)
    return meters.rename(call.account, meter, str(call.params.get("display_name") or meter["display_name"]))


def _summaries(call: Call) -> Page:
    given = call.params
    customer = customers.existing(call.account, given["customer"])["id"]
    window = given.get("value_grouping_window")
    meter = call.target(meters.METER)
    found = meters.summaries(call.account, meter, customer, given["start_time"], given["end_time"], window)
    return paged(call, "billing.meter_event_summary", found)


def _tell(call: Call) -> Json:
    account, payload = call.account, call.params["payload"] or {}
    clock = test_clocks.concerned(account, payload.values())
    account.test_clock = clock["id"] if clock else None
    return meters.tell(account, {**call.params, "payload": payload})


def _take_back(call: Call) -> Json:
    return meters.take_back(call.account, call.params["event_name"], call.params["cancel"]["identifier"])


_KEY = {"event_payload_key": text}
_CREATED: dict[str, Parser] = {
    "customer_mapping": shape({**_KEY, "type": choice("by_id")}, ("event_payload_key", "type")),
    "default_aggregation": shape({"formula": choice("count", "last", "sum")}, ("formula",)),
    "display_name": text,
    "event_name": text,
    "event_time_window": choice("day", "hour"),
    "value_settings": shape(_KEY, ("event_payload_key",)),
}
_SUMMED: dict[str, Parser] = {
    **PAGING,
    "customer": text,
    "end_time": moment,
    "start_time": moment,
    "value_grouping_window": choice("day", "hour"),
}
_PATH = "/v1/billing/meters"

OPERATIONS = [
    Operation(
        "POST",
        _PATH,
        lambda call: meters.create(call.account, call.params),
        _CREATED,
        ("default_aggregation", "display_name", "event_name"),
    ),
    Operation("GET", _PATH, _list, {**PAGING, "status": choice("active", "inactive")}),
    Operation("GET", _PATH + "/{id}", lambda call: call.target(meters.METER)),
    Operation("POST", _PATH + "/{id}", _update, {"display_name": text}),
    _switched("inactive"),
    _switched("active"),
    Operation("GET", _PATH + "/{id}/event_summaries", _summaries, _SUMMED, ("customer", "end_time", "start_time")),
    Operation(
        "POST",
        "/v1/billing/meter_events",
        _tell,
        {"event_name": text, "identifier": text, "payload": metadata, "timestamp": moment},
        ("event_name", "payload"),
    ),
    Operation(
        "POST",
        "/v1/billing/meter_event_adjustments",
        _take_back,
        {"cancel": shape({"identifier": text}, ("identifier",)), "event_name": text, "type": choice("cancel")},
        ("cancel", "event_name", "type"),
    ),
]
