"""A signed snapshot is believed when every part of it is right, and never otherwise."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tollhouse.offline import LONGEST_TOKEN, KeyUnknown, SnapshotExpired, SnapshotInvalid, verify

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
HEADER = {"alg": "EdDSA", "kid": "one", "typ": "JWT"}
CLAIMS: dict[str, Any] = {
    "iss": "tollhouse",
    "aud": "pdf-tool",
    "sub": "ada",
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 3600,
    "version": 7,
    "catalog_version": 3,
    "features": {
        "premium_export": {
            "kind": "switch",
            "stretches": [
                {"value": True, "from": "2026-11-22T08:00:00Z", "until": None, "reason": "granted", "source": "gr_1"}
            ],
        }
    },
}


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def jwk(key: Ed25519PrivateKey, kid: str = "one", **other: Any) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().public_bytes_raw()), "kid": kid, **other}


def token(header: object = HEADER, claims: object = CLAIMS, key: Ed25519PrivateKey = KEY) -> str:
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


KEYS = {"keys": [jwk(OTHER, "zero"), jwk(KEY)]}


def test_what_is_right_is_believed() -> None:
    """By the key that it names, whatever others there are; as text or as the octets that came."""
    for given in (token(), token().encode()):
        snapshot = verify(given, KEYS, project="pdf-tool", now=NOW)
        check = snapshot.check("premium_export", now=NOW)
        assert (check.allowed, check.reason, check.version, check.freshness) == (True, "granted", 7, "cached")
    assert snapshot.check("premium_export", now=NOW + 61 * SECOND).freshness == "stale"
    with pytest.raises(KeyError):
        snapshot.check("premium_exprt", now=NOW)


def test_it_is_good_from_when_it_was_signed_until_it_expires() -> None:
    """The service's clock may be a minute ahead; ours decides about the end, also for what was verified before."""
    assert verify(token(), KEYS, project="pdf-tool", now=NOW - 60 * SECOND).check("premium_export", now=NOW - SECOND)
    with pytest.raises(SnapshotInvalid, match="future"):
        verify(token(), KEYS, project="pdf-tool", now=NOW - 61 * SECOND)
    snapshot = verify(token(), KEYS, project="pdf-tool", now=NOW + 3599 * SECOND)
    with pytest.raises(SnapshotExpired):
        verify(token(), KEYS, project="pdf-tool", now=NOW + 3600 * SECOND)
    with pytest.raises(SnapshotExpired):
        snapshot.check("premium_export", now=NOW + 3600 * SECOND)
    with pytest.raises(ValueError, match="time zone"):
        verify(token(), KEYS, project="pdf-tool", now=datetime(2026, 1, 1))  # noqa: DTZ001


def without_signature(algorithm: str) -> str:
    return token({**HEADER, "alg": algorithm}).rpartition(".")[0] + "."


def altered() -> str:
    header, _, signature = token().split(".")
    return f"{header}.{base64url(json.dumps({**CLAIMS, 'sub': 'eve'}).encode())}.{signature}"


def malleable() -> str:
    """Another spelling of the same signature: its last character has bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    whole = token()
    return whole[:-1] + alphabet[alphabet.index(whole[-1]) ^ 1]


WRONG: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no token": lambda: "a.b",
    "not base64url": lambda: "a+b/.c=.d",
    "not ascii": lambda: "ä.ö.ü",
    "not JSON": lambda: f"{base64url(b'{')}.{base64url(b'{}')}.AA",
    "nested without end": lambda: f"{base64url(b'[' * 100_000)}.AA.AA",
    "a list": lambda: token([]),
    "too long": lambda: token(claims={**CLAIMS, "more": "x" * LONGEST_TOKEN}),
    "alg none": lambda: without_signature("none"),
    "alg None": lambda: without_signature("None"),
    "no signature": lambda: without_signature("EdDSA"),
    "another algorithm": lambda: token({**HEADER, "alg": "HS256"}),
    "no algorithm": lambda: token({"kid": "one"}),
    "another type": lambda: token({**HEADER, "typ": "at+jwt"}),
    "a critical extension": lambda: token({**HEADER, "crit": ["b64"], "b64": False}),
    "altered": altered,
    "another spelling": malleable,
    "signed by another": lambda: token(key=OTHER),
    "another issuer": lambda: token(claims={**CLAIMS, "iss": "somebody"}),
    "another project": lambda: token(claims={**CLAIMS, "aud": "guild-bot"}),
    "several projects": lambda: token(claims={**CLAIMS, "aud": ["pdf-tool"]}),
    "no end": lambda: token(claims={name: value for name, value in CLAIMS.items() if name != "exp"}),
    "an end that is true": lambda: token(claims={**CLAIMS, "exp": True}),
    "an end beyond time": lambda: token(claims={**CLAIMS, "exp": 1 << 60}),
    "nobody's": lambda: token(claims={**CLAIMS, "sub": None}),
    "no features": lambda: token(claims={**CLAIMS, "features": None}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(name: str) -> None:
    """As one kind of error, whatever was wrong."""
    with pytest.raises(SnapshotInvalid):
        verify(WRONG[name](), KEYS, project="pdf-tool", now=NOW)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"keys": None},
        {"keys": ["one"]},
        {"keys": [jwk(KEY, "another")]},
        {"keys": [jwk(KEY, crv="X25519")]},
        {"keys": [jwk(KEY, kty="oct", k="AA")]},
        {"keys": [jwk(KEY, x="AA")]},
        {"keys": [jwk(KEY, x=None)]},
    ],
)
def test_a_key_that_is_not_there_may_be_fetched(keys: dict[str, Any]) -> None:
    """Said apart from the rest, as the published keys change when the service's secret does."""
    with pytest.raises(KeyUnknown):
        verify(token(), keys, project="pdf-tool", now=NOW)
    with pytest.raises(KeyUnknown):
        verify(token({**HEADER, "kid": None}), KEYS, project="pdf-tool", now=NOW)
