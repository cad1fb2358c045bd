"""The calls that most kinds of object have: a list, one of them, and metadata to write on it."""

from tollhouse_sandbox import events
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import merged, metadata, text
from tollhouse_sandbox.store import Json


def list_of(kind: str, *names: str) -> Operation:
    """A list that can be narrowed down by these fields."""

    def handler(call: Call) -> Page:
        return page(call, kind, lambda body: fits(body, call.params, *names))

    return Operation("GET", f"/v1/{kind}s", handler, {**DATED, **dict.fromkeys(names, text)})


def one(kind: str) -> Operation:
    return Operation("GET", f"/v1/{kind}s/{{id}}", lambda call: call.target(kind))


def annotate(kind: str, update: str) -> Operation:
    """An update of nothing but metadata; `update` is its event."""

    def handler(call: Call) -> Json:
        body = call.target(kind)
        before = events.picture(call.account, body)
        body = call.account.store.change(body, metadata=merged(body["metadata"], call.params.get("metadata", {})))
        events.updated(call.account, update, body, before)
        return body

    return Operation("POST", f"/v1/{kind}s/{{id}}", handler, {"metadata": metadata})


def plain(body: Json) -> Json:
    """An object as an error shows it: without the sandbox's own fields."""
    return {name: value for name, value in body.items() if not name.startswith("_")}
