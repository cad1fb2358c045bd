"""The portal: for whoever ever became a customer."""

from collections.abc import Callable
from typing import Any

import httpx

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
PORTAL = "/v1/portal-sessions"
BACK = "https://app.test/account"


def test_who_bought_once_may_open_the_portal(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """A one-time buyer has invoices and a card to see too; the page is that customer's."""
    ada = world.customer("ada", pdf_tool)
    ada.buys("pdf-tool.lifetime.once")
    answer = http.post(PORTAL, json={"user_id": "ada", "return_url": BACK})
    assert answer.status_code == 201 and set(answer.json()) == {"url"}
    page = httpx.get(answer.json()["url"])
    assert page.status_code == 200 and BACK in page.text


def test_who_opened_a_checkout_may_open_the_portal(http: httpx.Client, wish: Callable[..., dict[str, Any]]) -> None:
    """Whether anything was paid or not."""
    assert http.post("/v1/checkouts", json=wish("window-shopper")).status_code == 201
    assert http.post(PORTAL, json={"user_id": "window-shopper", "return_url": BACK}).status_code == 201


def test_who_never_became_a_customer_may_not(world: World, http: httpx.Client, refused: Refused) -> None:
    """404 that says to offer a checkout; a grant makes nobody a customer of Stripe's."""
    given = {"project": "pdf-tool", "user_id": "gifted", "feature": "premium_export", "reason": "test"}
    world.operator.post("/v1/admin/grants", json=given)
    for user in ("nobody", "gifted"):
        body = refused(http.post(PORTAL, json={"user_id": user, "return_url": BACK}), 404, "customer-not-found")
        assert "checkout" in body["detail"]


def test_the_way_back_must_be_allowed(http: httpx.Client, refused: Refused) -> None:
    """Also before it is known whether there is such a customer."""
    for url in ("https://evil.test/", "https://app.test@evil.test/", "javascript:alert(1)"):
        refused(http.post(PORTAL, json={"user_id": "ada", "return_url": url}), 422, "url-not-allowed", "/return_url")
    blank = http.post(PORTAL, json={"user_id": "ada", "return_url": "https://app.test/\n"})
    refused(blank, 422, "validation-failed", "/return_url")


def test_stripe_away(world: World, http: httpx.Client, refused: Refused, wish: Callable[..., dict[str, Any]]) -> None:
    """503, to be tried again."""
    http.post("/v1/checkouts", json=wish("patient"))
    world.sandbox.fail_next(429, path="/v1/billing_portal")
    refused(http.post(PORTAL, json={"user_id": "patient", "return_url": BACK}), 503, "upstream-unavailable")
