"""What `change_plan`, `cancel` and `resume` promise, of the service and of the fakes alike."""

import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tollhouse import ApiError, Tollhouse
from tollhouse.catalog_file import read_catalog
from tollhouse.testing import AsyncFakeTollhouse, FakeTollhouse
from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.testing import RunningService, World, running_service

from .stage import Blocking, RunningLoop

FILE = """
project = "plans"
name = "Plans"
redirect_origins = ["https://app.test"]
[features]
export = { name = "Export" }
pages = { name = "Pages", kind = "limit" }
[products.pro]
name = "Pro"
plan_group = "plan"
opens = { export = true, pages = 500 }
prices = { monthly = { amount = 900, currency = "eur", interval = "month" } }
[products.team]
name = "Team"
plan_group = "plan"
opens = { export = true, pages = { limit = 1000, per_seat = true } }
prices = { monthly = { amount = 3000, currency = "eur", interval = "month" } }
[products.fonts]
name = "Fonts"
opens = { export = true }
prices = { monthly = { amount = 100, currency = "eur", interval = "month" } }
[products.stamps]
name = "Stamps"
opens = { export = true }
prices = { once = { amount = 100, currency = "eur" } }
"""
PRO, TEAM = "plans.pro.monthly", "plans.team.monthly"
BACK = {"success_url": "https://app.test/", "cancel_url": "https://app.test/"}


@pytest.fixture(scope="module")
def service(sandbox: RunningSandbox, migrated_database: str) -> Iterator[RunningService]:
    """The service itself: elsewhere in these tests the name is a stand-in's."""
    with running_service(sandbox, migrated_database) as running:
        yield running


class Shop:
    """An app with its users, whoever stands behind it: `app` is a Tollhouse, `buys` and `passes_until` tell stories."""

    def __init__(self, app: Any, buys: Callable[[str], object], passes_until: Callable[[Any], object]) -> None:
        self.app, self.buys, self.passes_until = app, buys, passes_until

    def pages(self) -> Any:
        return self.app.check("ada", "pages").value

    def held(self) -> Any:
        return self.app.customer("ada").subscriptions[0]

    def refused(self, call: str, *args: Any, **how: Any) -> tuple[int, str]:
        with pytest.raises(ApiError) as refused:
            getattr(self.app, call)("ada", *args, **how)
        return refused.value.status, refused.value.code


@pytest.fixture(params=["service", "fake", "async fake"])
def shop(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Shop]:
    file = tmp_path / "catalog.toml"
    file.write_text(FILE)
    if request.param == "service":
        world: World = request.getfixturevalue("world")
        app = world.publish(tomllib.loads(FILE))
        ada = world.customer("ada", app)
        yield Shop(app, ada.buys, world.passes_until)
        return
    loop = RunningLoop()
    kind = FakeTollhouse if request.param == "fake" else AsyncFakeTollhouse
    fake: Any = kind(catalog=read_catalog(file))
    client: Any = fake if isinstance(fake, Tollhouse) else Blocking(fake, loop.loop)

    def buys(price: str) -> None:
        fake.complete(client.open_checkout("ada", price, **BACK))

    def passes_until(moment: datetime) -> None:
        fake.passes(seconds=(moment - fake._now()).total_seconds())

    yield Shop(client, buys, passes_until)
    client.close()
    loop.stop()


def test_a_preview_changes_nothing_and_is_what_is_charged(shop: Shop) -> None:
    """What is shown is what a change costs; asked for the plan there is, nothing changes."""
    shop.buys(PRO)
    shown = shop.app.change_plan("ada", TEAM, preview=True)
    assert (shown.outcome, shown.cost.due_now, shown.cost.credit, shown.cost.renewal) == ("preview", 2100, 0, 3000)
    assert sum(line.amount for line in shown.cost.lines) == 2100 and shop.pages() == 500
    done = shop.app.change_plan("ada", TEAM, quantity=2, proration_date=shown.proration_date)
    assert (done.outcome, done.quantity, done.cost) == ("changed", 2, None)
    assert done.customer.subscriptions[0].price == TEAM and shop.pages() == 2000
    assert shop.app.change_plan("ada", TEAM).outcome == "unchanged"
    assert shop.app.change_plan("ada", PRO, quantity=1, preview=True).cost.credit == 5100


def test_a_change_at_the_periods_end(shop: Shop) -> None:
    """Planned, replaced, withdrawn; and at its instant, not before, it takes effect."""
    shop.buys(TEAM)
    turn = shop.held().current_period_end
    shown = shop.app.change_plan("ada", PRO, when="period_end", preview=True)
    assert (shown.cost.due_now, shown.at, shown.proration_date) == (0, turn, None)
    assert shop.app.change_plan("ada", PRO, when="period_end").outcome == "scheduled"
    planned = shop.held().scheduled_change
    assert (planned.price, planned.quantity, planned.at, planned.product) == (PRO, 1, turn, "pro")
    assert shop.app.change_plan("ada", PRO, when="period_end").outcome == "unchanged"
    assert shop.app.change_plan("ada", PRO, quantity=2, when="period_end").outcome == "scheduled"
    assert shop.app.change_plan("ada", TEAM, when="period_end").outcome == "withdrawn"
    shop.app.change_plan("ada", PRO, when="period_end")
    shop.passes_until(turn - timedelta(seconds=1))
    assert shop.pages() == 1000
    shop.passes_until(turn + timedelta(hours=2))
    assert (shop.pages(), shop.held().price, shop.held().scheduled_change) == (500, PRO, None)


def test_ends_are_set_and_taken_back(shop: Shop) -> None:
    """An end takes what was planned with it; twice is no error; what is over stays over."""
    shop.buys(PRO)
    turn = shop.held().current_period_end
    shop.app.change_plan("ada", TEAM, when="period_end")
    for _ in range(2):
        ending = shop.app.cancel("ada").subscriptions[0]
        assert (ending.renews, ending.ends_at, ending.scheduled_change) == (False, turn, None)
    assert shop.refused("change_plan", TEAM) == (409, "subscription-ends")
    for _ in range(2):
        assert shop.app.resume("ada").subscriptions[0].renews
    shop.app.cancel("ada")
    shop.passes_until(turn + timedelta(hours=2))
    assert (shop.held().status, shop.pages()) == ("canceled", 0)
    assert shop.refused("resume") == (409, "subscription-not-live")


def test_ended_now(shop: Shop) -> None:
    """At once, and all it opened is closed."""
    shop.buys(PRO)
    for _ in range(2):
        assert shop.app.cancel("ada", when="now").subscriptions[0].status == "canceled"
    assert not shop.app.check("ada", "export")


def test_refusals(shop: Shop) -> None:
    """Each by the same status and code."""
    for call in (("change_plan", TEAM), ("cancel",), ("resume",)):
        assert shop.refused(*call) == (404, "customer-not-found")
    shop.buys("plans.stamps.once")
    for call in (("change_plan", TEAM), ("cancel",), ("resume",)):
        assert shop.refused(*call) == (409, "no-subscription")
    shop.buys("plans.fonts.monthly")
    assert shop.refused("change_plan", TEAM) == (422, "other-plan-group")
    shop.buys(PRO)
    assert shop.refused("cancel") == (409, "several-subscriptions")
    assert shop.refused("cancel", subscription="sub_none") == (404, "subscription-not-found")
    assert shop.refused("change_plan", "plans.none.monthly") == (404, "price-not-found")
    assert shop.refused("change_plan", "plans.stamps.once") == (422, "price-not-recurring")
    fonts = next(one for one in shop.app.customer("ada").subscriptions if one.product == "fonts")
    left = shop.app.cancel("ada", when="now", subscription=fonts.id).subscriptions
    assert {one.product: one.status for one in left} == {"fonts": "canceled", "pro": "active"}
