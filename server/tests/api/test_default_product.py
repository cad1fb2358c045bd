"""What everybody has, on every surface that answers about a user: also of one whom nobody has met."""

import copy
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tollhouse.offline import verify
from tollhouse_server.testing import World

from .conftest import PDF_TOOL, Caller

Wish = Callable[..., dict[str, Any]]
Free = Callable[..., httpx.Client]
EVER = "1970-01-01T00:00:00Z"


def document(slug: str, *, pages: int | None = 3, price: int | None = None) -> dict[str, Any]:
    """The PDF tool's catalog with a free plan of so many pages for everybody; None: with none for anybody."""
    written = copy.deepcopy(PDF_TOOL) | {"project": slug}
    prices = {} if price is None else {"monthly": {"amount": price, "currency": "eur", "interval": "month"}}
    if pages is not None:
        written["default_product"] = "free"
        written["products"]["free"] = {"plan_group": "plan", "opens": {"pages_per_day": pages}, "prices": prices}
    return written


@pytest.fixture
def free(world: World, caller: Caller, request: pytest.FixtureRequest) -> Free:
    """Publishes the catalog of this test's own project, and answers with its client."""
    slug = request.node.name.removeprefix("test_").replace("_", "-")[:60]
    keys: list[httpx.Client] = []

    def publish(**said: Any) -> httpx.Client:
        answer = world.operator.put(f"/v1/admin/projects/{slug}/catalog", json=document(slug, **said))
        assert answer.is_success, answer.text
        keys.append(keys[0] if keys else caller(slug))
        return keys[-1]

    return publish


def pages(app: httpx.Client, user_id: str = "ada") -> tuple[int, str, str | None, int]:
    """Value, reason, source and version, by the short way, by the route, and of all features: they say the same."""
    path = f"/v1/customers/{user_id}/entitlements"
    answers = [app.get(f"{path}/pages_per_day").json() for _ in range(2)]
    answers.append(app.get(f"{path}/pages_per_day", headers={"Tollhouse-At-Least": "0"}).json())
    whole = app.get(path).json()
    answers.append({"feature": "pages_per_day", "checked_at": whole["checked_at"], "version": whole["version"],
                    **whole["features"]["pages_per_day"]})  # fmt: skip
    assert all(answer == answers[0] for answer in answers), answers
    told = answers[0]
    return told["value"], told["reason"], told["source"], told["version"]


def test_somebody_unknown_has_it_everywhere(world: World, free: Free) -> None:
    """Check, snapshot, signed snapshot, customer and explanation all say so, and name the rule and the product."""
    app = free()
    assert pages(app) == (3, "default", "free", 0)
    assert not app.get("/v1/customers/ada/entitlements/premium_export").json()["allowed"]
    told = app.get("/v1/customers/ada/snapshot").json()
    always = {"value": 3, "from": EVER, "until": None, "reason": "default", "source": "free"}
    assert (told["version"], told["features"]["pages_per_day"]["stretches"]) == (0, [always])
    signed = app.get("/v1/customers/ada/snapshot", headers={"Accept": "application/jwt"}).text
    keys, slug = app.get("/.well-known/jwks.json").json(), told["project"]
    assert verify(signed, keys, project=slug, now=world.now).check("pages_per_day").value == 3
    state = app.get("/v1/customers/ada").json()
    assert (state["features"]["pages_per_day"]["value"], state["version"], state["subscriptions"]) == (3, 0, [])
    why = app.get("/v1/customers/ada/explain", params={"feature": "pages_per_day"}).json()
    assert (why["rule"], why["sentence"]) == ("default", "Allowed (3) for ever. Everybody has free without buying it.")
    [source] = why["sources"]
    assert (source["kind"], source["id"], source["from"], source["stripe_ids"]) == ("default", "free", EVER, [])
    assert app.get("/v1/catalog").json()["default_product"] == "free"


def test_a_publish_is_felt_at_once_by_who_was_asked_for_before(free: Free) -> None:
    """Whatever was cached of somebody unknown: the next answer is by the new catalog, under another ETag."""
    app = free()
    paths = [f"/v1/customers/ada/{what}" for what in ("entitlements", "entitlements/pages_per_day", "snapshot")]
    for number in (5, None, 0, 7):
        assert pages(app)[0] in (3, 5, 0, 7)
        etags = [app.get(path).headers["ETag"] for path in paths]
        assert [app.get(path, headers={"If-None-Match": etag}).status_code for path, etag in zip(paths, etags, strict=True)] == [304] * 3  # fmt: skip  # noqa: E501
        free(pages=number)
        for path, etag in zip(paths, etags, strict=True):
            changed = app.get(path, headers={"If-None-Match": etag})
            # Of "nothing for anybody" and "0 of it for everybody" only the snapshot tells that the catalog is another.
            assert changed.status_code == (304 if number == 0 and "snapshot" not in path else 200)
        assert pages(app) == ((number, "default", "free", 0) if number else (0, "no-source", None, 0))


def test_to_be_met_is_no_change(world: World, free: Free) -> None:
    """Who opens a checkout and buys nothing has what they had: no version, no entry in the audit, nothing told."""
    free()
    app = world.publish(document("to-be-met-is-no-change"))
    ada = world.customer("ada", app)
    ada.gets_subscription("to-be-met-is-no-change.pro.monthly", card=None, payment_behavior="default_incomplete")
    assert [one.status for one in ada.state().subscriptions] == ["incomplete"]
    assert (ada.may("pages_per_day").value, ada.may("pages_per_day").reason) == (3, "default")
    assert ada.state().version == 0
    listed = world.operator.get("/v1/admin/audit", params={"project": "to-be-met-is-no-change"}).json()["data"]
    assert "entitlements.changed" not in {entry["action"] for entry in listed}


def test_those_who_are_known_hear_of_another_default(world: World, free: Free) -> None:
    """Each gets a version of their own when it changes, and loses it when it goes; what they bought stands."""
    app = free()
    slug = app.get("/v1/catalog").json()["project"]
    for user_id, what in (("ada", {"feature": "premium_export", "value": True}), ("bob", {"product": "pro"})):
        given = {"project": slug, "user_id": user_id, "reason": "test", **what}
        world.operator.post("/v1/admin/grants", json=given).raise_for_status()
    assert [pages(app, user)[:3] for user in ("ada", "bob")] == [(3, "default", "free"), (500, "granted", pages(app, "bob")[2])]  # fmt: skip  # noqa: E501
    before = [pages(app, user)[3] for user in ("ada", "bob")]
    free(pages=5)
    world.service.work()
    assert pages(app) == (5, "default", "free", before[0] + 1)
    assert pages(app, "bob")[3] == before[1]
    free(pages=None)
    world.service.work()
    assert pages(app) == (0, "no-source", None, before[0] + 2)
    assert pages(app, "bob")[0] == 500


def test_nobody_owns_it(world: World, free: Free, wish: Wish) -> None:
    """Neither another plan of its group nor itself, sold for nothing, counts as bought; and nothing of it is earned."""
    app = free(price=0)
    slug = app.get("/v1/catalog").json()["project"]
    for user_id, price in (("ada", f"{slug}.pro.monthly"), ("bob", f"{slug}.free.monthly")):
        opened = app.post("/v1/checkouts", json=wish(user_id, price=price))
        assert (opened.status_code, opened.json()["outcome"]) == (201, "new"), opened.text
    assert app.get("/v1/metrics").json()["data"] == []


def test_it_is_no_price_that_costs(world: World, refused: Callable[..., dict[str, Any]]) -> None:
    """A default product that somebody is asked to pay for is refused, with a code of its own; nothing is registered."""
    answer = world.operator.put("/v1/admin/projects/dear/catalog", json=document("dear", price=100))
    told = refused(answer, 422, "catalog-invalid", "/default_product")
    assert [one["code"] for one in told["errors"]] == ["default-for-money"]
    assert world.operator.get("/v1/admin/projects/dear").status_code == 404
