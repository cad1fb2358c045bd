"""A trial of a plan is had once: by a user, an address and a card, for ever."""

from datetime import timedelta
from typing import Any

import pytest
import stripe
from sqlalchemy import text

from tollhouse import Tollhouse
from tollhouse_server import corrections
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World

TRIAL, MONTHLY = "pdf-tool.pro.trial", "pdf-tool.pro.monthly"
VISA, MASTERCARD = "pm_card_visa", "pm_card_mastercard"
Document = dict[str, Any]


def listed(world: World, **query: str) -> list[dict[str, Any]]:
    return list(world.operator.get("/v1/admin/corrections", params=query).raise_for_status().json()["data"])


def statuses(world: World) -> list[str]:
    """Of all subscriptions, the oldest first."""
    found: list[stripe.Subscription] = world.stripe.v1.subscriptions.list({"status": "all"}).data
    return [one.status for one in sorted(found, key=lambda one: one.created)]


def asked(app: Tollhouse, user_id: str, price: str = TRIAL, **more: Any) -> tuple[str, int, str | None]:
    """What opening a checkout answers of its trial."""
    opened = app.open_checkout(user_id, price, success_url="https://app.test/", cancel_url="https://app.test/", **more)
    return opened.outcome, opened.trial_days, opened.trial_refused


def test_one_user_twice(world: World, pdf_tool: Tollhouse) -> None:
    """The page of the second time has no trial, whoever asks for one, and says so; what is bought there is charged."""
    ada = world.customer("ada")
    ada.buys(TRIAL)
    assert ada.subscription().status == "trialing"
    world.passes(days=3)
    ada.cancels(now=True)
    assert asked(pdf_tool, "ada") == ("new", 0, "used")
    assert asked(pdf_tool, "ada") == ("pending", 0, "used")
    assert asked(pdf_tool, "ada", MONTHLY, trial_days=30) == ("new", 0, "used")
    assert asked(pdf_tool, "ada", MONTHLY) == ("new", 0, None)
    ada.buys(TRIAL)
    assert ada.subscription().status == "active"
    assert [one.amount for one in world.stripe.v1.charges.list().data] == [900]
    assert listed(world) == []


def test_the_own_trial_never_counts_against_itself(world: World, pdf_tool: Tollhouse) -> None:
    """However often Stripe tells of it, whatever changes, to the day on which it is charged."""
    world.faults(duplicate=1.0, twin=1.0)
    ada = world.customer("ada")
    ada.buys(TRIAL, email="ada@example.com")
    for card in (MASTERCARD, VISA):
        world.passes(minutes=20)
        ada.pays_with(card)
    ada.changes_quantity(2)
    world.stripe.v1.customers.update(ada.stripe_id, {"email": "lovelace@example.com"})
    world.passes(days=16)
    assert ada.subscription().status == "active"
    assert listed(world) == []


def test_an_address_in_other_capitals(world: World, pdf_tool: Tollhouse) -> None:
    """Another user id with the address of somebody who had the trial gets none; an address with a dot is another."""
    world.customer("ada").buys(TRIAL, email="Ada@Example.com")
    world.passes(days=3)
    assert asked(pdf_tool, "ada-2", email="ada@EXAMPLE.COM") == ("new", 0, "used")
    assert asked(pdf_tool, "ada-3", email="a.da@example.com") == ("new", 14, None)


def test_two_users_one_card(world: World, pdf_tool: Tollhouse) -> None:
    """Only the payment page learns of the card: the second trial is cancelled, nothing is charged, access ends, why is
    told; and it can be bought without a trial."""
    ada, eve = world.customer("ada"), world.customer("eve")
    ada.buys(TRIAL)
    world.passes(days=3)
    eve.buys(TRIAL)
    assert statuses(world) == ["trialing", "canceled"]
    assert ada.may("premium_export") and not eve.may("premium_export")
    [refused] = eve.state().subscriptions
    assert refused.correction == "trial-again"
    [source] = pdf_tool.explain("eve", "premium_export").sources
    assert source.rule == "subscription-trial-again"
    [done] = listed(world)
    assert (done["user_id"], done["kind"], done["action"], done["state"]) == ("eve", "trial-again", "cancel", "done")
    assert (done["beside"], done["outcome"]) == (ada.subscription().id, {"done": "cancelled"})
    assert "the same card" in done["reason"]
    assert world.stripe.v1.charges.list().data == []
    eve.buys(TRIAL)
    assert eve.subscription().status == "active" and eve.may("premium_export")
    world.passes(days=20)
    assert [one["id"] for one in listed(world)] == [done["id"]]


def test_another_card_is_another_trial(world: World, pdf_tool: Tollhouse) -> None:
    """Two people, two cards."""
    world.customer("ada").buys(TRIAL)
    world.customer("eve").buys(TRIAL, MASTERCARD)
    assert (statuses(world), listed(world)) == (["trialing", "trialing"], [])


def test_the_trial_is_ended_instead(world: World, pdf_tool_document: Document) -> None:
    """With `end_trial` the card is charged now, and access goes on as paid."""
    world.publish({**pdf_tool_document, "policy": {"on_trial_again": "end_trial"}})
    world.customer("ada").buys(TRIAL)
    world.passes(days=3)
    eve = world.customer("eve")
    eve.buys(TRIAL)
    assert statuses(world) == ["trialing", "active"]
    assert [one.amount for one in world.stripe.v1.charges.list().data] == [900]
    assert eve.may("premium_export").reason == "subscription-active"
    assert [(one["action"], one["outcome"]) for one in listed(world)] == [("end-trial", {"done": "trial-ended"})]


def test_cut_between_stripes_answer_and_ours(world: World, pdf_tool_document: Document) -> None:
    """Killed after Stripe ended the trial and before we could say so: the card is charged once, and it is done."""
    world.publish({**pdf_tool_document, "policy": {"on_trial_again": "end_trial"}})
    world.customer("ada").buys(TRIAL)
    world.passes(days=3)

    async def killed(resources: Resources) -> None:
        """A worker that claims, acts, and dies; its lease runs out."""
        async with resources.database.transaction() as tx:
            claim = await corrections.claim(tx, lease=timedelta(0))
        assert claim is not None
        await resources.corrector.act(claim)

    with world.together():
        world.customer("eve").buys(TRIAL)
        world.sandbox.drain()
        world.service.work()
        world.service.run(killed)
    assert statuses(world) == ["trialing", "active"]
    assert [one.amount for one in world.stripe.v1.charges.list().data] == [900]
    assert [(one["state"], one["subscription_status"]) for one in listed(world)] == [("done", "active")]


def test_trials_may_be_allowed_again(world: World, pdf_tool_document: Document) -> None:
    """With `allow` nobody is asked; what was had meanwhile is remembered for the day on which that is taken back."""
    app = world.publish({**pdf_tool_document, "policy": {"on_trial_again": "allow"}})
    world.customer("ada").buys(TRIAL)
    ada = world.customer("ada")
    ada.cancels(now=True)
    assert asked(app, "ada") == ("new", 14, None)
    world.customer("eve").buys(TRIAL)
    assert listed(world) == []
    app = world.publish(pdf_tool_document)
    world.passes(days=3)
    assert asked(app, "eve-2", email="x@example.com") == ("new", 14, None)
    assert asked(app, "ada") == ("new", 0, "used")
    assert (listed(world), sorted(statuses(world))) == ([], ["canceled", "trialing"])


def test_a_customer_deleted_and_made_again(world: World, pdf_tool: Tollhouse) -> None:
    """What the user had stays had, whatever becomes of the customer at Stripe."""
    ada = world.customer("ada")
    ada.buys(TRIAL)
    world.stripe.v1.customers.delete(ada.stripe_id)
    world.arrive()
    assert asked(pdf_tool, "ada") == ("new", 0, "used")


def test_another_plan_and_another_project_are_free(world: World, pdf_tool_document: Document) -> None:
    """The same user, address and card may try each plan of each app once."""
    products = pdf_tool_document["products"]
    team = {"opens": {"pages_per_day": 900}, "prices": {"trial": products["pro"]["prices"]["trial"]}}
    app = world.publish({**pdf_tool_document, "products": {**products, "team": team}})
    other = world.publish({**pdf_tool_document, "project": "ocr-tool"})
    email = "ada@example.com"
    world.customer("ada", app).buys(TRIAL, email=email)
    world.customer("ada", app).buys("pdf-tool.team.trial", email=email)
    world.customer("ada", other).buys("ocr-tool.pro.trial", email=email)
    assert (statuses(world), listed(world)) == (["trialing"] * 3, [])


def test_a_trial_made_by_hand_is_somebodys_decision(world: World, pdf_tool: Tollhouse) -> None:
    """One that support gives in the dashboard goes on, though it is a second one; it is remembered all the same."""
    ada, eve = world.customer("ada"), world.customer("eve")
    ada.buys(TRIAL)
    ada.cancels(now=True)
    world.passes(days=3)
    ada.gets_subscription(MONTHLY, trial_period_days=30)
    eve.gets_subscription(MONTHLY, MASTERCARD, trial_period_days=30)
    assert (statuses(world), listed(world)) == (["canceled", "trialing", "trialing"], [])
    eve.cancels(now=True)
    assert asked(pdf_tool, "eve") == ("new", 0, "used")


@pytest.mark.parametrize("policy", ["cancel", "end_trial"])
def test_a_trial_that_is_over_before_it_is_corrected(world: World, pdf_tool_document: Document, policy: str) -> None:
    """Where workers were away until the card was charged, it is a trial no more and goes on as what was paid for."""
    world.publish({**pdf_tool_document, "policy": {"on_trial_again": policy}})
    world.customer("ada").buys(TRIAL)
    world.passes(days=3)
    eve = world.customer("eve")
    with world.together():
        eve.buys(TRIAL)
        world.sandbox.drain()
        world.service.work()
        world.passes(days=16)
    [done] = listed(world)
    assert (done["state"], done["outcome"]) == ("done", {"done": "nothing", "as_it_is": "active"})
    assert eve.may("premium_export")


def test_neither_address_nor_card_is_stored(world: World, pdf_tool: Tollhouse) -> None:
    """What is remembered is a keyed hash: the rows tell nobody whose it is, nor that two plans were tried with one."""
    world.customer("ada").buys(TRIAL, email="ada@example.com")

    async def rows(resources: Resources) -> list[Any]:
        async with resources.database.transaction() as tx:
            fingerprints = await tx.execute(text("SELECT evidence::text FROM subscription WHERE evidence::text ~ 'Fc'"))
            assert fingerprints.all() == []
            return list(await tx.execute(text("SELECT used_by, hash FROM trial_use ORDER BY 1")))

    found = world.service.run(rows)
    assert [one.used_by for one in found] == ["card", "email", "user"]
    assert all(len(one.hash) == 32 for one in found)
