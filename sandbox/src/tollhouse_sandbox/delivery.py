"""Webhooks: signed, posted to every endpoint that wants an event, and tried again until it answers 2xx."""

import asyncio
import hashlib
import heapq
import hmac
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import count

from tollhouse_sandbox import api_versions, events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.faults import Faults
from tollhouse_sandbox.posting import Poster, PostError
from tollhouse_sandbox.store import Json
from tollhouse_sandbox.versions import API_VERSION

RETRIES_AFTER = (300, 1800, 7200, 18_000, 36_000, 43_200, 43_200, 43_200, 43_200)
"""Seconds of the account's clock from one failed attempt to the next: about three days in all, as in live mode."""

SCHEDULES: dict[str, Sequence[int]] = {"live": RETRIES_AFTER, "sandbox": (600, 3600, 10_800)}
"""The schedules that have a name: that of live mode, and that of Stripe's sandboxes, three times over a few hours."""

TIMEOUT = 10.0
"""Real seconds an endpoint has to answer."""

AT_ONCE = 8
"""Deliveries under way to one endpoint at the same time; so their order is not guaranteed, as at Stripe."""


def signature(body: bytes, at: int, *secrets: str) -> str:
    """The `Stripe-Signature` header: HMAC-SHA256 over `t.body` with each secret, and a `v0` of an unknown scheme as in
    test mode."""
    signed = f"{at}.".encode() + body
    v1 = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    v0 = hmac.new(b"v0" + secrets[0].encode(), signed, hashlib.sha256).hexdigest()
    return ",".join([f"t={at}", *(f"v1={one}" for one in v1), f"v0={v0}"])


def active_secrets(endpoint: Json, now: int) -> list[str]:
    """The endpoint's secret, and the one before it where it was rolled lately, newest first."""
    return [endpoint["_secret"], *(old["secret"] for old in endpoint["_rolled"] if now < old["until"])]


def _delivery(event: Json, endpoint: Json, **fields: object) -> Json:
    """`next_attempt` is None when there is to be none. Whether a `repeated` one arrives counts for nothing."""
    return {
        "id": "dl_" + ids.token(24),
        "object": "_delivery",
        "event": event["id"],
        "endpoint": endpoint["id"],
        "attempts": [],
        "repeated": False,
        "state": "pending",
        "told": None,
        **fields,
    }


class Deliveries:
    """The deliveries of an account. Each is a stored object: an event, an endpoint, attempts, and the next one's time.

    Attempts run concurrently and await the endpoint; what they found is written in one step afterwards, so an endpoint
    may call the API while it is being called. Faults strike when a delivery is planned, never during an attempt: so
    what they strike does not depend on how quickly an endpoint answers.
    """

    def __init__(self, account: Account, faults: Faults) -> None:
        self._account = account
        self._faults = faults
        self._waiting: dict[str, int] = {}
        # The same in the order of their time, with those besides that no longer wait, or not until then.
        self._queue: list[tuple[int, int, str]] = []
        # Those to be sent after the others, by lot: the lowest first, with those besides that were sent already.
        self._held: list[tuple[float, int, str]] = []
        self._order = count()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._lanes: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._poster = Poster(TIMEOUT)
        account.on_event = self.plan
        account.on_resend = self.resend

    def load(self) -> None:
        """Takes up the deliveries that were waiting when the sandbox was last stopped."""
        for delivery in self._account.store.oldest_first("_delivery"):
            if delivery["next_attempt"] is not None:
                self._wait(delivery["id"], delivery["next_attempt"])

    def _wait(self, delivery_id: str, until: int) -> None:
        self._waiting[delivery_id] = until
        heapq.heappush(self._queue, (until, next(self._order), delivery_id))

    def plan(self, event: Json, data: Json) -> None:
        """Notes a delivery for every endpoint that wants the event, due at once; `data` is in the newest shape."""
        store = self._account.store
        wanting = [
            endpoint
            for endpoint in store.oldest_first("webhook_endpoint")
            if endpoint["status"] == "enabled" and events.wanted(endpoint["enabled_events"], event["type"])
        ]
        if not wanting:
            return
        self._plan_for(event, data, wanting)
        if self._faults.of_event("twin", event["type"]):
            self._plan_for(store.put({**event, "id": ids.new("event")}), data, wanting)

    def _plan_for(self, event: Json, data: Json, endpoints: list[Json]) -> None:
        for endpoint in endpoints:
            if self._faults.of_event("drop", event["type"]):
                told = self._told(event, data, endpoint["api_version"])
                self._account.store.put(_delivery(event, endpoint, told=told, next_attempt=None, state="failed"))
                continue
            self._note(event, data, endpoint)
            if again := self._faults.of_event("duplicate", event["type"]):
                self._note(event, data, endpoint, later=again.seconds, repeated=True)
        self._account.store.change(event, pending_webhooks=len(endpoints))

    def _told(self, event: Json, data: Json, version: str | None) -> Json | None:
        """What is sent instead of what the event itself says; None where that is in this version, or none is named."""
        if version is None or version == event["api_version"]:
            return None
        return {"api_version": version, "data": api_versions.told(self._account, data, version)}

    def _note(self, event: Json, data: Json, endpoint: Json, *, later: float = 0, repeated: bool = False) -> None:
        """One delivery, due `later` seconds from now, or even later if it meets a fault."""
        older = self._faults.of_event("old_shape", event["type"])
        late = self._faults.of_event("delay", event["type"])
        slow = self._faults.of_event("slow_delivery", event["type"])
        behind = self._faults.of_event("reorder", event["type"])
        at = self._account.clock.second() + round(later + (late.seconds if late else 0))
        # Who only lets the clock run has it some seconds after the others; `drain` does not let it wait so long.
        held = behind if at == self._account.clock.second() else None
        delivery = self._account.store.put(
            _delivery(
                event,
                endpoint,
                next_attempt=at + (round(held.seconds) if held else 0),
                slow=slow.seconds if slow else 0,
                repeated=repeated,
                told=self._told(event, data, older.version if older else endpoint["api_version"]),
            )
        )
        self._wait(delivery["id"], delivery["next_attempt"])
        if held:
            heapq.heappush(self._held, (held.draw(), delivery["next_attempt"], delivery["id"]))

    def next_due(self) -> int | None:
        """When the next delivery is due that is not under way already; Unix seconds of the account's clock."""
        while self._queue and self._waiting.get(self._queue[0][2]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def start_due(self) -> None:
        """Starts an attempt for every delivery that is due now."""
        now = self._account.clock.second()
        while (at := self.next_due()) is not None and at <= now:
            self._start(self._queue[0][2])

    def _start(self, delivery_id: str) -> None:
        del self._waiting[delivery_id]
        self._running[delivery_id] = asyncio.create_task(self._attempt(delivery_id))

    def _start_held(self) -> bool:
        """Starts the next of those that let the others go first; whether there was one."""
        while self._held:
            _, at, delivery_id = heapq.heappop(self._held)
            if self._waiting.get(delivery_id) == at:
                self._start(delivery_id)
                return True
        return False

    async def drain(self) -> None:
        """Returns once every delivery that is due has been attempted, those included that the attempts cause, and
        after them, one by one, those that are held back."""
        self.start_due()
        while self._running or self._start_held():
            await asyncio.wait(self._running.values())
            self.start_due()

    async def _attempt(self, delivery_id: str) -> None:
        try:
            store = self._account.store
            delivery = store.get("_delivery", delivery_id)
            if delivery is None:  # the sandbox was reset meanwhile
                return
            event = self._account.require("event", delivery["event"])
            endpoint = store.get("webhook_endpoint", delivery["endpoint"])
            if endpoint is None or endpoint["status"] != "enabled":
                self._drop(delivery)
                return
            async with self._lanes[endpoint["id"]]:
                status, error = await self._post(event | (delivery["told"] or {}), endpoint, delivery.get("slow", 0))
            self._record(delivery_id, status, error)
        finally:
            self._running.pop(delivery_id, None)

    def _drop(self, delivery: Json) -> None:
        self._account.store.change(delivery, next_attempt=None, state="failed")
        self._account.store.commit()

    async def _post(self, event: Json, endpoint: Json, slow: float) -> tuple[int | None, str | None]:
        """The status with which the endpoint answered, or what went wrong. Sending takes `slow` real seconds."""
        body = json.dumps(event, indent=2).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            # The receiver compares with its own clock, so this is the wall clock, and new for every attempt.
            "Stripe-Signature": signature(
                body, int(time.time()), *active_secrets(endpoint, self._account.clock.second())
            ),
        }
        try:
            return await self._poster.post(endpoint["url"], headers, body, pause=slow), None
        except PostError as error:
            return None, str(error)

    def _record(self, delivery_id: str, status: int | None, error: str | None) -> None:
        store = self._account.store
        delivery = store.get("_delivery", delivery_id)
        if delivery is None:  # the sandbox was reset meanwhile
            return
        now = self._account.clock.second()
        attempts = [*delivery["attempts"], {"at": now, "status": status, "error": error}]
        delivered = status is not None and 200 <= status < 300
        if delivered:
            store.change(delivery, attempts=attempts, next_attempt=None, state="succeeded")
            event = self._account.require("event", delivery["event"])
            if not delivery["repeated"]:
                store.change(event, pending_webhooks=event["pending_webhooks"] - 1)
        elif len(attempts) <= len(waits := self._retries_after()):
            again = now + waits[len(attempts) - 1]
            store.change(delivery, attempts=attempts, next_attempt=again)
            self._wait(delivery_id, again)
        else:
            store.change(delivery, attempts=attempts, next_attempt=None, state="failed")
        store.commit()

    def _retries_after(self) -> Sequence[int]:
        """Seconds from each failed attempt to the next, as the account's settings have it."""
        chosen = self._account.settings["webhook_retries"]
        return SCHEDULES[chosen] if isinstance(chosen, str) else chosen

    def resend(self, event: Json, endpoint: Json) -> None:
        """Sends an event once more, at once: instead of a delivery that was given up, else beside the one there is."""
        store = self._account.store
        of_event = store.oldest_first("_delivery", event=event["id"])
        there_are = [one for one in of_event if one["endpoint"] == endpoint["id"]]
        now = self._account.clock.second()
        if there_are and there_are[0]["state"] == "failed":
            delivery = store.change(there_are[0], next_attempt=now, state="pending")
        else:
            # An event that was itself told in an older version cannot be rendered anew.
            version = endpoint["api_version"] if event["api_version"] == API_VERSION else None
            told = there_are[0]["told"] if there_are else self._told(event, event["data"], version)
            delivery = store.put(_delivery(event, endpoint, told=told, next_attempt=now, repeated=True))
        self._wait(delivery["id"], now)

    def clear(self) -> None:
        self._waiting.clear()
        self._queue.clear()
        self._held.clear()

    async def close(self) -> None:
        """Gives up what is under way and closes the connections."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._poster.close()
