"""The control desk: the clock and its fast-forward, who has bought what, the faults, and what became of every event."""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox import faults
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.pages import fast_forward
from tollhouse_sandbox.pages.rendering import page, posted
from tollhouse_sandbox.pages.wording import length, moment, plural, subscription_state
from tollhouse_sandbox.sandbox import Sandbox

Json = dict[str, Any]


def control_routes(sandbox: Sandbox) -> list[Route]:
    async def show(_: Request) -> Response:
        return await _desk(sandbox)

    async def clock(request: Request) -> Response:
        return await _answer(sandbox, fast_forward.move(sandbox, await posted(request)))

    async def fault(request: Request) -> Response:
        fields = await posted(request)
        return await _answer(sandbox, _end_fault(sandbox, fields) if "end" in fields else _order(sandbox, fields))

    return [
        Route("/", show),
        Route("/control/clock", clock, methods=["POST"]),
        Route("/control/faults", fault, methods=["POST"]),
    ]


async def _answer(sandbox: Sandbox, doing: Any) -> Response:
    """Does what a form asks for and shows the desk again, or the desk with the reason why not."""
    try:
        await doing
    except StripeError as refusal:
        return await _desk(sandbox, refusal)
    return RedirectResponse("/", status_code=303)


async def _end_fault(sandbox: Sandbox, fields: Mapping[str, str]) -> None:
    sandbox.faults.end(fields["end"])


async def _order(sandbox: Sandbox, fields: Mapping[str, str]) -> None:
    """Switches on what the form describes; a field that is left empty is as if it were not there."""
    given: Json = {name: value.strip() for name, value in fields.items() if value.strip()}
    for name, number in (("times", int), ("seed", int), ("status", int), ("chance", float), ("seconds", float)):
        if name in given:
            try:
                given[name] = number(given[name])
            except ValueError:
                raise StripeError(f"{name} must be a number.", param=name) from None
    # "about" is an event's type or how a path begins, whichever the kind has.
    if about := given.pop("about", None):
        given["path" if given.get("kind") in faults.OF_CALLS else "type"] = about
    sandbox.faults.order(faults.read(given))


async def _desk(sandbox: Sandbox, refusal: StripeError | None = None) -> Response:
    overview, due = await sandbox.overview(), fast_forward.due(sandbox)
    return page(
        "control.html",
        status=refusal.status if refusal else 200,
        error=refusal.message if refusal else "",
        now=moment(overview["now"]),
        frozen=overview["frozen"],
        clock_sentence=_clock_sentence(overview),
        date=fast_forward.date_field(overview["now"]),
        next_due=f"{moment(due[0])} ({due[1]})" if due else "",
        counts=[(kind, count) for kind, count in overview["counts"].items() if kind != "event"],
        event_count=overview["counts"].get("event", 0),
        customers=[_customer(customer, overview["subscriptions"]) for customer in overview["customers"]],
        checkouts=[session for session in overview["checkout_sessions"] if session["status"] == "open"],
        events=[_event(entry) for entry in overview["events"]],
        endpoints=[_endpoint(endpoint) for endpoint in overview["endpoints"]],
        test_clocks=[{**each, "at": moment(each["frozen_time"])} for each in overview["test_clocks"]],
        faults=[_fault(fault) for fault in sandbox.faults.listed()],
        fault_kinds={"Of deliveries and events": faults.OF_EVENTS, "Of calls": faults.OF_CALLS},
    )


def _clock_sentence(overview: Json) -> str:
    if overview["frozen"]:
        return "Frozen: it moves only when it is told to."
    ahead = length(overview["offset"])
    return f"{ahead} ahead of real time." if ahead else "The same as real time."


def _customer(customer: Json, subscriptions: Iterable[Json]) -> Json:
    own = [subscription for subscription in subscriptions if subscription["customer"] == customer["id"]]
    return {
        "id": customer["id"],
        "metadata": ", ".join(f"{key}: {value}" for key, value in customer.get("metadata", {}).items()),
        "label": "Deleted" if customer.get("deleted") else customer["email"] or customer["name"] or "No e-mail",
        "plans": [_plan(subscription) for subscription in own],
    }


def _plan(subscription: Json) -> Json:
    items = subscription["items"]["data"]
    return {
        "id": subscription["id"],
        "name": " + ".join(item["price"].get("lookup_key") or item["price"]["id"] for item in items),
        "state": subscription_state(
            subscription["status"],
            max(item["current_period_end"] for item in items),
            subscription["cancel_at"],
            subscription["ended_at"],
        ),
    }


def _event(entry: Mapping[str, Any]) -> Json:
    event = entry["event"]
    return {
        "id": event["id"],
        "type": event["type"],
        "when": moment(event["created"]),
        "kind": event["data"]["object"]["object"],
        "about": event["data"]["object"].get("id") or "",
        "deliveries": [_delivery(delivery) for delivery in entry["deliveries"]],
    }


def _delivery(delivery: Json) -> Json:
    """The answers an endpoint gave, in order: "503 → 200"; or "waiting", with the time of the next attempt."""
    answers = " → ".join(str(attempt["status"] or "no answer") for attempt in delivery["attempts"])
    tone = {"succeeded": "good", "failed": "bad"}.get(delivery["state"], "warn")
    never_sent = "dropped" if delivery["state"] == "failed" else "waiting"
    again = f"again {moment(delivery['next_attempt'])}" if delivery["attempts"] and delivery["next_attempt"] else ""
    return {"tone": tone, "answer": answers or never_sent, "again": again, "url": delivery["url"] or "deleted"}


def _endpoint(endpoint: Json) -> Json:
    wanted = endpoint["enabled_events"]
    return {
        "id": endpoint["id"],
        "url": endpoint["url"],
        "status": endpoint["status"],
        "tone": "good" if endpoint["status"] == "enabled" else "warn",
        "wants": "every event" if "*" in wanted else plural(len(wanted), "event type"),
    }


def _fault(fault: Json) -> Json:
    """A fault in words: what it strikes, how often it did, and how often it still will."""
    about = [fault[name] for name in ("method", "path", "type") if fault.get(name) not in (None, "", "*")]
    left = "until it is switched off" if fault["times"] is None else f"{fault['times']} more"
    chance = "" if fault["chance"] == 1 else f"{fault['chance']:.0%} of them"
    told = [" ".join(about), chance, left, f"struck {plural(fault['struck'], 'time')}"]
    return {"id": fault["id"], "kind": fault["kind"], "told": ", ".join(part for part in told if part)}
