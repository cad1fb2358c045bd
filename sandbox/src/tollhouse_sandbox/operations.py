"""How an API call is declared: method, path, parameters, handler. `api` answers them; `resources` lists them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tollhouse_sandbox import params
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.params import Parser
from tollhouse_sandbox.relations import RELATIONS
from tollhouse_sandbox.store import Json


@dataclass
class Call:
    """One API call: the ids in its path and its checked parameters."""

    account: Account
    path: dict[str, str]
    params: dict[str, Any] = field(default_factory=dict)

    def target(self, kind: str) -> Json:
        """The object the path names. Raises 404 when it does not exist."""
        return self.account.require(kind, self.path["id"])


@dataclass(frozen=True)
class Page:
    """Some of a list's objects, newest first, and whether more follow."""

    data: list[Json]
    has_more: bool


Handler = Callable[[Call], Json | Page]


@dataclass(frozen=True)
class Operation:
    """`accepts` maps parameter names to parsers; every operation takes `expand` besides."""

    method: str
    path: str
    handler: Handler
    accepts: dict[str, Parser] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def parse(self, raw: dict[str, Any]) -> dict[str, Any]:
        return params.shape(self.accepts | _EXPAND, self.required)(raw, "")  # type: ignore[no-any-return]


_EXPAND: dict[str, Parser] = {"expand": params.list_of(params.text)}

PAGING: dict[str, Parser] = {
    "limit": params.integer,
    "starting_after": params.text,
    "ending_before": params.text,
}
"""What every list takes."""

DATED: dict[str, Parser] = {**PAGING, "created": params.moments}
"""What a list takes that can be narrowed down by time."""


def fits(body: Json, wanted: dict[str, Any], *names: str) -> bool:
    """Whether an object has the values that these of its fields are asked for; what is not asked for fits."""
    return all(body[name] == wanted[name] for name in names if name in wanted)


def page(call: Call, kind: str, keep: Callable[[Json], bool] = lambda _: True) -> Page:
    """The objects of a kind that `keep` lets through, newest first, as far as the paging parameters say.

    A parameter that is called as a relation of the kind narrows the list down by itself. A cursor need not pass
    `keep`: it may have changed since.
    """
    store = call.account.store
    cursors: dict[str, str] = {}
    for name, param in (("after", "starting_after"), ("before", "ending_before")):
        if cursor := call.params.get(param):
            if store.get(kind, cursor) is None:
                raise missing(kind, cursor, param=param, status=400)
            cursors[name] = cursor
    related = [(name, call.params[name]) for name in RELATIONS.get(kind, ()) if call.params.get(name)]
    return _cut(call, store.newest_first(kind, **cursors, **dict(related[-1:])), keep)


def paged(call: Call, kind: str, bodies: Iterator[Json]) -> Page:
    """Cuts a page out of a list given newest first."""
    if after := call.params.get("starting_after"):
        list(_until(bodies, kind, after, "starting_after"))
    if before := call.params.get("ending_before"):
        bodies = _until(bodies, kind, before, "ending_before")
    return _cut(call, bodies)


def _cut(call: Call, bodies: Iterator[Json], keep: Callable[[Json], bool] = lambda _: True) -> Page:
    if "starting_after" in call.params and "ending_before" in call.params:
        raise StripeError("You may only specify one of these parameters: starting_after, ending_before.")
    limit = call.params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError(
            f"Invalid integer: {limit}: must be between 1 and 100", code="parameter_invalid_integer", param="limit"
        )
    created = call.params.get("created", {})
    kept = (body for body in bodies if keep(body) and params.within(_born(body), created))
    if "ending_before" in call.params:
        newer = list(kept)
        return Page(newer[-limit:], len(newer) > limit)
    data = list(islice(kept, limit + 1))
    return Page(data[:limit], len(data) > limit)


def _born(body: Json) -> int:
    return int(body.get("created") or body.get("date") or 0)  # an invoice item calls it so


def _until(bodies: Iterator[Json], kind: str, object_id: str, param: str) -> Iterator[Json]:
    """The objects before that one; it is taken off the list too."""
    for body in bodies:
        if body["id"] == object_id:
            return
        yield body
    raise missing(kind, object_id, param=param, status=400)
