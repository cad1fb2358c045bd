"""Issues and revokes the keys with which a micro-app calls."""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import insert, update

from .. import audit
from ..catalogs import Project
from ..db.engine import Tx
from ..db.tables import api_key

ALPHABET: Final = string.ascii_letters + string.digits
PATTERN: Final = re.compile(r"tollhouse_([A-Za-z0-9]{12})_([A-Za-z0-9]{32})([0-9a-f]{8})")
"""What a key looks like: its public id, 190 bits of secret, and a checksum by which a scanner knows a real one."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. `key` is shown here and never again: only its hash is stored."""

    id: str
    name: str
    key: str
    created_at: datetime


def make_key() -> str:
    """A new random key, `tollhouse_<id>_<secret><checksum>`."""
    body = f"tollhouse_{_random(12)}_{_random(32)}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def key_id(key: str) -> str | None:
    """The public id in a key; None for what cannot be a key, without asking the database."""
    match = PATTERN.fullmatch(key)
    if match is None or f"{zlib.crc32(key[:-8].encode()):08x}" != match[3]:
        return None
    return match[1]


def hash_key(key: str) -> bytes:
    """What is stored of a key. A plain hash is right for 190 random bits: there is nothing to guess."""
    return hashlib.sha256(key.encode()).digest()


async def issue_key(tx: Tx, owner: Project, name: str, why: audit.Cause, *, at: datetime) -> IssuedKey:
    """Adds a key to the project; the ones it has go on working."""
    key = make_key()
    issued = IssuedKey(id=str(key_id(key)), name=name, key=key, created_at=at)
    await tx.execute(
        insert(api_key).values(id=issued.id, project_id=owner.id, name=name, hash=hash_key(key), created_at=at)
    )
    await audit.record(tx, "key.issued", why, at=at, project_id=owner.id, after={"id": issued.id, "name": name})
    return issued


async def revoke_key(tx: Tx, owner: Project, id_: str, why: audit.Cause, *, at: datetime) -> bool:
    """Ends a key at once; False where the project has no such key in use."""
    revoked = await tx.execute(
        update(api_key)
        .where(api_key.c.project_id == owner.id, api_key.c.id == id_, api_key.c.revoked_at.is_(None))
        .values(revoked_at=at)
    )
    if revoked.rowcount:
        await audit.record(tx, "key.revoked", why, at=at, project_id=owner.id, before={"id": id_})
    return revoked.rowcount > 0


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
