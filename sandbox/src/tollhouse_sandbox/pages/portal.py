"""The customer portal: plans, payment method, invoices; cancel with a second look, and take it back."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.money import written
from tollhouse_sandbox.pages.card_choices import card_choices
from tollhouse_sandbox.pages.rendering import missing, page, posted
from tollhouse_sandbox.pages.wording import charge, day, invoice_state, payment_method, subscription_state
from tollhouse_sandbox.sandbox import Sandbox

LIVE = frozenset({"active", "trialing", "past_due", "unpaid", "paused"})

NO_PORTAL = "There is no billing portal at this address. Open it again from the app."
DONE = {
    "cancel": "The plan is cancelled.",
    "resume": "The plan goes on.",
    "save": "The payment method is saved.",
}


def portal_routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        return await _portal_page(sandbox, request.path_params["id"], done=request.query_params.get("done", ""))

    async def ask(request: Request) -> Response:
        return await _cancel_page(sandbox, request.path_params["id"], request.path_params["subscription"])

    async def act(request: Request) -> Response:
        return await _act(sandbox, request.path_params["id"], await posted(request))

    return [
        Route("/portal/{id}", show),
        Route("/portal/{id}", act, methods=["POST"]),
        Route("/portal/{id}/cancel/{subscription}", ask),
    ]


async def _act(sandbox: Sandbox, portal_id: str, fields: Mapping[str, str]) -> Response:
    """Does what a button says and goes back to the portal, which tells what was done, or why not."""
    action, subscription = fields.get("action", ""), fields.get("subscription", "")
    try:
        match action:
            case "cancel":
                await sandbox.portal_cancel(portal_id, subscription)
            case "resume":
                await sandbox.portal_resume(portal_id, subscription)
            case "save":
                await sandbox.portal_set_payment_method(portal_id, fields.get("card", ""))
    except StripeError as refusal:
        return await _portal_page(sandbox, portal_id, refusal=refusal)
    return RedirectResponse(f"/portal/{portal_id}?done={action}", status_code=303)


async def _portal_page(
    sandbox: Sandbox, portal_id: str, *, done: str = "", refusal: StripeError | None = None
) -> Response:
    try:
        view = await sandbox.portal_view(portal_id)
    except StripeError:
        return missing(NO_PORTAL)
    return page(
        "portal.html",
        status=refusal.status if refusal else 200,
        id=portal_id,
        merchant=view["merchant"],
        email=view["customer"].get("email") or "",
        return_url=view["return_url"],
        plans=[_plan(entry) for entry in view["subscriptions"]],
        method=payment_method(view["payment_method"]) if view["payment_method"] else "",
        invoices=[_invoice(invoice) for invoice in view["invoices"]],
        cards=card_choices(view["cards"]),
        notice=DONE.get(done, ""),
        error=refusal.message if refusal else "",
    )


async def _cancel_page(sandbox: Sandbox, portal_id: str, subscription_id: str) -> Response:
    """Asks once more; a plan that cannot be cancelled any more leads back to the portal."""
    try:
        view = await sandbox.portal_view(portal_id)
    except StripeError:
        return missing(NO_PORTAL)
    for plan in map(_plan, view["subscriptions"]):
        if plan["id"] == subscription_id and plan["may_cancel"]:
            return page("portal_cancel.html", id=portal_id, plan=plan)
    return RedirectResponse(f"/portal/{portal_id}", status_code=303)


def _plan(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A subscription as its owner thinks of it."""
    subscription, scheduled_end = entry["subscription"], entry["scheduled_end"]
    status, period_end = subscription["status"], entry["current_period_end"]
    live = status in LIVE
    return {
        "id": subscription["id"],
        "name": " + ".join(line["name"] for line in entry["lines"]),
        "quantity": entry["lines"][0]["quantity"],
        "price": charge(entry["lines"]),
        "state": subscription_state(status, period_end, scheduled_end, subscription.get("ended_at")),
        "may_cancel": live and not scheduled_end,
        "may_resume": live and bool(scheduled_end),
        "last_day": day(period_end),
    }


def _invoice(invoice: Mapping[str, Any]) -> dict[str, Any]:
    lines = invoice["lines"]["data"]
    return {
        "date": day(invoice["created"]),
        "what": (lines[0]["description"] if lines else None) or invoice.get("number") or "",
        "state": invoice_state(invoice["status"]),
        "amount": written(invoice["total"], invoice["currency"]),
    }
