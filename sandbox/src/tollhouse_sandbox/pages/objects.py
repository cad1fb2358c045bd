"""Every object of the account: a list per kind, and a page per object with its events, or an event's deliveries."""

import json
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox import desk
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.money import written
from tollhouse_sandbox.pages.rendering import missing, page, posted
from tollhouse_sandbox.pages.wording import moment
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.sandbox import Sandbox

Json = dict[str, Any]

AT_ONCE = 50
"""Objects on a page of a list."""

_ID = re.compile(r'"([A-Za-z]+_[A-Za-z0-9_]+)"')
_ENDS_WELL = frozenset({"succeeded", "paid", "active", "complete", "enabled", "won", "ready", "trialing"})
_ENDS_BADLY = frozenset({"failed", "past_due", "unpaid", "uncollectible", "lost", "incomplete_expired"})


def object_routes(sandbox: Sandbox) -> list[Route]:
    async def listed(request: Request) -> Response:
        return _list(sandbox.account, request.path_params["kind"], request.query_params.get("after"))

    async def shown(request: Request) -> Response:
        return _object(sandbox.account, request.path_params["kind"], request.path_params["id"])

    async def resend(request: Request) -> Response:
        return await _resend(sandbox, request.path_params["id"], (await posted(request)).get("endpoint", ""))

    return [
        Route("/objects/{kind}", listed),
        Route("/objects/{kind}/{id}", shown),
        Route("/objects/event/{id}/resend", resend, methods=["POST"]),
    ]


def _list(account: Account, kind: str, after: str | None) -> Response:
    if kind not in desk.kinds(account):
        return missing(f"There is no {kind} here, or there never was.")
    try:
        found, more = desk.some(account, kind, after, AT_ONCE)
    except StripeError as refusal:
        return missing(refusal.message)
    return page(
        "objects.html",
        kind=kind,
        count=account.store.count(kind),
        objects=[_row(body) for body in found],
        next_after=found[-1]["id"] if more else "",
    )


def _row(body: Json) -> Json:
    created = body.get("created")
    return {
        "id": body["id"],
        "created": moment(created) if created else "",
        "what": summary(body),
        "state": state(body),
    }


def summary(body: Mapping[str, Any]) -> str:
    """What tells an object from others of its kind: its name, its type, its amount."""
    names = ("type", "email", "name", "lookup_key", "number", "code", "url", "description", "nickname", "event_name")
    told = [str(body[name]) for name in names if body.get(name)][:2]
    amount = next((body[name] for name in ("total", "amount", "amount_total", "unit_amount") if body.get(name)), None)
    if amount is not None and body.get("currency"):
        told.append(written(amount, body["currency"]))
    return ", ".join(told)


def state(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """An object's state and its colour (a class of the style sheet); None for what has no state."""
    word = "deleted" if body.get("deleted") else body.get("status")
    if not isinstance(word, str):
        return None
    tone = "good" if word in _ENDS_WELL else "bad" if word in _ENDS_BADLY else ""
    return word.replace("_", " "), tone


def _object(account: Account, kind: str, object_id: str, refusal: StripeError | None = None) -> Response:
    found = None if kind.startswith("_") else account.store.get(kind, object_id)
    if found is None:
        return missing(f"There is no {kind} of the id {object_id}. Perhaps the sandbox was reset.")
    body = public(account, found)
    created = body.get("created")
    return page(
        "object.html",
        status=refusal.status if refusal else 200,
        error=refusal.message if refusal else "",
        kind=kind,
        id=object_id,
        created=moment(created) if created else "",
        what=summary(body),
        state=state(body),
        json=_linked(account, body),
        belonging=[{"kind": each["object"], **_row(each)} for each in desk.belonging(account, found)],
        events=[
            {"id": event["id"], "type": event["type"], "when": moment(event["created"])}
            for event in (desk.told(account, found) if kind != "event" else [])
        ],
        deliveries=[_delivery(each) for each in desk.deliveries(account, found)] if kind == "event" else None,
        endpoints=list(account.store.newest_first("webhook_endpoint")) if kind == "event" else [],
        page_of=_page_of(body),
    )


def _page_of(body: Json) -> str:
    """The hosted page that belongs to an object, as a path of this sandbox; "" where there is none."""
    match body["object"]:
        case "checkout.session":
            return f"/pay/{body['id']}"
        case "invoice" if body["status"] != "draft":
            return f"/invoice/{body['id']}"
        case "billing_portal.session":
            return f"/portal/{body['id']}"
        case _:
            return ""


def _linked(account: Account, body: Json) -> Markup:
    """The object as JSON, in which every id of another object leads to that object's page."""

    def link(match: re.Match[str]) -> str:
        kind = desk.kind_of(account, match[1]) if match[1] != body["id"] else None
        return f'"<a href="/objects/{kind}/{match[1]}">{match[1]}</a>"' if kind else match[0]

    # What is escaped keeps its quotation marks as &#34;: an id is looked for between those.
    escaped = str(escape(json.dumps(body, indent=2, ensure_ascii=False))).replace("&#34;", '"')
    return Markup(_ID.sub(link, escaped))  # noqa: S704 - escaped above; only ids of known objects are put in


def _delivery(delivery: Json) -> Json:
    attempts = [
        {
            "when": moment(attempt["at"]),
            "answer": str(attempt["status"] or attempt["error"] or "no answer"),
            "tone": "good" if attempt["status"] and 200 <= attempt["status"] < 300 else "bad",
        }
        for attempt in delivery["attempts"]
    ]
    next_attempt = delivery["next_attempt"]
    return {
        "url": delivery["url"] or "An endpoint that was deleted",
        "state": delivery["state"],
        "tone": {"succeeded": "good", "failed": "bad"}.get(delivery["state"], "warn"),
        "attempts": attempts,
        "next": moment(next_attempt) if next_attempt else "",
    }


async def _resend(sandbox: Sandbox, event_id: str, endpoint_id: str) -> Response:
    """Sends an event again and shows it with the answer."""
    account = sandbox.account
    try:
        with sandbox.step():
            event = account.require("event", event_id)
            endpoint = account.require("webhook_endpoint", endpoint_id, param="endpoint")
            if endpoint["status"] != "enabled":
                raise StripeError("This endpoint is disabled: it is sent nothing.", param="endpoint")
            account.on_resend(event, endpoint)
    except StripeError as refusal:
        return _object(account, "event", event_id, refusal)
    await sandbox.drain()
    return RedirectResponse(f"/objects/event/{event_id}", status_code=303)
