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
        return _desk(await sandbox.overview(), _due(sandbox))

    async def forward(request: Request) -> Response:
        now = sandbox.account.clock.now()
        target = _target((await posted(request)).get("to", ""), now, _due(sandbox))
        await sandbox.advance(max(target - now, 0))
        return RedirectResponse("/", status_code=303)

    return [Route("/", show), Route("/control/clock", forward, methods=["POST"])]


def _target(step: str, now: float, due: tuple[float, str] | None) -> float:
    """Where a fast-forward button leads, in Unix seconds; an unknown step leads nowhere."""
    at = datetime.fromtimestamp(now, UTC)
    match step:
        case "day":
            return (at + timedelta(days=1)).timestamp()
        case "week":
            return (at + timedelta(weeks=1)).timestamp()
        case "month":
            return _a_month_after(at).timestamp()
        case "next" if due:
            return due[0]
        case _:
            return now


def _a_month_after(at: datetime) -> datetime:
    """The same day of the next month, or its last day: 31 January → 28 February."""
    year, month = divmod(at.year * 12 + at.month, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return at.replace(year=year, month=month + 1, day=min(at.day, last))


def _due(sandbox: Sandbox) -> tuple[float, str] | None:
    """What time brings next: when, in Unix seconds, and what it is ("subscription: renew")."""
    noted, delivery_at = sandbox.timetable.next(), sandbox.deliveries.next_due()
    due = [(float(delivery_at), "delivery: try again")] if delivery_at is not None else []
    if noted:
        at, body, action = noted
        due.append((float(at), f"{body['object']}: {action}".replace("_", " ").replace(".", " ")))
    return min(due, default=None)


def _period_end(subscription: Json) -> float:
    return max(float(item["current_period_end"]) for item in subscription["items"]["data"])


def _desk(overview: Json, due: tuple[float, str] | None) -> Response:
    return page(
        "control.html",
        now=moment(overview["now"]),
        clock_sentence=_clock_sentence(overview),
        next_due=f"{moment(due[0])} ({due[1]})" if due else "",
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
        "metadata": ", ".join(f"{key}: {value}" for key, value in customer["metadata"].items()),
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
