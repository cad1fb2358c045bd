"""API versions. What is stored has the shape of the newest; here it is rendered down to older ones, step by step.

A step is a breaking version: `endive`, `dahlia`, `clover`, `basil` list what each changed. Answers are rendered for the
version the call names, deliveries for that of their endpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tollhouse_sandbox.account import Account
from tollhouse_sandbox.api_versions import basil, clover, dahlia, endive
from tollhouse_sandbox.api_versions.steps import Step
from tollhouse_sandbox.differences import difference, restored
from tollhouse_sandbox.form import Nested
from tollhouse_sandbox.rendering import EXPANDABLE, public
from tollhouse_sandbox.store import Json

STEPS = (endive.STEP, dahlia.STEP, clover.STEP, basil.STEP)
"""Newest first."""


def _steps_down(version: str) -> tuple[Step, ...]:
    """The breaking versions that came after this one, newest first; versions begin with their day."""
    return tuple(step for step in STEPS if version < step.version)


@dataclass(frozen=True)
class _Around:
    """The account's objects, in the shape they have after the steps so far."""

    account: Account
    steps: tuple[Step, ...]

    def object(self, kind: str, object_id: str | None) -> Json | None:
        found = self.account.store.get(kind, object_id) if object_id else None
        return _down(self.account, public(self.account, found), self.steps) if found else None

    def intent_of(self, invoice_id: str) -> Json | None:
        invoice = self.account.store.get("invoice", invoice_id)
        return self.object("payment_intent", invoice["_intent"]) if invoice else None

    def invoice_of(self, intent_id: str | None) -> str | None:
        paying = self.account.store.oldest_first("invoice_payment", payment_intent=intent_id) if intent_id else ()
        return next((str(payment["invoice"]) for payment in paying), None)


def _down(account: Account, shown: Any, steps: tuple[Step, ...]) -> Any:
    for place, step in enumerate(steps):
        shown = step.back(shown, _Around(account, steps[:place]))
    return shown


def rendered(account: Account, shown: Json, version: str) -> Json:
    """An object in the newest shape as `version` shows it."""
    return _down(account, shown, _steps_down(version))  # type: ignore[no-any-return]


def told(account: Account, data: Json, version: str) -> Json:
    """An event's `data` as `version` shows it, `previous_attributes` included."""
    shown = rendered(account, data["object"], version)
    if shown is data["object"] or "previous_attributes" not in data:
        return {**data, "object": shown}
    before = rendered(account, restored(data["object"], data["previous_attributes"]), version)
    return {"object": shown, "previous_attributes": difference(before, shown)}


def understood(method: str, path: str, given: Nested, version: str) -> Nested:
    """The parameters of a call in an older version as the newest one takes them."""
    for step in reversed(_steps_down(version)):
        given = step.forward(method, path, given)
    return given


def expandable(version: str) -> Mapping[str, Mapping[str, str]]:
    """Kind → the fields that can be expanded in this version, with the kinds of object they name."""
    steps = _steps_down(version)
    if not steps:
        return EXPANDABLE
    fields = {kind: dict(known) for kind, known in EXPANDABLE.items()}
    for step in steps:
        for kind, more in step.expandable.items():
            fields.setdefault(kind, {}).update(more)
    return fields
