"""What time brings: which object is due next, and what then happens to it."""

import heapq
from collections import defaultdict
from collections.abc import Callable
from itertools import count

from tollhouse_sandbox import (
    checkout,
    discounts,
    disputes,
    lapses,
    lifecycle,
    pauses,
    payments,
    phases,
    refunds,
    schedules,
    subscriptions,
    test_clocks,
    trials,
)
from tollhouse_sandbox.account import TEST_CLOCK, Account
from tollhouse_sandbox.lifecycle import Action, Due
from tollhouse_sandbox.store import Json, Store


def due(body: Json) -> Due | None:
    """The next thing time alone does to an object."""
    kind = body["object"]
    if kind == "subscription":
        return lifecycle.next_due(body, body["items"])
    if kind == "invoice":
        return _invoice_due(body)
    if kind == "checkout.session" and body["status"] == "open":
        return Due(body["expires_at"], "expire")
    if kind == "discount" and body["end"] and not body["_over"]:
        return Due(body["end"], "end")
    if kind == "payment_intent" and body["_settles_at"]:
        return Due(body["_settles_at"], "settle")
    if kind == "charge" and body["_disputed_as"]:
        return Due(body["created"], "dispute")
    if kind == "charge" and body["_held_until"]:
        return Due(body["_held_until"], "release")
    if kind == "dispute" and (next_due := disputes.next_due(body)):
        return Due(*next_due)
    if kind == "refund" and body["_comes_to"]:
        return Due(body["created"] + refunds.DECIDED_AFTER, body["_comes_to"])
    if kind == schedules.KIND and (next_due := schedules.next_due(body)):
        return Due(*next_due)
    if kind == TEST_CLOCK:
        return Due(body["deletes_after"], "delete")
    return None


def _invoice_due(invoice: Json) -> Due | None:
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"]:
        return Due(invoice["automatically_finalizes_at"], "finalise")
    if invoice["status"] == "open" and invoice["next_payment_attempt"]:
        return Due(invoice["next_payment_attempt"], "retry")
    if invoice["status"] == "open" and invoice["due_date"] and not invoice["_overdue"]:
        return Due(invoice["due_date"], "fall_due")
    if invoice["status"] == "open" and invoice["_lapses_at"]:
        return Due(invoice["_lapses_at"], "lapse")
    return None


class Timetable:
    """The objects of a store in the order in which they are due, by the account's clock and by each test clock.

    Every object that is stored is noted again; a note that no longer agrees with its object is skipped.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._notes: dict[str | None, list[tuple[int, bool, int, str, str]]] = defaultdict(list)
        self._order = count()
        store.on_put = self.note

    def note(self, body: Json) -> None:
        if body["object"] in _KINDS and (next_due := due(body)):
            notes = self._notes[self._clock_of(body)]
            # A phase first: the subscription whose period ends at that instant renews with what it brings.
            later = body["object"] != schedules.KIND
            heapq.heappush(notes, (next_due.at, later, next(self._order), body["object"], body["id"]))

    def _clock_of(self, body: Json) -> str | None:
        """A test clock itself is kept by the account's time."""
        return None if body["object"] == TEST_CLOCK else test_clocks.of(self._store, body)

    def next(self, clock: str | None = None) -> tuple[int, Json, str] | None:
        """When the next thing is due by the account's or a test clock, the object, and what is to be done with it."""
        notes = self._notes[clock]
        while notes:
            at, _, _, kind, object_id = notes[0]
            body = self._store.get(kind, object_id)
            current = due(body) if body else None
            if body and current and current.at == at and self._clock_of(body) == clock:
                return at, body, current.action
            heapq.heappop(notes)
        return None

    def clear(self) -> None:
        self._notes.clear()


_KINDS = frozenset(
    (
        "discount",
        "subscription",
        schedules.KIND,
        "invoice",
        "checkout.session",
        "payment_intent",
        "charge",
        "dispute",
        "refund",
        TEST_CLOCK,
    )
)


def perform(account: Account, body: Json, action: str) -> None:
    """Does what is due."""
    match body["object"]:
        case "subscription":
            _SUBSCRIPTION[Action(action)](account, body)
        case "invoice":
            _INVOICE[action](account, body)
        case schedules.KIND:
            _SCHEDULE[action](account, body)
        case "discount":
            discounts.expire(account, body)
        case "checkout.session":
            checkout.expire(account, body)
        case _ if body["object"] == TEST_CLOCK:
            test_clocks.delete(account, body)
        case "dispute":
            disputes.decide(account, body, action)
        case "refund":
            refunds.decide(account, body, action)
        case "payment_intent":
            checkout.settle_when_due(account, body)
        case _ if action == "release":
            payments.expire(account, body)
        case _:
            disputes.open_for_card(account, body)


_SUBSCRIPTION: dict[str, Callable[[Account, Json], object]] = {
    Action.CANCEL: subscriptions.cancel,
    Action.EXPIRE_INCOMPLETE: lapses.expire_incomplete,
    Action.EXPIRE_RESUMPTION: pauses.expire_resumption,
    Action.RESUME_COLLECTION: lapses.resume_collection,
    Action.ANNOUNCE: lapses.announce,
    Action.WARN_OF_TRIAL_END: trials.warn,
    Action.END_TRIAL: trials.end_on_its_day,
    Action.RENEW: subscriptions.renew,
}

_SCHEDULE: dict[str, Callable[[Account, Json], None]] = {"advance": phases.advance, "warn": schedules.warn}

_INVOICE: dict[str, Callable[[Account, Json], object]] = {
    "finalise": subscriptions.finalise_draft,
    "retry": lambda account, invoice: subscriptions.pay_invoice(account, invoice, automatic=True),
    "fall_due": lapses.fall_due,
    "lapse": lapses.lapse,
}
