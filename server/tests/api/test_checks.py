"""What a user may do, what is known of them, and why."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx

from tollhouse import Tollhouse
from tollhouse_server.testing import World

Refused = Callable[..., dict[str, Any]]


def written(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def give(world: World, user_id: str, **what: Any) -> dict[str, Any]:
    asked = {"project": "pdf-tool", "user_id": user_id, "reason": "test", **what}
    answer = world.operator.post("/v1/admin/grants", json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_user_nobody_knows_is_allowed_nothing(world: World, http: httpx.Client) -> None:
    """No error: an app asks about every user it has. `value` is false for a switch and 0 for a limit."""
    now = written(world.service.clock.now())
    nothing = {"allowed": False, "valid_until": None, "reason": "no-source", "source": None}
    features = {"premium_export": {**nothing, "value": False}, "pages_per_day": {**nothing, "value": 0}}
    known = {"user_id": "nobody", "version": 0, "checked_at": now, "features": features}
    assert http.get("/v1/customers/nobody/entitlements").json() == known
    assert http.get("/v1/customers/nobody").json() == {**known, "subscriptions": [], "purchases": [], "grants": []}
    check = http.get("/v1/customers/nobody/entitlements/pages_per_day").json()
    assert check == {**features["pages_per_day"], "feature": "pages_per_day", "version": 0, "checked_at": now}


def test_an_unknown_feature_names_those_there_are(http: httpx.Client, refused: Refused) -> None:
    """A misspelt feature must not look like one that the user lacks."""
    body = refused(http.get("/v1/customers/ada/entitlements/premium_exprt"), 404, "feature-not-found")
    assert "premium_export" in body["detail"] and "pages_per_day" in body["detail"]
    refused(http.get("/v1/customers/ada/explain?feature=premium_exprt"), 404, "feature-not-found")
    refused(http.get("/v1/customers/ada/explain"), 422, "validation-failed", "feature")


def test_a_checks_etag_stands_until_the_answer_changes(world: World, http: httpx.Client) -> None:
    """304 while nothing changed, however much time passed; 200 with another ETag once it did."""
    for path in ("/v1/customers/etta/entitlements", "/v1/customers/etta/entitlements/premium_export"):
        first = http.get(path)
        etag = first.headers["ETag"]
        again = http.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
        assert again.headers["X-Request-Id"]
        assert http.get(path, headers={"If-None-Match": f'"other", W/{etag}'}).status_code == 304
        assert http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        assert first.headers["Cache-Control"] == "private, no-cache"
    etag = http.get("/v1/customers/etta/entitlements").headers["ETag"]
    grant = give(world, "etta", feature="premium_export")
    opened = http.get("/v1/customers/etta/entitlements", headers={"If-None-Match": etag})
    assert opened.status_code == 200 and opened.headers["ETag"] != etag
    world.operator.post(f"/v1/admin/grants/{grant['id']}/revoke", json={"reason": "over"})
    closed = http.get("/v1/customers/etta/entitlements", headers={"If-None-Match": opened.headers["ETag"]})
    assert closed.status_code == 200 and closed.json()["version"] == opened.json()["version"] + 1


def test_time_alone_ends_a_304(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """At `valid_until` the answer is another one, without any event, and its ETag too."""
    ends = world.service.clock.now() + timedelta(hours=1)
    give(world, "timo", feature="premium_export", ends_at=written(ends))
    open_ = http.get("/v1/customers/timo/entitlements/premium_export")
    assert (open_.json()["allowed"], open_.json()["valid_until"]) == (True, written(ends))
    world.service.clock.set(ends - timedelta(microseconds=1))
    assert http.get(open_.url.path, headers={"If-None-Match": open_.headers["ETag"]}).status_code == 304
    world.service.clock.set(ends)
    closed = http.get(open_.url.path, headers={"If-None-Match": open_.headers["ETag"]})
    assert closed.status_code == 200 and closed.json()["allowed"] is False


def test_the_state_object_after_everything(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """A subscription, a purchase, its refund and a grant: each is there as it is, and the features follow."""
    ada = world.customer("ada-state", pdf_tool)
    ada.buys("pdf-tool.pro.monthly", quantity=3)
    subscribed = http.get("/v1/customers/ada-state").json()
    [subscription] = subscribed["subscriptions"]
    assert subscription == {
        "id": subscription["id"],
        "product": "pro",
        "price": "pdf-tool.pro.monthly",
        "quantity": 3,
        "status": "active",
        "renews": True,
        "ends_at": None,
        "current_period_end": subscription["current_period_end"],
        "trial_end": None,
        "items": [
            {
                "product": "pro",
                "price": "pdf-tool.pro.monthly",
                "quantity": 3,
                "current_period_end": subscription["current_period_end"],
            }
        ],
        "billing_issue": False,
        "correction": None,
        "scheduled_change": None,
    }
    assert subscribed["features"]["pages_per_day"] == {
        "allowed": True,
        "value": 1500,
        "valid_until": written(datetime.fromisoformat(subscription["current_period_end"]) + timedelta(days=3)),
        "reason": "subscription-active",
        "source": subscription["id"],
    }

    ada.buys("pdf-tool.lifetime.once")
    [purchase] = http.get("/v1/customers/ada-state").json()["purchases"]
    assert purchase == {
        "id": purchase["id"],
        "product": "lifetime",
        "price": "pdf-tool.lifetime.once",
        "quantity": 1,
        "payment_status": "paid",
        "purchased_at": purchase["purchased_at"],
        "amount": 19900,
        "refunded": 0,
        "currency": "eur",
    }
    assert http.get("/v1/customers/ada-state").json()["features"]["pages_per_day"]["value"] == "unlimited"

    [charge] = [one for one in world.stripe.v1.charges.list({"customer": ada.stripe_id}).data if one.amount == 19900]
    world.stripe.v1.refunds.create({"charge": charge.id})
    world.arrive()
    refunded = http.get("/v1/customers/ada-state").json()
    assert refunded["purchases"] == [{**purchase, "refunded": 19900}]
    assert refunded["features"]["pages_per_day"]["value"] == 1500
    assert refunded["version"] > subscribed["version"]

    grant = give(world, "ada-state", feature="pages_per_day", value=9000)
    granted = http.get("/v1/customers/ada-state").json()
    shown = {
        name: grant[name]
        for name in ("id", "feature", "product", "value", "override", "starts_at", "ends_at", "reason")
    }
    assert granted["grants"] == [shown]
    assert granted["features"]["pages_per_day"] == {
        "allowed": True,
        "value": 9000,
        "valid_until": None,
        "reason": "granted",
        "source": grant["id"],
    }


def test_an_explanation_is_whole(world: World, pdf_tool: Tollhouse, http: httpx.Client) -> None:
    """The verdict, the policy, and every source with its Stripe ids: what counts and what does not."""
    ada = world.customer("ada-explained", pdf_tool)
    ada.buys("pdf-tool.pro.monthly")
    grant = give(world, "ada-explained", feature="pages_per_day", value=3)
    [subscription] = http.get("/v1/customers/ada-explained").json()["subscriptions"]
    explained = http.get("/v1/customers/ada-explained/explain?feature=premium_export").json()
    until = written(datetime.fromisoformat(subscription["current_period_end"]) + timedelta(days=3))
    counting, other = explained.pop("sources")
    policy = {
        "grace_days": 7,
        "renewal_leeway_days": 3,
        "on_pause": "keep_paid",
        "on_full_refund": "end",
        "on_partial_refund": "keep",
        "on_dispute": "suspend",
    }
    assert explained == {
        "feature": "premium_export",
        "at": written(world.service.clock.now()),
        "allowed": True,
        "value": True,
        "valid_until": until,
        "rule": "subscription-active",
        "sentence": explained["sentence"],
        "next_change_at": until,
        "policy": policy,
        "served": None,
    }
    assert explained["sentence"].startswith("Allowed until ")
    assert counting.pop("sentence") and counting.pop("from") and counting.pop("event_ids")
    price = world.stripe.v1.prices.list({"lookup_keys": ["pdf-tool.pro.monthly"]}).data[0]
    assert counting == {
        "kind": "subscription",
        "id": subscription["id"],
        "products": ["pro"],
        "counts": True,
        "value": True,
        "until": until,
        "rule": "subscription-active",
        "stripe_ids": [subscription["id"], price.id],
        "policy": policy,
    }
    assert other == {
        "kind": "grant",
        "id": grant["id"],
        "products": [],
        "counts": False,
        "value": False,
        "from": None,
        "until": None,
        "rule": "opens-other-features",
        "sentence": other["sentence"],
        "stripe_ids": [],
        "event_ids": [],
        "policy": None,
    }


def test_an_explanation_of_another_instant(world: World, http: httpx.Client) -> None:
    """`at` in the past or the future answers for then, by what is known now."""
    now = world.service.clock.now()
    give(world, "wells", feature="premium_export", ends_at=written(now + timedelta(days=10)))

    def at(instant: str) -> dict[str, Any]:
        answer = http.get("/v1/customers/wells/explain", params={"feature": "premium_export", "at": instant})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    before = at(written(now - timedelta(days=1)))
    assert (before["allowed"], before["rule"], before["valid_until"]) == (False, "not-yet", written(now))
    assert at(written(now + timedelta(days=9)))["allowed"] is True
    after = at(written(now + timedelta(days=10)))
    assert (after["allowed"], after["rule"], after["next_change_at"]) == (False, "no-source", None)
    assert at("0001-01-01T00:00:00Z")["allowed"] is at("9999-12-31T23:59:59Z")["allowed"] is False


def test_an_instant_that_cannot_be_is_refused(http: httpx.Client, refused: Refused) -> None:
    """Without a zone it could mean two instants; outside the years 1 to 9999 it means none."""
    for at in ("2026-01-01T00:00:00", "tomorrow", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1e400"):
        answer = http.get("/v1/customers/ada/explain", params={"feature": "premium_export", "at": at})
        refused(answer, 422, "validation-failed", "at")
