"""The hosted payment page: what is bought, who buys, with which test card; and the bank's 3-D Secure step."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox.errors import AuthenticationRequired, StripeError
from tollhouse_sandbox.money import written
from tollhouse_sandbox.pages.card_choices import USUAL, card_choices
from tollhouse_sandbox.pages.rendering import missing, page, posted
from tollhouse_sandbox.pages.wording import charge, days
from tollhouse_sandbox.sandbox import Sandbox

AUTHENTICATION_FAILED = "The bank could not confirm it is you. Nothing was charged; try again or choose another card."

CARD_SAVED = "the card be saved"


def checkout_routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        return await _form_page(sandbox, request.path_params["id"])

    async def pay(request: Request) -> Response:
        return await _pay(sandbox, request.path_params["id"], await posted(request))

    async def authenticate(request: Request) -> Response:
        session_id, fields = request.path_params["id"], await posted(request)
        if fields.get("answer") == "complete":
            return await _pay(sandbox, session_id, fields, authenticated=True)
        return await _form_page(sandbox, session_id, fields, error=AUTHENTICATION_FAILED, status=402)

    return [
        Route("/pay/{id}", show),
        Route("/pay/{id}", pay, methods=["POST"]),
        Route("/pay/{id}/authenticate", authenticate, methods=["POST"]),
    ]


async def _pay(
    sandbox: Sandbox, session_id: str, fields: Mapping[str, str], *, authenticated: bool = False
) -> Response:
    card, email = fields.get("card", USUAL[0]), fields.get("email") or None
    try:
        next_url = await sandbox.pay(session_id, card, email, authenticated=authenticated)
    except AuthenticationRequired:
        offer = offered(await sandbox.checkout_view(session_id))
        return page(
            "authenticate.html",
            path=f"/pay/{session_id}/authenticate",
            kept={"card": card, "email": email or ""},
            what=f"{offer['due_today']} for {offer['lines'][0]['name']} go through" if offer["lines"] else CARD_SAVED,
        )
    except StripeError as refusal:
        return await _form_page(sandbox, session_id, fields, error=refusal.message, status=refusal.status)
    return RedirectResponse(next_url, status_code=303)


async def _form_page(
    sandbox: Sandbox, session_id: str, fields: Mapping[str, str] | None = None, error: str = "", status: int = 200
) -> Response:
    """The payment form with what was filled in before, or the page that says it is too late for it."""
    try:
        view = await sandbox.checkout_view(session_id)
    except StripeError:
        return missing("There is no checkout at this address. Perhaps the sandbox was reset.")
    back_url = await sandbox.cancel_url(session_id)
    if view["status"] != "open":
        return page("checkout_closed.html", complete=view["status"] == "complete", back_url=back_url)
    filled = fields or {}
    return page(
        "checkout.html",
        status=status,
        id=session_id,
        offer=offered(view),
        back_url=back_url,
        merchant=view["merchant"],
        cards=card_choices(view["cards"]) if view["needs_card"] else None,
        chosen=filled.get("card") or USUAL[0],
        email=filled.get("email") or view["email"] or "",
        email_is_fixed=bool(view["email"]),
        error=error,
    )


def offered(view: Mapping[str, Any]) -> dict[str, Any]:
    """The view's amounts in words: a headline, the lines of the bill, what is due today, and the button."""
    currency, trial = view["currency"] or "usd", view["trial_days"]
    recurring = [line for line in view["lines"] if line["interval"]]
    due_today = written(view["amount_due_today"], currency)
    price = charge(recurring or view["lines"]) if view["lines"] else due_today
    amount, _, interval = price.partition(" ")
    discount = (view["session"].get("total_details") or {}).get("amount_discount") or 0
    return {
        "headline": f"{days(trial)} free" if trial else amount,
        "after": f"then {price}" if trial else interval,
        "lines": [
            {
                "name": line["name"],
                "quantity": line["quantity"],
                "unit": charge([{**line, "quantity": 1}]),
                "amount": written(line["unit_amount"] * line["quantity"], line["currency"]),
            }
            for line in view["lines"]
        ],
        "trial": days(trial) if trial else "",
        "discount": written(-discount, currency) if discount else "",
        "due_today": due_today,
        "button": _button(view["mode"], trial, due_today, free=view["amount_due_today"] == 0),
        "promise": f"Nothing is charged today. After {days(trial)} it is {price}, until cancelled." if trial else "",
    }


def _button(mode: str, trial_days: int | None, due_today: str, *, free: bool) -> str:
    if mode == "setup":
        return "Save payment method"
    if mode == "subscription":
        return "Start trial" if trial_days else "Subscribe"
    return "Complete order" if free else f"Pay {due_today}"
