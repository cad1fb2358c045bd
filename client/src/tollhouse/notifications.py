"""What Tollhouse posts to an app when something has changed for a user: verified, as values.

    notification = verify(body, headers, secret)  # raises NotificationInvalid: answer 400
    if notification.customer and notification.version > version_we_have(notification.user_id):
        store(notification.customer)

Signed as Standard Webhooks has it; only the standard library is needed.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .answers import Customer, Value
from .errors import ConfigurationError, TollhouseError
from .wire import Unreadable, decode

__all__ = [
    "CUSTOMER_CHANGED",
    "ENDPOINT_DISABLED",
    "ENDPOINT_TEST",
    "Change",
    "Notification",
    "NotificationInvalid",
    "verify",
]

CUSTOMER_CHANGED = "customer.changed"
ENDPOINT_DISABLED = "endpoint.disabled"
"""Another endpoint of the project was given up: nothing is sent there any more."""
ENDPOINT_TEST = "endpoint.test"

TOLERANCE_SECONDS = 300
"""How far the time of a message may lie from ours, both ways: an old one may be a copy that somebody kept."""


class NotificationInvalid(TollhouseError):
    """This was not sent by Tollhouse just now, or not to this endpoint. Answer 400 and do nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """A feature that changed."""

    feature: str
    kind: str
    """`opened`, `closed`, `value` (still open, with another) or `valid-until` (until another instant)."""
    before: Value | None
    """None: it was closed."""
    after: Value | None
    """None: it is closed."""
    valid_until: datetime | None
    """When `after` next changes by time alone; None: never."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A verified message. Of `customer.changed` everything is set, of other types what is not about a user."""

    id: str
    """The same however often it is sent; it may come twice."""
    type: str
    timestamp: datetime
    """When it changed."""
    project: str
    user_id: str | None = None
    version: int | None = None
    """Of the user's state. Ignore a message whose version is not newer than what you have."""
    changes: tuple[Change, ...] = ()
    customer: Customer | None = None
    """The whole state at that version, as `Tollhouse.customer` told it."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """All that the message says, as JSON has it."""


@dataclass(frozen=True, slots=True)
class _About:
    project: str


@dataclass(frozen=True, slots=True)
class _Changed(_About):
    user_id: str
    version: int
    changes: tuple[Change, ...]
    customer: Customer


@dataclass(frozen=True, slots=True)
class _Envelope:
    type: str
    timestamp: datetime


def verify(body: bytes | str, headers: Mapping[str, str], secret: str, *, now: float | None = None) -> Notification:
    """The message in a request, if it is Tollhouse's. Raises NotificationInvalid; ConfigurationError for the secret.

    `body` is what was sent, untouched: JSON that was parsed and written again has another signature. `secret` is the
    endpoint's, `whsec_…`. `now` is for tests, in Unix seconds.
    """
    raw = body.encode() if isinstance(body, str) else body
    given = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not message_id or not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        raise NotificationInvalid("webhook-id or webhook-timestamp is missing or malformed")
    if not _is_signed(_key(secret), message_id, timestamp, raw, given.get("webhook-signature", "")):
        raise NotificationInvalid("no signature of this endpoint's secret is on it")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE_SECONDS:
        raise NotificationInvalid("it was sent more than five minutes from now: look at this machine's clock")
    try:
        return _read(message_id, json.loads(raw))
    except (ValueError, RecursionError) as error:  # Unreadable is a ValueError
        raise NotificationInvalid(f"it is signed, but this version of the client cannot read it: {error}") from error


def _read(message_id: str, said: object) -> Notification:
    envelope = decode(_Envelope, said)
    data = said.get("data") if isinstance(said, dict) else None
    if not isinstance(data, dict):
        raise Unreadable("data is missing")
    common: dict[str, Any] = {"id": message_id, "type": envelope.type, "timestamp": envelope.timestamp, "data": data}
    if envelope.type != CUSTOMER_CHANGED:
        return Notification(**common, project=decode(_About, data).project)
    changed = decode(_Changed, data)
    return Notification(
        **common,
        project=changed.project,
        user_id=changed.user_id,
        version=changed.version,
        changes=changed.changes,
        customer=changed.customer,
    )


def _is_signed(key: bytes, message_id: str, timestamp: str, body: bytes, signatures: str) -> bool:
    """While a secret is rotated a message carries a signature of each, apart by spaces."""
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    found = [hmac.compare_digest(one.encode("utf-8", "surrogatepass"), expected) for one in signatures.split(" ")]
    return any(found)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # An empty one would be anybody's.
    if len(key) < 24 or not secret.startswith("whsec_"):
        raise ConfigurationError("The notification secret is not one: copy it whole, as it was shown (whsec_…).")
    return key
