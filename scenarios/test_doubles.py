"""Two live subscriptions of one plan: found, listed, and by policy the newer is cancelled and refunded."""

from typing import Any

import pytest
from sqlalchemy import text

from tollhouse import Tollhouse
from tollhouse_server import corrections
from tollhouse_server.resources import Resources
from tollhouse_server.testing import World
from tollhouse_server.testing.customer import WorldCustomer
from tollhouse_server.testing.stories import App

MONTHLY, YEARLY = "pdf-tool.pro.monthly", "pdf-tool.pro.yearly"
Document = dict[str, Any]


def listed(world: World, **query: str) -> list[dict[str, Any]]:
    return list(world.operator.get("/v1/admin/corrections", params=query).raise_for_status().json()["data"])


def live(world: World, who: WorldCustomer) -> list[str]:
    return [one.id for one in world.stripe.v1.subscriptions.list({"customer": who.stripe_id}).data]


def refunded(world: World) -> list[int]:
    return [one.amount for one in world.stripe.v1.refunds.list().data]


@pytest.fixture
def cancelling(world: World, pdf_tool_document: Document) -> App:
    """The PDF tool, which has the newer of two cancelled."""
    return world.publish({**pdf_tool_document, "policy": {"on_double": "cancel_newer"}})


@pytest.mark.breaks("two-subscriptions")
def test_a_double_is_reported(world: World, pdf_tool: Tollhouse) -> None:
    """By default nothing is done at Stripe: the two are listed, with which is the newer, once however often read."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    older = ada.subscription().id
    world.passes(days=3)
    ada.gets_subscription(YEARLY)
    [found] = listed(world)
    assert (found["kind"], found["state"], found["beside"], found["user_id"]) == ("double", "reported", older, "ada")
    world.passes(days=40)
    assert len(live(world, ada)) == 2
    assert [one["id"] for one in listed(world, state="reported", project="pdf-tool")] == [found["id"]]
    assert refunded(world) == []


def test_the_newer_is_cancelled_and_refunded(world: World, cancelling: App) -> None:
    """Made in the dashboard beside one that runs: it ends at once, all it was paid goes back, once; access stays."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    older = ada.subscription().id
    world.passes(days=3)
    ada.gets_subscription(YEARLY)
    assert live(world, ada) == [older]
    assert refunded(world) == [9000]
    assert ada.may("premium_export").source == older
    [done] = listed(world)
    assert (done["state"], done["subscription_status"]) == ("done", "canceled")
    assert done["outcome"] == {"done": "cancelled", "refunded": [{"amount": 9000, "currency": "eur"}]}
    world.passes(days=60)
    assert live(world, ada) == [older]
    assert refunded(world) == [9000]
    told = {one.id: one for one in ada.state().subscriptions}
    assert (told[older].status, told[done["subscription"]].status) == ("active", "canceled")


def test_apps_and_operators_are_told_why(world: World, cancelling: App) -> None:
    """The state says `double`, the explanation has a rule of its own, the audit trail what was found and done."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    ada.gets_subscription(YEARLY)
    [done] = listed(world)
    told = {one.id: one.correction for one in ada.state().subscriptions}
    assert told == {done["beside"]: None, done["subscription"]: "double"}
    sources = cancelling.explain("ada", "premium_export").sources
    assert {one.id: one.rule for one in sources} == {
        done["beside"]: "subscription-active",
        done["subscription"]: "subscription-double",
    }
    entries = world.operator.get("/v1/admin/audit", params={"project": "pdf-tool", "user_id": "ada"}).json()["data"]
    steps = [(one["action"], one["reason"]) for one in entries if one["action"].startswith("correction")]
    assert steps == [("correction.done", done["reason"]), ("correction.found", done["reason"])]


@pytest.mark.breaks("two-subscriptions")
@pytest.mark.parametrize("trouble", ["ends", "owes", "paused"])
def test_the_older_must_stand_for_the_newer_to_go(world: World, cancelling: App, trouble: str) -> None:
    """Where the older one ends, owes or is paused, the newer may be what replaces it: a person decides."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    older = ada.subscription().id
    if trouble == "ends":
        ada.cancels()
    elif trouble == "owes":
        ada.card_declines()
        world.passes(days=32)
    else:
        ada.pauses()
    ada.gets_subscription(YEARLY)
    [found] = listed(world)
    assert (found["state"], found["beside"]) == ("reported", older)
    assert len(live(world, ada)) == 2
    assert ada.may("premium_export")


@pytest.mark.breaks("two-subscriptions")
def test_what_was_there_before_the_policy_stays(world: World, pdf_tool: Tollhouse, pdf_tool_document: Document) -> None:
    """Switching the policy on cancels nothing of before; an operator has it done with one command, once."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    ada.gets_subscription(YEARLY)
    world.publish({**pdf_tool_document, "policy": {"on_double": "cancel_newer"}})
    world.passes(days=3)
    [found] = listed(world)
    assert found["state"] == "reported"
    for expected in (200, 409):
        assert world.operator.post(f"/v1/admin/corrections/{found['id']}/retry").status_code == expected
        world.arrive()
    assert live(world, ada) == [found["beside"]]
    assert refunded(world) == [9000]


def test_cut_between_stripes_answer_and_ours(world: World, cancelling: App) -> None:
    """Killed after each thing that Stripe did, it is gone on with: cancelled once, refunded once, done once."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    with world.together():
        ada.gets_subscription(YEARLY)
        world.sandbox.drain()
        world.service.work()

        async def killed(resources: Resources) -> None:
            """A worker that claims, acts, and dies before it can say so; its lease runs out."""
            async with resources.database.transaction() as tx:
                claim = await corrections.claim(tx, lease=resources.corrector.lease * 0)
            assert claim is not None
            await resources.corrector.act(claim)

        for _ in range(3):
            world.service.run(killed)
    [done] = listed(world)
    assert (done["state"], done["attempts"]) == ("done", 1)
    assert done["outcome"]["refunded"] == [{"amount": 9000, "currency": "eur"}]
    assert refunded(world) == [9000]


@pytest.mark.parametrize("path", ["/v1/subscriptions/{id}", "/v1/refunds"])
@pytest.mark.parametrize("carried_out", [True, False])
def test_stripe_fails_in_between(world: World, cancelling: App, path: str, carried_out: bool) -> None:
    """An answer that is lost, done or not: the correction is deferred with its error, then done, once."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    with world.together():
        ada.gets_subscription(YEARLY)
        world.sandbox.drain()
        world.service.work()
        [pending] = listed(world)
        method = "POST" if path == "/v1/refunds" else "DELETE"
        path = path.format(id=pending["subscription"])
        world.sandbox.fail_next(500, path=path, method=method, times=4, after=carried_out)
        assert world.service.correct() == 1
    [one] = listed(world)
    assert one["state"] in ("pending", "done")
    if one["state"] == "pending":
        assert "Stripe" in one["error"]
        world.service.run(due_now)
        world.arrive()
    [done] = listed(world)
    assert (done["state"], refunded(world), len(live(world, ada))) == ("done", [9000], 1)


async def due_now(resources: Resources) -> None:
    """As if the back-off had passed."""
    async with resources.database.transaction() as tx:
        await tx.execute(text("UPDATE correction SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL"))


def test_what_stripe_refuses_is_given_up_visibly(world: World, cancelling: App) -> None:
    """The doctor, the list and the audit trail say so; after it was mended, it is tried again."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    world.sandbox.fail_next(403, path="/v1/refunds", method="POST", times=1)
    ada.gets_subscription(YEARLY)
    [given_up] = listed(world, state="given-up")
    assert "StripeRefused" in given_up["error"]
    world.operator.post(f"/v1/admin/corrections/{given_up['id']}/retry").raise_for_status()
    world.arrive()
    assert ([one["state"] for one in listed(world)], refunded(world)) == (["done"], [9000])


@pytest.mark.parametrize(("succeeds", "back"), [(True, [9000]), (False, [])])
def test_a_debit_that_is_under_way(world: World, cancelling: App, succeeds: bool, back: list[int]) -> None:
    """The newer one ends at once; what its bank debit brings days later goes back then, and if it fails, nothing."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    ada.gets_subscription(YEARLY, "pm_sepaDebit" if succeeds else "pm_sepaDebit_insufficientFunds")
    [waiting] = listed(world)
    assert (waiting["state"], waiting["subscription_status"], refunded(world)) == ("pending", "canceled", [])
    assert "under way" in waiting["error"]
    world.passes(days=5)
    world.service.run(due_now)
    world.arrive()
    [done] = listed(world)
    assert (done["state"], done["outcome"]["done"], refunded(world)) == ("done", "cancelled", back)


@pytest.mark.breaks("two-subscriptions")
def test_what_a_customer_brought_along_stays(world: World, cancelling: App) -> None:
    """A customer who is adopted with two subscriptions had them before: they are reported, whatever the policy."""
    stamps = {"tollhouse_project": "pdf-tool", "tollhouse_user_id": "ada"}
    world.hold_webhooks()
    method = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    adopted: Any = {"metadata": stamps, **method}
    customer = world.stripe.v1.customers.create(adopted).id
    for price in (MONTHLY, YEARLY):
        sold = world.stripe.v1.prices.list({"lookup_keys": [price]}).data[0].id
        world.stripe.v1.subscriptions.create({"customer": customer, "items": [{"price": sold}]})
        world.passes(days=3)
    world.hold_webhooks(False)
    world.stripe.v1.customers.update(customer, {"name": "Ada"})
    world.arrive()
    [found] = listed(world)
    assert (found["state"], refunded(world)) == ("reported", [])


def test_a_person_who_was_faster(world: World, cancelling: App) -> None:
    """What support ended before the worker came to it is left as support left it."""
    ada = world.customer("ada")
    ada.buys(MONTHLY)
    world.passes(days=3)
    with world.together():
        ada.gets_subscription(YEARLY)
        world.sandbox.drain()
        world.service.work()
        ada.cancels(YEARLY, now=True)
    [done] = listed(world)
    assert (done["state"], done["outcome"]) == ("done", {"done": "nothing", "as_it_is": "canceled"})
    assert refunded(world) == []
