"""Endpoints at which a project hears of changes: its own to manage, and the operators'."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tollhouse import Tollhouse
from tollhouse_server.resources import Resources
from tollhouse_server.testing import Receiver, World, answering

Refused = Callable[..., dict[str, Any]]

OWN = "/v1/notification-endpoints"
OPERATORS = "/v1/admin/projects/pdf-tool/notification-endpoints"
PUBLIC = "https://93.184.215.14/hook?token=canary-in-a-url"


@pytest.fixture(params=["project", "operator"])
def calls(request: pytest.FixtureRequest, world: World, http: httpx.Client) -> Iterator[Callable[..., httpx.Response]]:
    """A call to the project's endpoints, by the project itself and by an operator: the same answers."""
    client, prefix = (http, OWN) if request.param == "project" else (world.operator, OPERATORS)
    yield lambda method, path="", **sent: client.request(method, prefix + path, **sent)
    for one in http.get(OWN).json()["data"]:
        assert http.delete(f"{OWN}/{one['id']}").status_code == 204


_pages = itertools.count(1)


def grant(world: World) -> int:
    """Lets ada do a page more than before; each is a change. Answers with how many she has."""
    pages = next(_pages)
    given = {"project": "pdf-tool", "user_id": "ada", "feature": "pages_per_day", "value": pages, "reason": "a test"}
    assert world.operator.post("/v1/admin/grants", json=given).status_code == 201
    world.service.work()
    return pages


def test_a_life(calls: Any, world: World, receiver: Receiver, refused: Refused) -> None:
    """Registered, tried out, told of a change, given another secret, changed, deleted."""
    url = receiver.url + "/hook"
    made = calls("POST", json={"url": url, "description": "production"})
    assert made.status_code == 201, made.text
    endpoint = made.json()
    path, secret = f"/{endpoint['id']}", endpoint.pop("secret")
    assert endpoint == calls("GET", path).json() == calls("GET").json()["data"][0]
    assert (endpoint["url"], endpoint["state"], endpoint["pending"]) == (url, "enabled", 0)

    tried = calls("POST", f"{path}/test").json()
    assert (tried["type"], tried["state"], tried["version"]) == ("endpoint.test", "pending", None)
    assert calls("GET", path).json()["pending"] == 1
    grant(world)
    change, test = sorted(receiver.received, key=lambda one: str(one.said["type"]))
    tried = calls("GET", f"{path}/deliveries/{tried['message_id']}").json()
    assert (tried["state"], tried["status"], tried["attempts"]) == ("delivered", 204, 1)
    assert Webhook(secret).verify(test.body, test.headers)["data"] == {
        "project": "pdf-tool",
        "endpoint_id": endpoint["id"],
    }
    assert Webhook(secret).verify(change.body, change.headers)["type"] == "customer.changed"

    [newest, oldest] = calls("GET", f"{path}/deliveries").json()["data"]
    assert [one["message_id"] for one in (oldest, newest)] == [one.headers["webhook-id"] for one in (test, change)]
    assert (newest["state"], newest["status"], newest["attempts"]) == ("delivered", 204, 1)
    whole = calls("GET", f"{path}/deliveries/{newest['message_id']}").json()
    assert whole.pop("body") == change.body.decode() and whole == newest

    rotated = calls("POST", f"{path}/rotate-secret", json={}).json()
    assert rotated["secret"] != secret and rotated["previous_secret_until"]
    again = calls("POST", f"{path}/deliveries/{newest['message_id']}/resend").json()
    assert again["state"] == "pending"
    world.service.work()
    for one in (secret, rotated["secret"]):
        Webhook(one).verify(receiver.received[-1].body, receiver.received[-1].headers)
    assert receiver.received[-1].headers["webhook-id"] == newest["message_id"]

    changed = calls("PATCH", path, json={"url": receiver.url + "/other"}).json()
    assert (changed["url"], changed["description"]) == (receiver.url + "/other", "production")
    assert calls("PATCH", path, json={}).json() == changed
    assert calls("DELETE", path).status_code == 204
    refused(calls("GET", path), 404, "endpoint-not-found")
    grant(world)
    assert len(receiver.received) == 3


def test_disabled_enabled_and_what_was_missed(calls: Any, world: World, receiver: Receiver, refused: Refused) -> None:
    """It says why; nothing can be sent to it; enabled again, it may ask for what it has not got."""
    receiver.answers["/hook"] = answering(410)
    path = f"/{calls('POST', json={'url': receiver.url + '/hook'}).json()['id']}"
    since = world.service.clock.now().isoformat()
    missed = [grant(world), grant(world)]
    found = calls("GET", path).json()
    assert (found["state"], found["disabled_because"]) == ("disabled", "It answered 410 Gone.")
    assert (found["given_up"], found["pending"]) == (1, 0)
    [given_up] = calls("GET", f"{path}/deliveries", params={"state": "given_up"}).json()["data"]
    assert (given_up["status"], given_up["error"]) == (410, "It answered 410: anything but 2xx is a failure.")
    for action, body in (("/test", None), (f"/deliveries/{given_up['message_id']}/resend", None), ("/resend", {})):
        sent = calls("POST", path + action, json=None if body is None else {"since": since})
        refused(sent, 409, "endpoint-disabled")

    receiver.answers.clear()
    assert calls("POST", f"{path}/enable").json()["state"] == calls("POST", f"{path}/enable").json()["state"]
    # From the epoch: the messages were written in real time, whatever the sandbox's clock says.
    assert calls("POST", f"{path}/resend", json={"since": "1970-01-01T00:00:00Z"}).json()["messages"] >= 2
    world.service.work()
    assert [one.said["data"]["changes"][0]["after"] for one in receiver.received[-2:]] == missed
    assert calls("POST", f"{path}/resend", json={"since": "1970-01-01T00:00:00Z"}).json() == {"messages": 0}


def test_pages_of_deliveries(calls: Any, world: World, receiver: Receiver) -> None:
    """Page by page one sees each once."""
    path = f"/{calls('POST', json={'url': receiver.url}).json()['id']}"
    for _ in range(5):
        calls("POST", f"{path}/test")
    listed = calls("GET", f"{path}/deliveries").json()
    assert listed["next_cursor"] is None and len(listed["data"]) == 5
    paged, cursor = [], {}
    while cursor is not None:
        page = calls("GET", f"{path}/deliveries", params={"limit": 2, **cursor}).json()
        paged += page["data"]
        cursor = page["next_cursor"] and {"cursor": page["next_cursor"]}
    assert paged == listed["data"]
    world.service.work()


def test_there_is_an_end_to_how_many(calls: Any, receiver: Receiver, refused: Refused) -> None:
    """Ten of a project."""
    for _ in range(10):
        assert calls("POST", json={"url": receiver.url}).status_code == 201
    refused(calls("POST", json={"url": receiver.url}), 409, "too-many-endpoints")


@pytest.mark.parametrize(
    ("sent", "pointers"),
    [
        ({}, ["/url"]),
        ({"url": ""}, None),
        ({"url": 7}, ["/url"]),
        ({"url": "https://example.com/" + "x" * 2_000}, ["/url"]),
        ({"url": "https://example.com/", "description": "x" * 201}, ["/description"]),
        ({"url": "https://example.com/", "secret": "whsec_mine"}, ["/secret"]),
        ({"url": "a\0b"}, ["/url"]),
        ({"url": "file:///etc/passwd"}, None),
        ({"url": "https://user:password@example.com/"}, None),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    http: httpx.Client, refused: Refused, sent: dict[str, Any], pointers: list[str] | None
) -> None:
    """By its place; `url-not-allowed` where the form is right and the place is not."""
    code = "url-not-allowed" if pointers is None else "validation-failed"
    body = refused(http.post(OWN, json=sent), 422, code, *(pointers or ["/url"]))
    assert "user:password" not in str(body)


def test_ids_that_are_nobodys(calls: Any, receiver: Receiver, refused: Refused) -> None:
    """Of an endpoint, and of a message at an endpoint that there is."""
    path = f"/{calls('POST', json={'url': receiver.url}).json()['id']}"
    since = {"since": "2026-01-01T00:00:00Z"}
    for method, action, body in (
        ("GET", "", None),
        ("PATCH", "", {"description": "x"}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {}),
        ("POST", "/enable", None),
        ("POST", "/test", None),
        ("POST", "/resend", since),
        ("GET", "/deliveries", None),
        ("GET", "/deliveries/msg_nobodys", None),
        ("POST", "/deliveries/msg_nobodys/resend", None),
    ):
        refused(calls(method, f"/ne_nobodys{action}", json=body), 404, "endpoint-not-found")
    refused(calls("GET", f"{path}/deliveries/msg_nobodys"), 404, "message-not-found")
    refused(calls("POST", f"{path}/deliveries/msg_nobodys/resend"), 404, "message-not-found")


def test_one_projects_endpoints_are_not_anothers(
    http: httpx.Client,
    guild_bot: Tollhouse,
    caller: Callable[[str], httpx.Client],
    receiver: Receiver,
    refused: Refused,
) -> None:
    """The other project neither sees nor touches them, and hears nothing of what is not its own."""
    path = f"{OWN}/{http.post(OWN, json={'url': receiver.url}).json()['id']}"
    message = http.post(f"{path}/test").json()["message_id"]
    other = caller("guild-bot")
    assert other.get(OWN).json() == {"data": []}
    refused(other.get(path), 404, "endpoint-not-found")
    refused(other.delete(path), 404, "endpoint-not-found")
    refused(other.get(f"{path}/deliveries"), 404, "endpoint-not-found")
    theirs = f"{OWN}/{other.post(OWN, json={'url': receiver.url}).json()['id']}"
    refused(other.get(f"{theirs}/deliveries/{message}"), 404, "message-not-found")
    refused(other.post(f"{theirs}/deliveries/{message}/resend"), 404, "message-not-found")
    assert other.delete(theirs).status_code == http.delete(path).status_code == 204


def test_operators_say_who_they_are(world: World, refused: Refused, receiver: Receiver) -> None:
    """For changes; the audit trail keeps where an endpoint leads, and neither its path nor its query nor its secret."""
    anonymous = {"Tollhouse-Operator": ""}
    endless = {"Tollhouse-Operator": "g" * 81}
    body = {"url": receiver.url}
    told = world.operator.post(OPERATORS, json=body, headers=endless)
    refused(told, 422, "validation-failed", "Tollhouse-Operator")
    refused(world.operator.post(OPERATORS, json={"url": receiver.url}, headers=anonymous), 400, "operator-required")
    refused(world.operator.get(OPERATORS.replace("pdf-tool", "no-such")), 404, "not-found")
    assert world.operator.get(OPERATORS, headers=anonymous).is_success
    made = world.operator.post(OPERATORS, json={"url": f"{receiver.url}/canary-in-a-url"}).json()
    assert world.operator.patch(f"{OPERATORS}/{made['id']}", json={"description": "other"}).is_success
    assert world.operator.delete(f"{OPERATORS}/{made['id']}").status_code == 204

    async def trail(resources: Resources) -> str:
        async with resources.database.transaction() as tx:
            rows = await tx.exec_driver_sql("SELECT action, actor, before, after FROM audit ORDER BY id DESC LIMIT 3")
            return str(rows.all())

    said = world.service.run(trail)
    assert "grace" in said and made["id"] in said and receiver.url in said
    assert "canary" not in said and made["secret"] not in said


def test_a_key_needs_the_scope(world: World, refused: Refused) -> None:
    """An app that only asks what users may do must not be able to have its notifications sent elsewhere."""
    issued = world.operator.post("/v1/admin/projects/pdf-tool/keys", json={"name": "t", "scopes": ["check"]}).json()
    headers = {"Authorization": f"Bearer {issued['key']}"}
    with httpx.Client(base_url=world.service.url, headers=headers, trust_env=False, verify=False) as client:
        refused(client.post(OWN, json={"url": PUBLIC}), 403, "insufficient-scope")
        refused(client.get(OWN), 403, "insufficient-scope")
