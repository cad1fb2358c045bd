"""One local Stripe: an account, its time, its deliveries, and what people do on the hosted pages."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from tollhouse_sandbox import (
    checkout,
    checkout_discounts,
    checkout_lines,
    desk,
    entitlements,
    hosted,
    ids,
    settings,
    test_clocks,
    timetable,
)
from tollhouse_sandbox.account import TEST_CLOCK, Account
from tollhouse_sandbox.clock import Clock
from tollhouse_sandbox.delivery import Deliveries
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.faults import Faults
from tollhouse_sandbox.idempotency import IdempotencyKeys
from tollhouse_sandbox.store import Json, Store
from tollhouse_sandbox.timetable import Timetable

_log = logging.getLogger(__name__)


class Exchange(NamedTuple):
    """An API call and its answer, as they were on the wire; `version` is the one the caller asked for."""

    method: str
    path: str
    sent: str
    version: str | None
    status: int
    body: str


class Sandbox:
    """Everything behind the HTTP surface.

    There is no lock, because every step (an API call, a page's button, a thing that is due) is one synchronous piece
    of code on one event loop: `step` makes it durable or undoes it. Only deliveries are awaited, between steps, so an
    endpoint may call the API while it is being called.

    The coroutines below are what the hosted pages call; they may be awaited from any route. Unknown ids raise
    `StripeError` with status 404. Money is in minor units, times are Unix seconds.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8901", data: Path | None = None, *, seed: int | None = None
    ) -> None:
        """`data` is a file to keep everything in. With a `seed` the same calls at the same times make the same ids."""
        store = Store(data)
        self._seed = seed
        self._begun = 0
        self.account = Account(store, Clock(), url)
        self.timetable = Timetable(store)
        self.faults = Faults()
        self.account.loses_event = lambda event_type: self.faults.of_event("lose", event_type) is not None
        self.deliveries = Deliveries(self.account, self.faults)
        self.keys = IdempotencyKeys(self.account)
        self.watch: Callable[[Exchange], None] = lambda _: None
        """Is shown every API call with its answer."""
        self._wake = asyncio.Event()
        self._moving = asyncio.Lock()
        store.load()
        self._recall()
        self._chance = self._sown()
        self.deliveries.load()

    def _sown(self) -> Random:
        """Where ids come from. Of a seed, each start has its own, as those of the last are taken."""
        return Random() if self._seed is None else Random(f"{self._seed} {self._begun}")  # noqa: S311

    def _recall(self) -> None:
        saved = self.account.store.get("_state", "clock")
        if saved:
            self.account.clock.offset, self.account.clock.frozen_at = saved["offset"], saved["frozen_at"]
            self.account.settings.update(saved["settings"])
            self.faults.recall(saved["faults"])
            self._begun = saved["begun"] + 1
        self.remember()
        self.account.store.commit()

    def remember(self) -> None:
        """Makes the clock, the settings and the faults part of what is durable."""
        clock = self.account.clock
        self.account.store.put(
            {
                "object": "_state",
                "id": "clock",
                "offset": clock.offset,
                "frozen_at": clock.frozen_at,
                "settings": self.account.settings,
                "faults": self.faults.saved(),
                "begun": self._begun,
            }
        )

    @contextmanager
    def step(self, *about: str) -> Iterator[None]:
        """One change of the account: committed at the end, or undone by an error that does not say it happened.

        It happens at the time of what these ids name: by their test clock, if they have one.
        """
        clock = test_clocks.concerned(self.account, about)
        self.account.test_clock = clock["id"] if clock else None
        try:
            with self.drawing():
                yield
                entitlements.follow(self.account)
        except StripeError as error:
            if error.keeps_changes:
                with self.drawing():
                    entitlements.follow(self.account)
                self._commit()
            else:
                self.account.store.rollback()
            raise
        except Exception:
            self.account.store.rollback()
            raise
        else:
            self._commit()
        finally:
            self.account.test_clock = None
            self._wake.set()

    def drawing(self) -> AbstractContextManager[None]:
        """Within it, ids come from the sandbox's own chance."""
        return ids.drawn_from(self._chance)

    def _commit(self) -> None:
        if self.faults.changed:
            self.remember()
        self.account.store.commit()

    # Time

    async def run(self) -> None:
        """Does what becomes due while real time passes; runs until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                async with self._moving:
                    self._perform_due()
                    await self._advance_test_clocks()
                    self.deliveries.start_due()
            except Exception:
                _log.exception("something due could not be done; trying again in a second")
                await asyncio.sleep(1)
            await self._sleep()

    async def _sleep(self) -> None:
        at = self._next_at()
        if at is not None and at <= self.account.now:
            return
        delay = None if at is None or self.account.clock.frozen else at - self.account.clock.now()
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            return

    def _next_at(self) -> int | None:
        noted = self.timetable.next()
        moments = (noted[0] if noted else None, self.deliveries.next_due())
        return min((at for at in moments if at is not None), default=None)

    def _perform_due(self) -> None:
        while (noted := self.timetable.next()) and noted[0] <= self.account.now:
            _, body, action = noted
            with self.step():
                timetable.perform(self.account, body, action)

    async def _advance_test_clocks(self) -> None:
        """Brings the test clocks that are on their way to where they go; calls are answered meanwhile."""
        while clock := next(self.account.store.oldest_first(TEST_CLOCK, status="advancing"), None):
            try:
                with self.step(clock["id"]):
                    self._move_test_clock(clock)
            except Exception:
                _log.exception("a test clock could not be advanced")
                with self.step(clock["id"]):
                    test_clocks.fail(self.account, clock)
            self.deliveries.start_due()
            await asyncio.sleep(0)

    def _move_test_clock(self, clock: Json) -> None:
        """To the next thing that is due by it, which is done; or to the end of the way."""
        noted = self.timetable.next(clock["id"])
        if noted is None or noted[0] > clock["status_details"]["advancing"]["target_frozen_time"]:
            test_clocks.arrive(self.account, clock)
            return
        at, body, action = noted
        self.account.store.change(clock, frozen_time=max(at, clock["frozen_time"]))
        timetable.perform(self.account, body, action)

    async def advance(self, seconds: float) -> None:
        """Moves the clock and does everything due on the way, in order, deliveries included."""
        await self.advance_to(self.account.clock.now() + seconds)

    async def advance_to(self, moment: float) -> None:
        """Moves the clock to a Unix time. It stops wherever something is due, and waits there for the deliveries."""
        async with self._moving:
            await self._catch_up()
            while (at := self._next_at()) is not None and at <= moment:
                self.account.clock.move_to(at)
                await self._catch_up()
            self.account.clock.move_to(moment)
            with self.step():
                self.remember()

    async def drain(self) -> None:
        """Returns once everything that is due now is done and every delivery that is due has been attempted."""
        async with self._moving:
            await self._catch_up()

    async def _catch_up(self) -> None:
        self._perform_due()
        await self._advance_test_clocks()
        await self.deliveries.drain()

    def freeze(self, frozen: bool) -> None:
        """Stops the clock, or lets it run on."""
        self.account.clock.freeze(frozen)
        with self.step():
            self.remember()

    def reset(self) -> None:
        """Empties the account and goes back to real time."""
        self.account.store.clear()
        self.timetable.clear()
        self.deliveries.clear()
        self.faults.clear()
        self.account.clock.reset()
        self.account.settings = settings.defaults()
        self._begun = 0
        self._chance = self._sown()
        with self.step():
            self.remember()

    async def close(self) -> None:
        await self.deliveries.close()
        self._commit()
        self.account.store.close()

    # Hosted pages

    async def checkout_view(self, session_id: str) -> Json:
        """Everything the payment page shows.

        `{"session": <checkout.session>, "status": "open"|"complete"|"expired",
        "mode": "payment"|"subscription"|"setup", "merchant": str, "currency": str|None,
        "amount_total": int|None, "amount_due_today": int, "email": str|None,
        "lines": [{"id", "name", "description", "quantity", "unit_amount", "amount", "currency",
        "interval": str|None, "interval_count": int|None, "adjustable": {"enabled", "minimum", "maximum"}|None,
        "optional": bool}], "trial_days": int|None, "trial_text": str|None,
        "cards": [{"card": "pm_card_…", "type", "number", "label"}], "needs_card": bool, "debit_arrives": int,
        "optional": [as a line, with its "price"] (what may be added), "questions": [<checkout_answers.Question>],
        "allow_promotion_codes": bool, "promotion_code": str|None (as it is written),
        "discount": {"name", "terms": "20% off for 3 months", "amount": int}|None}`.
        """
        with self.step(session_id):
            return hosted.checkout_view(self.account, session_id)

    async def apply_promotion_code(self, session_id: str, code: str) -> None:
        """Takes a typed code's discount off an open page that allows codes, in place of one typed before.

        Raises `StripeError` 400 with a sentence for the customer when the code cannot be redeemed here.
        """
        with self.step(session_id):
            session = checkout.open_session(self.account, session_id)
            checkout_discounts.apply_code(self.account, session, code)

    async def remove_promotion_code(self, session_id: str) -> None:
        """Takes the typed code off the page again."""
        with self.step(session_id):
            checkout_discounts.remove_code(self.account, checkout.open_session(self.account, session_id))

    async def pay(
        self,
        session_id: str,
        card: str = "pm_card_visa",
        email: str | None = None,
        *,
        authenticated: bool = False,
        answers: Mapping[str, str] | None = None,
    ) -> str:
        """The page's button; answers with the URL the browser goes to next. `answers` are by the questions' names.

        Raises `StripeError` 402 when the card is declined (the session stays open) and `AuthenticationRequired` for a
        card with 3-D Secure unless `authenticated`; 400 when the session is no longer open.
        """
        with self.step(session_id):
            session = checkout.open_session(self.account, session_id)
            paid = checkout.pay(self.account, session, card, email, authenticated=authenticated, answers=answers)
            return checkout.redirect(paid)

    async def choose_quantity(self, session_id: str, item: str, quantity: int) -> None:
        """The customer wants so many of a line (its id) or of an optional item (its price; none takes it off again).

        Raises `StripeError` 400 with a sentence for the customer when the page does not allow that.
        """
        with self.step(session_id):
            checkout_lines.choose(self.account, checkout.open_session(self.account, session_id), item, quantity)

    async def recover(self, session_id: str) -> str:
        """Takes up a page that expired, if that was asked for; answers with the URL of the new page."""
        with self.step(session_id):
            expired = self.account.require("checkout.session", session_id)
            return str(checkout.recover(self.account, expired)["url"])

    async def cancel_url(self, session_id: str) -> str | None:
        """Where the page's back link leads; None when the merchant gave none."""
        url = self.account.require("checkout.session", session_id)["cancel_url"]
        return str(url).replace("{CHECKOUT_SESSION_ID}", session_id) if url else None

    async def overview(self) -> Json:
        """What the control page shows, newest first and at most 20 of each.

        `{"now": float, "offset": float, "frozen": bool, "counts": {"customer": int, "subscription": int, …},
        "events": [{"event": <event>, "deliveries": [{"endpoint": "we_…", "url", "state":
        "pending"|"succeeded"|"failed", "attempts": [{"at": int, "status": int|None, "error": str|None}],
        "next_attempt": int|None}]}], "endpoints": [<webhook_endpoint>], "customers": [<customer>],
        "subscriptions": [<subscription>], "checkout_sessions": [<checkout.session>], "test_clocks": [<test clock>]}`.
        """
        return desk.overview(self.account)
