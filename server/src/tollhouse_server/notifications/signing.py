"""Signs messages as Standard Webhooks has it. The secrets are derived from SECRET_KEY, so that none is stored."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

from ..domain.errors import SecretKeyMissing as SecretKeyMissing


class Signer:
    """`keys` are SECRET_KEY and, while that is being replaced, the one before it."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    @property
    def ready(self) -> bool:
        return bool(self._keys)

    def secret(self, endpoint_id: str, generation: int) -> str:
        """What the endpoint verifies with, `whsec_…`; the next generation's is another. Raises SecretKeyMissing."""
        if not self._keys:
            raise SecretKeyMissing("Set SECRET_KEY (openssl rand -hex 32) and restart the service and its workers.")
        return _derive(self._keys[0], endpoint_id, generation)

    def headers(
        self, endpoint_id: str, generation: int, message_id: str, body: str, at: datetime, *, overlaps: bool
    ) -> dict[str, str]:
        """The headers of one attempt, made at `at`; `overlaps`: the generation before still counts."""
        generations = (generation, generation - 1) if overlaps else (generation,)
        secrets = [_derive(key, endpoint_id, one) for key in self._keys for one in generations]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, body) for secret in secrets),
        }


def _derive(key: bytes, endpoint_id: str, generation: int) -> str:
    made = hmac.digest(key, f"tollhouse notification endpoint {endpoint_id} {generation}".encode(), hashlib.sha256)
    return f"whsec_{base64.b64encode(made).decode()}"
