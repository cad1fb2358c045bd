"""I7: twenty tabs at once, several plans of one group, a wire that loses answers, and a person who pays wherever it is
possible. In the end nobody has two subscriptions of a group.

Whoever is told 202, 409 or 503 asks again. Meanwhile the person pays at random on pages they were shown, and at the end
tries every page once more, also those that were closed long ago.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import httpx

from reliability.desk import Desk, Send, desk
from reliability.figures import Figures, Scale
from tollhouse_sandbox.errors import StripeError
from tollhouse_server.commands.finish_checkouts import STUCK_AFTER, finish_checkouts
from tollhouse_server.commands.open_checkout import CheckoutConflict, CheckoutDesk, CheckoutRequest
from tollhouse_server.db import migrate
from tollhouse_server.db.engine import DatabaseBusy
from tollhouse_server.doctor import broken_invariants
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.stripe_gateway.client import StripeUnavailable

TABS = 20
AT_ONCE = 2
"""People, of twenty tabs each."""
FAULTY = 0.05
"""The share of the writes to Stripe whose answer is lost, or that are refused before they are sent."""
TRIES = 60
BETWEEN = 0.05
"""Seconds between two moments at which the person may pay."""
GROUP = ("shop.pro.monthly", "shop.pro.yearly", "shop.basic.monthly")
PRICES = (*GROUP, "shop.extra.monthly")


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I7", "twenty tabs at once", seed)
    with figures.timed(), temporary_postgres() as postgres:
        migrate.upgrade(postgres.url())
        asyncio.run(_run(postgres.url(), figures, random.Random(seed), scale.whole(8, 200)))
    return figures


async def _run(url: str, figures: Figures, chance: random.Random, people: int) -> None:
    async with desk(url, pool_size=30) as opened:
        rush = Rush(opened, chance, figures)
        opened.wire.weather = rush.weather
        places = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with places:
                await rush.of(Person(f"user {number}"))

        await asyncio.gather(*(one(number) for number in range(people)))
        await rush.assert_one_each(people)
        broken = await broken_invariants(opened.resources.database)
        figures.must_be_zero("doctor's findings", len(broken), broken[:3])


@dataclass
class Person:
    user_id: str
    shown: dict[str, str] = field(default_factory=dict)
    """The pages they were led to, by the URL: what each sells."""
    asking: int = TABS


@dataclass
class Rush:
    desk: Desk
    chance: random.Random
    figures: Figures

    async def weather(self, request: httpx.Request, send: Send) -> httpx.Response:
        fails = request.method == "POST" and self.chance.random() < FAULTY
        if fails and self.chance.random() < 0.5:
            self.figures.count("refused")
            raise httpx.ConnectError("refused", request=request)
        answer = await send(request)
        if fails:
            self.figures.count("answers lost")
            raise httpx.ReadError("reset", request=request)
        return answer

    async def of(self, person: Person) -> None:
        tabs = [self._tab(person, self.chance.choice(PRICES)) for _ in range(TABS)]
        await asyncio.gather(self._pays(person), *tabs)
        for page in person.shown:  # also those that are closed, as far as anybody knows
            await self._pay(page)

    async def _tab(self, person: Person, price: str) -> None:
        resources = self.desk.resources
        counter = CheckoutDesk(resources.database, resources.stripe, resources.pipeline)
        asked = CheckoutRequest(person.user_id, price, 1, "https://app.test/", "https://app.test/")
        for _ in range(TRIES):
            self.figures.count("calls")
            try:
                opened = await counter.open(self.desk.owner, asked, at=resources.clock.now())
            except (StripeUnavailable, DatabaseBusy):
                self.figures.count("told 503")
            except CheckoutConflict:
                self.figures.count("told 409")
            else:
                self.figures.count(f"told {opened.outcome}")
                if opened.outcome in ("new", "pending") and opened.url:
                    person.shown[opened.url] = price
                if opened.outcome != "opening":
                    break
        else:
            self.figures.count("stuck")
        person.asking -= 1

    async def _pays(self, person: Person) -> None:
        """While the tabs are at it: on a page that was shown, whichever it is."""
        while person.asking:
            await asyncio.sleep(BETWEEN)
            if person.shown and self.chance.random() < 0.5:
                await self._pay(self.chance.choice(list(person.shown)))

    async def _pay(self, page: str) -> None:
        try:
            await self.desk.sandbox.pay(page.rpartition("/")[2], "pm_card_visa")
        except StripeError:
            self.figures.count("could not be paid")
        else:
            self.figures.count("paid")

    async def assert_one_each(self, people: int) -> None:
        await self.desk.passes(2 * STUCK_AFTER.total_seconds())
        resources, store, figures = self.desk.resources, self.desk.sandbox.account.store, self.figures
        counter = CheckoutDesk(resources.database, resources.stripe, resources.pipeline)
        for _ in range(TRIES):
            await finish_checkouts(counter, at=resources.clock.now())
        lookup = {one["id"]: one["lookup_key"] for one in store.oldest_first("price")}
        live: Counter[tuple[str, str]] = Counter()
        for one in store.oldest_first("subscription"):
            if one["status"] in ("active", "trialing", "past_due", "incomplete"):
                group = "plan" if lookup[one["items"][0]["price"]] in GROUP else "extra"
                live[one["customer"], group] += 1
        made = Counter(one["metadata"]["tollhouse_user_id"] for one in store.oldest_first("customer"))
        figures.count("people", people)
        figures.count("subscriptions", sum(live.values()))
        figures.must_be_zero("two subscriptions of a group", sum(many > 1 for many in live.values()))
        figures.must_be_zero("customers twice", sum(many > 1 for many in made.values()))
        figures.must_be_zero("stuck", figures.counted["stuck"])
        figures.must(len(made) == people, f"{len(made)} Stripe customers for {people} people")
        figures.must_be_reached("paid", "could not be paid", "told plan_change", "told already_owned", "answers lost")
