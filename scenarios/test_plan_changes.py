"""Changes of plan, ends and what takes them back, through the app: what is shown is charged, and nothing is lost."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tollhouse import ApiError, Invalid, NotFound, ServerError, Tollhouse
from tollhouse_server.db.tables import plan_change
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World, WorldCustomer

SHOP: dict[str, Any] = {
    "project": "pdf-tool",
    "name": "PDF Tool",
    "redirect_origins": ["https://app.test"],
    "features": {
        "premium_export": {"name": "Premium export"},
        "pages_per_day": {"name": "Pages per day", "kind": "limit"},
    },
    "products": {
        "pro": {
            "name": "Pro",
            "plan_group": "plan",
            "opens": {"premium_export": True, "pages_per_day": 500},
            "prices": {
                "monthly": {"amount": 900, "currency": "eur", "interval": "month"},
                "yearly": {"amount": 9000, "currency": "eur", "interval": "year"},
                "dollars": {"amount": 900, "currency": "usd", "interval": "month"},
            },
        },
        "team": {
            "name": "Team",
            "plan_group": "plan",
            "opens": {"premium_export": True, "pages_per_day": {"limit": 1000, "per_seat": True}},
            "prices": {"monthly": {"amount": 3000, "currency": "eur", "interval": "month"}},
        },
        "fonts": {
            "name": "Fonts",
            "opens": {"premium_export": True},
            "prices": {"monthly": {"amount": 100, "currency": "eur", "interval": "month"}},
        },
        "stamps": {
            "name": "Stamps",
            "opens": {"premium_export": True},
            "prices": {"once": {"amount": 1000, "currency": "eur"}},
        },
    },
}
PRO, TEAM = "pdf-tool.pro.monthly", "pdf-tool.team.monthly"


@pytest.fixture
def app(world: World) -> Tollhouse:
    return world.publish(SHOP)


@pytest.fixture
def ada(world: World, app: Tollhouse) -> WorldCustomer:
    """A user of the app; she has bought nothing yet."""
    return world.customer("ada", app)


def charged(ada: WorldCustomer) -> list[int]:
    """What was paid, oldest first, in cents."""
    charges = ada.world.stripe.v1.charges.list({"customer": ada.stripe_id}).data
    return [charge.amount for charge in reversed(charges) if charge.status == "succeeded"]


def period_end(ada: WorldCustomer) -> Any:
    return ada.state().subscriptions[0].current_period_end


def test_an_upgrade_costs_what_was_shown(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """A preview changes nothing; minutes later the change charges its amount to the cent, and opens at once."""
    ada.buys(PRO)
    world.passes(days=10)
    shown = app.change_plan("ada", TEAM, preview=True)
    assert shown.outcome == "preview" and shown.cost is not None
    assert shown.cost.due_now == sum(line.amount for line in shown.cost.lines) > 0
    assert (shown.cost.renewal, shown.cost.renews_at) == (3000, period_end(ada))
    assert (charged(ada), ada.may("pages_per_day").value) == ([900], 500)

    world.passes(minutes=20)
    done = app.change_plan("ada", TEAM, proration_date=shown.proration_date)
    assert (done.outcome, done.cost) == ("changed", None)
    assert done.customer.entitlements["pages_per_day"].value == 1000
    assert charged(ada) == [900, shown.cost.due_now]
    assert app.change_plan("ada", TEAM).outcome == "unchanged"
    world.passes_until(shown.cost.renews_at + timedelta(hours=2))
    assert charged(ada) == [900, shown.cost.due_now, 3000]


def test_a_quantity_changes_alone(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """More seats are charged for the rest of the period; the limit follows."""
    ada.buys(TEAM)
    shown = app.change_plan("ada", TEAM, quantity=3, preview=True)
    assert shown.cost is not None and shown.cost.due_now == 6000
    assert app.change_plan("ada", TEAM, quantity=3, proration_date=shown.proration_date).quantity == 3
    assert (charged(ada), ada.may("pages_per_day").value) == ([3000, 6000], 3000)


def test_a_downgrade_now_is_a_credit(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Nothing is charged; what is given back is shown before, and set off against the next bill."""
    ada.buys(TEAM)
    shown = app.change_plan("ada", PRO, preview=True)
    assert shown.cost is not None
    assert (shown.cost.due_now, shown.cost.credit) == (0, 2100)
    app.change_plan("ada", PRO, proration_date=shown.proration_date)
    assert ada.may("pages_per_day").value == 500
    world.passes(days=32)
    assert charged(ada) == [3000]


def test_a_downgrade_at_the_periods_end(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """The old limit holds until that instant, to the second and without any news; then the new one, and its price."""
    ada.buys(TEAM)
    shown = app.change_plan("ada", PRO, when="period_end", preview=True)
    assert shown.cost is not None and (shown.cost.due_now, shown.cost.renewal) == (0, 900)
    done = app.change_plan("ada", PRO, when="period_end")
    turn = period_end(ada)
    assert (done.outcome, done.at) == ("scheduled", turn)
    (planned,) = (one.scheduled_change for one in done.customer.subscriptions)
    assert planned is not None and (planned.price, planned.at, planned.quantity) == (PRO, turn, 1)
    assert ada.may("pages_per_day").value == 1000 and ada.may("pages_per_day").valid_until == turn
    assert app.change_plan("ada", PRO, when="period_end").outcome == "unchanged"

    world.passes_until(turn - timedelta(seconds=1))
    assert ada.may("pages_per_day").value == 1000
    world.service.clock.set(turn)  # Stripe has said nothing yet
    assert (ada.may("pages_per_day").value, ada.may("premium_export").allowed) == (500, True)
    world.passes(hours=2)
    subscription = ada.state().subscriptions[0]
    assert (subscription.price, subscription.scheduled_change) == (PRO, None)
    assert charged(ada) == [3000, 900]


def test_what_is_planned_is_replaced_and_withdrawn(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Asked again it is another plan; asking for the plan there is, or resuming, takes it back."""
    ada.buys(TEAM)
    app.change_plan("ada", PRO, when="period_end")
    app.change_plan("ada", "pdf-tool.pro.yearly", when="period_end")
    planned = ada.state().subscriptions[0].scheduled_change
    assert planned is not None and planned.price == "pdf-tool.pro.yearly"
    assert app.change_plan("ada", TEAM, when="period_end").outcome == "withdrawn"
    assert ada.state().subscriptions[0].scheduled_change is None

    app.change_plan("ada", PRO, when="period_end")
    assert app.resume("ada").subscriptions[0].scheduled_change is None

    app.change_plan("ada", PRO, when="period_end")
    app.change_plan("ada", TEAM, quantity=2)
    subscription = ada.state().subscriptions[0]
    assert (subscription.quantity, subscription.scheduled_change) == (2, None)
    world.passes(days=32)
    assert charged(ada) == [3000, 3000, 6000]


def test_to_a_year_at_the_months_end(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Another interval begins where the month ends, and is charged whole."""
    ada.buys(PRO)
    turn = period_end(ada)
    shown = app.change_plan("ada", "pdf-tool.pro.yearly", when="period_end", preview=True)
    assert shown.at == turn
    app.change_plan("ada", "pdf-tool.pro.yearly", when="period_end")
    world.passes_until(turn + timedelta(hours=2))
    assert charged(ada) == [900, 9000]
    assert period_end(ada) - turn > timedelta(days=364)


def test_a_declined_card_changes_nothing(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Not the plan, not what was planned, not the money; with a good card the same request goes through."""
    ada.buys(PRO)
    app.change_plan("ada", PRO, quantity=2, when="period_end")
    before = ada.state().subscriptions
    ada.card_declines()
    with pytest.raises(ApiError) as refused:
        app.change_plan("ada", TEAM)
    assert (refused.value.status, refused.value.code) == (402, "payment-declined")
    world.arrive()
    assert (ada.state().subscriptions, charged(ada)) == (before, [900])
    ada.pays_with("pm_card_visa")
    assert app.change_plan("ada", TEAM).outcome == "changed"


def test_a_bank_that_asks(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """A payment that the cardholder must confirm changes nothing, and is told as its own problem."""
    ada.buys(PRO)
    ada.pays_with("pm_card_authenticationRequired")
    with pytest.raises(ApiError) as refused:
        app.change_plan("ada", TEAM)
    assert (refused.value.status, refused.value.code) == (402, "authentication-needed")
    assert (ada.state().subscriptions[0].price, charged(ada)) == (PRO, [900])


def test_on_trial(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """A change on trial costs nothing now; the trial goes on, and its end bills the new plan."""
    ada.buys(PRO, trial_days=14)
    shown = app.change_plan("ada", TEAM, preview=True)
    assert shown.cost is not None and (shown.cost.due_now, shown.cost.lines) == (0, ())
    assert (shown.cost.renewal, shown.cost.renews_at) == (3000, period_end(ada))
    app.change_plan("ada", TEAM, proration_date=shown.proration_date)
    assert (ada.state().subscriptions[0].status, ada.may("pages_per_day").value) == ("trialing", 1000)
    world.passes(days=15)
    assert charged(ada) == [3000]


def test_what_is_refused(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Each refusal has its own code, and none does anything."""

    def code(price: str = TEAM, **how: Any) -> tuple[int, str]:
        with pytest.raises(ApiError) as refused:
            app.change_plan("ada", price, **how)
        return refused.value.status, refused.value.code

    assert code() == (404, "customer-not-found")
    ada.buys("pdf-tool.stamps.once")
    assert code() == (409, "no-subscription")
    ada.buys("pdf-tool.fonts.monthly")
    assert code() == (422, "other-plan-group")
    ada.buys(PRO)
    assert code("pdf-tool.none.monthly") == (404, "price-not-found")
    assert code("pdf-tool.stamps.once") == (422, "price-not-recurring")
    assert code("pdf-tool.pro.dollars") == (422, "other-currency")
    ada.cancels(PRO)
    assert code() == (409, "subscription-ends")
    ada.resumes(PRO)
    ada.gets_subscription("pdf-tool.pro.yearly")
    assert code() == (409, "several-subscriptions")
    assert charged(ada) == [1000, 100, 900, 9000]
    ada.cancels("pdf-tool.pro.yearly", now=True)


def test_not_live_or_not_plain(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """A paused subscription changes no plan, and of two lines of the group nobody guesses which is meant."""
    ada.buys(PRO)
    ada.pauses()
    with pytest.raises(ApiError, match="paused") as refused:
        app.change_plan("ada", TEAM)
    assert refused.value.code == "subscription-not-live"
    ada.resumes()
    team = world.stripe.v1.prices.list({"lookup_keys": [TEAM]}).data[0].id
    world.stripe.v1.subscription_items.create({"subscription": ada.subscription().id, "price": team})
    world.arrive()
    with pytest.raises(ApiError) as refused:
        app.change_plan("ada", "pdf-tool.pro.yearly")
    assert refused.value.code == "several-items"


def test_the_other_lines_stay(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Of a subscription with an add-on only the plan's line changes, now and at the period's end."""
    ada.buys(PRO)
    fonts = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.fonts.monthly"]}).data[0].id
    world.stripe.v1.subscription_items.create({"subscription": ada.subscription().id, "price": fonts})
    world.arrive()
    app.change_plan("ada", TEAM, when="period_end")
    world.passes(days=32)
    lines = {item.price.lookup_key for item in ada.subscription(TEAM)["items"].data}
    assert lines == {TEAM, "pdf-tool.fonts.monthly"}


def test_a_coupon_outlasts_a_planned_change(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Stripe drops the discounts that a phase does not name; ours are named."""
    ada.buys(TEAM)
    coupon = world.stripe.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    world.stripe.v1.subscriptions.update(ada.subscription().id, {"discounts": [{"coupon": coupon.id}]})
    app.change_plan("ada", PRO, when="period_end")
    world.passes(days=32)
    assert charged(ada) == [3000, 450]


def test_cancelled_and_resumed(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """At the period's end, twice without an error; taken back, twice too; and then it renews."""
    ada.buys(PRO)
    turn = period_end(ada)
    for _ in range(2):
        assert app.cancel("ada").subscriptions[0].ends_at == turn
    for _ in range(2):
        assert app.resume("ada").subscriptions[0].renews
    world.passes(days=32)
    assert charged(ada) == [900, 900]
    actions = [
        one["action"] for one in world.operator.get("/v1/admin/audit?user_id=ada&project=pdf-tool").json()["data"]
    ]
    assert actions.count("subscription.changed") == 2


def test_cancelled_now(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Access ends at once; it is over, and cannot be resumed."""
    ada.buys(PRO)
    for _ in range(2):
        assert app.cancel("ada", when="now").subscriptions[0].status == "canceled"
    assert not ada.may("premium_export")
    with pytest.raises(ApiError) as refused:
        app.resume("ada")
    assert refused.value.code == "subscription-not-live"


def test_an_end_takes_what_was_planned_with_it(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Cancelled after a downgrade was planned: it ends, and is not downgraded; resumed, nothing is planned any more."""
    ada.buys(TEAM)
    app.change_plan("ada", PRO, when="period_end")
    subscription = app.cancel("ada").subscriptions[0]
    assert (subscription.renews, subscription.scheduled_change) == (False, None)
    subscription = app.resume("ada").subscriptions[0]
    assert (subscription.renews, subscription.price, subscription.scheduled_change) == (True, TEAM, None)


def test_every_way_to_stop_is_taken_back(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """The portal's end (a date only), an end that a schedule sets, a paused collection, a pause."""
    ada.buys(PRO)
    v1, at_stripe = world.stripe.v1, ada.subscription().id
    ada.cancels()
    assert app.resume("ada").subscriptions[0].renews

    schedule = v1.subscription_schedules.create({"from_subscription": at_stripe})
    v1.subscription_schedules.update(schedule.id, {"end_behavior": "cancel"})
    world.arrive()
    assert not ada.state().subscriptions[0].renews
    assert app.resume("ada").subscriptions[0].renews

    v1.subscriptions.update(at_stripe, {"pause_collection": {"behavior": "void"}})
    world.arrive()
    app.resume("ada")
    assert v1.subscriptions.retrieve(at_stripe).pause_collection is None

    ada.pauses()
    assert ada.state().subscriptions[0].status == "paused"
    assert app.resume("ada").subscriptions[0].status == "active"
    assert ada.may("premium_export")


def test_which_one_is_meant(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Of several subscriptions one must be named; somebody else's is not found."""
    with pytest.raises(NotFound):
        app.cancel("ada")
    ada.buys(PRO)
    ada.buys("pdf-tool.fonts.monthly")
    with pytest.raises(ApiError) as refused:
        app.cancel("ada")
    assert refused.value.code == "several-subscriptions"
    fonts = next(one for one in ada.state().subscriptions if one.product == "fonts")
    left = app.cancel("ada", subscription=fonts.id, when="now").subscriptions
    assert {one.product: one.status for one in left} == {"pro": "active", "fonts": "canceled"}
    with pytest.raises(NotFound) as unknown:
        app.resume("ada", subscription="sub_another")
    assert unknown.value.code == "subscription-not-found"


def test_a_proration_date_outside_the_period(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Stripe refuses to reckon as of another period, and nothing is changed."""
    ada.buys(PRO)
    with pytest.raises(Invalid) as refused:
        app.change_plan("ada", TEAM, proration_date=period_end(ada) + timedelta(days=40))
    assert refused.value.code == "upstream-refused"
    assert ada.state().subscriptions[0].price == PRO


def rows(world: World) -> list[tuple[str, str]]:
    """Each change's verb and state, oldest first."""

    async def read(resources: Resources) -> list[tuple[str, str]]:
        async with resources.database.transaction() as tx:
            found = await tx.execute(select(plan_change).order_by(plan_change.c.created_at))
            return [(row.verb, row.state) for row in found]

    return world.service.run(read)


def test_an_upgrade_whose_answer_is_lost(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Charged once; asked again it is so already, the next change goes ahead, and the row says what became of it."""
    ada.buys(PRO)
    path = f"/v1/subscriptions/{ada.subscription().id}"
    world.sandbox.fail_next(500, path=path, method="POST", times=3, after=True)
    with pytest.raises(ServerError):
        app.change_plan("ada", TEAM)
    world.sandbox.clear_faults()
    assert app.change_plan("ada", TEAM).outcome == "unchanged"
    assert (charged(ada), rows(world)) == ([900, 2100], [("change_now", "opening")])
    app.change_plan("ada", PRO, when="period_end")
    assert rows(world) == [("change_now", "done"), ("change_later", "done")]


def test_an_upgrade_that_stripe_never_did(world: World, app: Tollhouse, ada: WorldCustomer) -> None:
    """Nothing is charged, nobody is blocked for longer than minutes, and then it can be asked for again."""
    ada.buys(PRO)
    path = f"/v1/subscriptions/{ada.subscription().id}"
    world.sandbox.fail_next(500, path=path, method="POST", times=99)
    with pytest.raises(ServerError):
        app.change_plan("ada", TEAM)
    world.sandbox.clear_faults()
    with pytest.raises(ApiError) as refused:
        app.change_plan("ada", TEAM, quantity=2)
    assert refused.value.code == "change-in-progress"
    world.passes(minutes=5)
    assert (charged(ada), rows(world)) == ([900], [("change_now", "refused")])
    assert app.change_plan("ada", TEAM).outcome == "changed"
