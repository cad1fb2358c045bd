"""Two tabs, two plans, two clicks: nobody pays twice for one thing."""

from tollhouse import Checkout, Tollhouse
from tollhouse_server.testing import World

MONTHLY, YEARLY = "pdf-tool.pro.monthly", "pdf-tool.pro.yearly"


def opened(app: Tollhouse, price: str) -> Checkout:
    return app.open_checkout("ada", price, success_url="https://app.test/", cancel_url="https://app.test/")


def test_a_second_tab_gets_the_same_page(world: World, pdf_tool: Tollhouse) -> None:
    """Asking again for the same gives the page that is open already."""
    first, again = opened(pdf_tool, MONTHLY), opened(pdf_tool, MONTHLY)
    assert (first.outcome, again.outcome) == ("new", "pending")
    assert (first.id, first.url) == (again.id, again.url)


def test_another_plan_closes_the_page_before(world: World, pdf_tool: Tollhouse) -> None:
    """Of the monthly and the yearly page only the one opened last can be paid on."""
    monthly, yearly = opened(pdf_tool, MONTHLY), opened(pdf_tool, YEARLY)
    sessions = {one.id: one.status for one in world.stripe.v1.checkout.sessions.list({"limit": 10}).data}
    assert sorted(sessions.values()) == ["expired", "open"]
    assert pdf_tool.checkout(str(monthly.id)).state == "expired"
    assert pdf_tool.checkout(str(yearly.id)).state == "open"


def test_paid_in_one_tab_asked_in_the_other(world: World, pdf_tool: Tollhouse) -> None:
    """Who has paid and asks for a page before the webhook came is told so, for the same plan and for another."""
    world.hold_webhooks()
    world.sandbox.pay(str(opened(pdf_tool, MONTHLY).url))
    assert opened(pdf_tool, MONTHLY).outcome == "already_owned"
    assert opened(pdf_tool, YEARLY).outcome == "plan_change"
    assert len(world.stripe.v1.subscriptions.list({"status": "all"}).data) == 1


def test_a_customer_deleted_at_stripe(world: World, pdf_tool: Tollhouse) -> None:
    """Deleting the customer in the dashboard ends the subscription; the user can become a customer again."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.stripe.v1.customers.delete(ada.stripe_id)
    world.arrive()
    assert not ada.may("premium_export")
    ada.buys(MONTHLY)
    assert ada.may("premium_export")
