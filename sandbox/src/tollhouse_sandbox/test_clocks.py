"""Stripe's test clocks: a time of its own for some customers and all that is theirs, beside the account's."""

from collections.abc import Iterable

from tollhouse_sandbox import customers, events, ids
from tollhouse_sandbox.account import TEST_CLOCK, Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY, months_later, period_end
from tollhouse_sandbox.store import Json, Store

KEPT_FOR = 30 * DAY
"""Seconds of the account's time after which a test clock is deleted by itself."""

_OWNERS = {
    "customer": "customer",
    "charge": "charge",
    "payment_intent": "payment_intent",
    "invoice": "invoice",
    "subscription": "subscription",
}
"""The fields that may say whose an object is, with the kind of what they name; the first that is there counts."""


def of(store: Store, body: Json) -> str | None:
    """The test clock by which an object lives; None for the account's own clock."""
    if body["object"] == TEST_CLOCK:
        return str(body["id"])
    if body.get("test_clock"):
        return str(body["test_clock"])
    for field, kind in _OWNERS.items():
        owner = store.get(kind, body.get(field) or "")
        if owner:
            return of(store, owner)
    return None


def concerned(account: Account, named: Iterable[str]) -> Json | None:
    """The test clock of the first of these ids that has one."""
    store = account.store
    if not store.count(TEST_CLOCK):
        return None
    for object_id in named:
        kind = ids.kind_of(object_id)
        body = store.get(kind, object_id) if kind else None
        clock = store.get(TEST_CLOCK, (body and of(store, body)) or "")
        if clock:
            return clock
    return None


def create(account: Account, frozen_time: int, name: str | None, customer: Json | None) -> Json:
    """A clock that stands at `frozen_time`; a customer whom it is given for lives by it from now on."""
    clock = account.born(
        TEST_CLOCK,
        deletes_after=account.clock.second() + KEPT_FOR,
        frozen_time=frozen_time,
        name=name,
        status="ready",
        status_details={},
    )
    events.emit(account, f"{TEST_CLOCK}.created", clock)
    if customer:
        _attach(account, clock, customer)
    return clock


_MOVED = (
    "subscription",
    "subscription_schedule",
    "invoice",
    "invoiceitem",
    "checkout.session",
    "payment_intent",
    "charge",
)
"""What goes by a customer's clock."""


def _attach(account: Account, clock: Json, customer: Json) -> None:
    store = account.store
    before = events.picture(account, customer)
    customer = store.change(customer, test_clock=clock["id"])
    for kind in _MOVED:
        for body in store.oldest_first(kind, customer=customer["id"]):
            # Stored anew in any case: what it waits for is now due by another clock.
            store.change(body, **({"test_clock": clock["id"]} if "test_clock" in body else {}))
    for charge in store.oldest_first("charge", customer=customer["id"]):
        for kind in ("dispute", "refund"):
            for body in store.oldest_first(kind, charge=charge["id"]):
                store.change(body)
    events.updated(account, "customer.updated", customer, before)


def advance(account: Account, clock: Json, to: int) -> Json:
    """Sets out for a later time. Raises 400 when it is not later, or too far away at once."""
    if clock["status"] == "internal_failure":
        raise StripeError("This test clock failed to advance; it can only be deleted.")
    if to <= clock["frozen_time"]:
        raise StripeError(
            "A test clock can only be advanced to a time after its current `frozen_time`.", param="frozen_time"
        )
    if to > _limit(account, clock):
        raise StripeError(
            "A test clock cannot be advanced by more than two intervals of its shortest subscription, or two years if "
            "it has none.",
            param="frozen_time",
        )
    details = {"advancing": {"target_frozen_time": to}}
    clock = account.store.change(clock, status="advancing", status_details=details)
    events.emit(account, f"{TEST_CLOCK}.advancing", clock)
    return clock


def _limit(account: Account, clock: Json) -> int:
    now = clock["frozen_time"]
    living = [
        subscription
        for subscription in account.store.oldest_first("subscription", test_clock=clock["id"])
        if subscription["ended_at"] is None
    ]
    rhythms = [
        account.require("price", item["price"])["recurring"]
        for subscription in living
        for item in subscription["items"]
    ]
    ends = [period_end(now, now, rhythm["interval"], 2 * rhythm["interval_count"]) for rhythm in rhythms]
    return min(ends, default=months_later(now, 24))


def arrive(account: Account, clock: Json) -> None:
    """Ends an advance: everything on the way has been done."""
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    clock = account.store.change(clock, frozen_time=target, status="ready", status_details={})
    events.emit(account, f"{TEST_CLOCK}.ready", clock)


def fail(account: Account, clock: Json) -> None:
    """Gives an advance up because the sandbox itself could not do what was due."""
    clock = account.store.change(clock, status="internal_failure", status_details={})
    events.emit(account, f"{TEST_CLOCK}.internal_failure", clock)


def delete(account: Account, clock: Json) -> Json:
    """Takes the clock away, and its customers with it; their subscriptions end."""
    account.test_clock = clock["id"]
    for customer in account.store.oldest_first("customer", test_clock=clock["id"]):
        if not customer.get("deleted"):
            customers.delete(account, customer)
    account.test_clock = None
    events.emit(account, f"{TEST_CLOCK}.deleted", clock)
    account.store.remove(clock)
    return {"id": clock["id"], "object": TEST_CLOCK, "deleted": True}
