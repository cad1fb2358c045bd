"""A subscriber who wants another plan is shown what it costs, and has one subscription throughout."""

from typing import Any

import httpx
import pytest

from tollhouse import Checkout, Tollhouse
from tollhouse_server.testing import NO_TLS, World

HOME = "https://app.test/"
BASIC: dict[str, Any] = {
    "name": "PDF Tool Basic",
    "plan_group": "plan",
    "opens": {"pages_per_day": 50},
    "prices": {"monthly": {"amount": 400, "currency": "eur", "interval": "month"}},
}
TEAM: dict[str, Any] = {
    "name": "PDF Tool Team",
    "plan_group": "plan",
    "opens": {"premium_export": True, "pages_per_day": {"limit": 500, "per_seat": True}},
    "prices": {
        "monthly": {"amount": 700, "currency": "eur", "interval": "month"},
        "dollars": {"amount": 800, "currency": "usd", "interval": "month"},
    },
}


@pytest.fixture
def pdf_tool(world: World, pdf_tool_document: dict[str, Any]) -> Tollhouse:
    """With a smaller plan and one by seats in the group."""
    products = pdf_tool_document["products"] | {"basic": BASIC, "team": TEAM}
    return world.publish(pdf_tool_document | {"products": products})


def asks(app: Tollhouse, price: str, user: str = "ada", **asked: Any) -> Checkout:
    return app.open_checkout(user, price, success_url=f"{HOME}welcome", cancel_url=HOME, **asked)


def test_an_upgrade_in_the_middle_of_the_month(world: World, pdf_tool: Tollhouse) -> None:
    """After 10 days of Basic, Ada asks for Pro: the page says what is due, and then Pro is open."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.basic.monthly")
    world.passes(days=10)
    change = asks(pdf_tool, "pdf-tool.pro.monthly")
    assert (change.outcome, change.id, change.subscription) == ("plan_change", None, ada.subscription().id)
    page = httpx.get(str(change.url), verify=NO_TLS, trust_env=False)
    assert page.status_code == 200 and "PDF Tool Pro" in page.text and "\u20ac3.3" in page.text, page.text
    assert not ada.may("premium_export"), "nothing changes before it is confirmed"

    assert ada.confirms_plan("pdf-tool.pro.monthly") == f"{HOME}welcome"
    assert ada.may("premium_export") and ada.may("pages_per_day").value == 500
    [one] = ada.state().subscriptions
    assert (one.price, one.status) == ("pdf-tool.pro.monthly", "active")
    assert asks(pdf_tool, "pdf-tool.pro.monthly").outcome == "already_owned"


def test_before_the_webhook_a_change_is_seen_too(world: World, pdf_tool: Tollhouse) -> None:
    """Confirmed in one tab, asked again in the other while Stripe is silent: nobody is led to change it twice."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.basic.monthly")
    world.hold_webhooks()
    ada.confirms_plan("pdf-tool.pro.yearly")
    assert asks(pdf_tool, "pdf-tool.pro.yearly").outcome == "already_owned"
    assert asks(pdf_tool, "pdf-tool.pro.monthly").outcome == "plan_change"


def test_an_open_page_is_closed_before_a_change_is_offered(world: World, pdf_tool: Tollhouse) -> None:
    """A payment page that is still open beside a subscription made at Stripe can be paid on no more."""
    open_page = asks(pdf_tool, "pdf-tool.pro.monthly")
    ada = world.customer("ada")
    ada.gets_subscription("pdf-tool.basic.monthly")
    assert asks(pdf_tool, "pdf-tool.pro.monthly").outcome == "plan_change"
    assert pdf_tool.checkout(str(open_page.id)).state == "expired"


def test_seats_are_kept(world: World, pdf_tool: Tollhouse) -> None:
    """Who asks for a plan by seats keeps the seats they have, or gets as many as they ask for; a flat one has none."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.team.monthly", quantity=5)
    assert ada.may("pages_per_day").value == 2500
    assert asks(pdf_tool, "pdf-tool.pro.monthly").outcome == "already_owned", "five of a flat plan is nobody's wish"
    grace = world.customer("grace")
    grace.buys("pdf-tool.basic.monthly")
    grace.confirms_plan("pdf-tool.team.monthly", quantity=3)
    assert grace.may("pages_per_day").value == 1500


@pytest.mark.parametrize("why", ["cancelled", "owes", "paused", "currency", "once", "the same again"])
def test_where_no_change_is_offered(world: World, pdf_tool: Tollhouse, why: str) -> None:
    """`already_owned` for what somebody has to settle first, in the portal, and for what is no change of this plan."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.basic.monthly")
    wanted = {"currency": "pdf-tool.team.dollars", "the same again": "pdf-tool.basic.monthly"}
    match why:
        case "cancelled":
            ada.cancels()
        case "owes":
            ada.card_declines()
            world.passes(days=32)
            assert ada.state().subscriptions[0].status == "past_due"
        case "paused":
            ada.pauses()
        case "once":
            assert asks(pdf_tool, "pdf-tool.lifetime.once").outcome == "new", "in no group, it may be bought beside"
            return
    opened = asks(pdf_tool, wanted.get(why, "pdf-tool.pro.monthly"))
    assert (opened.outcome, opened.url, opened.subscription) == ("already_owned", None, None)


def test_in_the_portal_plans_change_within_the_group(world: World, pdf_tool: Tollhouse) -> None:
    """The portal offers the other plans of the group, as the catalog has them now, and nothing of another group."""
    ada = world.customer("ada")
    ada.buys("pdf-tool.basic.monthly")
    before = pdf_tool.open_portal("ada", return_url=HOME).url
    price = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.pro.monthly"]}).data[0].id
    changes = f"{before}/change/{ada.subscription().id}"
    assert price in httpx.get(changes, verify=NO_TLS, trust_env=False).text

    document = world.operator.get("/v1/admin/projects/pdf-tool/catalog").json()
    document["products"]["pro"]["plan_group"] = "another"
    assert world.operator.put("/v1/admin/projects/pdf-tool/catalog", json=document).is_success
    assert price not in httpx.get(changes, verify=NO_TLS, trust_env=False).text, "also for who is in it already"


def test_who_has_plans_of_two_groups_changes_none_in_the_portal(
    world: World, pdf_tool_document: dict[str, Any]
) -> None:
    """Else each could be changed to the other's; a checkout still leads to the page of the right one."""
    extra = {"plan_group": "extra", "opens": {"pages_per_day": 5}}
    amount = {"currency": "eur", "interval": "month"}
    prices = {"small": {"amount": 100, **amount}, "big": {"amount": 200, "interval": "year", "currency": "eur"}}
    products = pdf_tool_document["products"] | {"basic": BASIC, "extra": extra | {"prices": prices}}
    pdf_tool = world.publish(pdf_tool_document | {"products": products})
    ada = world.customer("ada", pdf_tool)
    ada.buys("pdf-tool.basic.monthly")
    ada.buys("pdf-tool.extra.small")
    page = httpx.get(pdf_tool.open_portal("ada", return_url=HOME).url, verify=NO_TLS, trust_env=False)
    assert page.status_code == 200 and "/change/" not in page.text
    assert asks(pdf_tool, "pdf-tool.extra.big").outcome == "plan_change"
