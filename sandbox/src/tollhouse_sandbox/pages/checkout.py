"""The hosted payment page: what is bought, who buys, with which test card; and the bank's 3-D Secure step."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox.errors import AuthenticationRequired, StripeError
from tollhouse_sandbox.money import written
from tollhouse_sandbox.pages.card_choices import USUAL, card_choices
from tollhouse_sandbox.pages.rendering import missing, page, posted, whole_number
from tollhouse_sandbox.pages.wording import charge, day, days
from tollhouse_sandbox.sandbox import Sandbox

Fields = Mapping[str, str]

ASKED = "answer "
"""What the names of the answers begin with, among the form's fields."""

AUTHENTICATION_FAILED = "The bank could not confirm it is you. Nothing was charged; try again or choose another card."
CARD_SAVED = "the card be saved"


def checkout_routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        return await _form_page(sandbox, request.path_params["id"])

    async def send(request: Request) -> Response:
        return await _send(sandbox, request.path_params["id"], await posted(request))

    async def recover(request: Request) -> Response:
        try:
            return RedirectResponse(await sandbox.recover(request.path_params["id"]), status_code=303)
        except StripeError:
            return missing("There is nothing to take up again at this address.")

    async def authenticate(request: Request) -> Response:
        session_id, fields = request.path_params["id"], await posted(request)
        if fields.get("answer") == "complete":
            return await _pay(sandbox, session_id, fields, authenticated=True)
        failed = StripeError(AUTHENTICATION_FAILED, status=402)
        return await _form_page(sandbox, session_id, fields, refusal=failed)

    return [
        Route("/pay/{id}", show),
        Route("/pay/{id}", send, methods=["POST"]),
        Route("/pay/{id}/recover", recover),
        Route("/pay/{id}/authenticate", authenticate, methods=["POST"]),
    ]


async def _send(sandbox: Sandbox, session_id: str, fields: Fields) -> Response:
    """Pays; or shows the bill again when a button, or a code that was just typed, changes it before anybody pays."""
    try:
        told = await _change_bill(sandbox, session_id, fields)
    except StripeError as refusal:
        return await _form_page(sandbox, session_id, fields, refusal=refusal)
    if told or fields.get("do"):
        return await _form_page(sandbox, session_id, fields, notice=told)
    return await _pay(sandbox, session_id, fields)


async def _change_bill(sandbox: Sandbox, session_id: str, fields: Fields) -> str:
    """Does what a button says about the bill, then what was typed about it: what has changed, in words; "" if nothing.

    A button is `remove` (the code), `add:` or `drop:` and what; any other leaves it at what was typed.
    """
    verb, _, item = fields.get("do", "").partition(":")
    view = await sandbox.checkout_view(session_id)
    told = []
    if verb == "remove":
        await sandbox.remove_promotion_code(session_id)
        told.append("The code is off.")
    elif verb == "add":
        offered_so_many = {offer["price"]: offer["quantity"] for offer in view["optional"]}
        await sandbox.choose_quantity(session_id, item, offered_so_many.get(item, 1))
        told.append("It is on the bill.")
    elif verb == "drop":
        await sandbox.choose_quantity(session_id, item, 0)
        told.append("It is off the bill.")
    for line in view["lines"]:
        wanted = fields.get(f"quantity {line['id']}", "").strip()
        if line["id"] != item and wanted and wanted != str(line["quantity"]):
            await sandbox.choose_quantity(session_id, line["id"], whole_number(wanted))
            told.append("The quantity is changed: look at the total before you pay.")
    code = fields.get("code", "").strip()
    if code and verb != "remove":
        await sandbox.apply_promotion_code(session_id, code)
        told.append("The code is on: look at the total before you pay.")
    return " ".join(told)


async def _pay(sandbox: Sandbox, session_id: str, fields: Fields, *, authenticated: bool = False) -> Response:
    card, email = fields.get("card", USUAL[0]), fields.get("email") or None
    answers = {name.removeprefix(ASKED): value for name, value in fields.items() if name.startswith(ASKED)}
    try:
        next_url = await sandbox.pay(session_id, card, email, authenticated=authenticated, answers=answers)
    except AuthenticationRequired:
        offer = offered(await sandbox.checkout_view(session_id))
        return page(
            "authenticate.html",
            path=f"/pay/{session_id}/authenticate",
            kept={name: value for name, value in fields.items() if name != "answer"},
            what=f"{offer['due_today']} for {offer['lines'][0]['name']} go through" if offer["lines"] else CARD_SAVED,
        )
    except StripeError as refusal:
        return await _form_page(sandbox, session_id, fields, refusal=refusal)
    return RedirectResponse(next_url, status_code=303)


async def _form_page(
    sandbox: Sandbox,
    session_id: str,
    fields: Fields | None = None,
    *,
    refusal: StripeError | None = None,
    notice: str = "",
) -> Response:
    """The payment form with what was filled in before, or the page that says it is too late for it."""
    try:
        view = await sandbox.checkout_view(session_id)
    except StripeError:
        return missing("There is no checkout at this address. Perhaps the sandbox was reset.")
    back_url = await sandbox.cancel_url(session_id)
    if view["status"] != "open":
        recovery = (view["session"]["after_expiration"] or {}).get("recovery") or {}
        recover_url = recovery.get("url") if view["status"] == "expired" else None
        complete = view["status"] == "complete"
        return page("checkout_closed.html", complete=complete, back_url=back_url, recover_url=recover_url)
    filled = fields or {}
    about_code = bool(refusal and filled.get("code"))
    return page(
        "checkout.html",
        status=refusal.status if refusal else 200,
        id=session_id,
        offer=offered(view),
        back_url=back_url,
        merchant=view["merchant"],
        cards=card_choices(view["cards"], day(view["debit_arrives"])) if view["needs_card"] else None,
        chosen=filled.get("card") or USUAL[0],
        email=filled.get("email") or view["email"] or "",
        email_is_fixed=bool(view["email"]),
        questions=view["questions"],
        texts=view["session"]["custom_text"],
        answers={name: filled.get(ASKED + name) for name in (each["name"] for each in view["questions"])},
        takes_codes=view["allow_promotion_codes"],
        code_on=view["promotion_code"] or "",
        code=filled.get("code", "") if about_code else "",
        code_error=refusal.message if refusal and about_code else "",
        error=refusal.message if refusal and not about_code else "",
        notice=notice,
    )


def offered(view: Mapping[str, Any]) -> dict[str, Any]:
    """The view's amounts in words: a headline, the lines of the bill, what is due today, and the button."""
    currency, trial, discount = view["currency"] or "usd", view["trial_days"], view["discount"]
    recurring = [line for line in view["lines"] if line["interval"]]
    due_today = written(view["amount_due_today"], currency)
    price = charge(recurring or view["lines"]) if view["lines"] else due_today
    headline, _, after = price.partition(" ")
    if trial:
        headline, after = f"{days(trial)} free", f"then {price}"
    elif discount:
        headline, after = due_today, f"today, {discount['terms']}"
    return {
        "headline": headline if view["lines"] else "Save a payment method",
        "after": after,
        "lines": [
            {
                "name": line["name"],
                "quantity": line["quantity"],
                "unit": charge([{**line, "quantity": 1}]),
                "amount": written(line["unit_amount"] * line["quantity"], line["currency"]),
                "id": line["id"],
                "adjustable": line["adjustable"] if line["adjustable"] and line["adjustable"]["enabled"] else None,
                "optional": line["optional"],
            }
            for line in view["lines"]
        ],
        "optional": [
            {"price": each["price"], "name": each["name"], "costs": charge([each])} for each in view["optional"]
        ],
        "trial": days(trial) if trial else "",
        "discount": {**discount, "amount": written(-discount["amount"], currency)} if discount else None,
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
