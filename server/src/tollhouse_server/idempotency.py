"""What was answered to a request with an Idempotency-Key: whoever sends it again is answered the same, once done.

Only hashes of the key and of the request are kept. A row is in hand (under a lease, so that a killed process' key comes
free again), then answered. One whose handler must not run twice is sealed in the transaction of its change.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from .db.engine import Tx
from .db.tables import idempotency_key

KEPT = timedelta(hours=72)
"""As long as Stripe tries a webhook again: nobody who retries by themselves does it longer."""
LEASE = timedelta(seconds=60)
"""Longer than a request may take, so that of two who send the same one only ever runs."""


class Found(StrEnum):
    """Why a request is not to be carried out now."""

    ANSWERED = "answered"
    IN_PROGRESS = "in progress"
    LOST = "lost"
    """It was carried out, and whoever did it died before the answer was stored."""
    OTHER_REQUEST = "other request"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with a key: `key` hashes caller and key, `request` everything that makes it this request."""

    key: bytes
    request: bytes
    project_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """`body` is None where the answer held a secret, which is not kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


async def begin(tx: Tx, asked: Asked) -> uuid.UUID | None:
    """The lease under which the request is now carried out; None where it must not be, as `look` tells.

    One statement decides, however many send the same at once.
    """
    lease = uuid.uuid4()
    fresh = {
        "request": asked.request,
        "project_id": asked.project_id,
        "lease": lease,
        "lease_until": func.clock_timestamp() + LEASE,
        "sealed": False,
        "status": None,
        "headers": None,
        "body": None,
        "created_at": func.clock_timestamp(),
    }
    abandoned = and_(
        idempotency_key.c.status.is_(None),
        ~idempotency_key.c.sealed,
        idempotency_key.c.lease_until < func.clock_timestamp(),
        idempotency_key.c.request == asked.request,
    )
    made = await tx.scalar(
        insert(idempotency_key)
        .values(id=asked.key, **fresh)
        .on_conflict_do_update(
            index_elements=[idempotency_key.c.id],
            set_=fresh,
            where=or_(idempotency_key.c.created_at < func.clock_timestamp() - KEPT, abandoned),
        )
        .returning(idempotency_key.c.lease)
    )
    return lease if made is not None else None


async def look(tx: Tx, asked: Asked) -> tuple[Found, StoredAnswer | None]:
    """What became of the request that `begin` did not let run."""
    row = (
        await tx.execute(
            select(idempotency_key, (idempotency_key.c.lease_until > func.clock_timestamp()).label("in_hand")).where(
                idempotency_key.c.id == asked.key
            )
        )
    ).one_or_none()
    if row is None:  # it failed just now and let its key go: whoever asks again in a moment is the next to try
        return Found.IN_PROGRESS, None
    if row.request != asked.request:
        return Found.OTHER_REQUEST, None
    if row.status is not None:
        return Found.ANSWERED, StoredAnswer(row.status, row.headers, row.body)
    return Found.LOST if row.sealed and not row.in_hand else Found.IN_PROGRESS, None


async def seal(tx: Tx, key: bytes, lease: uuid.UUID) -> bool:
    """Says, in the transaction of a change, that it must not be made again; False where another has the key by now."""
    sealed = await tx.execute(_mine(key, lease).values(sealed=True))
    return sealed.rowcount > 0


async def store(tx: Tx, key: bytes, lease: uuid.UUID, answer: StoredAnswer) -> None:
    """Keeps the answer for who asks again."""
    await tx.execute(_mine(key, lease).values(status=answer.status, headers=dict(answer.headers), body=answer.body))


async def release(tx: Tx, key: bytes, lease: uuid.UUID) -> None:
    """Lets the key go, as nothing was done under it: the next one really tries."""
    await tx.execute(
        delete(idempotency_key).where(
            idempotency_key.c.id == key, idempotency_key.c.lease == lease, ~idempotency_key.c.sealed
        )
    )


async def prune(tx: Tx) -> None:
    """Forgets the answers that are no longer replayed."""
    await tx.execute(delete(idempotency_key).where(idempotency_key.c.created_at < func.now() - KEPT))


def _mine(key: bytes, lease: uuid.UUID) -> Any:
    return update(idempotency_key).where(idempotency_key.c.id == key, idempotency_key.c.lease == lease)
