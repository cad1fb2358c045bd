"""I8: a write to Stripe whose outcome nobody knows has one effect in the end.

Checkouts are opened, in pairs as from two tabs, over a wire that fails in every way it can: refused before anything was
done, carried out and the answer lost, a stored 500, a 429, a time-out. Whoever is told 202 or 503 asks again, as people
do, or gives up; what was begun then is finished by the worker.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import httpx
from sqlalchemy import select

from reliability.desk import Desk, Send, desk
from reliability.figures import Figures, Scale
from tollhouse_sandbox.faults import Fault
from tollhouse_server.commands.finish_checkouts import STUCK_AFTER, finish_checkouts
from tollhouse_server.commands.open_checkout import CheckoutConflict, CheckoutDesk, CheckoutRequest, OpenedCheckout
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import DatabaseBusy
from tollhouse_server.db.tables import checkout, customer
from tollhouse_server.doctor import broken_invariants
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.stripe_gateway.client import StripeUnavailable

FAULTY = 0.3
"""The share of the writes to Stripe that fail in some way."""
AT_ONCE = 5
"""People, of four tabs each: as many as there are connections."""
GIVES_UP = 0.2
"""The share of purchases that are given up at the first 202 or 503; the worker finishes what was begun."""
TRIES = 30
"""Far more than anybody makes; who is still told 503 then is stuck."""
PRICES = ("shop.pro.monthly", "shop.lifetime.once")


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I8", "outcomes of writes unknown", seed)
    with figures.timed(), temporary_postgres() as postgres:
        migrate.upgrade(postgres.url())
        asyncio.run(_run(postgres.url(), figures, random.Random(seed), scale.whole(150, 12_500)))
    return figures


async def _run(url: str, figures: Figures, chance: random.Random, buyers: int) -> None:
    async with desk(url, pool_size=20) as opened:
        crowd = Crowd(opened, chance, figures)
        opened.wire.weather = crowd.weather
        await crowd.buy(buyers)
        await crowd.finish()
        await crowd.assert_one_effect_each()
        broken = await broken_invariants(opened.resources.database)
        figures.must_be_zero("doctor's findings", len(broken), broken[:3])


@dataclass
class Crowd:
    desk: Desk
    chance: random.Random
    figures: Figures

    async def weather(self, request: httpx.Request, send: Send) -> httpx.Response:
        """A write fails in one of six ways, or arrives; what is read arrives, or is slow."""
        if request.method != "POST" or self.chance.random() >= FAULTY:
            return await send(request)
        how = self.chance.choice(("refused", "lost", "lost", "500 before", "500 after", "429", "timed out"))
        self.figures.count(how)
        match how:
            case "refused":
                raise httpx.ConnectError("refused", request=request)
            case "lost":
                await send(request)
                raise httpx.ReadError("reset", request=request)
            case "timed out":
                await send(request)
                await asyncio.sleep(self.chance.uniform(0, 0.1))
                raise httpx.ReadTimeout("timed out", request=request)
        status = 429 if how == "429" else 500
        self.desk.sandbox.faults.order(
            Fault("error", times=1, status=status, method="POST", path=request.url.path, after=how == "500 after")
        )
        # It may be another request of this kind that meets the fault: that one is as good.
        return await send(request)

    async def buy(self, buyers: int) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with places:
                await self._two_tabs(f"user {number}")

        await asyncio.gather(*(one(number) for number in range(buyers)))

    async def _two_tabs(self, user: str) -> None:
        """Each asks for both things it wants, until it is told what became of it."""
        patient = {price: self.chance.random() >= GIVES_UP for price in PRICES}
        tabs = [self._insist(user, price, patient=patient[price]) for price in PRICES for _ in range(2)]
        answers = await asyncio.gather(*tabs)
        for price in PRICES:
            shown = {one.id for one, asked in answers if one is not None and asked == price}
            self.figures.must(len(shown) <= 1, f"{user} was shown two pages for {price}: {shown}")

    async def _insist(self, user: str, price: str, *, patient: bool) -> tuple[OpenedCheckout | None, str]:
        resources = self.desk.resources
        counter = CheckoutDesk(resources.database, resources.stripe, resources.pipeline)
        asked = CheckoutRequest(user, price, 1, "https://app.test/", "https://app.test/")
        for _ in range(TRIES):
            self.figures.count("calls")
            try:
                opened = await counter.open(self.desk.owner, asked, at=resources.clock.now())
            except (StripeUnavailable, DatabaseBusy):
                self.figures.count("told 503")
            except CheckoutConflict:
                self.figures.count("told 409")
            else:
                if opened.outcome != "opening":
                    return opened, price
                self.figures.count("told 202")
            if not patient:
                self.figures.count("gave up")
                return None, price
        self.figures.count("stuck")
        return None, price

    async def finish(self) -> None:
        """What the worker does for those who gave up, over the same wire."""
        await self.desk.passes(2 * STUCK_AFTER.total_seconds())
        resources = self.desk.resources
        counter = CheckoutDesk(resources.database, resources.stripe, resources.pipeline)
        for _ in range(TRIES):
            self.figures.count("openings finished", await finish_checkouts(counter, at=resources.clock.now()))

    async def assert_one_effect_each(self) -> None:
        """Asks Stripe's drawer and our books what came of it."""
        store = self.desk.sandbox.account.store
        made = Counter(one["metadata"]["tollhouse_user_id"] for one in store.oldest_first("customer"))
        open_pages = Counter(
            (one["customer"], one["mode"]) for one in store.oldest_first("checkout.session") if one["status"] == "open"
        )
        named = Counter(one["client_reference_id"] for one in store.oldest_first("checkout.session"))
        async with self.desk.resources.database.transaction() as tx:
            ours = set(await tx.scalars(select(customer.c.stripe_customer_id)))
            intents = (await tx.execute(select(checkout))).mappings().all()
        known = {one["id"] for one in store.oldest_first("customer")}
        figures = self.figures
        figures.count("customers", len(ours))
        figures.count("pages", sum(named.values()))
        figures.must_be_zero("stuck", figures.counted["stuck"])
        figures.must_be_zero("customers twice", sum(many > 1 for many in made.values()), made.most_common(2))
        figures.must_be_zero("pages open twice", sum(many > 1 for many in open_pages.values()))
        figures.must_be_zero("pages of one intent twice", sum(many > 1 for many in named.values()))
        figures.must_be_zero("customers unknown", len(ours - known))
        unfinished = [one["id"] for one in intents if one["state"] == "opening"]
        figures.must_be_zero("intents unfinished", len(unfinished), unfinished[:3])
        figures.must_be_reached(
            "lost", "500 after", "500 before", "429", "refused", "timed out", "told 503", "told 202", "gave up"
        )
