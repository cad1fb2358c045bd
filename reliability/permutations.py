"""I2 and I3: whatever order events come in, the end is what Stripe says.

Histories of several purchases and subscriptions are played at Stripe while their events are delivered permuted,
twice, late or (in the regime with the net) never, and while workers read Stripe over a wire whose answers come late.
Whenever nothing of a customer is undelivered or pending, what stands must be what Stripe says *now*. Afterwards each
whole stream is replayed in further orders onto an empty projection.

Two regimes, as a net hides bugs: without loss and without reconciliation; with losses and with it.
"""

import asyncio
import multiprocessing
import random
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import httpx
from sqlalchemy import delete, select

from reliability.desk import Desk, Json, Send, Weather, as_received, desk, slow
from reliability.figures import Figures, Scale, silence
from reliability.histories import Customer
from reliability.ledger import assert_versions_are_gapless_in
from tollhouse_server import inbox
from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import current_catalog, products_by_stripe_price
from tollhouse_server.db import migrate
from tollhouse_server.db.tables import customer as customers
from tollhouse_server.db.tables import inbox as inbox_table
from tollhouse_server.db.tables import purchase, snapshot, subscription
from tollhouse_server.doctor import broken_invariants
from tollhouse_server.domain.catalog import Catalog
from tollhouse_server.domain.changes import diff
from tollhouse_server.domain.entitlements import Entitlement, compute, load
from tollhouse_server.domain.evidence import Evidence, PurchaseItem, SubscriptionItem
from tollhouse_server.embedded.postgres import temporary_postgres
from tollhouse_server.reconcile import runs
from tollhouse_server.reconcile.runs import Asked, Kind, Trigger
from tollhouse_server.stripe_gateway import StripeClient
from tollhouse_server.stripe_gateway.pace import Pace
from tollhouse_server.timetable import Timetable

Item = TypeVar("Item", SubscriptionItem, PurchaseItem)

CUSTOMERS = 24
"""Of one world; the sandbox looks through all of its objects for each list."""
ROUNDS = 8
WORKERS = 4
OVERTAKEN = 4
"""Customers in each round whose early read ends last."""
DUPLICATED = 0.3
LOST = 0.02
DAY = 86_400


def run(scale: Scale, seed: int) -> Figures:
    figures = Figures("I2, I3", "event streams permuted", seed)
    worlds, replays = scale.whole(2, 40), scale.whole(7, 20)
    with figures.timed(), temporary_postgres() as postgres:
        postgres.create_database("template_migrated")
        migrate.upgrade(postgres.url("template_migrated"))
        jobs = []
        for number in range(worlds):
            name = f"world_{number}"
            postgres.create_database(name, template="template_migrated")
            jobs.append(Plan(seed * 1_000 + number, net=bool(number % 2), replays=replays, url=postgres.url(name)))
        # Not forked: each world has a loop and connections of its own.
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            for done in pool.map(play, jobs):
                figures.counted.update(done.counted)
                figures.wrong.extend(done.wrong)
        figures.must_be_zero("unlike Stripe", figures.counted["unlike Stripe"])
        figures.must_be_zero("versions unexplained", figures.counted["versions unexplained"])
        figures.must_be_reached("events twice", "reads overtaken", "bursts", "checks while moving")
        if worlds > 1:
            figures.must_be_reached("events lost")
    figures.measured["permutations a second"] = figures.counted["permutations"] / figures.seconds
    return figures


@dataclass(frozen=True)
class Plan:
    """One world to play; small enough to be sent to another process."""

    seed: int
    net: bool
    replays: int
    url: str


def play(plan: Plan) -> Figures:
    figures = Figures("I2", "a world", plan.seed)
    silence()
    asyncio.run(_play(plan, figures))
    figures.wrong[:] = [f"world {plan.seed}: {one}" for one in figures.wrong]
    return figures


async def _play(plan: Plan, figures: Figures) -> None:
    async with desk(plan.url) as opened:
        async with opened.resources.database.transaction() as tx:
            catalog = await current_catalog(tx, opened.owner)
            known = await products_by_stripe_price(tx, opened.owner.id)
        world = PermutedWorld(opened, random.Random(plan.seed), plan.net, figures, catalog, known)
        await world.live()
        for _ in range(plan.replays):
            await world.replay()
        async with opened.resources.database.transaction() as tx:
            # With time, a stretch that is over may leave the snapshot and change nothing that anybody is told.
            await assert_versions_are_gapless_in(tx, figures, chained=False)
        # The merchant sells past the checkout here, so that two plans stand beside each other at Stripe itself.
        said = await broken_invariants(opened.resources.database)
        broken = [one for one in said if not one.startswith("two-subscriptions")]
        figures.count("doctor's findings", len(broken))
        figures.wrong += broken[:3]


class Gate:
    """Holds one answer of Stripe's up."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


@dataclass
class PermutedWorld:
    desk: Desk
    chance: random.Random
    net: bool
    figures: Figures
    catalog: Catalog
    known: dict[str, tuple[str, str | None]]
    people: list[Customer] = field(default_factory=list)
    streams: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    """Stripe customer → all of its events."""
    undelivered: list[tuple[int, str, Json]] = field(default_factory=list)
    """The round in which to deliver, whose, and what."""
    missed: set[str] = field(default_factory=set)
    """Customers of whom an event was lost since the net last went over them."""
    _working: bool = False
    _gates: dict[str, Gate] = field(default_factory=dict)

    async def live(self) -> None:
        """The histories, with their events on the way and reads under way."""
        self.desk.wire.weather = self._gated(slow(self.chance, 0.3, 0.05))
        async with asyncio.TaskGroup() as group:
            self._working = True
            workers = [group.create_task(self._work()) for _ in range(WORKERS)]
            for number in range(CUSTOMERS):
                one = Customer(self.desk, f"user {number}", self.chance)
                await one.begin()
                self.people.append(one)
            for now in range(ROUNDS):
                await self._round(now)
                if self.chance.random() < 0.5:
                    await self._rest()
                for one in self.chance.sample(self.people, OVERTAKEN):
                    if one.stripe_id:
                        await self._overtake(one)
                await self._check(self._clean(await self._pending()), "while moving")
            await self._deliver([(whose, event) for _, whose, event in self.undelivered])
            self.undelivered.clear()
            await self._rest()
            self._working = False
            await asyncio.gather(*workers)
        await self._catch()
        everybody = [one.stripe_id for one in self.people]
        await self._check(everybody, "in the end")
        self.figures.count("histories", len(everybody))
        self.figures.count("permutations", len(everybody))

    async def _round(self, now: int) -> None:
        """Some act, some time passes, and what is due arrives in any order."""
        for one in self.chance.sample(self.people, len(self.people)):
            if self.chance.random() < 0.5:
                self.figures.count("changes", await one.step())
                self._note(now)
                await asyncio.sleep(0)
        if self.chance.random() < 0.6:
            await self.desk.passes(self.chance.choice((0.1, 1, 8, 20)) * DAY)
            self._note(now)
        due = [(whose, event) for at, whose, event in self.undelivered if at <= now]
        self.undelivered = [entry for entry in self.undelivered if entry[0] > now]
        await self._deliver(due)

    def _note(self, now: int) -> None:
        """Decides for each new event how late it comes, and whether at all."""
        for event in self.desk.events():
            whose = self.desk.owner_of(event["data"]["object"])
            if whose is None:
                continue
            self.streams[whose].append(event)
            self.figures.count("events")
            if self.net and self.chance.random() < LOST:
                self.figures.count("events lost")
                self.missed.add(whose)
                continue
            copies = 2 if self.chance.random() < DUPLICATED else 1
            self.figures.count("events twice", copies - 1)
            for _ in range(copies):
                late = self.chance.choice((0, 0, 0, 0, 0, 0, 1, 2, ROUNDS))
                self.undelivered.append((now + late, whose, event))

    async def _deliver(self, due: Sequence[tuple[str, Json]]) -> None:
        """In any order, some committed one by one and some together, while workers work."""
        waiting = self.chance.sample(due, len(due))
        while waiting:
            many = self.chance.choice((1, 1, 4, 16))
            self.figures.count("bursts", many > 1)
            chunk, waiting = waiting[:many], waiting[many:]
            # Two transactions that store the same events in different orders would wait for each other.
            chunk.sort(key=lambda entry: entry[1]["id"])
            async with self.desk.resources.database.transaction() as tx:
                for _, event in chunk:
                    await inbox.receive(tx, as_received(event))

    def _gated(self, weather: Weather) -> Weather:
        """The same, but an answer for which there is a gate waits at it; the next one about the customer does not."""

        async def gated(request: httpx.Request, send: Send) -> httpx.Response:
            answer = await weather(request, send)
            if request.url.path == "/v1/subscriptions":
                self.figures.count("reads")
                if gate := self._gates.pop(request.url.params.get("customer", ""), None):
                    gate.reached.set()
                    await gate.open.wait()
            return answer

        return gated

    async def _overtake(self, one: Customer) -> None:
        """All that was on its way for a customer arrives; then a read that begins before a change ends after the one
        that the change leads to. What stands then is looked at before anything else happens to the customer."""
        whose = one.stripe_id
        await self._deliver([(whose, event) for _, owner, event in self.undelivered if owner == whose])
        self.undelivered = [entry for entry in self.undelivered if entry[1] != whose]
        await self._rest()
        gate = self._gates[whose] = Gate()
        early = asyncio.create_task(self.desk.resources.pipeline.sync(whose, Cause("reliability", "back in the app")))
        await gate.reached.wait()
        changed = await one.step() or await one.step()
        events = self.desk.events()
        self.streams[whose] += events
        await self._deliver([(whose, event) for event in events])
        await self._rest()
        gate.open.set()
        await early
        self.missed.discard(whose)
        self.figures.count("reads overtaken", changed)
        await self._check([whose], "overtaken")

    async def _work(self) -> None:
        timetable = Timetable(self.desk.resources.database, self.desk.resources.clock, self.desk.resources.refresh)
        pipeline = self.desk.resources.pipeline
        while self._working:
            if not await pipeline.process_next():
                await timetable.refresh_outdated()
                await asyncio.sleep(0.01)

    async def _drain(self) -> None:
        pipeline = self.desk.resources.pipeline

        async def one() -> None:
            while await pipeline.process_next():
                pass

        await asyncio.gather(*(one() for _ in range(WORKERS)))

    async def _rest(self) -> None:
        while await self._pending():  # noqa: ASYNC110 - the inbox is the only one who knows
            await asyncio.sleep(0.01)

    async def _catch(self) -> None:
        """The net, where an event was lost: a sweep of Stripe's lists, as fast as it goes."""
        if not self.missed:
            return
        resources = self.desk.resources

        @asynccontextmanager
        async def open_stripe(_: Pace) -> AsyncIterator[StripeClient]:
            yield resources.stripe

        sweeper = replace(resources.reconciler, open_stripe=open_stripe, requests_per_second=10_000)
        async with resources.database.transaction() as tx:
            run_id = await sweeper.begin(tx, Asked(Kind.SWEEP, Trigger.OPERATOR, "reliability"))
        await sweeper.go_on(Kind.SWEEP)
        async with resources.database.transaction() as tx:
            row = await runs.get(tx, run_id)
        assert row is not None and row.state == "finished", f"the sweep stumbled: {row and row.error}"
        self.figures.count("sweeps")
        self.missed.clear()

    async def _pending(self) -> set[str]:
        """The subjects that wait for a worker or are in one's hands."""
        async with self.desk.resources.database.transaction() as tx:
            return set(
                await tx.scalars(select(inbox_table.c.subject).where(inbox_table.c.next_attempt_at.is_not(None)))
            )

    def _clean(self, pending: set[str]) -> list[str]:
        """Customers of whom everything was delivered and worked on."""
        store = self.desk.sandbox.account.store
        dirty = {whose for _, whose, _ in self.undelivered} | self.missed | pending
        for subject in pending:  # an event about a dispute names the charge only
            charge = store.get("charge", subject)
            if charge:
                dirty.add(charge["customer"])
        return [one.stripe_id for one in self.people if one.stripe_id not in dirty]

    async def _check(self, stripe_ids: Iterable[str], when: str) -> None:
        """What stands is what the rules make of Stripe's state now, by a path that shares no read with the service."""
        now = self.desk.resources.clock.now()
        async with self.desk.resources.database.transaction() as tx:
            stored = {
                row.stripe_customer_id: load(row.entitlements)
                for row in await tx.execute(
                    select(customers.c.stripe_customer_id, snapshot.c.entitlements)
                    .join(snapshot, snapshot.c.customer_id == customers.c.id, isouter=True)
                    .where(snapshot.c.entitlements.is_not(None))
                )
            }
        for stripe_id in stripe_ids:
            self.figures.count(f"checks {when}")
            expected = self._expected(stripe_id)
            wrong = diff(stored.get(stripe_id, ()), expected, now)
            if wrong:
                self.figures.count("unlike Stripe")
                self.figures.wrong.append(f"{when}, {stripe_id}: {wrong[:2]}")

    def _expected(self, stripe_id: str) -> tuple[Entitlement, ...]:
        facts = self.desk.facts(stripe_id)
        evidence = Evidence(
            tuple(replace(one, items=tuple(map(self._sold, one.items))) for one in facts.subscriptions),
            tuple(replace(one, items=tuple(map(self._sold, one.items))) for one in facts.purchases),
        )
        return compute(self.catalog, evidence, self.catalog.policy, self.desk.resources.clock.now())

    def _sold(self, item: Item) -> Item:
        product, lookup_key = self.known[item.stripe_price]
        return replace(item, product=product, lookup_key=lookup_key)

    async def replay(self) -> None:
        """The whole streams once more, in another order, onto a projection from which everything was taken."""
        await self._forget()
        self.desk.wire.weather = self._gated(slow(self.chance, 0.1, 0.01))
        # Those that change nothing of ours were stored the first time; they wake nobody.
        whole = [(whose, one) for whose, all_ in self.streams.items() for one in all_ if as_received(one).subject]
        again = [entry for entry in whole if self.chance.random() < DUPLICATED]
        self.figures.count("events twice", len(again))
        if self.net:
            kept = [entry for entry in whole if self.chance.random() >= LOST]
            self.figures.count("events lost", len(whole) - len(kept))
            self.missed = {one.stripe_id for one in self.people}
            whole = kept
        mixed = self.chance.sample(whole + again, len(whole) + len(again))
        cut = self.chance.randrange(len(mixed))
        for part in (mixed[:cut], mixed[cut:]):
            await self._deliver(part)
            await self._drain()
        await self._catch()
        await self._check([one.stripe_id for one in self.people], "in the end")
        self.figures.count("permutations", len(self.people))

    async def _forget(self) -> None:
        """Nobody has anything, by the one way in which entitlements change, so that versions and audit stay whole."""
        async with self.desk.resources.database.transaction() as tx:
            await tx.execute(delete(inbox_table))
            await tx.execute(delete(subscription))
            await tx.execute(delete(purchase))
        now = self.desk.resources.clock.now()
        for customer_id in await self._customer_ids():
            async with self.desk.resources.database.transaction() as tx:
                await self.desk.resources.refresh(tx, customer_id, Cause("reliability", "taken away"), at=now)

    async def _customer_ids(self) -> list[uuid.UUID]:
        async with self.desk.resources.database.transaction() as tx:
            return list(await tx.scalars(select(customers.c.id)))
