"""What becomes of customers of Notes, told as stories: the app itself, a Tollhouse, and Stripe on a desk."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from notes import create_app

CATALOG = Path(__file__).parents[1] / "notes.toml"
ADA = {"X-User": "ada"}


@pytest.fixture
def browser(world) -> FlaskClient:
    """The app, in front of a Tollhouse that sells its catalog."""
    return create_app(world.publish(CATALOG)).test_client()


def test_who_pays_may_export(world, browser):
    """From the refusal to the payment page, and back to what was refused."""
    refused = browser.get("/export", headers=ADA)
    assert (refused.status_code, refused.json["upgrade_url"]) == (402, "/upgrade")

    page = browser.get("/upgrade", headers=ADA).headers["Location"]
    back = urlsplit(world.customer("ada").pays(page))
    assert browser.get(back.path, query_string=back.query, headers=ADA).headers["Location"] == "/export"
    assert browser.get("/export", headers=ADA).status_code == 200


def test_what_was_paid_for_stays_until_it_ends(world, browser):
    """A cancellation takes nothing back; the month that was paid is used up first."""
    ada = world.customer("ada")
    ada.buys("notes.plus.monthly")
    world.passes(days=40)  # renewed once
    assert browser.get("/export", headers=ADA).status_code == 200

    ada.cancels()
    assert browser.get("/export", headers=ADA).status_code == 200
    world.passes(days=31)
    assert browser.get("/export", headers=ADA).status_code == 402


def test_a_card_that_fails_leaves_three_days(world, browser):
    """The grace of notes.toml, then the limit of those who do not pay; a new card opens it again."""
    ada = world.customer("ada")
    ada.buys("notes.plus.monthly")
    due = ada.state().subscriptions[0].current_period_end
    ada.card_declines()
    world.passes_until(due)
    world.passes(days=2)
    assert browser.get("/export", headers=ADA).status_code == 200
    world.passes(days=2)
    assert browser.get("/export", headers=ADA).status_code == 402
    assert [browser.post("/notes", headers=ADA).status_code for _ in range(4)] == [201, 201, 201, 402]

    ada.pays_with("pm_card_visa")
    ada.pays_invoice()
    assert browser.get("/export", headers=ADA).status_code == 200


def test_money_back_is_access_back(world, browser):
    """A refund ends what it paid for; a dispute holds it until the bank has decided."""
    ada, grace = world.customer("ada"), world.customer("grace")
    for one in (ada, grace):
        one.buys("notes.plus.yearly")
    ada.refunds()
    grace.disputes()
    assert not ada.may("export") and not grace.may("export")
    grace.dispute_closes("won")
    assert grace.may("export")


def test_webhooks_that_misbehave(world, browser):
    """Lost, late, doubled or out of order: within ten minutes the app says what is true."""
    world.faults(seed=7)
    world.customer("ada").buys("notes.plus.monthly")
    world.passes(minutes=10)
    assert browser.get("/export", headers=ADA).status_code == 200
