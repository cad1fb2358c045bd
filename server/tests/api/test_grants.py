"""Grants: access that an operator gives and takes back."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]
GRANTS = "/v1/admin/grants"


def ask(user_id: str = "ada", **what: Any) -> dict[str, Any]:
    return {"project": "pdf-tool", "user_id": user_id, "reason": "support case 4711", **what}


def check(http: httpx.Client, user_id: str, feature: str = "premium_export") -> dict[str, Any]:
    return dict(http.get(f"/v1/customers/{user_id}/entitlements/{feature}").json())


def test_a_feature_is_given_and_taken_back(world: World, http: httpx.Client, refused: Refused) -> None:
    """Open the moment it is given, closed the moment it is revoked; a second revocation says who made the first."""
    answer = world.operator.post(GRANTS, json=ask("gina", feature="premium_export"))
    assert answer.status_code == 201
    given = answer.json()
    now = world.service.clock.now().isoformat().replace("+00:00", "Z")
    assert given == {
        "id": given["id"],
        "project": "pdf-tool",
        "user_id": "gina",
        "feature": "premium_export",
        "value": True,
        "product": None,
        "starts_at": now,
        "ends_at": None,
        "override": False,
        "reason": "support case 4711",
        "operator": "grace (ADMIN_API_KEY)",
        "created_at": now,
        "revoked_at": None,
        "revoked_by": None,
        "revoke_reason": None,
    }
    opened = check(http, "gina")
    assert (opened["allowed"], opened["reason"], opened["source"]) == (True, "granted", given["id"])

    path = f"{GRANTS}/{given['id']}/revoke"
    refused(world.operator.post(path, json={}), 422, "validation-failed", "/reason")
    refused(world.operator.post(path, json={"reason": ""}), 422, "validation-failed", "/reason")
    assert check(http, "gina")["allowed"] is True
    revoked = world.operator.post(path, json={"reason": "mistake"})
    assert revoked.json() == {
        **given,
        "revoked_at": now,
        "revoked_by": "grace (ADMIN_API_KEY)",
        "revoke_reason": "mistake",
    }
    closed = check(http, "gina")
    assert (closed["allowed"], closed["version"]) == (False, opened["version"] + 1)
    assert "grace" in refused(world.operator.post(path, json={"reason": "again"}), 409, "grant-revoked")["detail"]
    refused(world.operator.post(f"{GRANTS}/gr_none/revoke", json={"reason": "x"}), 404, "not-found")
    assert http.get("/v1/customers/gina").json()["grants"] == []


def test_a_product_is_given_whole(world: World, http: httpx.Client) -> None:
    """Every feature of the product, as if bought once, and following the catalog."""
    assert world.operator.post(GRANTS, json=ask("paula", product="pro")).json()["product"] == "pro"
    assert check(http, "paula")["allowed"] is True
    assert check(http, "paula", "pages_per_day")["value"] == 500


@pytest.mark.parametrize("value", [1, 5000, "unlimited", 2**53 - 1])
def test_a_limit_is_given(world: World, http: httpx.Client, value: int | str) -> None:
    """A whole number, or unlimited."""
    assert world.operator.post(GRANTS, json=ask(f"l{value}", feature="pages_per_day", value=value)).status_code == 201
    assert check(http, f"l{value}", "pages_per_day")["value"] == value


def test_a_grant_for_a_time(world: World, http: httpx.Client) -> None:
    """Closed before its start, open in between, closed at its end, all without anybody doing anything."""
    start = world.service.clock.now() + timedelta(days=1)
    end = start + timedelta(days=1)
    window = {"starts_at": start.isoformat(), "ends_at": end.isoformat()}
    assert world.operator.post(GRANTS, json=ask("tina", feature="premium_export", **window)).status_code == 201
    waiting = check(http, "tina")
    assert (waiting["allowed"], waiting["reason"]) == (False, "not-yet")
    assert waiting["valid_until"] == start.isoformat().replace("+00:00", "Z")
    world.service.clock.set(start)
    assert check(http, "tina")["allowed"] is True
    world.service.clock.set(end)
    assert check(http, "tina")["allowed"] is False


def test_an_override_is_exactly_its_value(world: World, http: httpx.Client) -> None:
    """Beside another grant that gives more: closed, and told so everywhere, until it is revoked."""
    world.operator.post(GRANTS, json=ask("olga", product="pro")).raise_for_status()
    lowered = world.operator.post(GRANTS, json=ask("olga", feature="pages_per_day", value=3, override=True)).json()
    closing = world.operator.post(GRANTS, json=ask("olga", feature="premium_export", value=False, override=True)).json()
    assert (lowered["override"], closing["override"], closing["value"]) == (True, True, False)
    assert check(http, "olga", "pages_per_day")["value"] == 3
    closed = check(http, "olga")
    assert (closed["allowed"], closed["value"], closed["reason"], closed["source"], closed["valid_until"]) == (
        False, False, "overridden", closing["id"], None,
    )  # fmt: skip
    state = http.get("/v1/customers/olga").json()
    assert [one["override"] for one in sorted(state["grants"], key=lambda one: one["override"])] == [False, True, True]
    assert state["features"]["premium_export"]["reason"] == "overridden"
    told = http.get("/v1/customers/olga/snapshot").json()["features"]
    assert told["premium_export"]["stretches"] == [] and "overridden" not in told["pages_per_day"]
    assert [(one["value"], one["source"]) for one in told["premium_export"]["overridden"]] == [(False, closing["id"])]
    world.operator.post(f"{GRANTS}/{closing['id']}/revoke", json={"reason": "over"}).raise_for_status()
    assert check(http, "olga")["reason"] == "granted"


@pytest.mark.parametrize(
    ("what", "code", "wrong"),
    [
        ({"product": "pro"}, "grant-invalid", {"/override": "useless"}),
        ({"feature": "premium_export"}, "grant-invalid", {"/value": "missing"}),
        ({"feature": "pages_per_day", "value": -1}, "limit-below-zero", {"/value": "limit-below-zero"}),
        ({"feature": "pages_per_day", "value": False}, "value-does-not-fit", {"/value": "value-does-not-fit"}),
        ({"feature": "premium_export", "value": 0}, "value-does-not-fit", {"/value": "value-does-not-fit"}),
    ],
    ids=str,
)
def test_an_override_says_feature_and_value(
    world: World, refused: Refused, what: dict[str, Any], code: str, wrong: dict[str, str]
) -> None:
    """The value must be said, and be one of the feature's kind."""
    told = refused(world.operator.post(GRANTS, json=ask("nemo", override=True, **what)), 422, code, *wrong)
    assert {error["pointer"]: error["code"] for error in told["errors"]} == wrong


YESTERDAYS = {"feature": "premium_export", "ends_at": "2020-01-01T00:00:00Z"}
BACKWARDS = {"starts_at": "2090-01-02T00:00:00Z", "ends_at": "2090-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("what", "code", "wrong"),
    [
        ({}, "grant-invalid", {"/feature": "missing"}),
        ({"feature": "premium_export", "product": "pro"}, "grant-invalid", {"/feature": "missing"}),
        ({"feature": "nothing"}, "unknown-feature", {"/feature": "unknown-feature"}),
        ({"product": "nothing"}, "unknown-product", {"/product": "unknown-product"}),
        ({"product": "pro", "value": True}, "grant-invalid", {"/value": "useless"}),
        ({"feature": "premium_export", "value": 5}, "value-does-not-fit", {"/value": "value-does-not-fit"}),
        ({"feature": "premium_export", "value": False}, "value-does-not-fit", {"/value": "value-does-not-fit"}),
        ({"feature": "pages_per_day"}, "grant-invalid", {"/value": "missing"}),
        ({"feature": "pages_per_day", "value": True}, "value-does-not-fit", {"/value": "value-does-not-fit"}),
        ({"feature": "pages_per_day", "value": 0}, "value-does-not-fit", {"/value": "value-does-not-fit"}),
        ({"feature": "pages_per_day", "value": -1}, "limit-below-zero", {"/value": "limit-below-zero"}),
        ({"feature": "pages_per_day", "value": 2**53}, "grant-invalid", {"/value": "out-of-range"}),
        ({"feature": "pages_per_day", "value": 10**30}, "grant-invalid", {"/value": "out-of-range"}),
        (YESTERDAYS, "grant-in-the-past", {"/ends_at": "grant-in-the-past"}),
        ({"feature": "premium_export", **BACKWARDS}, "grant-invalid", {"/ends_at": "out-of-range"}),
        (
            {"product": "nothing", "ends_at": "2020-01-01T00:00:00Z"},
            "grant-invalid",
            {"/product": "unknown-product", "/ends_at": "grant-in-the-past"},
        ),
    ],
    ids=str,
)
def test_a_grant_that_would_not_do_what_it_says(
    world: World, http: httpx.Client, refused: Refused, what: dict[str, Any], code: str, wrong: dict[str, str]
) -> None:
    """422 with the code of the one kind of mistake, each at its place with its own, and nobody is given anything."""
    told = refused(world.operator.post(GRANTS, json=ask("nemo", **what)), 422, code, *wrong)
    assert {error["pointer"]: error["code"] for error in told["errors"]} == wrong
    assert world.operator.get(GRANTS, params={"user_id": "nemo"}).json() == {"data": []}


@pytest.mark.parametrize(
    ("what", "pointer"),
    [
        ({"feature": "pages_per_day", "value": 5.0}, "/value"),
        ({"feature": "pages_per_day", "value": "lots"}, "/value"),
        ({"feature": "pages_per_day", "value": [1]}, "/value"),
        ({"feature": "premium_export", "ends_at": "2090-01-01"}, "/ends_at"),
        ({"feature": "premium_export", "ends_at": "9999-12-31T23:59:59-14:00"}, "/ends_at"),
        ({"feature": "premium_export", "reason": ""}, "/reason"),
        ({"feature": "premium_export", "until": "2090-01-01T00:00:00Z"}, "/until"),
    ],
    ids=str,
)
def test_a_grant_out_of_form(world: World, refused: Refused, what: dict[str, Any], pointer: str) -> None:
    """One pointer for one mistake."""
    refused(world.operator.post(GRANTS, json=ask(**what)), 422, "validation-failed", pointer)


def test_a_grant_to_nobody(world: World, refused: Refused) -> None:
    """A project must be registered; its users need not be known."""
    refused(world.operator.post(GRANTS, json={**ask(product="pro"), "project": "nobody"}), 404, "not-found")


def test_grants_are_listed_newest_first(world: World, http: httpx.Client) -> None:
    """By project and user, revoked ones too."""
    first = world.operator.post(GRANTS, json=ask("lia", feature="premium_export")).json()
    world.service.clock.set(world.service.clock.now() + timedelta(seconds=1))
    second = world.operator.post(GRANTS, json=ask("lia", product="pro")).json()
    revoked = world.operator.post(f"{GRANTS}/{first['id']}/revoke", json={"reason": "over"}).json()
    listed = world.operator.get(GRANTS, params={"project": "pdf-tool", "user_id": "lia"}).json()
    assert listed == {"data": [second, revoked]}
    assert world.operator.get(GRANTS, params={"project": "other", "user_id": "lia"}).json() == {"data": []}
    assert world.operator.get(GRANTS, params={"user_id": "lia", "limit": 1}).json() == {"data": [second]}
