"""What an app verifies: exactly what Tollhouse signs, and nothing else."""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tollhouse import ConfigurationError, TollhouseError
from tollhouse.notifications import Change, NotificationInvalid, verify

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


@pytest.fixture
def message(examples: dict[str, Any]) -> dict[str, Any]:
    """One `customer.changed` in the service's own words."""
    change = {"feature": "pages_per_day", "kind": "value", "before": 50, "after": "unlimited", "valid_until": None}
    data = {"user_id": "ada", "project": "pdf-tool", "version": 7, "changes": [change]}
    return {
        "type": "customer.changed",
        "timestamp": "2026-11-22T10:00:00Z",
        "data": {**data, "customer": examples["customer"]},
    }


def sent(said: object, *secrets: str, at: float | None = None) -> tuple[bytes, dict[str, str]]:
    """The body and headers as the library that the service uses makes them."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    when = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    signatures = [Webhook(secret).sign("msg_1", when, body.decode()) for secret in secrets or (SECRET,)]
    return body, {
        "Webhook-Id": "msg_1",
        "webhook-timestamp": str(int(when.timestamp())),
        "WEBHOOK-SIGNATURE": " ".join(signatures),
    }


def test_a_change_is_read_whole(message: dict[str, Any]) -> None:
    """With the state as the client's own call answers it."""
    notification = verify(*sent(message), SECRET)
    assert (notification.id, notification.type, notification.project) == ("msg_1", "customer.changed", "pdf-tool")
    assert (notification.user_id, notification.version) == ("ada", 7)
    assert notification.timestamp == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert notification.changes == (Change("pages_per_day", "value", 50, float("inf"), None),)
    assert notification.customer is not None and notification.data == message["data"]
    assert notification.customer.entitlements["premium_export"].allowed
    assert notification.customer.subscriptions[0].price == "pdf-tool.pro.monthly"


def test_other_types_are_no_error(message: dict[str, Any]) -> None:
    """Also such as this version has never heard of, and fields that a newer service adds."""
    for type_ in ("endpoint.test", "endpoint.disabled", "something.new"):
        said = {"type": type_, "timestamp": message["timestamp"], "data": {"project": "pdf-tool", "reason": "x"}}
        notification = verify(*sent(said), SECRET)
        assert (notification.type, notification.customer, notification.user_id) == (type_, None, None)
        assert notification.data == said["data"]
    assert verify(*sent({**message, "new": 1}), SECRET).version == 7


def test_while_a_secret_is_rotated_either_verifies(message: dict[str, Any]) -> None:
    """In whichever order the signatures stand, with kinds among them that are not ours."""
    body, headers = sent(message, OTHER, SECRET)
    for secret in (SECRET, OTHER):
        assert verify(body, headers, secret).id == "msg_1"
    headers["WEBHOOK-SIGNATURE"] = "v1a,xyz v2, nonsense " + headers["WEBHOOK-SIGNATURE"]
    assert verify(body.decode(), headers, SECRET).id == "msg_1"


def test_what_is_not_signed_so_is_refused(message: dict[str, Any]) -> None:
    """Another secret, a changed body, id or time, a signature of another kind, or none."""
    body, headers = sent(message)
    now = int(headers["webhook-timestamp"])
    for tampered in (
        sent(message, OTHER),
        (body + b" ", headers),
        (body, {**headers, "Webhook-Id": "msg_2"}),
        (body, {**headers, "webhook-timestamp": str(now + 1)}),
        (body, {**headers, "webhook-timestamp": f"{now}.0"}),
        (body, {**headers, "webhook-timestamp": "nan"}),
        (body, {**headers, "webhook-timestamp": "٣"}),
        (body, {**headers, "webhook-timestamp": "9" * 400}),
        (body, {**headers, "WEBHOOK-SIGNATURE": ""}),
        (body, {**headers, "WEBHOOK-SIGNATURE": headers["WEBHOOK-SIGNATURE"].replace("v1,", "v2,")}),
        (body, {**headers, "WEBHOOK-SIGNATURE": headers["WEBHOOK-SIGNATURE"][:-2]}),
        (body, {}),
    ):
        with pytest.raises(NotificationInvalid):
            verify(*tampered, SECRET)


@pytest.mark.parametrize("off", [-301, 301])
def test_old_and_future_messages_are_refused(message: dict[str, Any], off: int) -> None:
    """Five minutes both ways; to the second within them they are good."""
    now = 1_800_000_000
    with pytest.raises(NotificationInvalid, match="clock"):
        verify(*sent(message, at=now + off), SECRET, now=now)
    assert verify(*sent(message, at=now + off - off // abs(off)), SECRET, now=now).version == 7


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "not base64!", SECRET.removeprefix("whsec_"), "whsec_ü"]
)
def test_a_secret_that_is_none_is_a_mistake_of_ours(message: dict[str, Any], secret: str) -> None:
    """An empty one would verify what anybody sends; the error does not repeat it."""
    with pytest.raises(ConfigurationError) as mistake:
        verify(*sent(message), secret)
    assert not secret or len(secret) < 7 or secret not in str(mistake.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"type": 1}',
        b'{"type": "customer.changed", "timestamp": "x", "data": {}}',
        b"[" * 9_999,
    ],
    ids=lambda body: str(body[:20]),
)
def test_a_signed_message_that_cannot_be_read_is_one_error(body: bytes) -> None:
    """The only one that an app must catch."""
    with pytest.raises(NotificationInvalid, match="cannot read"):
        verify(*sent(body), SECRET)


@given(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()),
)
def test_whatever_a_stranger_sends_there_is_one_error(body: bytes, headers: dict[str, str]) -> None:
    """Nothing else is raised."""
    with pytest.raises(NotificationInvalid):
        verify(body, headers, SECRET)
    assert issubclass(NotificationInvalid, TollhouseError)
