"""What the control pages show: the account's objects by kind, what belongs together, and what became of each event."""

from itertools import chain, islice

from tollhouse_sandbox.account import Account
from tollhouse_sandbox.relations import RELATIONS
from tollhouse_sandbox.rendering import public
from tollhouse_sandbox.store import Json

SHOWN = 20
"""How many of each kind the control page lists."""


def overview(account: Account) -> Json:
    store = account.store

    def latest(kind: str) -> list[Json]:
        return [public(account, body) for body in islice(store.newest_first(kind), SHOWN)]

    return {
        "now": account.clock.now(),
        "offset": account.clock.offset,
        "frozen": account.clock.frozen,
        "counts": {kind: store.count(kind) for kind in kinds(account)},
        "events": [{"event": event, "deliveries": deliveries(account, event)} for event in latest("event")],
        "endpoints": latest("webhook_endpoint"),
        "customers": latest("customer"),
        "subscriptions": latest("subscription"),
        "checkout_sessions": latest("checkout.session"),
        "test_clocks": latest("test_helpers.test_clock"),
    }


def kinds(account: Account) -> list[str]:
    """The kinds of which there are objects, by name; the sandbox's own are left out."""
    return sorted(kind for kind in account.store.kinds() if not kind.startswith("_"))


def some(account: Account, kind: str, after: str | None, limit: int) -> tuple[list[Json], bool]:
    """Objects of a kind, newest first, from behind the one of the id `after`; and whether there are more."""
    if after is not None:
        account.require(kind, after)
    found = list(islice(account.store.newest_first(kind, after), limit + 1))
    return [public(account, body) for body in found[:limit]], len(found) > limit


def kind_of(account: Account, object_id: str) -> str | None:
    """Which kind of object has this id; None when it is nobody's."""
    return next((kind for kind in kinds(account) if account.store.get(kind, object_id)), None)


def deliveries(account: Account, event: Json) -> list[Json]:
    """What was sent, or is to be, to whom: newest first."""
    shown = []
    for delivery in account.store.newest_first("_delivery", event=event["id"]):
        endpoint = account.store.get("webhook_endpoint", delivery["endpoint"])
        names = ("endpoint", "state", "attempts", "next_attempt")
        shown.append({**{name: delivery[name] for name in names}, "url": endpoint["url"] if endpoint else None})
    return shown


def told(account: Account, body: Json) -> list[Json]:
    """The latest events about an object, newest first."""
    return list(islice(account.store.newest_first("event", about=body["id"]), SHOWN))


def belonging(account: Account, body: Json) -> list[Json]:
    """The objects that name this one, newest first and at most 20 of each kind."""
    name = body["object"]
    found = (
        islice(account.store.newest_first(kind, **{name: body["id"]}), SHOWN)
        for kind, paths in RELATIONS.items()
        if name in paths and not kind.startswith("_")
    )
    return [public(account, each) for each in chain.from_iterable(found)]
