"""Idempotency keys: a POST with a key is done once, and answered the same for 24 hours.

A stored answer may be a 500: what was answered stays answered. Refusals before anything was done (400, 401, 404, 409,
429) are not stored (https://docs.stripe.com/api/idempotent_requests).
"""

from dataclasses import dataclass

from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.form import Nested, flatten
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.store import Json

_NOT_STORED = frozenset((400, 401, 404, 409, 429))


@dataclass(frozen=True)
class Replay:
    """An answer given before: HTTP status, JSON body, and the id of the request it was first given to."""

    status: int
    body: str
    original_request: str


class IdempotencyKeys:
    """The keys of an account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._in_flight: set[str] = set()

    def enter(self, key: str) -> None:
        """Marks a key as in flight, from the request's headers on. Raises 400 for a key that is too long, 409 while
        another request with it is under way."""
        if len(key) > 255:
            raise StripeError("Idempotency keys can be at most 255 characters long.", kind="idempotency_error")
        if key in self._in_flight:
            raise StripeError(
                f"There is currently another in-progress request using this Stripe-Idempotent-Key: {key}. "
                "Please wait for it to complete, or use a different key.",
                status=409,
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        self._in_flight.add(key)

    def leave(self, key: str) -> None:
        self._in_flight.discard(key)

    def answered(self, key: str) -> bool:
        """Whether there is a stored answer, which is all that a call with this key will get."""
        return self._stored(key) is not None

    def replay(self, key: str, path: str, params: Nested) -> Replay | None:
        """The stored answer, if this key was used. Raises 400 when it was used for something else."""
        stored = self._stored(key)
        if stored is None:
            return None
        if stored["path"] != path:
            raise StripeError(
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{path}' vs '{stored['path']}'). Try using a key other than '{key}' if you meant to execute a "
                "different request.",
                kind="idempotency_error",
            )
        if stored["params"] != _written(params):
            raise StripeError(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                kind="idempotency_error",
            )
        return Replay(stored["status"], stored["body"], stored["request"])

    def _stored(self, key: str) -> Json | None:
        stored = self._account.store.get("_idempotency", key)
        if stored and stored["at"] + DAY < self._account.now:
            return None
        return stored

    def store(self, key: str, path: str, params: Nested, status: int, body: str, request: str) -> None:
        """Keeps an answer, unless nothing had been done when it was given."""
        if status in _NOT_STORED:
            return
        self._account.store.put(
            {
                "object": "_idempotency",
                "id": key,
                "path": path,
                "params": _written(params),
                "status": status,
                "body": body,
                "request": request,
                "at": self._account.now,
            }
        )


def _written(params: Nested) -> list[list[str]]:
    return [list(pair) for pair in flatten(params)]
