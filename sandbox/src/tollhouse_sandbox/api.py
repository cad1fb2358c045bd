"""Answers API calls: key, idempotency, parameters, handler, expansion, and errors in Stripe's shape."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tollhouse_sandbox import api_versions, connections, form, ids, rendering, test_clocks, versions
from tollhouse_sandbox.account import AUTOMATIC
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.faults import Fault
from tollhouse_sandbox.operations import Call, Operation, Page
from tollhouse_sandbox.rendering import Expansion
from tollhouse_sandbox.sandbox import Exchange, Sandbox
from tollhouse_sandbox.store import Json

_log = logging.getLogger(__name__)

METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH")

COVERAGE = "/coverage"
"""Where the sandbox says what it covers."""


def routes(sandbox: Sandbox, operations: list[Operation]) -> list[BaseRoute]:
    """One route per operation, and one that answers what there is not."""
    known = [Route(each.path, _endpoint(sandbox, each), methods=[each.method]) for each in operations]
    unknown = [
        Route(f"/{root}/{{rest:path}}", _endpoint(sandbox, None), methods=list(METHODS)) for root in ("v1", "v2")
    ]

    def covered(_request: Request) -> Response:
        return PlainTextResponse(coverage(operations))

    return [*known, Route(COVERAGE, covered), *unknown]


def coverage(operations: list[Operation]) -> str:
    """Every call there is and what it takes, a line each; required parameters are marked with a star."""
    lines = [
        " ".join(
            [f"{each.method} {each.path}"]
            + [f"{name}*" if name in each.required else name for name in sorted(each.accepts)]
        )
        for each in sorted(operations, key=lambda each: (each.path, each.method))
    ]
    return "\n".join(["What this sandbox covers, call by call; each takes expand besides.", "", *lines, ""])


def _endpoint(sandbox: Sandbox, operation: Operation | None) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await _answer(sandbox, operation, request)

    return endpoint


def _json(body: Any) -> str:
    return json.dumps(body, separators=(",", ":"))


async def _answer(sandbox: Sandbox, operation: Operation | None, request: Request) -> Response:
    with sandbox.drawing():
        request_id = "req_" + ids.token(14)
    version = request.headers.get("Stripe-Version") or sandbox.account.settings["api_version"]
    headers = {"Request-Id": request_id, "Stripe-Version": version, "Content-Type": "application/json"}
    key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
    if key:
        headers |= {"Idempotency-Key": key, "Original-Request": request_id}
    try:
        authenticate(request.headers.get("Authorization", ""))
        versions.known(version)
        if key:
            sandbox.keys.enter(key)
    except StripeError as error:
        status, body = _refused(sandbox, error, headers)
        return Response(body, status, headers)
    answer: Response = connections.Unanswered()
    try:
        # From here on the key is in flight, while the body is still arriving.
        encoded = (
            request.url.query
            if request.method == "GET"
            else (await request.body()).decode(errors="replace") or request.url.query
        )
        fault = None
        if operation is not None and not (key and sandbox.keys.answered(key)):
            fault = sandbox.faults.of_call(request.method, request.url.path)
        if fault and fault.kind == "slow_answer" and not fault.after:
            await asyncio.sleep(fault.seconds)
        if fault is None or fault.after or not fault.cuts:
            status, body = _carry_out(sandbox, operation, request, encoded, key, headers, fault)
            answer = Response(body, status, headers)
            version = request.headers.get("Stripe-Version")
            sandbox.watch(Exchange(request.method, request.url.path, encoded, version, status, body))
    finally:
        if key:
            sandbox.keys.leave(key)
    # The key is free again, so that who gave up waiting may try once more at once.
    if fault and fault.kind == "slow_answer" and fault.after:
        await asyncio.sleep(fault.seconds)
    if fault and fault.cuts:
        if fault.kind == "timeout":
            await connections.hang(request, fault.seconds)
        await connections.reset(request)
        return connections.Unanswered()
    return answer


def authenticate(header: str) -> None:
    """Accepts every test-mode key, as Bearer or as the user name of Basic. Raises 401 otherwise."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[0]
        except ValueError:
            value = ""
    if not value:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not value.startswith(("sk_test_", "rk_test_")):
        raise StripeError(f"Invalid API Key provided: {value[:8]}{'*' * 8}{value[-4:]}", status=401)


def _carry_out(
    sandbox: Sandbox,
    operation: Operation | None,
    request: Request,
    encoded: str,
    key: str | None,
    headers: Json,
    fault: Fault | None,
) -> tuple[int, str]:
    """The status and body of the answer; what it does is one step of the sandbox."""
    path, request_id = request.url.path, headers["Request-Id"]
    raw: form.Nested = {}
    try:
        if operation is None:
            raise StripeError(f"Unrecognized request URL ({request.method}: {path}).", status=404, doc_url=COVERAGE)
        raw = form.parse(encoded)
        replay = sandbox.keys.replay(key, path, raw) if key else None
        if replay:
            headers["Idempotent-Replayed"] = "true"
            headers["Original-Request"] = replay.original_request
            if replay.status >= 500:  # it will be no other the next time
                headers["Stripe-Should-Retry"] = "false"
            return replay.status, replay.body
        sandbox.account.request = {"id": request_id, "idempotency_key": key}
        with sandbox.step():
            status, body = 200, _json(_perform(sandbox, operation, request, raw, headers["Stripe-Version"], fault))
        if key:
            headers["Stripe-Should-Retry"] = "false"
    except StripeError as error:
        status, body = _refused(sandbox, error, headers)
    except Exception:
        _log.exception("%s %s failed", request.method, path)
        unknown = StripeError("An unknown error occurred.", status=500, kind="api_error")
        status, body = _refused(sandbox, unknown, headers)
    finally:
        sandbox.account.request = AUTOMATIC
    if key:
        with sandbox.step():
            sandbox.keys.store(key, path, raw, status, body, request_id)
    return status, body


def _refused(sandbox: Sandbox, error: StripeError, headers: Json) -> tuple[int, str]:
    """How an error is answered. What Stripe has and the sandbox may not have, it says, is listed on its own page."""
    if error.code == "parameter_unknown" or error.more.get("doc_url") == COVERAGE:
        listed = sandbox.account.url + COVERAGE
        error.more["doc_url"] = listed
        error.message = f"{error.message.rstrip('.')}. If Stripe knows it, this sandbox does not cover it: see {listed}"
    error.more["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{headers['Request-Id']}"
    if error.code == "rate_limit":
        headers["Stripe-Rate-Limited-Reason"] = "global-rate"
    return error.status, _json(error.body())


def _perform(
    sandbox: Sandbox, operation: Operation, request: Request, raw: form.Nested, version: str, fault: Fault | None
) -> Json:
    error = fault.error() if fault and fault.kind == "error" else None
    if error and fault and not fault.after:
        raise error
    given = operation.parse(api_versions.understood(operation.method, operation.path, raw, version))
    call = Call(sandbox.account, dict(request.path_params), given)
    _go_by_test_clock(call, changes=operation.method != "GET")
    render = partial(api_versions.rendered, sandbox.account, version=version)
    shown = render(_shown(call, operation.handler(call), request.url.path))
    Expansion(sandbox.account, api_versions.expandable(version), render).along(given.get("expand", []), shown)
    if error:
        raise error.keeping()
    return shown


def _go_by_test_clock(call: Call, *, changes: bool) -> None:
    """Lets the step happen at the time of those whom the call is about. Raises 429 while that time is on its way."""
    named = [*call.path.values(), *(call.params.get(name) for name in _NAMING)]
    clock = test_clocks.concerned(call.account, [each for each in named if isinstance(each, str)])
    if clock and clock["status"] == "advancing" and changes:
        raise StripeError("Test clock advancement underway - cannot perform modifications.", status=429)
    call.account.test_clock = clock["id"] if clock else None


_NAMING = ("test_clock", "customer", "subscription", "from_subscription", "invoice", "charge", "payment_intent")
"""The parameters that say whom a call is about, if its path does not."""


def _shown(call: Call, result: Json | Page, path: str) -> Json:
    if isinstance(result, Page):
        data = [rendering.public(call.account, body) for body in result.data]
        return rendering.listed(data, path, has_more=result.has_more)
    return rendering.public(call.account, result)
