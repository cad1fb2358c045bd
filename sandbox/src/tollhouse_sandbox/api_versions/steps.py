"""What a breaking version changed, and how an object or a request is taken back or forward over it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.form import Nested
from tollhouse_sandbox.store import Json


class Around(Protocol):
    """The objects around the one that is rendered, in the shape that the step is given."""

    def object(self, kind: str, object_id: str | None) -> Json | None: ...

    def intent_of(self, invoice_id: str) -> Json | None:
        """The payment intent of an invoice."""

    def invoice_of(self, intent_id: str | None) -> str | None:
        """The id of the invoice that a payment intent pays."""


class Change(NamedTuple):
    """One change of one kind of object: `back` makes, of a copy as it is in the version, what it was before."""

    kind: str
    tells: str
    back: Callable[[Json, Around], None]


class Ask(NamedTuple):
    """One change of a call: `forward` makes, of the parameters as they were before the version, those of today."""

    method: str
    path: str
    tells: str
    forward: Callable[[Nested], None]


@dataclass(frozen=True)
class Step:
    """A breaking version, and all that the sandbox knows it to have changed.

    `expandable` are the fields that only the versions before it have: kind → field → the kind of object it names.
    """

    version: str
    changes: tuple[Change, ...]
    asks: tuple[Ask, ...] = ()
    expandable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def back(self, shown: Any, around: Around) -> Any:
        """An answer, or a part of one, as the versions before this one show it; what is given is not touched."""
        if isinstance(shown, list):
            return [self.back(each, around) for each in shown]
        if not isinstance(shown, dict) or shown.get("object") == "event":  # an event was rendered when it happened
            return shown
        if not shown.get("deleted"):
            shown = dict(shown)
            for change in self.changes:
                if change.kind == shown.get("object"):
                    change.back(shown, around)
        return {name: inner if name == "metadata" else self.back(inner, around) for name, inner in shown.items()}

    def forward(self, method: str, path: str, given: Nested) -> Nested:
        """The parameters of a call as this version takes them."""
        for ask in self.asks:
            if (ask.method, ask.path) == (method, path):
                given = dict(given)
                ask.forward(given)
        return given


def without(*paths: str) -> Callable[[Json, Around], None]:
    """Takes away what the version added; a path leads through objects: `trial_settings.end_behavior`."""

    def back(shown: Json, _around: Around) -> None:
        for path in paths:
            *outer, last = path.split(".")
            holder = shown
            for name in outer:
                if not isinstance(holder.get(name), dict):
                    break
                holder[name] = dict(holder[name])
                holder = holder[name]
            else:
                holder.pop(last, None)

    return back


def renamed(old: str, new: str) -> Callable[[Nested], None]:
    """A parameter that had another name; the one of today was not known then."""

    def forward(given: Nested) -> None:
        if new in given:
            raise StripeError(f"Received unknown parameter: {new}", code="parameter_unknown", param=new)
        if old in given:
            given[new] = given.pop(old)

    return forward


def reworded(name: str, words: Mapping[str, str]) -> Callable[[Nested], None]:
    """A parameter whose values had other names, old → new; those of today were not known then."""

    def forward(given: Nested) -> None:
        if name not in given:
            return
        if not isinstance(given[name], str) or given[name] not in words:
            raise StripeError(f"Invalid {name}: must be one of {', '.join(words)}", param=name)
        given[name] = words[given[name]]

    return forward
