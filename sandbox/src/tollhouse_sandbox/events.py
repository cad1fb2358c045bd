"""The event log: what happened, as Stripe tells it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from tollhouse_sandbox import api_versions, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.differences import difference
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.store import Json


class Happening(NamedTuple):
    """An event that is to be emitted later, because Stripe's order of events is not the order of our steps."""

    type: str
    body: Json
    before: Json | None = None


def emit_all(account: Account, happened: Iterable[Happening]) -> None:
    for name, body, before in happened:
        emit(account, name, body, before=before)


def emit(account: Account, name: str, body: Json, *, before: Json | None = None) -> None:
    """Records that something happened to an object, with a picture of it now; or nothing, if the event is lost.

    The picture is rendered once, in the account's API version. Whom the event is delivered to may have another.
    `before` is the object as it was (already rendered, see `picture`): the event then says in `previous_attributes`
    what changed.
    """
    if account.loses_event(name):
        return
    shown = picture(account, body)
    if name == "invoice.upcoming":  # there is no such invoice yet, so it has no id
        del shown["id"]
    data: Json = {"object": shown}
    if before is not None:
        data["previous_attributes"] = difference(before, shown)
    version = account.settings["api_version"]
    event = {
        "id": ids.new("event"),
        "object": "event",
        "api_version": version,
        "created": account.clock.second(),
        "data": api_versions.told(account, data, version),
        "livemode": False,
        "pending_webhooks": 0,
        "request": account.request,
        "type": name,
    }
    account.store.put(event)
    account.on_event(event, data)


def picture(account: Account, body: Json) -> Json:
    """The object as it stands in the store now. Stored dicts are never changed in place, so it stays as it is.

    What is not stored (a summary, which has no id) is shown as given.
    """
    return public(account, account.store.get(body["object"], body.get("id", "")) or body)


def updated(account: Account, name: str, body: Json, before: Json) -> bool:
    """Emits an update unless nothing visible changed; says whether it did."""
    if picture(account, body) == before:
        return False
    emit(account, name, body, before=before)
    return True


def wanted(enabled: Iterable[str], name: str) -> bool:
    """Whether an endpoint that enables these types hears of this one."""
    return any(each in ("*", name) for each in enabled)


def matches(pattern: Any, name: str) -> bool:
    """Whether a type falls under a name or a group like `customer.*`."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return bool(name == pattern)
