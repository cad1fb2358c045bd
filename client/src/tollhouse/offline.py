"""Checks without a connection: a signed snapshot that was handed over, verified with the service's published keys.

    keys = httpx.get(f"{url}/.well-known/jwks.json").json()       # keep them; they change when SECRET_KEY does
    snapshot = verify(token, keys, project="pdf-tool")            # raises SnapshotInvalid
    if snapshot.check("premium_export"): ...

For a worker that gets the token with its job and has no API key. Needs `pip install "tollhouse[offline]"`.
"""

import base64
import binascii
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .answers import Check, Freshness
from .errors import TollhouseError
from .snapshots import Snapshot
from .wire import Unreadable, decode

__all__ = ["KeyUnknown", "SignedSnapshot", "SnapshotExpired", "SnapshotInvalid", "verify"]

LONGEST_TOKEN = 256 * 1024
AHEAD = timedelta(minutes=1)
"""How far the service's clock may be ahead of ours."""
FRESH = timedelta(minutes=1)


class SnapshotInvalid(TollhouseError):
    """This is not a snapshot that Tollhouse signed for this project. Allow nothing by it."""


class KeyUnknown(SnapshotInvalid):
    """It names a key that is not among those given: fetch /.well-known/jwks.json again, once, and try again."""


class SnapshotExpired(SnapshotInvalid):
    """It was good and is too old: get another."""


@dataclass(frozen=True, slots=True)
class SignedSnapshot:
    """What a user may do, as Tollhouse signed it at `snapshot.issued_at`; what changed since, it cannot know."""

    snapshot: Snapshot
    expires_at: datetime

    @property
    def user_id(self) -> str:
        return self.snapshot.user_id

    @property
    def version(self) -> int:
        """Of two snapshots of a user, the one with the greater version is the newer."""
        return self.snapshot.version

    def check(self, feature: str, *, now: datetime | None = None) -> Check:
        """What the user may do now. Raises SnapshotExpired, and KeyError for a feature that the catalog has not."""
        at = _aware(now)
        if at >= self.expires_at:
            raise SnapshotExpired(f"the snapshot expired at {self.expires_at}")
        issued = self.snapshot.issued_at
        freshness: Freshness = "cached" if at < issued + FRESH else "stale"
        return replace(self.snapshot.check(feature, max(at, issued)), freshness=freshness)


def verify(token: str | bytes, jwks: Mapping[str, Any], *, project: str, now: datetime | None = None) -> SignedSnapshot:
    """Read a signed snapshot of a user of `project`. `jwks` is what /.well-known/jwks.json answered.

    Raises SnapshotInvalid: KeyUnknown where the keys may be old, SnapshotExpired where it is.
    """
    at = _aware(now)
    text = token.decode("latin-1") if isinstance(token, bytes) else token
    parts = text.split(".") if len(text) <= LONGEST_TOKEN else []
    if len(parts) != 3:
        raise SnapshotInvalid("this is not a signed snapshot")
    header = _object(parts[0])
    # Which algorithm is ours to say, not the token's.
    if header.get("alg") != "EdDSA" or header.get("typ", "JWT") != "JWT" or "crit" in header:
        raise SnapshotInvalid("this is not signed as Tollhouse signs")
    try:
        _key(jwks, header.get("kid")).verify(_octets(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    except InvalidSignature:
        raise SnapshotInvalid("the signature is wrong") from None
    return _claimed(_object(parts[1]), project, at)


def _claimed(claims: Mapping[str, Any], project: str, at: datetime) -> SignedSnapshot:
    if claims.get("iss") != "tollhouse" or claims.get("aud") != project:
        raise SnapshotInvalid(f"this was not signed for the project {project}")
    issued, expires = (_instant(claims.get(name)) for name in ("iat", "exp"))
    if issued > at + AHEAD:
        raise SnapshotInvalid("this was signed in the future: look at the clocks")
    if at >= expires:
        raise SnapshotExpired(f"the snapshot expired at {expires}")
    told = {**claims, "project": project, "user_id": claims.get("sub"), "issued_at": issued.isoformat()}
    try:
        return SignedSnapshot(decode(Snapshot, told), expires)
    except Unreadable as unreadable:
        raise SnapshotInvalid(f"this version of tollhouse cannot read the snapshot: {unreadable}") from None


def _key(jwks: Mapping[str, Any], kid: object) -> Ed25519PublicKey:
    listed = jwks.get("keys")
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(kid, str) and one.get("kid") == kid:
            if (one.get("kty"), one.get("crv")) != ("OKP", "Ed25519"):
                break
            try:
                return Ed25519PublicKey.from_public_bytes(_octets(one.get("x")))
            except (ValueError, SnapshotInvalid):
                break
    raise KeyUnknown("the snapshot is signed with a key that is not among these: fetch the keys again")


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_octets(part))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SnapshotInvalid("this is not a signed snapshot")
    return found


def _octets(part: object) -> bytes:
    """Base64url without padding (RFC 7515), in the one form that these octets have."""
    if isinstance(part, str) and part.isascii():
        with contextlib.suppress(binascii.Error):
            octets = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            if base64.urlsafe_b64encode(octets).rstrip(b"=").decode() == part:
                return octets
    raise SnapshotInvalid("this is not a signed snapshot")


def _instant(seconds: object) -> datetime:
    if isinstance(seconds, int) and not isinstance(seconds, bool) and 0 <= seconds < 1 << 35:
        return datetime.fromtimestamp(seconds, UTC)
    raise SnapshotInvalid("this does not say when it was signed and until when it may be used")


def _aware(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    if now.tzinfo is None:
        raise ValueError("now must have a time zone")
    return now
