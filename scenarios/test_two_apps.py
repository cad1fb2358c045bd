"""Two apps on one Tollhouse and one Stripe account."""

import copy

import pytest

from tollhouse import NotFound, Tollhouse
from tollhouse_server.testing import World


@pytest.fixture
def bot(world: World, pdf_tool_document: dict[str, object]) -> Tollhouse:
    """Another app that sells much the same."""
    document = copy.deepcopy(pdf_tool_document) | {"project": "guild-bot", "name": "Guild Bot"}
    return world.publish(document)


def test_a_project_cannot_see_anothers_customer(world: World, pdf_tool: Tollhouse, bot: Tollhouse) -> None:
    """The same user id in another app is another customer; its checkouts do not exist there."""
    ada = world.customer("ada", pdf_tool)
    checkout = ada.buys("pdf-tool.pro.monthly")
    assert ada.may("premium_export")

    assert not bot.check("ada", "premium_export")
    seen = bot.customer("ada")
    assert (seen.version, seen.subscriptions, seen.purchases) == (0, (), ())
    for call in (bot.checkout, bot.sync_checkout):
        with pytest.raises(NotFound) as refused:
            call(checkout)
        with pytest.raises(NotFound) as unknown:
            call("chk_that_never_was")
        assert (refused.value.code, refused.value.detail) == (unknown.value.code, unknown.value.detail)
    with pytest.raises(NotFound):
        bot.open_checkout(
            "ada", "pdf-tool.pro.monthly", success_url="https://app.test/", cancel_url="https://app.test/"
        )
    with pytest.raises(NotFound):
        bot.open_portal("ada", return_url="https://app.test/")


def test_each_app_has_its_own_customer_of_one_person(world: World, pdf_tool: Tollhouse, bot: Tollhouse) -> None:
    """What is bought in one app opens nothing in the other, and each has one Stripe customer however often they buy."""
    ada, guild = world.customer("ada", pdf_tool), world.customer("ada", bot)
    ada.buys("pdf-tool.lifetime.once")
    guild.buys("guild-bot.pro.monthly")
    assert ada.may("pages_per_day").value == float("inf")
    assert guild.may("pages_per_day").value == 500
    customers = world.stripe.v1.customers.list({"limit": 100}).data
    assert sorted(one.metadata["tollhouse_project"] for one in customers) == ["guild-bot", "pdf-tool"]
