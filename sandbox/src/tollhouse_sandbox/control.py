"""`/_sandbox`: what Stripe does not offer: the clock, paying a page by program, faults, disputes, a fresh start."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from tollhouse_sandbox import checkout, disputes, faults, pauses, refunds, settings, setup_intents
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.resources import webhook_endpoints
from tollhouse_sandbox.sandbox import Sandbox
from tollhouse_sandbox.store import Json

Action = Callable[[Sandbox, Request, Json], Awaitable[Json]]


async def _read_clock(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    clock = sandbox.account.clock
    return {"now": clock.now(), "offset": clock.offset, "frozen": clock.frozen}


async def _set_clock(sandbox: Sandbox, request: Request, body: Json) -> Json:
    if "freeze" in body:
        sandbox.freeze(bool(body["freeze"]))
    if "advance_seconds" in body:
        await sandbox.advance(float(body["advance_seconds"]))
    if "to" in body:
        await sandbox.advance_to(float(body["to"]))
    return await _read_clock(sandbox, request, body)


async def _reset(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    sandbox.reset()
    return {}


async def _drain(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    await sandbox.drain()
    return {}


async def _pay(sandbox: Sandbox, request: Request, body: Json) -> Json:
    url = await sandbox.pay(
        request.path_params["id"],
        body.get("card", "pm_card_visa"),
        body.get("email"),
        authenticated=bool(body.get("authenticated", False)),
        answers=body.get("answers"),
    )
    return {"redirect": url}


async def _choose(sandbox: Sandbox, request: Request, body: Json) -> Json:
    session = request.path_params["id"]
    await sandbox.choose_quantity(session, str(body.get("item")), int(body.get("quantity", 1)))
    return await sandbox.checkout_view(session)


async def _type_code(sandbox: Sandbox, request: Request, body: Json) -> Json:
    session = request.path_params["id"]
    if body.get("code"):
        await sandbox.apply_promotion_code(session, str(body["code"]))
    else:
        await sandbox.remove_promotion_code(session)
    return await sandbox.checkout_view(session)


async def _pause(sandbox: Sandbox, request: Request, _body: Json) -> Json:
    account = sandbox.account
    with sandbox.step():
        subscription = account.require("subscription", request.path_params["id"])
        pauses.pause_by_system(account, subscription)
        return public(account, account.require("subscription", subscription["id"]))


async def _settle(sandbox: Sandbox, request: Request, body: Json) -> Json:
    account = sandbox.account
    with sandbox.step(request.path_params["id"]):
        session = account.require("checkout.session", request.path_params["id"])
        intent = account.store.get("payment_intent", session["_intent"] or "")
        if intent is None or intent["status"] != "processing":
            raise StripeError("This Checkout Session waits for no delayed payment.")
        checkout.settle(account, intent, succeeds=bool(body.get("succeeds", True)))
        return public(account, account.require("checkout.session", session["id"]))


async def _open_dispute(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    account = sandbox.account
    with sandbox.step(str(body.get("charge", ""))):
        charge = account.require("charge", body.get("charge", ""), param="charge")
        opened = disputes.open_dispute(
            account,
            charge,
            status=disputes.known(body.get("status", "needs_response")),
            reason=body.get("reason", "fraudulent"),
            amount=body.get("amount"),
            closed_first=bool(body.get("closed_first", False)),
        )
        return public(account, opened)


async def _decide_dispute(sandbox: Sandbox, request: Request, body: Json) -> Json:
    account = sandbox.account
    with sandbox.step(request.path_params["id"]):
        dispute = account.require("dispute", request.path_params["id"])
        return public(account, disputes.decide(account, dispute, body.get("status", "")))


async def _decide_refund(sandbox: Sandbox, request: Request, body: Json) -> Json:
    account = sandbox.account
    with sandbox.step(request.path_params["id"]):
        refund = account.require("refund", request.path_params["id"])
        return public(account, refunds.decide(account, refund, body.get("status", "")))


async def _authenticate(sandbox: Sandbox, request: Request, body: Json) -> Json:
    account = sandbox.account
    intent_id, succeeds = request.path_params["id"], bool(body.get("succeeds", True))
    kind = "setup_intent" if intent_id.startswith("seti_") else "payment_intent"
    with sandbox.step():
        intent = account.require(kind, intent_id)
        if intent["status"] != "requires_action":
            raise StripeError(f"{intent_id} waits for no authentication: it is {intent['status']}.")
        if kind == "setup_intent":
            return public(account, setup_intents.authenticate(account, intent, succeeds=succeeds))
        return public(account, checkout.authenticate(account, intent, succeeds=succeeds))


async def _order_fault(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    with sandbox.step():
        return sandbox.faults.order(faults.read(body)).shown()


async def _list_faults(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    return {"data": sandbox.faults.listed()}


async def _clear_faults(sandbox: Sandbox, request: Request, _body: Json) -> Json:
    kind = request.query_params.get("kind")
    with sandbox.step():
        if kind:
            sandbox.faults.end_kind(kind)
        else:
            sandbox.faults.clear()
    return {}


async def _end_fault(sandbox: Sandbox, request: Request, _body: Json) -> Json:
    with sandbox.step():
        sandbox.faults.end(request.path_params["id"])
    return {}


async def _roll(sandbox: Sandbox, request: Request, body: Json) -> Json:
    seconds = body.get("expires_in", 0)
    if not (isinstance(seconds, int) and 0 <= seconds <= DAY):
        raise StripeError(f"expires_in must be a number of seconds, at most {DAY}.", param="expires_in")
    with sandbox.step():
        endpoint = sandbox.account.require("webhook_endpoint", request.path_params["id"])
        return public(sandbox.account, webhook_endpoints.roll(sandbox.account, endpoint, seconds))


async def _read_settings(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    return dict(sandbox.account.settings)


async def _set(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    settings.check(body)
    sandbox.account.settings.update(body)
    with sandbox.step():
        sandbox.remember()
    return dict(sandbox.account.settings)


def routes(sandbox: Sandbox) -> list[BaseRoute]:
    """The sandbox's own calls: JSON in, JSON out, no key needed."""

    def route(method: str, path: str, action: Action) -> Route:
        return Route(f"/_sandbox/{path}", _endpoint(sandbox, action), methods=[method])

    return [
        route("GET", "clock", _read_clock),
        route("POST", "clock", _set_clock),
        route("POST", "reset", _reset),
        route("POST", "drain", _drain),
        route("POST", "pay/{id}", _pay),
        route("POST", "quantity/{id}", _choose),
        route("POST", "promotion_code/{id}", _type_code),
        route("POST", "settle/{id}", _settle),
        route("POST", "pause/{id}", _pause),
        route("POST", "disputes", _open_dispute),
        route("POST", "disputes/{id}", _decide_dispute),
        route("POST", "refunds/{id}", _decide_refund),
        route("POST", "authenticate/{id}", _authenticate),
        route("POST", "faults", _order_fault),
        route("GET", "faults", _list_faults),
        route("DELETE", "faults", _clear_faults),
        route("DELETE", "faults/{id}", _end_fault),
        route("GET", "settings", _read_settings),
        route("POST", "settings", _set),
        route("POST", "webhook_endpoints/{id}/roll", _roll),
    ]


def _endpoint(sandbox: Sandbox, action: Action) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> JSONResponse:
        try:
            body = json.loads(await request.body() or b"{}")
            if not isinstance(body, dict):
                raise StripeError("The body must be a JSON object.")
            return JSONResponse(await action(sandbox, request, body))
        except StripeError as error:
            return JSONResponse(error.body(), error.status)
        except (ValueError, TypeError) as error:
            return JSONResponse(StripeError(f"Unreadable request: {error}").body(), 400)

    return endpoint
