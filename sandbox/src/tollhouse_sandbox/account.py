"""The Stripe account: its objects, its clock, and its event log. Everything that happens happens to one of these."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tollhouse_sandbox import errors, ids, settings
from tollhouse_sandbox.clock import Clock
from tollhouse_sandbox.store import Json, Store

TEST_CLOCK = "test_helpers.test_clock"
"""The kind of Stripe's test clocks."""

AUTOMATIC: Json = {"id": None, "idempotency_key": None}
"""The `request` of an event that no API call caused."""


@dataclass
class Account:
    """`url` is where people reach the hosted pages. `request` names the API call under way, for its events.

    `test_clock` is the id of the clock by which those live to whom something happens in the step under way.
    """

    store: Store
    clock: Clock
    url: str = "http://127.0.0.1:8901"
    merchant: str = "Tollhouse sandbox"
    request: Json = field(default_factory=lambda: AUTOMATIC)
    test_clock: str | None = None
    settings: Json = field(default_factory=settings.defaults)
    on_event: Callable[[Json, Json], None] = lambda _event, _data: None
    """Hears of each event, and of its `data` in the newest shape."""
    on_resend: Callable[[Json, Json], None] = lambda _event, _endpoint: None
    """Sends an event to an endpoint once more."""
    loses_event: Callable[[str], bool] = lambda _: False
    """Whether what happens now generates no event of this type, which befalls Stripe too."""

    supposed_now: int | None = None
    """The time that a supposition has come to."""

    @property
    def now(self) -> int:
        """What time it is for those to whom something happens now: by their test clock, else by the account's.

        Whole Unix seconds. Events and deliveries are the account's own and go by `clock`.
        """
        if self.supposed_now is not None:
            return self.supposed_now
        if self.test_clock:
            return int(self.require(TEST_CLOCK, self.test_clock)["frozen_time"])
        return self.clock.second()

    @contextmanager
    def supposing(self) -> Iterator[None]:
        """What happens inside is only supposed: nobody hears of it, and in the end it has not happened."""
        loses_event, self.loses_event = self.loses_event, lambda _: True
        try:
            with self.store.undone():
                yield
        finally:
            self.loses_event, self.supposed_now = loses_event, None

    def require(self, kind: str, object_id: str, *, param: str = "id") -> Json:
        """The object of that id. Raises 404 when it is unknown, or 400 when `param` names a parameter that held it."""
        found = self.store.get(kind, object_id)
        if found is None:
            raise errors.missing(kind, object_id, param=param, status=404 if param == "id" else 400)
        return found

    def born(self, kind: str, **fields: Any) -> Json:
        """Stores a new object with what all objects have: an id, its kind, its birth, `livemode` false.

        One that can have a test clock has the one under which it is born.
        """
        if "test_clock" in fields:
            fields["test_clock"] = self.test_clock
        return self.store.put({"id": ids.new(kind), "object": kind, "created": self.now, "livemode": False, **fields})
