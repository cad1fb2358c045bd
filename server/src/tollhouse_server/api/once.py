"""A POST with an Idempotency-Key is carried out once, however often it is sent; its answer is replayed for 72 hours.

Kept is the answer of what was done: 200, 201, 204. What was refused (4xx) or failed (5xx) did nothing, so the same key
may be tried again, mended or not; nor is 202 kept, which says that the outcome is not known yet.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from .. import idempotency
from ..db.engine import Database, Tx
from ..domain.errors import Problem
from ..idempotency import Asked, Found, StoredAnswer
from ..telemetry import IDEMPOTENT_REQUESTS

log = structlog.get_logger(__name__)

HEADER = "Idempotency-Key"
MONEY = frozenset({"/v1/checkouts"})
"""What a double click would make somebody pay twice for: there a key must be sent."""
LARGEST = 256 * 1024
"""Bytes of an answer that is kept."""
_KEPT = frozenset({200, 201, 204})
_HEADERS = ("content-type", "etag", "location", "cache-control", "tollhouse-version")
_SHOWN_ONCE = frozenset({"key", "secret", "password", "token"})
"""The names under which an answer holds what nobody can be shown again."""


class IdempotencyKeyRequired(Problem):
    """Opening a checkout needs an Idempotency-Key, and one that is sent must be 1 to 255 printable ASCII characters.

    Make a random one (a UUID will do) for each thing a person asks for, and send it again with each retry.
    """

    code = "idempotency-key-required"


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was sent with another request in the last 72 hours.

    Send a new key with a new request; the same one only with the same method, path and body.
    """

    status = 422
    code = "idempotency-key-reused"


class IdempotencyInProgress(Problem):
    """The same request is being carried out now.

    Send it again in a second, with the same key, to get its answer.
    """

    status = 409
    code = "idempotency-in-progress"
    retry_after = 1


class AnswerNotKept(Problem):
    """The request was carried out, but its answer cannot be given again: it held a secret, or was lost in a crash.

    Look at what it made. Where that held a secret you did not get, revoke it and make another with a new key.
    """

    status = 409
    code = "idempotency-answer-not-kept"


class Replayed(Exception):
    """Not an error: the answer to give, as it was given before."""

    def __init__(self, answer: StoredAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer

    @property
    def response(self) -> Response:
        return Response(self.answer.body, self.answer.status, {**self.answer.headers, "Idempotent-Replayed": "true"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """The request in hand. Who holds one must end it with `conclude`."""

    database: Database
    key: bytes
    lease: uuid.UUID

    async def seal(self, tx: Tx) -> None:
        """For a handler that must not run twice: with its change the key is used up, whatever becomes of the answer."""
        if not await idempotency.seal(tx, self.key, self.lease):
            raise IdempotencyInProgress("The same request is being carried out by another process now.")

    async def conclude(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keeps the answer, or lets the key go. Never raises: what was done is answered even if that fails."""
        try:
            async with self.database.statement() as tx:
                if status in _KEPT:
                    kept = body if len(body) <= LARGEST and not _holds_a_secret(body) else None
                    told = {name: headers[name] for name in _HEADERS if name in headers}
                    await idempotency.store(tx, self.key, self.lease, StoredAnswer(status, told, kept))
                else:
                    await idempotency.release(tx, self.key, self.lease)
        except (SQLAlchemyError, TimeoutError):
            log.exception("an answer could not be kept for its idempotency key")


async def begin(request: Request, database: Database, caller: str, project_id: uuid.UUID | None) -> Attempt | None:
    """Whether to carry a POST out: an attempt to conclude, None where no key was sent.

    Raises Replayed, IdempotencyKeyRequired, IdempotencyKeyReused, IdempotencyInProgress, AnswerNotKept.
    """
    sent = request.headers.getlist(HEADER)
    path = request.scope["path"]
    if not sent and path not in MONEY:
        return None
    if len(sent) != 1 or not 1 <= len(sent[0]) <= 255 or not (sent[0].isascii() and sent[0].isprintable()):
        raise IdempotencyKeyRequired(
            f"Send one {HEADER} of 1 to 255 printable ASCII characters, such as a UUID, and the same with each retry."
        )
    asked = Asked(
        key=_hash(caller.encode(), sent[0].encode()),
        request=_hash(request.method.encode(), path.encode(), request.scope["query_string"], await request.body()),
        project_id=project_id,
    )
    async with database.statement() as tx:
        lease = await idempotency.begin(tx, asked)
        if lease is not None:
            IDEMPOTENT_REQUESTS.labels("begun").inc()
            return Attempt(database, asked.key, lease)
        found, answer = await idempotency.look(tx, asked)
    IDEMPOTENT_REQUESTS.labels(found.replace(" ", "-")).inc()
    raise _not_now(found, answer)


def _not_now(found: Found, answer: StoredAnswer | None) -> Exception:
    if found is Found.OTHER_REQUEST:
        return IdempotencyKeyReused("This key was sent with another request before: send a new key with a new request.")
    if found is Found.IN_PROGRESS:
        return IdempotencyInProgress("The same request is being carried out now: send it again in a second.")
    if answer is None:
        return AnswerNotKept("The request was carried out, but its answer was lost: look at what it made.")
    if answer.body is None:
        return AnswerNotKept(
            f"The request was carried out ({answer.status}), and its answer held a secret, which is shown once: "
            "if you did not get it, revoke what was made and make another with a new key."
        )
    return Replayed(answer)


def _hash(*parts: bytes) -> bytes:
    """Of the parts, told apart by their lengths."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8) + part)
    return whole.digest()


def _holds_a_secret(body: bytes) -> bool:
    try:
        return _names_a_secret(json.loads(body)) if body else False
    except ValueError:
        return True  # not ours to judge, so not ours to keep


def _names_a_secret(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_names_a_secret, value))
    if not isinstance(value, dict):
        return False
    return any(
        (name in _SHOWN_ONCE and isinstance(inner, str)) or _names_a_secret(inner) for name, inner in value.items()
    )


async def _sealing(request: Request) -> "Once":
    return Once(getattr(request.state, "attempt", None))


@dataclass(frozen=True, slots=True)
class Once:
    """What a route takes whose change must not be made twice, even if its process dies before it could answer."""

    attempt: Attempt | None

    async def seal(self, tx: Tx) -> None:
        """In the transaction of the change. Nothing where no key was sent."""
        if self.attempt is not None:
            await self.attempt.seal(tx)


OnlyOnce = Annotated[Once, Depends(_sealing)]
