"""No project sees or touches what is another's: asked of every call there is, made from the API's own description."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tollhouse import Tollhouse
from tollhouse_server.db.engine import conninfo
from tollhouse_server.db.tables import metadata
from tollhouse_server.testing import World

SHARED = "premium_export"
"""A feature that both projects have: open for ada in one, and for nobody in the other."""
SINCE = "2026-01-01T00:00:00Z"

CANARY = "canary"
"""Planted wherever the PDF tool has text of its own; it is in no answer to anybody else."""


@pytest.fixture(scope="module")
def theirs(world: World, pdf_tool: Tollhouse) -> dict[str, list[str]]:
    """The ids of the PDF tool, by the name of the parameter or field that takes them."""
    ada = world.customer("ada", pdf_tool)
    checkout = ada.buys("pdf-tool.pro.monthly", email=f"{CANARY}@example.com")
    ada.buys("pdf-tool.lifetime.once")
    given = {"project": "pdf-tool", "user_id": "ada", "feature": SHARED, "reason": CANARY}
    assert world.operator.post("/v1/admin/grants", json=given, headers={"Tollhouse-Operator": CANARY}).is_success
    endpoints = "/v1/admin/projects/pdf-tool/notification-endpoints"
    hook = {"url": f"http://127.0.0.1:9/{CANARY}", "description": CANARY}
    endpoint = world.operator.post(endpoints, json=hook).json()["id"]
    message = world.operator.post(f"{endpoints}/{endpoint}/test").json()["message_id"]
    return {
        "user_id": ["ada"],
        "id": [checkout, endpoint],
        "message_id": [message],
        "url": ["file:///etc/passwd"],
        "since": [SINCE],
        "feature": ["pages_per_day", SHARED],
        "price": ["pdf-tool.pro.monthly"],
        "subscription": [ada.subscription().id],
        "success_url": ["https://app.test/"],
        "cancel_url": ["https://app.test/"],
        "return_url": ["https://app.test/"],
    }


def nobodys(name: str, theirs: str) -> str:
    """The same kind of id, which nothing has."""
    if theirs in (SHARED, SINCE):
        return theirs
    if name == "price":  # that a key begins with another project's slug is told to everybody, whether it is sold or not
        return "pdf-tool.x-nobody-x"
    return "https://nobody.test/" if name.endswith("_url") else "x-nobody-x"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Those of a project, without the one whose answer never ends: test_stream.py asks it for another project's."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path != "/v1/stream" and any("ProjectKey" in one for one in operation.get("security", [])):
                yield method, path, operation


PLAIN = frozenset(
    (
        *(
            "Idempotency-Key",
            "If-None-Match",
            "Tollhouse-At-Least",
            "accept",
            "at",
            "quantity",
            "trial_days",
            "allow_promotion_codes",
            "email",
            "name",
            "currency",
            "discount",
            "when",
            "preview",
            "proration_date",
        ),
        *("description", "overlap_hours", "state", "cursor", "limit", "from", "to", "interval", "format"),
    )
)
"""Parameters and fields that name nobody's things."""


def wanted(document: dict[str, Any], operation: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Where (`path`, `query`, `body`), as what, and whether it must: every parameter and field that names something."""
    found = [(one["in"], one["name"], one["required"]) for one in operation.get("parameters", [])]
    if "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        schema = document["components"]["schemas"][reference]
        found += [("body", name, name in schema.get("required", ())) for name in schema["properties"]]
    return [one for one in found if one[1] not in PLAIN]


def asked_with(names: list[tuple[str, str, bool]]) -> Iterator[dict[str, list[str]]]:
    """What must be named, and each other name beside it: `path`, `query` and `body` with their names."""
    optional: list[str | None] = [None, *(name for _, name, required in names if not required)]
    for chosen in optional:
        parts: dict[str, list[str]] = {"path": [], "query": [], "body": []}
        for where, name, required in names:
            if required or name == chosen:
                parts[where].append(name)
        yield parts


def call(
    client: httpx.Client, method: str, path: str, names: dict[str, list[str]], ids: dict[str, str]
) -> tuple[int, str]:
    """The answer's status and text, with the ids that were asked for and the request's own id taken out."""
    parts = {where: {name: ids[name] for name in those} for where, those in names.items()}
    answer = client.request(
        method,
        path.format(**parts["path"]),
        params=parts["query"],
        json=None if method in ("get", "delete") else parts["body"],
        headers={"X-Request-Id": "same", "Idempotency-Key": str(uuid.uuid4())},
    )
    text = answer.text
    # A lookup key begins with its project's slug: who sends it has said that, too.
    said = {*ids.values(), *(value.partition(".")[0] for value in ids.values())}
    for value in sorted(said, key=len, reverse=True):
        if value != SHARED:
            text = text.replace(f'"{value}"', '"…"').replace(f"'{value}'", "'…'")
    return answer.status_code, text


def belongings(world: World) -> dict[str, Any]:
    """Every row of the PDF tool, and what Stripe has."""
    url = conninfo(world.service.settings.database_url.get_secret_value())
    tables = [table.name for table in metadata.sorted_tables if "project_id" in table.c]
    with psycopg.connect(url) as db:
        mine = "project_id = (SELECT id FROM project WHERE slug = 'pdf-tool')"
        rows = {name: db.execute(f"SELECT * FROM {name} WHERE {mine} ORDER BY 1, 2").fetchall() for name in tables}  # type: ignore[arg-type]
    stripe = world.stripe.v1
    return {
        **rows,
        "sessions": stripe.checkout.sessions.list({"limit": 100}).to_dict(),
        "customers": stripe.customers.list({"limit": 100}).to_dict(),
    }


def test_another_projects_ids_are_as_good_as_none(
    world: World,
    theirs: dict[str, list[str]],
    guild_bot: Tollhouse,
    caller: Callable[[str], httpx.Client],
    stranger: httpx.Client,
) -> None:
    """With its own key and the other's ids a project is answered as for ids that do not exist, and changes nothing.

    Each way of naming something is asked: what a call requires, and every optional name beside it. What lies below an
    id in a path is not found. A name that this test has no id for, and does not know to be plain, fails it, so that no
    new call goes unasked.
    """
    document = stranger.get("/openapi.json").json()
    client = caller("guild-bot")
    before = belongings(world)
    asked = set()
    for method, path, operation in operations(document):
        for names in asked_with(wanted(document, operation)):
            needed = sorted({*names["path"], *names["query"], *names["body"]})
            unclear = [name for name in needed if name not in theirs]
            assert not unclear, f"{method} {path}: whose are {unclear}? Say it in `theirs`, or that they are PLAIN"
            for values in itertools.product(*(theirs[name] for name in needed)):
                foreign = dict(zip(needed, values, strict=True))
                unknown = {name: nobodys(name, value) for name, value in foreign.items()}
                told = call(client, method, path, names, foreign)
                assert told == call(client, method, path, names, unknown), f"{method} {path} {foreign}"
                assert told[0] == 404 or "id" not in names["path"], f"{method} {path} is there for a stranger"
                assert not any(mark in told[1].lower() for mark in (CANARY, "pdf", "sub_", "gr_", "cus_")), told
                asked.add((method, path))
    assert asked == {(method, path) for method, path, _ in operations(document)}
    assert belongings(world) == before
    assert world.customer("ada", guild_bot).may(SHARED).allowed is False


def test_a_projects_key_opens_nothing_of_the_operators(
    world: World, pdf_tool: Tollhouse, caller: Callable[[str], httpx.Client], stranger: httpx.Client
) -> None:
    """Whatever scopes it has, and whatever is asked, even of its own project: 401 or 403, and nothing is changed."""
    client = caller("pdf-tool")
    assert client.get("/v1/catalog").is_success
    before = belongings(world)
    asked = 0
    for path, methods in stranger.get("/openapi.json").json()["paths"].items():
        for method in methods:
            if "/admin/" in path:
                address = path.format(slug="pdf-tool", id="1", name="grace", user_id="ada", message_id="1")
                told = client.request(method, address, headers={"Tollhouse-Operator": "mallory"}, json={})
                assert told.status_code in (401, 403), f"{method} {path}: {told.text}"
                asked += 1
    assert asked >= 20
    assert belongings(world) == before


def test_the_owner_is_told_more(theirs: dict[str, list[str]], http: httpx.Client, stranger: httpx.Client) -> None:
    """The ids of the test above are good ones: with the right key they lead somewhere."""
    assert http.get(f"/v1/checkouts/{theirs['id'][0]}").status_code == 200
    assert http.get(f"/v1/customers/ada/entitlements/{SHARED}").json()["allowed"] is True


def test_one_user_id_in_two_projects_is_two_customers(
    world: World, theirs: dict[str, list[str]], guild_bot: Tollhouse, pdf_tool: Tollhouse
) -> None:
    """What ada buys in one app opens nothing in another, though she has one id."""
    ada = world.customer("ada", guild_bot)
    opened = guild_bot.open_checkout(
        "ada", "guild-bot.premium.monthly", success_url="https://bot.test/", cancel_url="https://bot.test/"
    )
    assert opened.url is not None and not ada.may(SHARED)
    world.sandbox.pay(opened.url)
    world.arrive()
    assert ada.may(SHARED)
    assert [one.product for one in ada.state().subscriptions] == ["premium"]
    assert [one.product for one in world.customer("ada", pdf_tool).state().subscriptions] == ["pro"]
    stamped = [
        one for one in world.stripe.v1.customers.list().data if one.to_dict()["metadata"]["tollhouse_user_id"] == "ada"
    ]
    assert len(stamped) == 2


def test_every_call_of_a_project_needs_its_key(world: World, stranger: httpx.Client) -> None:
    """Every operation says which key it takes, and takes no other: only Stripe's and the service's own are open."""
    document = stranger.get("/openapi.json").json()
    keyless = {
        path for path, methods in document["paths"].items() for one in methods.values() if not one.get("security")
    }
    assert keyless == {"/v1/stripe/webhook", "/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation.get("security"):
                schemes = {name for one in operation["security"] for name in one}
                assert schemes == ({"OperatorKey", "OperatorPassword"} if "/admin/" in path else {"ProjectKey"})
                address = path.format(user_id="u", feature="f", id="i", slug="s", message_id="m")
                assert stranger.request(method, address).status_code == 401, f"{method} {path}"
