"""A user's e-mail address and name: the same here and at Stripe, whoever changed them last."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
Wish = Callable[..., dict[str, Any]]


def at_stripe(world: World, user_id: str) -> tuple[str | None, str | None]:
    one = world.stripe.v1.customers.retrieve(world.customer(user_id).stripe_id)
    return one.email, one.name


def shown(http: httpx.Client, user_id: str) -> tuple[str | None, str | None]:
    body = http.get(f"/v1/customers/{user_id}/contact").json()
    assert body["user_id"] == user_id
    return body["email"], body["name"]


def test_kept_until_there_is_a_stripe_customer(world: World, http: httpx.Client, wish: Wish) -> None:
    """Of a user who bought nothing it is stored, Stripe is not asked; the first checkout then tells it."""
    before = len(world.stripe.v1.customers.list({"limit": 100}).data)
    answer = http.put("/v1/customers/early", json={"email": "early@app.test", "name": "Early Bird"})
    assert answer.json() == {"user_id": "early", "email": "early@app.test", "name": "Early Bird"}
    assert len(world.stripe.v1.customers.list({"limit": 100}).data) == before
    assert shown(http, "early") == ("early@app.test", "Early Bird")
    http.post("/v1/checkouts", json=wish("early"))
    assert at_stripe(world, "early") == ("early@app.test", "Early Bird")


def test_what_is_left_out_stays(world: World, http: httpx.Client, wish: Wish) -> None:
    """A checkout's address and name go to Stripe; a change of one leaves the other."""
    http.post("/v1/checkouts", json=wish("partly", email="a@app.test", name="A"))
    assert at_stripe(world, "partly") == shown(http, "partly") == ("a@app.test", "A")
    http.put("/v1/customers/partly", json={"name": "B"})
    assert at_stripe(world, "partly") == shown(http, "partly") == ("a@app.test", "B")
    http.post("/v1/checkouts", json=wish("partly", email="c@app.test"))
    assert at_stripe(world, "partly") == shown(http, "partly") == ("c@app.test", "B")


def test_the_last_to_write_wins(world: World, pdf_tool: Tollhouse, http: httpx.Client, wish: Wish) -> None:
    """What the user changes at Stripe is shown here once Stripe told of it; the app's next word stands again."""
    pdf_tool.open_checkout(
        "both", "pdf-tool.pro.monthly", success_url="https://app.test/", cancel_url="https://app.test/", name="App"
    )
    stripe_id = world.customer("both").stripe_id
    world.stripe.v1.customers.update(stripe_id, {"email": "portal@user.test", "name": "Portal"})
    world.arrive()
    assert shown(http, "both") == ("portal@user.test", "Portal")
    world.stripe.v1.customers.update(stripe_id, {"email": "unheard@user.test"})
    assert pdf_tool.change_contact("both", email="portal@user.test").email == "portal@user.test"
    assert at_stripe(world, "both") == ("portal@user.test", "Portal")
    world.arrive()
    assert pdf_tool.contact("both").name == "Portal"


def test_stripe_away(world: World, http: httpx.Client, wish: Wish, refused: Refused) -> None:
    """503, and nothing is changed here either; asked again it is done."""
    http.post("/v1/checkouts", json=wish("away", email="old@app.test"))
    world.sandbox.fail_next(503, method="POST", path="/v1/customers/")
    refused(http.put("/v1/customers/away", json={"email": "new@app.test"}), 503, "upstream-unavailable")
    assert shown(http, "away") == ("old@app.test", None)
    assert http.put("/v1/customers/away", json={"email": "new@app.test"}).status_code == 200
    assert at_stripe(world, "away") == shown(http, "away") == ("new@app.test", None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"email": "no-address"}, "/email"),
        ({"email": "two@@app.test"}, "/email"),
        ({"email": "a b@app.test"}, "/email"),
        ({"email": "x" * 320 + "@app.test"}, "/email"),
        ({"name": "   "}, "/name"),
        ({"name": "two\nlines"}, "/name"),
        ({"name": "x" * 257}, "/name"),
        ({"phone": "1"}, "/phone"),
    ],
)
def test_what_is_no_contact(http: httpx.Client, refused: Refused, body: dict[str, str], pointer: str) -> None:
    """422 for what is no address, no name, or says nothing."""
    refused(http.put("/v1/customers/odd", json=body), 422, "validation-failed", pointer)


def test_who_only_checks_is_told_no_address(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """Neither the state nor a notification carries one, and a key for checks may not read it."""
    http.put("/v1/customers/private", json={"email": "private@app.test"})
    assert "private@app.test" not in http.get("/v1/customers/private").text
    key = world.operator.post("/v1/admin/projects/pdf-tool/keys", json={"name": "checks", "scopes": ["check"]}).json()[
        "key"
    ]
    headers = {"Authorization": f"Bearer {key}"}
    assert http.get("/v1/customers/private/contact", headers=headers).status_code == 403
    assert http.put("/v1/customers/private", json={"name": "x"}, headers=headers).status_code == 403


def test_the_audit_trail_says_that_it_changed_not_what_to(world: World, http: httpx.Client) -> None:
    """The trail is never altered, so no person's address is in it."""
    http.put("/v1/customers/audited", json={"email": "audited@app.test"})
    http.put("/v1/customers/audited", json={"email": "audited@app.test"})
    trail = world.operator.get("/v1/admin/audit", params={"limit": 100, "action": "customer.contact_changed"})
    assert "audited@app.test" not in trail.text
    assert trail.json()["data"][0]["after"] == {"changed": ["email"]}
