"""The customer portal: plans, payment method, details, invoices; and a link that leads to one thing only (a flow)."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tollhouse_sandbox import hosted, portal
from tollhouse_sandbox.errors import AuthenticationRequired, StripeError
from tollhouse_sandbox.money import written
from tollhouse_sandbox.pages.card_choices import card_choices
from tollhouse_sandbox.pages.rendering import missing, page, posted, whole_number
from tollhouse_sandbox.pages.wording import REASONS, charge, day, invoice_state, payment_method, subscription_state
from tollhouse_sandbox.portal import Visit
from tollhouse_sandbox.sandbox import Sandbox

Fields = Mapping[str, str]

NO_PORTAL = "There is no billing portal at this address. Open it again from the app."
NOT_THE_HOLDER = "The bank could not confirm it is you. The payment method was not changed."
DONE = {
    "cancel": "The plan is cancelled.",
    "resume": "The plan goes on.",
    "pause": "The plan is paused.",
    "unpause": "The plan goes on.",
    "change": "The plan is changed.",
    "save": "The payment method is saved.",
    "details": "Your details are saved.",
}
FLOWS = {
    "cancel": ("subscription_cancel",),
    "pause": ("subscription_pause",),
    "change": ("subscription_update", "subscription_update_confirm"),
    "save": ("payment_method_update",),
    "details": ("customer_update",),
}
"""Action → the types of the flows that it completes."""


def portal_routes(sandbox: Sandbox) -> list[Route]:
    def shows(draw: Callable[[Visit, Request], Response]) -> Callable[[Request], Any]:
        async def show(request: Request) -> Response:
            return _drawn(sandbox, request.path_params["id"], lambda seen: draw(seen, request))

        return show

    async def act(request: Request) -> Response:
        return _act(sandbox, request.path_params["id"], await posted(request))

    return [
        Route("/portal/{id}", shows(lambda seen, request: _entrance(seen, request.query_params.get("done", "")))),
        Route("/portal/{id}", act, methods=["POST"]),
        Route("/portal/{id}/cancel/{subscription}", shows(_cancel)),
        Route("/portal/{id}/pause/{subscription}", shows(_pause)),
        Route("/portal/{id}/change/{subscription}", shows(_change)),
        Route("/portal/{id}/confirm/{subscription}", shows(_confirm)),
    ]


def _drawn(sandbox: Sandbox, portal_id: str, draw: Callable[[Visit], Response]) -> Response:
    """A page of the portal; instead of one that cannot be drawn, the portal with the reason."""
    with sandbox.step(portal_id):
        try:
            seen = portal.visit(sandbox.account, portal_id)
        except StripeError:
            return missing(NO_PORTAL)
        try:
            return draw(seen)
        except StripeError as refusal:
            return _home(seen, refusal=refusal)


def _act(sandbox: Sandbox, portal_id: str, fields: Fields) -> Response:
    """Does what a button says, and goes on to what comes after it: the portal, which tells it, or where a flow ends."""
    action = fields.get("action", "")
    try:
        with sandbox.step(portal_id):
            seen = portal.visit(sandbox.account, portal_id)
            _do(seen, action, fields)
            ends = [after for kind in FLOWS.get(action, ()) if (after := portal.complete(seen, kind))]
    except AuthenticationRequired:
        kept = {name: value for name, value in fields.items() if name != "answer"}
        return page("authenticate.html", path=f"/portal/{portal_id}", kept=kept, what="the card be saved")
    except StripeError as error:
        refusal = error
        return _drawn(sandbox, portal_id, lambda seen: _entrance(seen, refusal=refusal))
    if ends and ends[0]["type"] == "redirect":
        return RedirectResponse(ends[0]["redirect"]["return_url"], status_code=303)
    return RedirectResponse(f"/portal/{portal_id}?done={action}", status_code=303)


def _do(seen: Visit, action: str, fields: Fields) -> None:
    subscription = fields.get("subscription", "")
    match action:
        case "cancel":
            portal.cancel(seen, subscription, feedback=fields.get("feedback"), comment=fields.get("comment"))
        case "resume":
            portal.resume(seen, subscription)
        case "pause":
            portal.pause(seen, subscription)
        case "unpause":
            portal.unpause(seen, subscription)
        case "change":
            flow = portal.flow(seen) or {}
            discounts = (flow.get("subscription_update_confirm") or {}).get("discounts") or []
            named = [{name: value for name, value in one.items() if value} for one in discounts]
            portal.change(
                seen, subscription, fields.get("price", ""), whole_number(fields.get("quantity") or "1"), named
            )
        case "save" if fields.get("answer") == "fail":
            raise StripeError(NOT_THE_HOLDER, status=402)
        case "save":
            authenticated = fields.get("answer") == "complete"
            portal.set_payment_method(seen, fields.get("card", ""), authenticated=authenticated)
        case "details":
            portal.update_customer(seen, _details(fields))
        case _:
            raise StripeError("This button does nothing.", param="action")


ADDRESS = ("line1", "line2", "postal_code", "city", "state", "country")


def _details(fields: Fields) -> dict[str, Any]:
    """The customer's fields of the form; what is left empty is unset."""
    given: dict[str, Any] = {
        name: fields[name].strip() or None for name in ("email", "name", "phone") if name in fields
    }
    if any(name in fields for name in ADDRESS):
        address = {name: fields.get(name, "").strip() or None for name in ADDRESS}
        given["address"] = address if any(address.values()) else None
    return given


def _entrance(seen: Visit, done: str = "", *, refusal: StripeError | None = None) -> Response:
    """Where the session's link leads: to the portal, or to the one page of a flow until it is done."""
    flow = portal.flow(seen)
    if flow is None:
        return _home(seen, done=done, refusal=refusal)
    named = flow[flow["type"]] or {} if flow["type"] in flow else {}
    match flow["type"]:
        case "subscription_cancel":
            return _cancel_page(seen, named["subscription"], refusal=refusal)
        case "subscription_pause":
            return _pause_page(seen, named["subscription"], refusal=refusal)
        case "subscription_update":
            return _change_page(seen, named["subscription"], refusal=refusal)
        case "subscription_update_confirm":
            item = named["items"][0]
            current = seen.subscription(named["subscription"])["items"][0]
            price, quantity = item["price"] or current["price"], item["quantity"] or current["quantity"]
            return _confirm_page(seen, named["subscription"], price, quantity, refusal=refusal)
        case kind:
            return _home(seen, only="method" if kind == "payment_method_update" else "details", refusal=refusal)


def _home(seen: Visit, *, done: str = "", refusal: StripeError | None = None, only: str = "") -> Response:
    """The whole portal, or `only` the part that a flow leads to."""
    view, features = portal.view(seen), seen.features
    flow = seen.session["flow"]
    confirmation = flow["after_completion"]["hosted_confirmation"] if flow else None
    return page(
        "portal.html",
        status=refusal.status if refusal else 200,
        **_frame(seen, refusal),
        profile=seen.configuration["business_profile"],
        customer=view["customer"],
        plans=[_plan(entry) for entry in view["subscriptions"]],
        method=payment_method(view["payment_method"]) if view["payment_method"] else "",
        invoices=[_invoice(invoice) for invoice in view["invoices"]]
        if features["invoice_history"]["enabled"]
        else None,
        cards=card_choices(hosted.offered_cards()) if features["payment_method_update"]["enabled"] else None,
        may_update=features["customer_update"]["allowed_updates"] if features["customer_update"]["enabled"] else [],
        address=view["customer"]["address"] or dict.fromkeys(ADDRESS),
        notice=(done and confirmation and confirmation["custom_message"]) or DONE.get(done, ""),
        only=only,
    )


def _frame(seen: Visit, refusal: StripeError | None) -> dict[str, Any]:
    """What every page of the portal has: where it is, where back leads, and what went wrong."""
    portal_id = seen.session["id"]
    in_flow = portal.flow(seen) is not None
    return {
        "id": portal_id,
        "merchant": seen.account.merchant,
        "return_url": seen.session["return_url"],
        "back": seen.session["return_url"] if in_flow else f"/portal/{portal_id}",
        "error": refusal.message if refusal else "",
    }


def _cancel(seen: Visit, request: Request) -> Response:
    return _cancel_page(seen, request.path_params["subscription"])


def _cancel_page(seen: Visit, subscription_id: str, refusal: StripeError | None = None) -> Response:
    """Asks once more, and why; a plan that cannot be cancelled any more leads back to the portal."""
    offered = seen.needs("subscription_cancel", "cancel")
    plan = _own_plan(seen, subscription_id)
    if not plan["may"]["cancel"]:
        return RedirectResponse(f"/portal/{seen.session['id']}", status_code=303)
    asks = offered["cancellation_reason"]
    return page(
        "portal_cancel.html",
        status=refusal.status if refusal else 200,
        **_frame(seen, refusal),
        plan=plan,
        at_once=offered["mode"] == "immediately",
        reasons={name: REASONS[name] for name in asks["options"]} if asks["enabled"] else {},
    )


def _pause(seen: Visit, request: Request) -> Response:
    return _pause_page(seen, request.path_params["subscription"])


def _pause_page(seen: Visit, subscription_id: str, refusal: StripeError | None = None) -> Response:
    seen.needs("subscription_pause", "pause")
    plan = _own_plan(seen, subscription_id)
    if not plan["may"]["pause"]:
        return RedirectResponse(f"/portal/{seen.session['id']}", status_code=303)
    return page("portal_pause.html", status=refusal.status if refusal else 200, **_frame(seen, refusal), plan=plan)


def _change(seen: Visit, request: Request) -> Response:
    return _change_page(seen, request.path_params["subscription"])


def _change_page(seen: Visit, subscription_id: str, refusal: StripeError | None = None) -> Response:
    """What the plan can be changed to, and in which quantity."""
    plan = _own_plan(seen, subscription_id)
    if not plan["may"]["update"]:
        return RedirectResponse(f"/portal/{seen.session['id']}", status_code=303)
    subscription = seen.subscription(subscription_id)
    (item,) = subscription["items"]
    offers = [_offer(seen, each, item) for each in portal.offers(seen, subscription)]
    return page(
        "portal_change.html",
        status=refusal.status if refusal else 200,
        **_frame(seen, refusal),
        plan=plan,
        offers=offers,
        quantity=item["quantity"],
        adjustable=any(each["minimum"] != each["maximum"] for each in offers),
    )


def _offer(seen: Visit, offer: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    price = offer["price"]
    return {
        "price": price["id"],
        "name": offer["product"]["name"],
        "costs": charge([hosted.priced(seen.account, price["id"], 1, price["currency"])]),
        "current": price["id"] == item["price"],
        "minimum": offer["minimum"],
        "maximum": offer["maximum"],
    }


def _confirm(seen: Visit, request: Request) -> Response:
    subscription_id, query = request.path_params["subscription"], request.query_params
    try:
        return _confirm_page(seen, subscription_id, query.get("price", ""), whole_number(query.get("quantity") or "1"))
    except StripeError as refusal:
        return _change_page(seen, subscription_id, refusal=refusal)


def _confirm_page(
    seen: Visit, subscription_id: str, price: str, quantity: int, refusal: StripeError | None = None
) -> Response:
    """What the change costs today and from then on, before it is made."""
    costs = portal.preview(seen, subscription_id, price, quantity)
    currency = seen.subscription(subscription_id)["currency"]
    priced = hosted.priced(seen.account, price, quantity, currency)
    return page(
        "portal_confirm.html",
        status=refusal.status if refusal else 200,
        **_frame(seen, refusal),
        plan=_own_plan(seen, subscription_id),
        price=price,
        quantity=quantity,
        name=priced["name"],
        then=charge([priced]),
        lines=[(line["description"], written(line["amount"], currency)) for line in costs["lines"]],
        due=written(costs["due"], currency),
        billed_now=costs["billed"],
        sum=written(sum(line["amount"] for line in costs["lines"]), currency),
    )


def _own_plan(seen: Visit, subscription_id: str) -> dict[str, Any]:
    return _plan(portal.standing(seen, seen.subscription(subscription_id)))


def _plan(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A subscription as its owner thinks of it."""
    subscription, period_end = entry["subscription"], entry["current_period_end"]
    return {
        "id": subscription["id"],
        "name": " + ".join(line["name"] for line in entry["lines"]),
        "quantity": entry["lines"][0]["quantity"] if len(entry["lines"]) == 1 else 1,
        "price": charge(entry["lines"]),
        "state": subscription_state(
            subscription["status"], period_end, entry["scheduled_end"], subscription.get("ended_at")
        ),
        "may": entry["may"],
        "last_day": day(period_end),
    }


def _invoice(invoice: Mapping[str, Any]) -> dict[str, Any]:
    lines = invoice["lines"]["data"]
    return {
        "date": day(invoice["created"]),
        "what": (lines[0]["description"] if lines else None) or invoice.get("number") or "",
        "state": invoice_state(invoice["status"]),
        "amount": written(invoice["total"], invoice["currency"]),
        "url": invoice["hosted_invoice_url"],
    }
