"""Where Stripe's events arrive: 200 means stored, and nothing else is ever stored."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tollhouse_sandbox.testing import RunningSandbox
from tollhouse_server.embedded.postgres import PostgresServer
from tollhouse_server.settings import Settings
from tollhouse_server.testing import OPERATOR_KEY, ManualClock, RunningService, World

Refused = Callable[..., dict[str, Any]]
Deliver = Callable[..., httpx.Response]
_numbers = itertools.count(1)


def event(type_: str = "customer.updated", **other: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{next(_numbers)}",
        "object": "event",
        "type": type_,
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "livemode": False,
        "data": {"object": {"id": "cus_foreign", "object": "customer"}},
    } | other


def sent(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def stored(world: World, event_id: str) -> dict[str, Any] | None:
    answer = world.operator.get(f"/v1/admin/events/{event_id}")
    return answer.json() if answer.is_success else None


def test_an_event_is_stored_once(world: World, deliver: Deliver) -> None:
    """Stripe delivers at least once: the second time is answered 200 as well and changes nothing."""
    body = event()
    first = deliver(sent(body))
    assert (first.status_code, first.json()) == (200, {"outcome": "stored"})
    kept = stored(world, body["id"])
    assert kept and kept["body"] == body and (kept["state"], kept["subject"]) == ("received", "cus_foreign")
    assert kept["occurred_at"] == "2026-09-21T14:13:20Z"
    again = deliver(sent(body))
    assert (again.status_code, again.json()) == (200, {"outcome": "duplicate"})
    world.service.work()
    settled = stored(world, body["id"])
    assert settled and (settled["state"], settled["outcome"], settled["attempts"]) == ("settled", "foreign", 1)
    assert deliver(sent(body)).json() == {"outcome": "duplicate"}
    assert stored(world, body["id"]) == settled


@pytest.mark.parametrize(
    "body",
    [
        event("invoice.created"),
        event("something.new.in.2031"),
        event("customer.created"),
        event("customer.updated", data={}),
        event("customer.updated", data=None),
        event("customer.subscription.updated", data={"object": {"id": "sub_1"}}),
        event("customer.updated", data={"object": {"id": "cus_\0"}}),
        event(created=10**30),
        event(created=-(10**15)),
        event(created="2026-11-22T09:00:00Z"),
        event(api_version=None),
        event(api_version=7),
        event(data={"object": {"id": "cus_nul", "name": "\0"}}),
        {
            "id": "evt_test_thin",
            "object": "v2.core.event",
            "type": "v1.billing.meter.error_report_triggered",
            "created": "2026-11-22T09:00:00.000Z",
            "livemode": False,
            "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
        },
    ],
    ids=lambda body: f"{body['type']} {body.get('created')}",
)
def test_what_we_do_not_understand_is_stored_too(world: World, deliver: Deliver, body: dict[str, Any]) -> None:
    """Never anything but 200 for what Stripe signed: it disables endpoints that keep failing."""
    answer = deliver(sent(body))
    assert answer.status_code == 200, answer.text
    assert answer.json()["outcome"] in ("stored", "not-handled")
    kept = stored(world, body["id"])
    assert kept and kept["body"] == body


def test_an_event_of_a_type_that_changes_nothing_is_settled(world: World, deliver: Deliver) -> None:
    """It waits for nobody."""
    body = event("invoice.created")
    assert deliver(sent(body)).json() == {"outcome": "not-handled"}
    kept = stored(world, body["id"])
    assert kept and (kept["state"], kept["outcome"], kept["subject"]) == ("settled", "not-handled", None)


def test_a_bad_signature_stores_nothing(
    world: World, deliver: Deliver, stranger: httpx.Client, refused: Refused
) -> None:
    """Wrong secret, old, from the future, changed on the way, or none at all."""
    body = event()
    refused(deliver(sent(body), secret="whsec_" + "0" * 32), 400, "bad-signature")
    assert "clock" in refused(deliver(sent(body), age=301), 400, "bad-signature")["detail"]
    refused(deliver(sent(body), age=-302), 400, "bad-signature")
    good = deliver(sent(event())).request.headers["Stripe-Signature"]
    for header in (good, "", "t=,v1=", "t=x,v1=y", f"{good},v0=x", "v1=abc", "t=1" * 2_000):
        answer = stranger.post("/v1/stripe/webhook", content=sent(body), headers={"Stripe-Signature": header})
        refused(answer, 400, "bad-signature")
    refused(stranger.post("/v1/stripe/webhook", content=sent(body)), 400, "bad-signature")
    assert stored(world, body["id"]) is None


def test_within_the_tolerance_any_age_is_taken(deliver: Deliver) -> None:
    """Clocks differ, and a delivery may be slow: five minutes either way."""
    assert deliver(sent(event()), age=295).status_code == deliver(sent(event()), age=-295).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"evt_1"',
        b"{",
        b"{}",
        b'{"id": "evt_x"}',
        b'{"id": 1, "type": "a.b"}',
        b'{"id": "", "type": "a.b"}',
        b'{"id": "evt_\\u0000", "type": "a.b"}',
        b'{"id": "\\ud800", "type": "a.b"}',
        b'{"id": "' + b"x" * 5_000 + b'", "type": "a.b"}',
        b"[" * 10_000,
        b'{"id": "evt_x", "type": "a.b", "created": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: body[:24].decode(),
)
def test_signed_garbage_is_refused(deliver: Deliver, refused: Refused, body: bytes) -> None:
    """Only who knows the secret can send it, and even then it is a 400 and never a 500."""
    refused(deliver(body), 400, "malformed-json")


def test_a_body_over_the_limit_is_refused(deliver: Deliver, refused: Refused) -> None:
    """413; Stripe's own events are far smaller."""
    refused(deliver(sent(event(padding="x" * 256 * 1024))), 413, "too-large")


@pytest.mark.parametrize(
    ("other", "outcome"),
    [({"livemode": True}, "wrong-mode"), ({"account": "acct_of_somebody"}, "wrong-account")],
    ids=["mode", "account"],
)
def test_what_is_not_ours_is_stored_and_ignored(
    world: World, deliver: Deliver, stranger: httpx.Client, other: dict[str, Any], outcome: str
) -> None:
    """A live event must never move a test customer, nor another account's one of ours: it is settled as it comes, can
    be seen, and cannot be replayed. Stripe hears 200, or it would disable the endpoint for all."""
    body = event(**other)
    answer = deliver(sent(body))
    assert (answer.status_code, answer.json()) == (200, {"outcome": outcome})
    kept = stored(world, body["id"])
    assert kept and kept["body"] == body
    assert (kept["state"], kept["outcome"], kept["subject"]) == ("settled", outcome, None)
    assert world.operator.post(f"/v1/admin/events/{body['id']}/replay").status_code == 404
    assert deliver(sent(body)).json() == {"outcome": "duplicate"}
    assert f'tollhouse_webhooks_total{{outcome="{outcome}"}}' in stranger.get("/metrics").text


@pytest.mark.parametrize("version", ["2024-06-20", "2031-01-01.some", None])
def test_an_event_in_another_version_is_as_good(world: World, deliver: Deliver, version: str | None) -> None:
    """Only ids are read from it, and those have not moved in ten years; the truth comes in the version we ask in."""
    body = event(api_version=version)
    assert deliver(sent(body)).json() == {"outcome": "stored"}
    kept = stored(world, body["id"])
    assert kept and (kept["subject"], kept["api_version"]) == ("cus_foreign", version)


def test_a_secret_in_rotation(
    sandbox: RunningSandbox, postgres_server: PostgresServer, migrated_template: str, deliver: Deliver
) -> None:
    """While STRIPE_WEBHOOK_SECRET_PREVIOUS is set, what either secret signed is taken; anything else is not."""
    postgres_server.create_database("rotation", template=migrated_template)
    new, old = "whsec_" + "n" * 32, "whsec_" + "o" * 32
    settings = Settings(
        _env_file=None,
        database_url=SecretStr(postgres_server.url("rotation")),
        stripe_secret_key=SecretStr(sandbox.secret_key),
        stripe_webhook_secret=SecretStr(new),
        stripe_webhook_secret_previous=SecretStr(old),
        stripe_api_base=sandbox.url,
        admin_api_key=SecretStr(OPERATOR_KEY),
        database_pool_size=1,
    )
    body = sent(event())
    with RunningService(settings, ManualClock(sandbox.now())) as service:

        def post(secret: str) -> int:
            signature = deliver(body, secret=secret).request.headers["Stripe-Signature"]
            url = f"{service.url}/v1/stripe/webhook"
            return httpx.post(url, content=body, headers={"Stripe-Signature": signature}).status_code

        assert [post(new), post(old), post("whsec_" + "x" * 32)] == [200, 200, 400]
    postgres_server.drop_database("rotation")


def test_refusals_are_counted(deliver: Deliver, stranger: httpx.Client) -> None:
    """A wrong secret after a deployment is seen in the metrics before Stripe writes an e-mail."""
    deliver(sent(event()), secret="whsec_" + "0" * 32)
    deliver(sent(event()))
    text = stranger.get("/metrics").text
    for outcome in ("bad-signature", "stored"):
        assert f'tollhouse_webhooks_total{{outcome="{outcome}"}}' in text
