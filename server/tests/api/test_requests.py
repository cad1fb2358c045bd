"""What every call has in common: its form, its errors, its request id."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tollhouse_server.testing import World

JSON = {"Content-Type": "application/json"}
Refused = Callable[..., dict[str, Any]]
Wish = Callable[..., dict[str, Any]]
CHECKOUTS = "/v1/checkouts"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b'{"user_id": "\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, id="10,000 arrays deep"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="10,000 objects deep"),
        pytest.param(b'{"quantity": ' + b"9" * 5_000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"quantity": NaN}', id="NaN"),
        pytest.param(b'{"quantity": -Infinity}', id="Infinity"),
        pytest.param(b'{"quantity": 1e999}', id="a number too large"),
        pytest.param(b'{"user_id": "ada", "user_id": "bob"}', id="a name twice"),
        pytest.param(b'{"a": [{"b": 1, "b": 1}]}', id="a name twice, further in"),
        pytest.param(b"[" * 33 + b"]" * 33, id="33 deep"),
        pytest.param('{"user_id": "ada"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf{"user_id": "ada"}', id="a byte order mark"),
    ],
)
def test_what_is_not_json_is_refused_as_such(http: httpx.Client, refused: Refused, body: bytes) -> None:
    """400, whatever is wrong with the text, and nothing of it is sent back."""
    body_said = refused(http.post(CHECKOUTS, content=body, headers=JSON), 400, "malformed-json")
    assert "user_id" not in str(body_said) and "bob" not in str(body_said)


def test_json_32_levels_deep_is_read(http: httpx.Client, refused: Refused) -> None:
    """The limit is no lower than it says: this one is refused for its form."""
    refused(http.post(CHECKOUTS, content=b"[" * 32 + b"]" * 32, headers=JSON), 422, "validation-failed", "")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_another_media_type_is_refused(http: httpx.Client, refused: Refused, content_type: str | None) -> None:
    """415 and not a puzzle about missing fields, with the media type that is wanted."""
    headers = {"Content-Type": content_type} if content_type else {}
    body = refused(http.post(CHECKOUTS, content=b"{}", headers=headers), 415, "unsupported-media-type")
    assert "application/json" in body["detail"]


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"colour": "red"}, "/colour"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"user_id": ""}, "/user_id"),
        ({"user_id": "x" * 256}, "/user_id"),
        ({"user_id": "a\0b"}, "/user_id"),
        ({"user_id": 7}, "/user_id"),
        ({"price": "a\0b"}, "/price"),
        ({"quantity": 0}, "/quantity"),
        ({"quantity": 10**30}, "/quantity"),
        ({"quantity": 1.0}, "/quantity"),
        ({"quantity": True}, "/quantity"),
        ({"trial_days": -1}, "/trial_days"),
        ({"trial_days": 731}, "/trial_days"),
        ({"success_url": "https://app.test/" + "x" * 2048}, "/success_url"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_named(
    http: httpx.Client, refused: Refused, wish: Wish, changed: dict[str, Any], pointer: str
) -> None:
    """422 with the JSON pointer of the very field, a misspelt one too."""
    content = json.dumps(wish(**changed)).encode()
    body = refused(http.post(CHECKOUTS, content=content, headers=JSON), 422, "validation-failed", pointer)
    assert pointer in body["detail"]


def test_all_wrong_fields_are_named_at_once(http: httpx.Client, refused: Refused) -> None:
    """Whoever mends a request mends it once."""
    answer = http.post(CHECKOUTS, json={"user_id": 1, "quantity": "x"})
    refused(answer, 422, "validation-failed", "/user_id", "/price", "/success_url", "/cancel_url", "/quantity")


@pytest.mark.parametrize("number", ["0.5", "1790000000", "-1", "2026"])
def test_a_number_is_no_instant(http: httpx.Client, refused: Refused, number: str) -> None:
    """Seconds or milliseconds since 1970 are asked for nowhere; taken for one, they would answer for another time."""
    path = "/v1/customers/ada/explain"
    refused(http.get(path, params={"feature": "premium_export", "at": number}), 422, "validation-failed", "at")


def test_a_body_that_is_no_object_is_refused(http: httpx.Client, refused: Refused) -> None:
    """The empty pointer means the body as a whole (RFC 6901)."""
    refused(http.post(CHECKOUTS, json=[]), 422, "validation-failed", "")
    refused(http.post(CHECKOUTS), 422, "validation-failed", "")


def test_half_a_surrogate_pair_is_refused(http: httpx.Client, refused: Refused, wish: Wish) -> None:
    """JSON can write what UTF-8, and so PostgreSQL, cannot."""
    content = json.dumps(wish(user_id="?")).replace('"?"', '"\\ud800"').encode()
    refused(http.post(CHECKOUTS, content=content, headers=JSON), 422, "validation-failed", "/user_id")


@pytest.mark.parametrize(
    "user_id", ["a/b", "a%2Fb", "50%", "ünïcødé 🦊", "x" * 255, "é" * 255, "..", "a?b#c", " ", "../../catalog"]
)
def test_a_user_id_may_be_anything(world: World, http: httpx.Client, wish: Wish, user_id: str) -> None:
    """What was stored under an id in a body is found under the same id in a path, and under no other."""
    path = quote(user_id, safe="").replace(".", "%2E")
    given = {"project": "pdf-tool", "user_id": user_id, "feature": "premium_export", "reason": "test"}
    assert world.operator.post("/v1/admin/grants", json=given).status_code == 201
    state = http.get(httpx.URL(http.base_url, raw_path=f"/v1/customers/{path}".encode())).json()
    assert (state["user_id"], len(state["grants"])) == (user_id, 1)
    other = http.get(f"/v1/customers/{quote(user_id[:-1] + '_', safe='')}").json()
    assert other["grants"] == []


@pytest.mark.parametrize("path", ["a%00b", "%FF", "x" * 256, "%ED%A0%80"])
def test_a_user_id_that_cannot_be_is_refused(http: httpx.Client, refused: Refused, path: str) -> None:
    """NUL, what is not UTF-8, and what is too long: 422, so that two ids never become one."""
    refused(http.get(f"/v1/customers/{path}/entitlements"), 422, "validation-failed", "user_id")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/catalog", "/v1/catalog/", "/v1/customers/", "/v1/customers//entitlements"]
)
def test_an_unknown_path_is_not_found(http: httpx.Client, refused: Refused, path: str) -> None:
    """404 as a problem, without a redirect for a slash too many."""
    refused(http.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/catalog", "GET, HEAD"),
        ("GET", "/v1/checkouts", "POST"),
        ("OPTIONS", "/v1/catalog", "GET, HEAD"),
        ("PATCH", "/v1/admin/projects", "GET, HEAD, POST"),
        ("POST", "/v1/admin/projects/pdf-tool/catalog", "GET, HEAD, PUT"),
    ],
)
def test_another_method_is_told_which_there_are(
    http: httpx.Client, refused: Refused, method: str, path: str, allowed: str
) -> None:
    """405 with every method of the path in Allow."""
    answer = http.request(method, path)
    refused(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


def test_head_is_a_get_without_its_body(http: httpx.Client) -> None:
    """Where GET is taken HEAD is too, with the same headers; where it is not, HEAD is refused like any other."""
    got, head = http.get("/v1/catalog"), http.head("/v1/catalog")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.content))
    refused = http.head(CHECKOUTS)
    assert (refused.status_code, refused.headers["Allow"], refused.content) == (405, "POST", b"")
    assert http.get("/v1/catalog").json() == got.json()  # on the same connection: no body was left in it


def test_the_request_id_comes_back(http: httpx.Client, refused: Refused) -> None:
    """The caller's own id is used, on success and in an error; one that could harm a log is replaced."""
    assert http.get("/v1/catalog", headers={"X-Request-Id": "deploy-42:a.b"}).headers["X-Request-Id"] == "deploy-42:a.b"
    assert refused(http.get("/nothing", headers={"X-Request-Id": "mine"}), 404, "not-found")["instance"] == "mine"
    for bad in ("", "a b", "x" * 65, 'a"b', "<script>"):
        assert http.get("/v1/catalog", headers={"X-Request-Id": bad}).headers["X-Request-Id"].startswith("req_")


def test_answers_are_private_and_sniffed_by_nobody(http: httpx.Client) -> None:
    """No proxy keeps what belongs to one user, and no browser takes an answer for something else."""
    for path in ("/v1/catalog", "/v1/customers/ada", "/nothing"):
        headers = http.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_metrics_name_routes_and_never_users(world: World, http: httpx.Client, stranger: httpx.Client) -> None:
    """The label is the route's whole pattern: what a user's id is does not become a time series."""
    http.get("/v1/customers/somebody-special/entitlements/premium_export")
    http.get("/nothing-like-this")
    text = stranger.get("/metrics").text
    assert 'route="/v1/customers/{user_id}/entitlements/{feature}",status="200"' in text
    assert 'route="none",status="404"' in text
    assert "somebody-special" not in text and "nothing-like-this" not in text


def test_the_docs_load_nothing_from_elsewhere(stranger: httpx.Client) -> None:
    """The reference page works without a way to the internet."""
    page = stranger.get("/docs")
    assert page.status_code == 200 and "://" not in page.text
    for path in ("/docs/start.js", "/docs/static/swagger-ui.css", "/docs/static/swagger-ui-bundle.js"):
        assert path in page.text
        assert stranger.get(path).status_code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
