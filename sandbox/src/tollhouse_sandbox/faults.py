"""Faults on order: of the API's calls, of the events and of their deliveries.

Each is of one kind, strikes what it matches by chance, a number of times or until it is switched off, and draws from a
seed of its own: the same calls meet the same faults again. They last until a reset, and are part of what is durable.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.events import matches
from tollhouse_sandbox.store import Json
from tollhouse_sandbox.versions import OLDEST, VERSIONS

OF_CALLS = ("error", "reset", "timeout", "slow_answer")
"""An error is answered; the connection is reset; nothing is answered for `seconds`; the answer takes `seconds`."""

OF_EVENTS = ("lose", "twin", "drop", "duplicate", "delay", "reorder", "slow_delivery", "old_shape")
"""No event at all; a second event with another id; never sent, though listed; sent again after `seconds`; sent
`seconds` late; sent after the others that are due; the request takes `seconds`; sent in the shape of `version`."""

SECONDS = {"timeout": 60.0, "slow_answer": 1.0, "duplicate": 0.0, "delay": 60.0, "reorder": 5.0, "slow_delivery": 1.0}
"""Kind → its `seconds` where none are given; the account's for duplicate, delay and reorder, otherwise real ones."""

LONGEST = 30 * 86_400


@dataclass
class Fault:
    """`times` counts down; None: until it is switched off. `chance` is that of striking what it matches, above 0 to 1.

    Of calls: those of the `method` whose path begins with `path`; `after`: the call is carried out and only its answer
    suffers. Of events: those whose type is `type`, or falls under a group like `customer.*`. `struck` counts how often.
    """

    kind: str
    times: int | None = None
    chance: float = 1.0
    seed: int = 0
    seconds: float = math.nan
    status: int = 500
    method: str | None = None
    path: str = ""
    after: bool = False
    type: str = "*"
    version: str = OLDEST
    struck: int = 0
    id: str = ""
    drawn: int = 0
    _chance: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The kind is part of it, so that faults of one seed do not all strike the same.
        self._chance = Random(f"{self.kind} {self.seed}")  # noqa: S311 - must be repeatable
        for _ in range(self.drawn):
            self._chance.random()
        if math.isnan(self.seconds):
            self.seconds = SECONDS.get(self.kind, 0.0)

    def draw(self) -> float:
        """The next lot, from 0 to below 1; `drawn` counts them, so that a fault that was kept goes on where it was."""
        self.drawn += 1
        return self._chance.random()

    @property
    def cuts(self) -> bool:
        """Whether the call gets no answer, as its connection ends."""
        return self.kind in ("reset", "timeout")

    def error(self) -> StripeError:
        if self.status == 429:
            return StripeError("Request rate limit exceeded.", status=429, code="rate_limit")
        return StripeError("Something went wrong on our end.", status=self.status, kind="api_error")

    def shown(self) -> Json:
        """What there is to say about a fault of its kind."""
        known = {name: value for name, value in _kept(self).items() if name in (*_fields(self.kind), "id", "struck")}
        return {"id": known.pop("id"), **known}


class Faults:
    """The faults that are switched on, in the order in which they were."""

    def __init__(self) -> None:
        self._on: list[Fault] = []
        self._ordered = 0
        self.changed = False
        """Whether there is something to be kept that was not when it was last saved."""

    def saved(self) -> Json:
        """All there is to keep; `recall` takes it up again."""
        self.changed = False
        return {"ordered": self._ordered, "on": [_kept(fault) for fault in self._on]}

    def recall(self, saved: Json) -> None:
        self._ordered = saved["ordered"]
        self._on = [Fault(**kept) for kept in saved["on"]]

    def order(self, fault: Fault) -> Fault:
        self.changed = True
        self._ordered += 1
        fault.id = f"fault_{self._ordered}"
        self._on.append(fault)
        return fault

    def listed(self) -> list[Json]:
        return [fault.shown() for fault in self._on]

    def of_call(self, method: str, path: str) -> Fault | None:
        """The fault this call meets; it is used up by one."""
        return self._strike(
            lambda fault: fault.kind in OF_CALLS and fault.method in (None, method) and path.startswith(fault.path)
        )

    def of_event(self, kind: str, event_type: str) -> Fault | None:
        """The fault of this kind that an event of the type meets; it is used up by one."""
        return self._strike(lambda fault: fault.kind == kind and matches(fault.type, event_type))

    def _strike(self, meets: Callable[[Fault], bool]) -> Fault | None:
        for fault in self._on:
            if not meets(fault):
                continue
            self.changed = True
            if fault.draw() < fault.chance:
                fault.struck += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times < 1:
                        self._on.remove(fault)
                return fault
        return None

    def end(self, fault_id: str) -> None:
        """Switches one off. Raises 404 when none is on that has this id: it may have struck for the last time."""
        remaining = [fault for fault in self._on if fault.id != fault_id]
        if len(remaining) == len(self._on):
            raise StripeError(f"No such fault: '{fault_id}'", status=404, code="resource_missing", param="id")
        self._on = remaining
        self.changed = True

    def end_kind(self, kind: str) -> None:
        self._on = [fault for fault in self._on if fault.kind != kind]
        self.changed = True

    def clear(self) -> None:
        self._on.clear()
        self.changed = True


def _kept(fault: Fault) -> Json:
    return {each.name: getattr(fault, each.name) for each in fields(fault) if each.init}


def read(body: Json) -> Fault:
    """The fault that a control call describes. Raises 400, naming the parameter, for what its kind does not have."""
    kind = body.get("kind")
    if kind not in (*OF_CALLS, *OF_EVENTS):
        raise StripeError(f"kind must be one of {', '.join((*OF_CALLS, *OF_EVENTS))}.", param="kind")
    allowed = _fields(kind)
    for name, value in body.items():
        if name not in allowed:
            raise StripeError(f"{kind} has {', '.join(allowed)}, but no {name}.", param=name)
        rule, fits = _RULES[name]
        if not fits(value):
            raise StripeError(f"{name} must be {rule}.", param=name)
    return Fault(**body)


def _fields(kind: str) -> tuple[str, ...]:
    own = ("method", "path", "after") if kind in OF_CALLS else ("type",)
    return (
        "kind",
        "times",
        "chance",
        "seed",
        *(["status"] if kind == "error" else []),
        *(["seconds"] if kind in SECONDS else []),
        *(["version"] if kind == "old_shape" else []),
        *own,
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("a kind of fault", lambda _: True),
    "times": ("1 or more, or null", lambda value: value is None or (_whole(value) and value >= 1)),
    "chance": ("above 0 and at most 1", lambda value: _number(value) and 0 < value <= 1),
    "seed": ("a whole number", _whole),
    "seconds": (f"from 0 to {LONGEST}", lambda value: _number(value) and 0 <= value <= LONGEST),
    "status": ("an error's, from 400 to 599", lambda value: _whole(value) and 400 <= value <= 599),
    "method": ("GET, POST, DELETE or null", lambda value: value in (None, "GET", "POST", "DELETE")),
    "path": ("how a path begins", lambda value: isinstance(value, str)),
    "after": ("true or false", lambda value: isinstance(value, bool)),
    "version": (f"an API version since {OLDEST}", lambda value: value in VERSIONS),
    "type": ("an event's type, or a group like customer.*", lambda value: isinstance(value, str)),
}
