"""The control desk: the clock and its fast-forward, who has bought what, and what became of every event."""

import calendar
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox.pages.rendering import page, posted
from tollhouse_sandbox.pages.wording import length, moment, subscription_state
from tollhouse_sandbox.sandbox import Sandbox

Json = dict[str, Any]


def control_routes(sandbox: Sandbox) -> list[Route]:
    async def show(_: Request) -> Response:
        return _desk(await sandbox.overview())

    async def forward(request: Request) -> Response:
        overview = await sandbox.overview()
        target = _target((await posted(request)).get("to", ""), overview)
        await sandbox.advance(max(target - overview["now"], 0))
        return RedirectResponse("/", status_code=303)

    return [Route("/", show), Route("/control/clock", forward, methods=["POST"])]


def _target(step: str, overview: Json) -> float:
    """Where a fast-forward button leads, in Unix seconds; an unknown step leads nowhere."""
    now = datetime.fromtimestamp(overview["now"], UTC)
    match step:
        case "day":
            return (now + timedelta(days=1)).timestamp()
        case "week":
            return (now + timedelta(weeks=1)).timestamp()
        case "month":
            return _a_month_after(now).timestamp()
        case "next":
            return next_due(overview) or now.timestamp()
        case _:
            return now.timestamp()


def _a_month_after(at: datetime) -> datetime:
    """The same day of the next month, or its last day: 31 January → 28 February."""
    year, month = divmod(at.year * 12 + at.month, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return at.replace(year=year, month=month + 1, day=min(at.day, last))


def next_due(overview: Json) -> float | None:
    """The first instant after now at which a subscription turns or a delivery is tried again, in Unix seconds."""
    instants = [at for subscription in overview["subscriptions"] for at in _turns(subscription)]
    instants += [delivery["next_attempt"] for entry in overview["events"] for delivery in entry["deliveries"]]
    return min((at for at in instants if at and at > overview["now"]), default=None)


def _turns(subscription: Json) -> Iterable[float | None]:
    if subscription["status"] in {"canceled", "incomplete_expired"}:
        return []
    return [subscription["cancel_at"], _period_end(subscription)]


def _period_end(subscription: Json) -> float:
    return max(float(item["current_period_end"]) for item in subscription["items"]["data"])


def _desk(overview: Json) -> Response:
    due = next_due(overview)
    return page(
        "control.html",
        now=moment(overview["now"]),
        clock_sentence=_clock_sentence(overview),
        next_due=moment(due) if due else "",
        customers=[_customer(customer, overview["subscriptions"]) for customer in overview["customers"]],
        checkouts=[session for session in overview["checkout_sessions"] if session["status"] == "open"],
        events=[_event(entry) for entry in overview["events"]],
        endpoints=[_endpoint(endpoint) for endpoint in overview["endpoints"]],
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
        "label": customer.get("email") or customer.get("name") or "No e-mail",
        "plans": [_plan(subscription) for subscription in own],
    }


def _plan(subscription: Json) -> Json:
    prices = [item["price"] for item in subscription["items"]["data"]]
    ended_at = subscription["ended_at"]
    return {
        "id": subscription["id"],
        "name": " + ".join(price.get("lookup_key") or price["id"] for price in prices),
        "state": subscription_state(
            subscription["status"], _period_end(subscription), subscription["cancel_at"], ended_at
        ),
    }


def _event(entry: Mapping[str, Any]) -> Json:
    event = entry["event"]
    return {
        "id": event["id"],
        "type": event["type"],
        "when": moment(event["created"]),
        "about": event["data"]["object"].get("id") or event["data"]["object"]["object"],
        "deliveries": [_delivery(delivery) for delivery in entry["deliveries"]],
    }


def _delivery(delivery: Json) -> Json:
    """The answers an endpoint gave, in order: "503 → 200"; and when it is tried again."""
    answers = " → ".join(str(attempt["status"] or attempt["error"] or "no answer") for attempt in delivery["attempts"])
    again = f", again {moment(delivery['next_attempt'])}" if delivery["attempts"] and delivery["next_attempt"] else ""
    tone = {"succeeded": "good", "failed": "bad"}.get(delivery["state"], "warn")
    return {"tone": tone, "answer": (answers or "waiting") + again, "url": delivery["url"]}


def _endpoint(endpoint: Json) -> Json:
    wanted = endpoint["enabled_events"]
    return {
        "url": endpoint["url"],
        "status": endpoint["status"],
        "tone": "good" if endpoint["status"] == "enabled" else "warn",
        "wants": "every event" if "*" in wanted else f"{len(wanted)} event types",
    }
