"""Notifications on their way: every committed change arrives, in order, whatever endpoints and workers do."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from standardwebhooks import Webhook

from tollhouse_server import deliveries, outbox
from tollhouse_server.audit import Cause
from tollhouse_server.catalogs import Project, project_by_slug
from tollhouse_server.clock import SystemClock
from tollhouse_server.commands.register_endpoint import enable_endpoint, register_endpoint, rotate_secret
from tollhouse_server.commands.resend_notifications import resend_message, resend_since, send_test
from tollhouse_server.db.engine import Database
from tollhouse_server.db.tables import audit, customer, delivery, grant, notification_endpoint
from tollhouse_server.db.tables import outbox as outbox_table
from tollhouse_server.notifications.courier import RETRIES, Courier
from tollhouse_server.notifications.post import Post
from tollhouse_server.notifications.signing import Signer
from tollhouse_server.refresh import Refresh
from tollhouse_server.testing import Receiver, answering

pytestmark = pytest.mark.anyio

WHY = Cause("grace", "a test")
REFRESH = Refresh()
KEY = "a-secret-key-for-tests-and-nothing-else"
Signers = Callable[[str], Webhook]


@contextlib.asynccontextmanager
async def opened(database: Database, *, at_once: int = 16) -> AsyncIterator[Courier]:
    post = Post(allow_private=True, connections=at_once)
    yield Courier(database, SystemClock(), Signer((KEY,)), post, at_once)
    await post.close()


@pytest.fixture
async def courier(database: Database) -> AsyncIterator[Courier]:
    """What one worker delivers with."""
    async with opened(database) as one:
        yield one


class App:
    """The project's endpoints at the receiver, and changes for it to hear of."""

    def __init__(self, shop: Any, receiver: Receiver, courier: Courier, now: datetime) -> None:
        self.shop, self.receiver, self.courier, self.now = shop, receiver, courier, now
        self.database: Database = shop.database
        self._given = 0

    async def project(self, tx: Any) -> Project:
        owner = await project_by_slug(tx, "pdf-tool")
        assert owner is not None
        return owner

    async def listens(self, path: str) -> str:
        """Registers an endpoint and answers with its id."""
        async with self.database.transaction() as tx:
            url = self.receiver.url + path
            return await register_endpoint(tx, self.courier.signer, await self.project(tx), url, "", WHY, at=self.now)

    async def customer(self, user_id: str) -> Any:
        async with self.database.transaction() as tx:
            owner = await self.project(tx)
            made = insert(customer).values(id=func.gen_random_uuid(), project_id=owner.id, user_id=user_id)
            return await tx.scalar(made.returning(customer.c.id))

    async def change(self, customer_id: Any = None, *, fail: bool = False) -> None:
        """Another version of the customer, ada if absent; rolled back where it is to fail."""
        self._given += 1
        with contextlib.suppress(ZeroDivisionError):
            async with self.database.transaction() as tx:
                await tx.execute(
                    insert(grant).values(
                        id=f"gr_{self._given}",
                        project_id=self.shop.project_id,
                        customer_id=customer_id or self.shop.customer_id,
                        feature="pages_per_day",
                        value=self._given,
                        starts_at=self.now,
                        reason="a test",
                        operator="grace",
                    )
                )
                await REFRESH(tx, customer_id or self.shop.customer_id, WHY, at=self.now)
                if fail:
                    raise ZeroDivisionError

    async def deliver(self) -> None:
        while await self.courier.deliver_due():
            pass

    async def hours_pass(self, hours: float) -> None:
        """For the queue, the database's clock is what counts: everything in it becomes that much older."""
        by = timedelta(hours=hours)
        async with self.database.transaction() as tx:
            for table, names in (
                (delivery, ("next_attempt_at", "lease_until", "queued_at", "settled_at")),
                (notification_endpoint, ("first_failed_at", "failing_since", "previous_until", "disabled_at")),
                (outbox_table, ("created_at",)),
            ):
                await tx.execute(update(table).values({name: table.c[name] - by for name in names}))

    async def is_well(self) -> None:
        """Nothing is held against any endpoint any more."""
        well = {"failures": 0, "first_failed_at": None, "failing_since": None}
        async with self.database.transaction() as tx:
            await tx.execute(update(notification_endpoint).values(**well))

    async def hears(self, messages: int) -> None:
        """Until so many have arrived."""
        async with asyncio.timeout(15):
            while len(self.receiver.received) < messages:  # noqa: ASYNC110 - another thread cannot set an event of ours
                await asyncio.sleep(0.01)

    def versions(self, path: str) -> list[int]:
        return [one.said["data"]["version"] for one in self.receiver.at(path)]

    async def rows(self, table: Any, *names: str) -> list[Any]:
        async with self.database.transaction() as tx:
            key = table.c.id if "id" in table.c else table.c.position
            return [tuple(row) for row in await tx.execute(select(*(table.c[name] for name in names)).order_by(key))]


@pytest.fixture
def app(shop: Any, receiver: Receiver, courier: Courier, now: datetime) -> App:
    return App(shop, receiver, courier, now)


async def test_exactly_what_was_committed_is_delivered(app: App) -> None:
    """One message for each version, in order, to each endpoint, with one id at all; none of a change rolled back."""
    await app.listens("/a")
    await app.listens("/b")
    await app.change()
    await app.change(fail=True)
    await app.change()
    assert app.receiver.received == []
    await app.deliver()
    assert app.versions("/a") == app.versions("/b") == [1, 2]
    ids = [[one.headers["webhook-id"] for one in app.receiver.at(path)] for path in ("/a", "/b")]
    assert (
        ids[0]
        == ids[1]
        == [row[0] for row in sorted(await app.rows(outbox_table, "id", "version"), key=lambda r: r[1])]
    )
    assert app.receiver.at("/a")[0].body == app.receiver.at("/b")[0].body
    assert {state for state, _ in await app.rows(delivery, "state", "status")} == {"delivered"}
    assert await app.courier.deliver_due() == 0


async def test_a_message_is_signed_as_standard_webhooks_has_it(app: App) -> None:
    """The library verifies it with the endpoint's secret, and with no other endpoint's."""
    first, second = await app.listens("/a"), await app.listens("/b")
    await app.change()
    await app.deliver()
    [heard] = app.receiver.at("/a")
    assert heard.headers["content-type"] == "application/json"
    verified = Webhook(app.courier.signer.secret(first, 1)).verify(heard.body, heard.headers)
    assert verified["type"] == "customer.changed" and verified["timestamp"] == "2026-11-22T09:00:00Z"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(app.courier.signer.secret(second, 1)).verify(heard.body, heard.headers)


async def test_for_the_overlap_both_secrets_verify(app: App) -> None:
    """An app may change its secret at any moment of it; after it the old one is worth nothing."""
    one = await app.listens("/a")
    async with app.database.transaction() as tx:
        owner = await app.project(tx)
        await rotate_secret(tx, app.courier.signer, owner, one, timedelta(hours=24), WHY, at=app.now)
    old, new = (Webhook(app.courier.signer.secret(one, generation)) for generation in (1, 2))
    await app.change()
    await app.deliver()
    for webhook in (old, new):
        webhook.verify(app.receiver.received[-1].body, app.receiver.received[-1].headers)
    await app.hours_pass(24)
    await app.change()
    await app.deliver()
    new.verify(app.receiver.received[-1].body, app.receiver.received[-1].headers)
    with pytest.raises(Exception, match="No matching signature"):
        old.verify(app.receiver.received[-1].body, app.receiver.received[-1].headers)


async def test_nothing_overtakes_within_a_customer(app: App) -> None:
    """While a version fails, later ones of the same customer wait and another customer's do not; then all in order."""
    await app.listens("/a")
    app.receiver.answers["/a"] = answering(500)
    await app.change()
    await app.deliver()
    app.receiver.answers.clear()
    await app.change()
    await app.change()
    await app.change(await app.customer("bob"))
    await app.deliver()
    assert [(one.said["data"]["user_id"], one.said["data"]["version"]) for one in app.receiver.at("/a")] == [
        ("ada", 1),
        ("bob", 1),
    ]
    await app.hours_pass(1)
    await app.deliver()
    assert [one.said["data"]["version"] for one in app.receiver.at("/a")[2:]] == [1, 2, 3]
    same = [one.headers["webhook-id"] for one in app.receiver.at("/a") if one.said["data"]["user_id"] == "ada"]
    assert same[0] == same[1], "the message that is tried again is the same message"


async def test_after_ten_attempts_it_is_given_up_and_the_next_goes(app: App) -> None:
    """Over three days, further and further apart; then it is kept for somebody to look at and what follows is sent."""
    await app.listens("/a")
    app.receiver.answers["/a"] = answering(503)
    await app.change()
    await app.change()
    waited = timedelta()
    for wait in RETRIES:
        await app.deliver()
        [(ahead,)] = (await app.rows(delivery, "next_attempt_at"))[:1]
        async with app.database.transaction() as tx:
            ahead -= await tx.scalar(select(func.clock_timestamp()))
        assert wait * 0.85 < ahead + timedelta(seconds=1) and ahead < wait * 1.15
        waited += ahead
        await app.hours_pass(ahead / timedelta(hours=1))
        if waited > timedelta(hours=30):
            async with app.database.transaction() as tx:  # only the message is at issue here, not the endpoint's health
                await tx.execute(
                    update(notification_endpoint).values(failures=0, first_failed_at=None, failing_since=None)
                )
    await app.deliver()
    assert await app.rows(delivery, "state", "attempts", "status") == [("given_up", 10, 503), ("pending", 1, 503)]
    assert app.versions("/a") == [1] * 10 + [2]
    assert timedelta(hours=67) < waited < timedelta(hours=84)


@pytest.mark.parametrize(("asked", "seconds"), [("600", 600), ("1", 5), ("999999", 24 * 3600), ("soon", 5)], ids=str)
async def test_an_endpoint_may_ask_for_time(app: App, asked: str, seconds: int) -> None:
    """Retry-After puts the next attempt off, by a day at most, and never brings it nearer."""
    await app.listens("/a")
    app.receiver.answers["/a"] = answering(429, Retry_After=asked)
    await app.change()
    await app.deliver()
    async with app.database.transaction() as tx:
        ahead = await tx.scalar(select(func.extract("epoch", delivery.c.next_attempt_at - func.clock_timestamp())))
    assert seconds * 0.89 - 1 < float(ahead or 0) <= seconds * 1.1


async def test_what_is_no_success_is_a_failure(app: App) -> None:
    """Redirects are not followed; a broken connection and an answer that never ends are told in a sentence."""
    app.receiver.answers |= {
        "/moved": answering(307, Location=f"{app.receiver.url}/elsewhere"),
        "/cut": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
        "/created": answering(201),
        "/teapot": answering(418),
    }
    for path in app.receiver.answers:
        await app.listens(path)
    await app.change()
    await app.deliver()
    assert app.receiver.at("/elsewhere") == []
    assert await app.rows(delivery, "state", "status", "error") == [
        ("pending", 307, "It answered 307: redirects are not followed, so register the URL it leads to."),
        ("pending", None, "The connection broke before an answer was complete."),
        ("delivered", 201, None),
        ("pending", 418, "It answered 418: anything but 2xx is a failure."),
    ]


async def test_a_huge_answer_is_not_read(app: App) -> None:
    """Its status counts, the rest is left."""
    sent = 0

    def flood(handler: Any) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1_000):
                sent += handler.wfile.write(b"x" * 100_000)

    app.receiver.answers["/a"] = flood
    await app.listens("/a")
    await app.change()
    await app.deliver()
    assert await app.rows(delivery, "state", "status") == [("delivered", 200)]
    assert sent < 50_000_000


async def test_an_endpoint_that_hangs_delays_nobody(app: App) -> None:
    """With one of six hanging, everything for the others arrives at once; it holds two requests at most."""
    app.receiver.hang("/hung")
    await app.listens("/hung")
    paths = [f"/{number}" for number in range(5)]
    for path in paths:
        await app.listens(path)
    customers = [await app.customer(f"user {number}") for number in range(6)]
    stopping, started = asyncio.Event(), time.monotonic()
    async with opened(app.database, at_once=4) as courier:
        for one in customers:
            await app.change(one)
        running = asyncio.create_task(courier.run(stopping))
        while sum(len(app.receiver.at(path)) for path in paths) < 30:
            await asyncio.sleep(0.01)
            assert time.monotonic() - started < 10
        assert len(app.receiver.at("/hung")) == deliveries.AT_ONCE
        app.receiver.over.set()
        stopping.set()
        courier.wake.set()
        await running


async def test_a_worker_that_dies_in_the_middle_loses_nothing(app: App) -> None:
    """Whoever comes after its lease sends again what it had in hand, with the same id; not before."""
    await app.listens("/a")
    app.receiver.hang("/a")
    await app.change()
    async with opened(app.database) as dying:
        under_way = asyncio.create_task(dying.deliver_due())
        await app.hears(1)
        under_way.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await under_way
    app.receiver.answers.clear()
    assert await app.courier.deliver_due() == 0
    await app.hours_pass(1)
    assert await app.courier.deliver_due() == 1
    first, second = app.receiver.at("/a")
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert await app.rows(delivery, "state", "attempts") == [("delivered", 1)]


async def test_a_worker_that_was_thought_dead_changes_nothing(app: App) -> None:
    """Its outcome comes after another took the delivery over: it is not its own any more."""
    await app.listens("/a")
    await app.change()
    async with app.database.transaction() as tx:
        [late] = await deliveries.claim(tx, limit=9, lease=timedelta(minutes=1))
    await app.hours_pass(1)
    await app.deliver()
    async with app.database.transaction() as tx:
        await deliveries.defer(tx, late, timedelta(minutes=1), 500, "too late")
        assert await deliveries.succeed(tx, late, 200) is None
    assert await app.rows(delivery, "state", "attempts", "status", "error") == [("delivered", 1, 204, None)]


async def test_two_workers_deliver_each_once_and_in_order(app: App) -> None:
    """Side by side on one queue: nothing twice, nothing out of order."""
    for path in ("/a", "/b", "/c"):
        await app.listens(path)
    customers = [await app.customer(f"user {number}") for number in range(4)]
    for _ in range(5):
        for one in customers:
            await app.change(one)
    async with opened(app.database) as other:
        stopping = asyncio.Event()
        running = [asyncio.create_task(one.run(stopping)) for one in (app.courier, other)]
        await app.hears(60)
        stopping.set()
        for one in (app.courier, other):
            one.wake.set()
        await asyncio.gather(*running)
    heard: dict[tuple[str, str], list[int]] = {}
    for one in app.receiver.received:
        heard.setdefault((one.path, one.said["data"]["user_id"]), []).append(one.said["data"]["version"])
    assert heard == {(path, f"user {n}"): [1, 2, 3, 4, 5] for path in ("/a", "/b", "/c") for n in range(4)}


async def test_gone_disables_at_once_and_the_others_are_told(app: App) -> None:
    """410: what is pending is given up, an audit entry says why, and the project's other endpoint hears of it."""
    gone, _ = await app.listens("/gone"), await app.listens("/b")
    app.receiver.answers["/gone"] = answering(410)
    await app.change()
    await app.change()
    await app.deliver()
    await app.change()
    await app.deliver()
    assert app.versions("/gone") == [1]
    assert [row[1:] for row in await app.rows(delivery, "endpoint_id", "state", "version") if row[0] == gone] == [
        ("given_up", 1),
        ("given_up", 2),
    ]
    [told] = [one.said for one in app.receiver.at("/b") if one.said["type"] == "endpoint.disabled"]
    assert (told["data"]["endpoint_id"], told["data"]["reason"]) == (gone, "It answered 410 Gone.")
    [entry] = [row for row in await app.rows(audit, "action", "actor", "after") if row[0].endswith(".disabled")]
    assert entry[1] == "notifications" and entry[2]["endpoint_id"] == gone


async def test_days_of_nothing_but_failure_disable(app: App) -> None:
    """Not days with one success among them."""
    one = await app.listens("/a")
    app.receiver.answers["/a"] = answering(500)
    for day in range(11):
        if day == 3:
            app.receiver.answers["/a"] = answering(200)
        for number in range(3):
            await app.change(await app.customer(f"user {day} {number}"))
        await app.deliver()
        app.receiver.answers["/a"] = answering(500)
        [(disabled,)] = await app.rows(notification_endpoint, "disabled_because")
        assert disabled is None, day
        await app.hours_pass(22)
    await app.deliver()
    assert await app.rows(notification_endpoint, "id", "disabled_because") == [
        (one, "Every attempt failed for five days.")
    ]
    assert {state for (state,) in await app.rows(delivery, "state")} == {"delivered", "given_up"}


async def test_what_was_missed_can_be_sent_again(app: App) -> None:
    """After enabling: all since an instant that it has not got, in order, with the ids they had; what it has is not."""
    one = await app.listens("/a")
    await app.change()
    await app.deliver()
    app.receiver.answers["/a"] = answering(410)
    await app.change()
    await app.deliver()
    await app.change()  # while it is disabled, nothing is queued for it
    app.receiver.answers.clear()
    app.receiver.received.clear()
    async with app.database.transaction() as tx:
        owner = await app.project(tx)
        await enable_endpoint(tx, owner, one, WHY, at=app.now)
        assert await resend_since(tx, owner, one, app.now - timedelta(days=3000), WHY, at=app.now) == 2
    await app.deliver()
    assert app.versions("/a") == [2, 3]
    messages = dict(await app.rows(outbox_table, "version", "id"))
    async with app.database.transaction() as tx:
        await resend_message(tx, owner, one, messages[1], WHY, at=app.now)
    await app.deliver()
    assert app.receiver.at("/a")[-1].headers["webhook-id"] == messages[1]
    assert set(await app.rows(delivery, "state", "status")) == {("delivered", 204)}


async def test_without_a_key_nothing_is_sent_and_nothing_lost(app: App, database: Database) -> None:
    """A worker whose SECRET_KEY was forgotten leaves the queue alone; one that has it goes on."""
    await app.listens("/a")
    await app.change()
    keyless = Courier(database, SystemClock(), Signer(()), app.courier.post, 4)
    await keyless.run(asyncio.Event())
    assert app.receiver.received == []
    await app.deliver()
    assert app.versions("/a") == [1]


async def test_old_messages_are_forgotten(app: App) -> None:
    """Delivered ones after 30 days, given up ones after 90; never one that is pending."""
    await app.listens("/a")
    await app.listens("/b")
    await app.change()
    app.receiver.answers["/b"] = answering(500)
    await app.deliver()
    await app.hours_pass(24 * 31)
    async with app.database.transaction() as tx:
        await deliveries.prune(tx, keep_delivered=timedelta(days=30), keep_given_up=timedelta(days=90))
        await outbox.prune(tx, timedelta(days=30))
    assert await app.rows(delivery, "state") == [("pending",)]
    assert await app.rows(outbox_table, "version") == [(1,)]
    async with app.database.transaction() as tx:
        await tx.execute(update(delivery).values(state="given_up", next_attempt_at=None, settled_at=func.now()))
    for days, kept in ((60, 1), (31, 0)):
        await app.hours_pass(24 * days)
        async with app.database.transaction() as tx:
            await deliveries.prune(tx, keep_delivered=timedelta(days=30), keep_given_up=timedelta(days=90))
            await outbox.prune(tx, timedelta(days=30))
        assert len(await app.rows(delivery, "state")) == len(await app.rows(outbox_table, "version")) == kept


async def test_a_message_about_an_endpoint_waits_for_no_customer(app: App) -> None:
    """A test message, which is of no customer, is tried again like any other and holds nothing up."""
    one = await app.listens("/a")
    app.receiver.answers["/a"] = answering(500)
    async with app.database.transaction() as tx:
        await send_test(tx, await app.project(tx), one, at=app.now)
    await app.deliver()
    app.receiver.answers.clear()
    await app.change()
    await app.deliver()
    assert [one.said["type"] for one in app.receiver.at("/a")] == ["endpoint.test", "customer.changed"]
    await app.hours_pass(1)
    await app.deliver()
    assert await app.rows(delivery, "state", "attempts") == [("delivered", 2), ("delivered", 1)]


async def test_an_endpoint_has_its_share_and_no_more(app: App) -> None:
    """However much waits for it and whoever asks; half of it while every attempt fails."""
    await app.listens("/a")
    for number in range(5):
        await app.change(await app.customer(f"user {number}"))

    async def claimed() -> int:
        async with app.database.transaction() as tx:
            return len(await deliveries.claim(tx, limit=100, lease=timedelta(minutes=1)))

    assert [await claimed(), await claimed()] == [deliveries.AT_ONCE, 0]
    await app.hours_pass(1)
    async with app.database.transaction() as tx:
        await tx.execute(update(notification_endpoint).values(failing_since=func.now()))
    assert [await claimed(), await claimed()] == [1, 0]
