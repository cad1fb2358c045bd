"""tollhouse.testing: the fakes behave as the service does, through the clients' own code."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tollhouse import (
    AsyncTollhouse,
    Catalog,
    Feature,
    Metrics,
    NotFound,
    Price,
    Product,
    Tollhouse,
    Unreachable,
    allow,
    last_known_good,
)
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse, OpenedPortal
from tollhouse.wire import decode

PAY = {"success_url": "https://app.test/thanks", "cancel_url": "https://app.test/pricing"}
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
MONTHLY = Price("pdf-tool.pro.monthly", 900, "eur", "month", 1, None)
CATALOG = Catalog(
    "pdf-tool",
    1,
    (Feature("premium_export", "Premium export", "switch"), Feature("pages_per_day", "Pages", "limit", "max")),
    (Product("pro", "Pro", "plan", {"premium_export": True, "pages_per_day": math.inf}, None, (MONTHLY,)),),
)


class Awaited:
    """An AsyncFakeTollhouse whose calls are awaited on the spot; what the test tells it is plain anyway."""

    def __init__(self, fake: AsyncFakeTollhouse, runner: asyncio.Runner) -> None:
        self._fake, self._runner = fake, runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fake, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: self._runner.run(found(*args, **kwargs))

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._fake, name, value)


@pytest.fixture(params=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    with asyncio.Runner() as runner:
        if request.param == "blocking":
            yield FakeTollhouse
        else:
            yield lambda *args, **kwargs: Awaited(AsyncFakeTollhouse(*args, **kwargs), runner)


@pytest.fixture
def fake(make: Callable[..., Any]) -> Any:
    return make()


def test_the_fakes_are_clients() -> None:
    """An app that takes a Tollhouse takes the fake, for the type checker too."""
    assert isinstance(FakeTollhouse(), Tollhouse)
    assert isinstance(AsyncFakeTollhouse(), AsyncTollhouse)


def test_users_may_what_the_test_allows(fake: Any) -> None:
    """Nothing is allowed until said, and each word raises the version."""
    assert not fake.check("ada", "premium_export")
    fake.allow("ada", "premium_export")
    fake.allow("ada", "pages_per_day", math.inf)
    assert fake.check("ada", "premium_export").value is True
    assert fake.check("ada", "pages_per_day").value == math.inf
    assert not fake.check("bob", "premium_export")
    fake.deny("ada", "premium_export")
    denied = fake.check("ada", "premium_export")
    assert (denied.allowed, denied.value, denied.reason, denied.version) == (False, False, "no-source", 3)


def test_a_limit_of_nothing_is_denied(fake: Any) -> None:
    """As in production, a value of 0 is not allowed."""
    fake.allow("ada", "pages_per_day", 0)
    assert not fake.check("ada", "pages_per_day")


def test_access_ends_when_told(make: Callable[..., Any]) -> None:
    """`until` is judged by the test's own clock; the end itself is outside."""
    now = [NOW]
    fake = make(now=lambda: now[0])
    fake.allow("ada", "premium_export", until=NOW + timedelta(days=1))
    assert fake.check("ada", "premium_export").valid_until == NOW + timedelta(days=1)
    assert not fake.explain("ada", "premium_export", at=NOW + timedelta(days=1))
    now[0] += timedelta(days=1)
    check = fake.check("ada", "premium_export")
    assert (check.allowed, check.valid_until, check.checked_at) == (False, None, now[0])


def test_undeclared_features_do_not_exist(make: Callable[..., Any]) -> None:
    """A mistyped feature fails in the app's tests as it would in production."""
    fake = make(["premium_export", "api"])
    assert fake.check("ada", "premium_exprot").reason == "feature-not-found"
    with pytest.raises(NotFound):
        fake.explain("ada", "premium_exprot")
    for tell in (fake.allow, fake.deny):
        with pytest.raises(ValueError, match="not declared: premium_export, api"):
            tell("ada", "premium_exprot")
    assert list(fake.entitlements("ada")) == ["premium_export", "api"]
    assert [feature.code for feature in fake.catalog().features] == ["premium_export", "api"]


def test_metrics_are_what_the_test_says(fake: Any, examples: Any) -> None:
    """Of what was earned, the rows that begin in the time that is asked for."""
    row = decode(Metrics, examples["metrics"]).rows[0]
    fake.earned.append(row)
    told = fake.metrics(start=date(2026, 11, 1), end=row.ends_at, interval="month")
    assert (told.rows, told.interval, told.ends_at) == ((row,), "month", row.ends_at)
    assert fake.metrics(start=date(2026, 12, 1), end=date(2027, 1, 1)).rows == ()
    assert fake.metrics().interval == "total"


def test_everybody_has_the_default_product(make: Callable[..., Any]) -> None:
    """A floor, also for who was never heard of: what is allowed counts where it is as much, and ends before it."""
    free = Product("free", "Free", "plan", {"premium_export": False, "pages_per_day": 3}, None, ())
    catalog = replace(CATALOG, products=(*CATALOG.products, free), default_product="free")
    fake = make(catalog=catalog, now=lambda: NOW)
    everybodys = fake.check("ada", "pages_per_day")
    assert (everybodys.value, everybodys.reason, everybodys.source) == (3, "default", "free")
    assert (everybodys.version, everybodys.valid_until) == (0, None)
    assert not fake.check("ada", "premium_export")
    fake.allow("ada", "pages_per_day", 2)
    assert fake.check("ada", "pages_per_day").value == 3
    fake.allow("ada", "pages_per_day", 500, until=NOW + timedelta(days=1))
    more = fake.check("ada", "pages_per_day")
    assert (more.value, more.reason, more.valid_until) == (500, "granted", NOW + timedelta(days=1))
    assert fake.explain("ada", "pages_per_day", at=NOW + timedelta(days=1)).value == 3
    fake.deny("ada", "pages_per_day")
    assert not fake.check("ada", "pages_per_day")
    fake.allow("ada", "pages_per_day", 3)
    assert fake.check("ada", "pages_per_day").reason == "granted"


def test_a_customer_has_what_was_allowed(fake: Any) -> None:
    """An unknown user is a customer with nothing, not an error."""
    fake.allow("ada", "premium_export")
    assert fake.customer("ada").entitlements["premium_export"]
    assert fake.explain("ada", "premium_export").rule == "granted"
    stranger = fake.customer("bob")
    assert (stranger.version, stranger.entitlements["premium_export"].allowed, stranger.subscriptions) == (0, False, ())


def test_checkouts_are_recorded_and_completed(fake: Any) -> None:
    """The whole purchase: opened once, pending while open, paid by the test, then owned."""
    checkout = fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY, quantity=2, email="ada@x.test")
    again = fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    assert (checkout.outcome, again.outcome) == ("new", "pending")
    assert again.url == checkout.url
    (opened,) = fake.checkouts
    assert (opened.id, opened.user_id, opened.quantity, opened.email) == (checkout.id, "ada", 2, "ada@x.test")
    assert (opened.trial_days, opened.success_url) == (None, PAY["success_url"])
    assert not fake.checkout(checkout.id).paid

    fake.complete(checkout, {"premium_export": True})
    synced = fake.sync_checkout(checkout.id)
    assert synced.checkout.paid
    assert synced.customer.entitlements["premium_export"]
    assert fake.checkout(checkout.id) == synced.checkout
    assert fake.sync_customer("ada").entitlements["premium_export"]
    owned = fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    assert (owned.outcome, owned.id, owned.url) == ("already_owned", None, None)
    assert fake.open_checkout("bob", "pdf-tool.pro.monthly", **PAY).outcome == "new"


def test_a_catalog_says_what_a_purchase_opens(make: Callable[..., Any]) -> None:
    """With the app's catalog, completing a checkout opens its product, and unknown prices are refused."""
    fake = make(catalog=CATALOG)
    assert fake.catalog() == CATALOG
    checkout = fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    fake.complete(checkout.id)
    assert fake.check("ada", "pages_per_day").value == math.inf
    with pytest.raises(NotFound) as raised:
        fake.open_checkout("ada", "pdf-tool.pro.weekly", **PAY)
    assert raised.value.code == "price-not-found"


def test_another_plan_of_the_group_is_a_change(make: Callable[..., Any]) -> None:
    """Who has one is led to a page that changes it; confirmed, they have the other, and what it opens, alone."""
    yearly = replace(MONTHLY, lookup_key="pdf-tool.basic.yearly")
    basic = Product("basic", "Basic", "plan", {"pages_per_day": 50}, None, (yearly,))
    fake = make(catalog=replace(CATALOG, products=(*CATALOG.products, basic)))
    fake.complete(fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY))
    change = fake.open_checkout("ada", "pdf-tool.basic.yearly", **PAY)
    assert (change.outcome, change.id, bool(change.url), change.subscription) == ("plan_change", None, True, "sub_ada")
    [asked] = fake.plan_changes
    assert (asked.before, asked.price, asked.url) == ("pdf-tool.pro.monthly", "pdf-tool.basic.yearly", change.url)
    fake.confirm(change)
    assert (bool(fake.check("ada", "premium_export")), fake.check("ada", "pages_per_day").value) == (False, 50)
    assert fake.open_checkout("ada", "pdf-tool.basic.yearly", **PAY).outcome == "already_owned"
    assert fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY).outcome == "plan_change"


def test_portals_are_recorded(fake: Any) -> None:
    """Anyone who ever opened a checkout has a portal; a stranger is told apart."""
    with pytest.raises(NotFound) as raised:
        fake.open_portal("ada", return_url="https://app.test/account")
    assert raised.value.code == "customer-not-found"
    fake.open_checkout("ada", "pdf-tool.pro.monthly", **PAY)
    assert fake.open_portal("ada", return_url="https://app.test/account").url.startswith("http://tollhouse.test/")
    assert fake.portals == [OpenedPortal("ada", "https://app.test/account")]


def test_unknown_checkouts_are_not_found(fake: Any) -> None:
    """A return page called with a made-up id gets the error it would get in production."""
    for call in (fake.checkout, fake.sync_checkout):
        with pytest.raises(NotFound) as raised:
            call("chk_9")
        assert raised.value.code == "checkout-not-found"


def test_an_app_can_rehearse_an_outage(fake: Any) -> None:
    """While unreachable, what was asked before stands, of others nothing is known, and other calls fail at once."""
    fake.allow("ada", "premium_export")
    fake.allow("bob", "premium_export")
    assert fake.check("ada", "premium_export").freshness == "live"
    fake.reachable = False
    assert (bool(known := fake.check("ada", "premium_export")), known.freshness) == (True, "cached")
    unknown = fake.check("bob", "premium_export")
    assert (unknown.allowed, unknown.reason, unknown.freshness) == (False, "outage-deny", "fallback")
    with pytest.raises(Unreachable):
        fake.customer("ada")
    fake.reachable = True
    assert fake.check("bob", "premium_export")


def test_an_outage_that_lasts_comes_under_the_apps_policies(make: Callable[..., Any]) -> None:
    """`passes` is time for the copies too, and for what is allowed until an instant."""
    policies = {"batch": allow, "*": last_known_good(timedelta(days=3))}
    fake = make(["premium_export", "api", "batch"], outage=policies)
    fake.allow("ada", "premium_export")
    fake.allow("ada", "api", until=datetime.now(UTC) + timedelta(days=1))
    assert all(fake.check("ada", feature) for feature in ("premium_export", "api"))
    fake.reachable = False
    fake.passes(days=2)
    assert fake.check("ada", "premium_export").freshness == "stale"
    assert not fake.check("ada", "api")
    assert fake.check("ada", "batch").reason == "outage-allow"
    fake.passes(days=1, minutes=1)
    assert fake.check("ada", "premium_export").reason == "outage-deny"
    fake.reachable = True
    assert fake.check("ada", "premium_export").freshness == "live"


def test_an_app_that_restarts_in_an_outage_knows_nothing(fake: Any) -> None:
    """What the process knew is gone; what the service knows is not."""
    fake.allow("ada", "premium_export")
    assert fake.check("ada", "premium_export")
    fake.reachable = False
    fake.restarts()
    assert fake.check("ada", "premium_export").freshness == "fallback"
    fake.reachable = True
    assert fake.check("ada", "premium_export")


def test_no_file_outlives_a_test(make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the app's environment names one."""
    monkeypatch.setenv("TOLLHOUSE_SNAPSHOT_FILE", str(tmp_path / "snapshots"))
    fake = FakeTollhouse()
    fake.allow("ada", "premium_export")
    assert fake.check("ada", "premium_export")
    fake.close()
    assert list(tmp_path.iterdir()) == []


def test_a_value_is_of_its_features_kind(make: Callable[..., Any]) -> None:
    """A limit is no switch, where the catalog says what is what; what is not allowed is worth False or 0."""
    fake = make(catalog=Path(__file__).parents[2] / "examples" / "demo" / "pdf-tool.toml")
    assert fake.check("ada", "premium_export").value is False
    assert fake.check("ada", "pages_per_day").value == 0
    with pytest.raises(ValueError, match="'pages_per_day' is a limit: True is no value of it"):
        fake.allow("ada", "pages_per_day")
    with pytest.raises(ValueError, match="'premium_export' is a switch: 5"):
        fake.allow("ada", "premium_export", 5)


def test_odd_user_ids_reach_the_fake_unchanged(fake: Any) -> None:
    """Slashes, dots and spaces take the same way as over the network."""
    for user_id in ("guild/42", "..", "a b?c", "Łukasz"):
        fake.allow(user_id, "premium_export")
        assert fake.customer(user_id).user_id == user_id
        assert fake.check(user_id, "premium_export")
