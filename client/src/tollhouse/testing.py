"""A Tollhouse in memory, for an app's own tests: the real clients, with a stand-in service in place of the network.

Requests, answers and errors pass through the same code as in production; what the service knows is told by the test.

```
fake = FakeTollhouse()
fake.allow("ada", "premium_export")
assert fake.check("ada", "premium_export")
```

What is told is seen by the very next check. In place of the stream, each check asks; all else is as in production.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx

from .answers import (
    Catalog,
    Check,
    Checkout,
    CheckoutStatus,
    Contact,
    Customer,
    Entitlements,
    Feature,
    Metrics,
    MetricsRow,
    PlanChange,
    Portal,
    Synced,
    Value,
)
from .catalog_file import read_catalog
from .client import AsyncTollhouse, Tollhouse
from .explanations import Explanation
from .fake_subscriptions import FakeProblem, FakeSubscriptions
from .fake_user import FakeUser
from .local_copy import LocalCopy
from .opened import OpenedCheckout as OpenedCheckout
from .opened import OpenedPlanChange as OpenedPlanChange
from .opened import OpenedPortal as OpenedPortal
from .outage import Policies, last_known_good
from .snapshots import Snapshot, SnapshotFeature
from .wire import encode

_URL = "http://tollhouse.test"
_KEY = "tollhouse_fake"
_AT_ONCE: dict[str, Any] = {"retries": 0, "stream": False, "poll_interval": 0, "snapshot_file": ""}
"""No stream and no file, and each check asks: what the test says is seen at once, and nothing outlives the test."""


class FakeService(ABC):
    """What the test says and sees; both fakes have all of it.

    `checkouts`, `plan_changes` and `portals` record what the app opened, in order; what is put into `earned` is what
    `metrics` tells.
    While `reachable` is False, checks are answered from what was asked before and by the outage policy, and other calls
    raise Unreachable.
    """

    _copy: LocalCopy

    def __init__(
        self,
        features: Iterable[str] = (),
        *,
        catalog: Catalog | str | os.PathLike[str] | None = None,
        outage: Policies = last_known_good(),  # noqa: B008 - it is a value that does not change
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`features` or a `catalog`, itself or its file, declare what exists: nothing else does, as in production.

        With neither, every feature and price exists. `outage` is the client's; `now` tells the time by which answers
        age and end.
        """
        declared = tuple(Feature(code, code, "switch") for code in features)
        if catalog is not None and not isinstance(catalog, Catalog):
            catalog = read_catalog(catalog)
        self._catalog = catalog or Catalog("fake", 1, declared, ())
        self._kinds = {feature.code: feature.kind for feature in self._catalog.features}
        """Of a feature that nobody declared, as it looks: with a number, it is a limit."""
        self._kinds_are_declared = catalog is not None
        default = self._catalog.default_product
        self._free = next((product for product in self._catalog.products if product.code == default), None)
        self._prices = {price.lookup_key: product for product in self._catalog.products for price in product.prices}
        self._given_now, self._ahead = now, timedelta(0)
        self._users: dict[str, FakeUser] = {}
        self._statuses: dict[str, CheckoutStatus] = {}
        self._contacts: dict[str, Contact] = {}
        self._subscriptions = FakeSubscriptions(self._catalog, self.allow, self.deny, self._now)
        self.checkouts: list[OpenedCheckout] = []
        self.plan_changes: list[OpenedPlanChange] = []
        self.portals: list[OpenedPortal] = []
        self.earned: list[MetricsRow] = []
        self.reachable = True
        self._connect(httpx.MockTransport(self._handle), outage)

    @abstractmethod
    def _connect(self, transport: httpx.MockTransport, outage: Policies) -> None: ...

    def allow(self, user_id: str, feature: str, value: Value = True, *, until: datetime | None = None) -> None:
        """From now on the user may use the feature; `until` (aware) ends it."""
        self._declared(feature)
        kind = "switch" if isinstance(value, bool) else "limit"
        if self._kinds_are_declared and kind != self._kinds[feature]:
            raise ValueError(f"{feature!r} is a {self._kinds[feature]}: {value!r} is no value of it")
        self._kinds[feature] = kind
        user = self._user(user_id)
        user.allow(feature, value, until)

    def deny(self, user_id: str, feature: str) -> None:
        """From now on the user may not use the feature, also where the catalog's default product opens it.

        Features never allowed are denied anyway.
        """
        self._declared(feature)
        user = self._user(user_id)
        user.deny(feature)

    def passes(self, **by: float) -> None:
        """Time goes on, by what `timedelta` takes: `fake.passes(days=31)`."""
        self._ahead += timedelta(**by)

    def restarts(self) -> None:
        """The app's process begins anew: what it knew of its users is gone, the service's memory is not."""
        for user_id in list(self._copy.held):
            self._copy.forget(user_id)

    def complete(
        self,
        checkout: Checkout | CheckoutStatus | OpenedCheckout | str,
        opens: Mapping[str, Value] | None = None,
        *,
        until: datetime | None = None,
    ) -> CheckoutStatus:
        """Pay an opened checkout, as its user would on Stripe's page.

        `opens` says what that gives the user, by feature; without it, what the product of the catalog opens.
        """
        status = self._statuses[checkout if isinstance(checkout, str) else str(checkout.id)]
        product = self._prices.get(status.price)
        for feature, value in (opens if opens is not None else product.opens if product else {}).items():
            self.allow(status.user_id, feature, value, until=until)
        self._user(status.user_id).owned.add(status.price)
        self._subscriptions.begin(status.user_id, status.price, status.quantity)
        status = replace(status, state="complete", payment_status="paid", url=None)
        self._statuses[status.id] = status
        return status

    def confirm(self, change: Checkout | OpenedPlanChange, opens: Mapping[str, Value] | None = None) -> None:
        """Confirm a change of plan, as its user would on Stripe's page: what the plan before opened is closed.

        `opens` says what the new plan gives, by feature; without it, what its product opens.
        """
        asked = next(one for one in self.plan_changes if one.url == change.url)
        user, before, after = self._user(asked.user_id), self._prices[asked.before], self._prices[asked.price]
        for feature in before.opens:
            self.deny(asked.user_id, feature)
        for feature, value in (after.opens if opens is None else opens).items():
            self.allow(asked.user_id, feature, value)
        user.owned = (user.owned - {asked.before}) | {asked.price}
        self._subscriptions.replace_price(asked.user_id, asked.before, asked.price)

    def _declared(self, feature: str) -> None:
        known = [known.code for known in self._catalog.features]
        if known and feature not in known:
            raise ValueError(f"{feature!r} is not declared: {', '.join(known)}")

    def _user(self, user_id: str) -> FakeUser:
        return self._users.setdefault(user_id, FakeUser())

    def _now(self) -> datetime:
        return self._given_now() + self._ahead

    def _seconds(self) -> float:
        """The same for the client, whose copies age by it."""
        return self._now().timestamp()

    def _asked(self, feature: str) -> None:
        """Where nothing is declared, a feature that somebody asks about exists."""
        if not self._catalog.features:
            self._kinds.setdefault(feature, "switch")

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("the fake is not reachable", request=request)
        self._subscriptions.turn()
        try:
            status, answer = self._route(request)
        except FakeProblem as problem:
            body = {"status": problem.status, "code": problem.code, "detail": problem.detail}
            return httpx.Response(problem.status, json=body, headers={"Content-Type": "application/problem+json"})
        return httpx.Response(status, json=encode(answer))

    def _route(self, request: httpx.Request) -> tuple[int, object]:
        path, _, _ = request.url.raw_path.decode().partition("?")
        match request.method, *map(unquote, path.removeprefix("/v1/").split("/")):
            case method, "customers", user_id, *what:
                return 200, self._route_customer(method, user_id, what, request)
            case "GET", "catalog":
                return 200, self._catalog
            case "GET", "metrics":
                return 200, self._metrics(request.url.params)
            case "POST", "checkouts":
                return self._open_checkout(json.loads(request.content))
            case "GET", "checkouts", checkout_id:
                return 200, self._status(checkout_id)
            case "POST", "checkouts", checkout_id, "sync":
                status = self._status(checkout_id)
                return 200, Synced(status, self._customer(status.user_id))
            case "POST", "portal-sessions":
                return 201, self._open_portal(json.loads(request.content))
        raise NotImplementedError(f"the fake does not know {request.method} {path}")

    def _route_customer(self, method: str, user_id: str, what: list[str], request: httpx.Request) -> object:
        match method, *what:
            case ("GET",) | ("POST", "sync"):
                return self._customer(user_id)
            case "GET", "contact":
                return self._contact(user_id)
            case ("PUT",):
                return self._change_contact(user_id, json.loads(request.content))
            case "GET", "snapshot":
                return self._snapshot(user_id)
            case "GET", "explain":
                return self._explanation(user_id, request.url.params)
            case "POST", ("plan-change" | "cancel" | "resume") as verb:
                return self._change_subscription(user_id, verb, json.loads(request.content))
        raise NotImplementedError(f"the fake does not know {method} {what} of a customer")

    def _snapshot(self, user_id: str) -> Snapshot:
        user, now = self._users.get(user_id, FakeUser()), self._now()
        features = {
            code: SnapshotFeature(kind, tuple(user.stretches(code, self._free, now)))
            for code, kind in self._kinds.items()
        }
        return Snapshot(self._catalog.project, user_id, user.version, self._catalog.version, now, features)

    def _check(self, user_id: str, feature: str, at: datetime) -> Check:
        self._asked(feature)
        try:
            return self._snapshot(user_id).check(feature, at)
        except KeyError:
            raise FakeProblem(404, "feature-not-found", f"The catalog has no feature {feature!r}.") from None

    def _entitlements(self, user_id: str) -> Entitlements:
        snapshot, now = self._snapshot(user_id), self._now()
        return Entitlements(user_id, snapshot.version, now, {code: snapshot.check(code, now) for code in self._kinds})

    def _customer(self, user_id: str) -> Customer:
        entitlements = self._entitlements(user_id)
        held = self._subscriptions.of(user_id)
        return Customer(user_id, entitlements.version, entitlements.checked_at, entitlements, held, (), ())

    def _explanation(self, user_id: str, query: Mapping[str, str]) -> Explanation:
        at = datetime.fromisoformat(query["at"]) if "at" in query else self._now()
        feature = query["feature"]
        check = self._check(user_id, feature, at)
        sentence = "The test allows it." if check else "The test does not allow it."
        until = check.valid_until
        return Explanation(feature, at, check.allowed, check.value, until, check.reason, sentence, until, {}, ())

    def _metrics(self, query: Mapping[str, str]) -> Metrics:
        """The rows that begin in the time asked for, whatever the interval."""
        now = self._now()
        start, end = (_instant(query[name]) if name in query else None for name in ("from", "to"))
        start, end = start or now - timedelta(days=30), end or now
        rows = tuple(row for row in self.earned if start <= row.starts_at < end)
        return Metrics(1, now, start, end, query["interval"], rows)

    def _open_checkout(self, wish: dict[str, Any]) -> tuple[int, Checkout]:
        user_id, price = wish["user_id"], wish["price"]
        if self._prices and price not in self._prices:
            raise FakeProblem(404, "price-not-found", f"The catalog has no price {price!r}.")
        if price in self._user(user_id).owned:
            return 200, Checkout(None, None, "already_owned", None)
        if (before := self._plan_beside(user_id, price)) is not None:
            url = f"{_URL}/change/{len(self.plan_changes) + 1}"
            back = {name: wish[name] for name in ("success_url", "cancel_url")}
            self.plan_changes.append(OpenedPlanChange(url, user_id, before, price, **back))
            return 200, Checkout(None, url, "plan_change", None, f"sub_{user_id}")
        for status in self._statuses.values():
            if (status.user_id, status.price, status.state) == (user_id, price, "open"):
                return 200, Checkout(status.id, status.url, "pending", status.expires_at)
        checkout_id = f"chk_{len(self._statuses) + 1}"
        url, now = f"{_URL}/pay/{checkout_id}", self._now()
        optional = {"trial_days": None, "email": None, "name": None, "currency": None, "discount": None}
        said = {field: str(value) for field, value in wish.items() if field in ("email", "name")}
        if said:
            self._change_contact(user_id, said)
        self.checkouts.append(OpenedCheckout(checkout_id, url, **{**optional, **wish}))
        expires_at = now + timedelta(days=1)
        self._statuses[checkout_id] = CheckoutStatus(
            checkout_id, user_id, price, wish["quantity"], "open", "unpaid", url, now, expires_at
        )
        return 201, Checkout(checkout_id, url, "new", expires_at)

    def _change_subscription(self, user_id: str, verb: str, wish: dict[str, Any]) -> PlanChange | Customer:
        if user_id not in self._users:
            raise FakeProblem(404, "customer-not-found", f"{user_id!r} never opened a checkout.")
        user, before = self._users[user_id], self._subscriptions.prices(user_id)
        done = {}
        if verb == "plan-change":
            done = self._subscriptions.change(user_id, wish)
        else:
            (self._subscriptions.end if verb == "cancel" else self._subscriptions.resume)(user_id, wish)
        user.owned = (user.owned - before) | self._subscriptions.prices(user_id)
        customer = self._customer(user_id)
        return PlanChange(**done, customer=customer) if done else customer

    def _contact(self, user_id: str) -> Contact:
        return self._contacts.get(user_id, Contact(user_id, None, None))

    def _change_contact(self, user_id: str, said: Mapping[str, str]) -> Contact:
        if not said:
            raise FakeProblem(422, "validation-failed", "Say email, name, or both.")
        self._contacts[user_id] = replace(self._contact(user_id), **said)
        return self._contacts[user_id]

    def _plan_beside(self, user_id: str, price: str) -> str | None:
        """The recurring price of the same plan group that the user has; the catalog says what that is."""
        recurring = {one.lookup_key for product in self._catalog.products for one in product.prices if one.interval}
        if price not in recurring:
            return None
        wanted = self._prices[price]
        for owned in sorted(self._user(user_id).owned & recurring):
            product = self._prices[owned]
            if product.code == wanted.code or (wanted.plan_group and product.plan_group == wanted.plan_group):
                return owned
        return None

    def _status(self, checkout_id: str) -> CheckoutStatus:
        if checkout_id not in self._statuses:
            raise FakeProblem(404, "checkout-not-found", f"There is no checkout {checkout_id!r}.")
        return self._statuses[checkout_id]

    def _open_portal(self, wish: dict[str, Any]) -> Portal:
        if wish["user_id"] not in self._users:
            raise FakeProblem(404, "customer-not-found", f"{wish['user_id']!r} never opened a checkout.")
        self.portals.append(OpenedPortal(**wish))
        return Portal(f"{_URL}/portal/{len(self.portals)}")


def _instant(written: str) -> datetime:
    """An instant, or a date's midnight in UTC."""
    moment = datetime.fromisoformat(written)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class FakeTollhouse(FakeService, Tollhouse):
    """Give it to the app in place of a Tollhouse."""

    def _connect(self, transport: httpx.MockTransport, outage: Policies) -> None:
        Tollhouse.__init__(self, _URL, _KEY, **_AT_ONCE, outage=outage, transport=transport)
        self._copy.clock = self._seconds

    def check(self, user_id: str, feature: str, *, at_least: int | None = None) -> Check:
        """As Tollhouse.check; where nothing is declared, a feature exists as soon as it is asked about."""
        self._asked(feature)
        return super().check(user_id, feature, at_least=at_least)


class AsyncFakeTollhouse(FakeService, AsyncTollhouse):
    """Give it to the app in place of an AsyncTollhouse."""

    def _connect(self, transport: httpx.MockTransport, outage: Policies) -> None:
        AsyncTollhouse.__init__(self, _URL, _KEY, **_AT_ONCE, outage=outage, transport=transport)
        self._copy.clock = self._seconds

    async def check(self, user_id: str, feature: str, *, at_least: int | None = None) -> Check:
        """As AsyncTollhouse.check; where nothing is declared, a feature exists as soon as it is asked about."""
        self._asked(feature)
        return await super().check(user_id, feature, at_least=at_least)
