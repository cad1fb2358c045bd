"""Webhook endpoints: /v1/webhook_endpoints. The signing secret is shown once, in the answer that creates one."""

from tollhouse_sandbox import ids, versions
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import PAGING, Call, Operation, page
from tollhouse_sandbox.params import clearable, flag, list_of, merged, metadata, text
from tollhouse_sandbox.store import Json

_FIELDS = {
    "description": clearable(text),
    "enabled_events": list_of(text, at_most=400),
    "metadata": metadata,
    "url": text,
}


def _checked_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise StripeError("Invalid URL: An explicit scheme (such as https) must be provided.", param="url")
    return url


def _create(call: Call) -> Json:
    given = call.params
    secret = "whsec_" + ids.token(32)
    endpoint = call.account.born(
        "webhook_endpoint",
        api_version=versions.known(version, "api_version") if (version := given.get("api_version")) else None,
        application=None,
        description=given.get("description"),
        enabled_events=given["enabled_events"],
        metadata=given.get("metadata") or {},
        status="enabled",
        url=_checked_url(given["url"]),
        _secret=secret,
        _rolled=[],
    )
    return {**endpoint, "secret": secret}


def roll(account: Account, endpoint: Json, expires_in: int) -> Json:
    """Gives the endpoint a new secret, which the answer shows. The old one signs too for `expires_in` seconds of the
    account's clock, as do those before it that have not expired."""
    now = account.now
    secret = "whsec_" + ids.token(32)
    alive = [old for old in endpoint["_rolled"] if now < old["until"]]
    retired = {"secret": endpoint["_secret"], "until": now + expires_in}
    return {**account.store.change(endpoint, _secret=secret, _rolled=[retired, *alive]), "secret": secret}


def _update(call: Call) -> Json:
    endpoint = call.target("webhook_endpoint")
    changes = {key: value for key, value in call.params.items() if key not in ("expand", "disabled")}
    if "url" in changes:
        _checked_url(changes["url"])
    if "metadata" in changes:
        changes["metadata"] = merged(endpoint["metadata"], changes["metadata"])
    if "disabled" in call.params:
        changes["status"] = "disabled" if call.params["disabled"] else "enabled"
    return call.account.store.change(endpoint, **changes)


def _delete(call: Call) -> Json:
    endpoint = call.target("webhook_endpoint")
    call.account.store.remove(endpoint)
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


OPERATIONS = [
    Operation(
        "POST",
        "/v1/webhook_endpoints",
        _create,
        {**_FIELDS, "api_version": text},
        ("enabled_events", "url"),
    ),
    Operation("GET", "/v1/webhook_endpoints", lambda call: page(call, "webhook_endpoint"), PAGING),
    Operation("GET", "/v1/webhook_endpoints/{id}", lambda call: call.target("webhook_endpoint")),
    Operation("POST", "/v1/webhook_endpoints/{id}", _update, {**_FIELDS, "disabled": flag}),
    Operation("DELETE", "/v1/webhook_endpoints/{id}", _delete),
]
