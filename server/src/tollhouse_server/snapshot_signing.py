"""Signs snapshots, so that whoever has the published keys can trust one without asking: as JWTs, with Ed25519.

The keys are derived from SECRET_KEY, so that none is stored and every process has the same. They sign nothing else:
what one of them signed is a snapshot, whatever else it says.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .domain.errors import SecretKeyMissing

ISSUER = "tollhouse"
ALGORITHM = "EdDSA"
_LABEL = b"tollhouse snapshot signing key"


class SnapshotSigner:
    """`keys` are SECRET_KEY and, while that is being replaced, the one before it: the first one's key signs."""

    def __init__(self, keys: Sequence[str], valid_for: timedelta) -> None:
        self._keys = [_SigningKey(key) for key in keys]
        self._valid_for = valid_for

    def sign(self, audience: str, subject: str, told: Mapping[str, Any], at: datetime) -> str:
        """A JWT of what is `told` of the subject to the audience, from `at` on. Raises SecretKeyMissing."""
        if not self._keys:
            raise SecretKeyMissing("Set SECRET_KEY (openssl rand -hex 32) and restart the service and its workers.")
        issued = int(at.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": subject,
            "iat": issued,
            "exp": issued + int(self._valid_for.total_seconds()),
            **told,
        }
        return self._keys[0].sign(claims)

    def jwks(self) -> dict[str, Any]:
        """The public keys, as RFC 7517 has them; none where there is no SECRET_KEY."""
        return {"keys": [key.jwk for key in self._keys]}


class _SigningKey:
    def __init__(self, secret: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hmac.digest(secret.encode(), _LABEL, hashlib.sha256))
        x = _base64url(self._private.public_key().public_bytes_raw())
        self.kid = thumbprint(x)
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}

    def sign(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": ALGORITHM, "kid": self.kid, "typ": "JWT"}
        signed = f"{_base64url(_json(header))}.{_base64url(_json(claims))}"
        return f"{signed}.{_base64url(self._private.sign(signed.encode()))}"


def thumbprint(x: str) -> str:
    """The name of the public key `x`, which anybody can work out from it (RFC 7638)."""
    return _base64url(hashlib.sha256(_json({"crv": "Ed25519", "kty": "OKP", "x": x})).digest())


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
