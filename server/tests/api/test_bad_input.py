"""What is wrong with a request, and what it is answered: one row each.

How each is done in depth stands in the tests of its subject; this is the list to look things up in.
"""

# ruff: noqa: E501 - a row is a line

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tollhouse import Tollhouse
from tollhouse_server.testing import OPERATOR_KEY, World

Refused = Callable[..., dict[str, Any]]

CHECKOUTS, PORTAL, CATALOG = "/v1/checkouts", "/v1/portal-sessions", "/v1/catalog"
WEBHOOK, GRANTS, PUBLISH = "/v1/stripe/webhook", "/v1/admin/grants", "/v1/admin/projects/pdf-tool/catalog"
JSON = {"Content-Type": "application/json"}
PROJECT, OPERATOR, NOBODY = "project", "operator", "nobody"
WISH = {
    "user_id": "ada",
    "price": "pdf-tool.pro.monthly",
    "success_url": "https://app.test/",
    "cancel_url": "https://app.test/",
}


def body(**other: object) -> bytes:
    return json.dumps(WISH | other).encode()


@dataclass(frozen=True)
class Row:
    """A request, what is wrong with it, and its answer. `told` are headers of the answer."""

    wrong: str
    method: str
    path: str
    status: int
    code: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    by: str = PROJECT
    pointers: tuple[str, ...] = ()
    told: dict[str, str] = field(default_factory=dict)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


CHECKSUM = "tollhouse_AAAAAAAAAAAA_" + "A" * 32 + "00000000"
CLOSED = {"Connection": "close"}
ASK = {"WWW-Authenticate": "Bearer"}
LATIN = {"Content-Type": "application/json; charset=iso-8859-1"}
MIXED = {"Content-Type": "multipart/form-data; boundary=x"}

ROWS = [
    # --- The body as text
    Row("not JSON", "POST", CHECKOUTS, 400, "malformed-json", b"{"),
    Row("not UTF-8", "POST", CHECKOUTS, 400, "malformed-json", b'{"user_id": "\xff"}'),
    Row("another charset", "POST", CHECKOUTS, 400, "malformed-json", body(), LATIN),
    Row("a name twice", "POST", CHECKOUTS, 400, "malformed-json", b'{"user_id": "a", "user_id": "b"}'),
    Row("NaN", "POST", CHECKOUTS, 400, "malformed-json", body(quantity=float("nan"))),
    Row("33 levels deep", "POST", CHECKOUTS, 400, "malformed-json", b"[" * 33 + b"]" * 33),
    Row("a form", "POST", CHECKOUTS, 415, "unsupported-media-type", b"--x--", MIXED),
    Row("no type", "POST", CHECKOUTS, 415, "unsupported-media-type", body(), {}),
    Row("compressed", "POST", CHECKOUTS, 415, "unsupported-media-type", body(), JSON | {"Content-Encoding": "gzip"}),
    Row("wants a picture", "GET", CATALOG, 406, "not-acceptable", None, {"Accept": "image/png"}),
    # --- The body as a request
    Row("a field too many", "POST", CHECKOUTS, 422, "validation-failed", body(colour="red"), pointers=("/colour",)),
    Row("fields wrong", "POST", CHECKOUTS, 422, "validation-failed", body(user_id=1, quantity=0), pointers=("/user_id", "/quantity")),
    Row("redirects elsewhere", "POST", CHECKOUTS, 422, "url-not-allowed", body(success_url="https://evil.test/"), pointers=("/success_url",)),
    Row("a parameter wrong", "GET", "/v1/customers/a%00", 422, "validation-failed", pointers=("user_id",)),
    # --- Its size
    Row("64 KiB and a byte", "POST", CHECKOUTS, 413, "too-large", b" " * (64 * 1024 + 1), told=CLOSED),
    Row("an event of 256 KiB and a byte", "POST", WEBHOOK, 413, "too-large", b" " * (256 * 1024 + 1), told=CLOSED),
    Row("9 KiB of headers", "GET", CATALOG, 431, "headers-too-large", None, {"X-Long": "x" * 9_000}, told=CLOSED),
    Row("a path of 5 KiB", "GET", f"{CATALOG}?{'x' * 5_000}", 414, "uri-too-long", told=CLOSED),
    # --- Who asks
    Row("no key", "GET", CATALOG, 401, "unauthenticated", by=NOBODY, told=ASK),
    Row("no such scheme", "GET", CATALOG, 401, "unauthenticated", None, {"Authorization": "Basic eA=="}, NOBODY, told=ASK),
    Row("a garbled key", "GET", CATALOG, 401, "unauthenticated", None, bearer("tollhouse_x"), NOBODY, told=ASK),
    Row("a wrong checksum", "GET", CATALOG, 401, "unauthenticated", None, bearer(CHECKSUM), NOBODY, told=ASK),
    Row("an operator's key", "GET", CATALOG, 401, "unauthenticated", None, bearer(OPERATOR_KEY), NOBODY, told=ASK),
    Row("a project's key", "GET", "/v1/admin/projects", 401, "unauthenticated", told=ASK),
    Row("an operator without a name", "POST", GRANTS, 400, "operator-required", b"{}", JSON | bearer(OPERATOR_KEY), NOBODY),
    # --- What is asked for
    Row("no such path", "GET", "/v1/nothing", 404, "not-found"),
    Row("no such checkout", "GET", f"{CHECKOUTS}/chk_none", 404, "checkout-not-found"),
    Row("no such price", "POST", CHECKOUTS, 404, "price-not-found", body(price="pdf-tool.pro.weekly")),
    Row("no such feature", "GET", "/v1/customers/ada/entitlements/none", 404, "feature-not-found"),
    Row("never a customer", "POST", PORTAL, 404, "customer-not-found", b'{"user_id": "never", "return_url": "https://app.test/"}'),
    Row("another method", "DELETE", CATALOG, 405, "method-not-allowed", told={"Allow": "GET, HEAD"}),
    # --- How often it is asked
    Row("money without a key", "POST", CHECKOUTS, 400, "idempotency-key-required", body(), JSON | {"Idempotency-Key": ""}),
    Row("a key of 256 characters", "POST", CHECKOUTS, 400, "idempotency-key-required", body(), JSON | {"Idempotency-Key": "x" * 256}),
    Row("a key for two requests", "POST", CHECKOUTS, 422, "idempotency-key-reused", body(user_id="bob"), JSON | {"Idempotency-Key": "used"}),
    Row("a catalog of another version", "PUT", PUBLISH, 412, "version-mismatch", None, JSON | {"If-Match": '"99"'}, OPERATOR),
    # --- What Stripe sends
    Row("an event without signature", "POST", WEBHOOK, 400, "bad-signature", b"{}", by=NOBODY),
    Row("an event with a bad one", "POST", WEBHOOK, 400, "bad-signature", b"{}", JSON | {"Stripe-Signature": "t=1,v1=x"}, NOBODY),
]  # fmt: skip


@pytest.fixture(scope="module")
def callers(
    world: World, http: httpx.Client, pdf_tool: Tollhouse, stranger: httpx.Client
) -> dict[str, Callable[..., httpx.Response]]:
    """Who may ask; the key `used` has been used."""
    assert http.post(CHECKOUTS, json=WISH, headers={"Idempotency-Key": "used"}).status_code == 201
    return {PROJECT: http.request, OPERATOR: world.operator.request, NOBODY: stranger.request}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.wrong}: {row.status} {row.code}")
def test_bad_input(world: World, callers: dict[str, Callable[..., httpx.Response]], refused: Refused, row: Row) -> None:
    """Status, code, pointers and headers as the row says; the sentence says what to do, and repeats no body."""
    content = row.content
    if row.path == PUBLISH and row.method == "PUT":
        content = json.dumps(world.operator.get(PUBLISH).json()).encode()
    answer = callers[row.by](row.method, row.path, content=content, headers=row.headers)
    said = refused(answer, row.status, row.code, *row.pointers)
    assert {name: answer.headers.get(name) for name in row.told} == row.told
    assert "evil.test" not in said["detail"] and not said["detail"].startswith("{")


def test_every_refused_key_is_refused_alike(world: World, http: httpx.Client, stranger: httpx.Client) -> None:
    """Garbled, unknown, wrong secret, revoked, of an operator or none at all: the same bytes, so that none is told."""
    keys = "/v1/admin/projects/pdf-tool/keys"
    revoked = world.operator.post(keys, json={"name": "gone"}).json()
    assert world.operator.delete(f"{keys}/{revoked['id']}").status_code == 204
    live = http.headers["Authorization"].removeprefix("Bearer ")
    guessed = live[:-20] + "".join("a" if one != "a" else "b" for one in live[-20:-8]) + live[-8:]
    texts = {
        stranger.get(CATALOG, headers={"X-Request-Id": "same", **headers}).content
        for headers in ({}, *map(bearer, ("x", CHECKSUM, guessed, revoked["key"], OPERATOR_KEY)))
    }
    assert len(texts) == 1


def test_what_belongs_to_another_is_as_good_as_nothing(
    http: httpx.Client, guild_bot: Tollhouse, caller: Callable[[str], httpx.Client]
) -> None:
    """A checkout of another project, and one of nobody: the same bytes."""
    theirs = http.post(CHECKOUTS, json=WISH | {"user_id": "theirs"}).json()["id"]
    bot = caller("guild-bot")
    for ask in (bot.get, lambda url, headers: bot.post(f"{url}/sync", headers=headers)):
        answers = [ask(f"{CHECKOUTS}/{id_}", headers={"X-Request-Id": "same"}) for id_ in (theirs, "chk_nobodys")]
        assert answers[0].status_code == 404
        assert answers[0].content == answers[1].content


def test_a_catalog_is_published_over_the_version_that_was_read(
    world: World, pdf_tool: Tollhouse, refused: Refused
) -> None:
    """Its ETag, given as If-Match, keeps two operators from undoing each other; `*` and none take what there is."""
    read = world.operator.get(PUBLISH)
    document, etag = read.json(), read.headers["ETag"]
    first = world.operator.put(PUBLISH, json=document | {"name": "One"}, headers={"If-Match": etag})
    assert first.status_code == 200 and first.headers["ETag"] != etag
    second = world.operator.put(PUBLISH, json=document | {"name": "Two"}, headers={"If-Match": etag})
    assert first.headers["ETag"].strip('"') in refused(second, 412, "version-mismatch")["detail"]
    assert world.operator.get(PUBLISH).json()["name"] == "One"
    for other in ("*", f'"77", {first.headers["ETag"]}'):
        assert world.operator.put(PUBLISH, json=document | {"name": "One"}, headers={"If-Match": other}).is_success
    for none in ("1", f"W/{first.headers['ETag']}", "garbage", ""):
        refused(world.operator.put(PUBLISH, json=document, headers={"If-Match": none}), 412, "version-mismatch")


def test_accepting_anything_that_fits_is_enough(http: httpx.Client) -> None:
    """Browsers, curl, and who asks for a table where there is none."""
    for accept in (
        "*/*",
        "application/*;q=0.5",
        "text/html, application/json;q=0.1",
        "application/problem+json",
        "text/csv",
    ):
        assert http.get(CATALOG, headers={"Accept": accept}).status_code == 200
