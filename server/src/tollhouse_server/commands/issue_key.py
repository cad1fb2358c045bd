"""Issues the keys with which apps and operators' machines call."""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select

from .. import audit
from ..catalogs import Project
from ..db.engine import Tx
from ..db.tables import api_key, operator
from ..domain.errors import Problem
from ..domain.scopes import OF_PROJECTS, USUAL, Scope
from ..key_format import Kind, make_key, parse_key

MOST_IN_USE = 50
"""Keys in use that one project, or all operators together, may have: more would be a leak or a loop."""
ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class TooManyKeys(Problem):
    """There are as many keys in use as there may be.

    Revoke those that nobody uses: the list shows when each was last used.
    """

    status = 409
    code = "too-many-keys"


class KeyInvalid(Problem):
    """The key cannot be issued like this; each entry of `errors` says what to change."""

    status = 422
    code = "key-invalid"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. `key` is shown here and never again: only its hash is stored."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    key: str
    created_at: datetime
    expires_at: datetime | None


async def issue_key(
    tx: Tx,
    owner: Project | None,
    name: str,
    why: audit.Cause,
    *,
    at: datetime,
    scopes: Iterable[Scope] | None = None,
    expires_at: datetime | None = None,
) -> IssuedKey:
    """Adds a key to the project, or an operator key where `owner` is None; the ones there are go on working.

    `expires_at` None is for good. Raises TooManyKeys, KeyInvalid.
    """
    chosen = _chosen(owner, scopes)
    if owner is None:
        await _check_actor(tx, name)
    if expires_at is not None and expires_at <= at:
        past = {"pointer": "/expires_at", "detail": "It must lie in the future, or the key would never work."}
        raise KeyInvalid("The key would be over before it begins.", errors=[past])
    project_id = owner.id if owner else None
    issued = await store_new_key(tx, project_id, name, chosen, at=at, expires_at=expires_at)
    await audit.record(tx, "key.issued", why, at=at, project_id=project_id, after=told(issued))
    return issued


async def _check_actor(tx: Tx, name: str) -> None:
    """An operator key's name is the actor in the audit trail: it must be nobody else's."""
    said = None
    if ACTOR.fullmatch(name) is None:
        said = "Up to 64 letters, digits and . _ @ + -: it is the actor in the audit trail."
    elif await tx.scalar(select(operator.c.name).where(operator.c.name == name.lower())) is not None:
        said = "An operator has this name: choose one that says which machine it is."
    if said is not None:
        raise KeyInvalid("An operator key cannot be called like this.", errors=[{"pointer": "/name", "detail": said}])


def _chosen(owner: Project | None, scopes: Iterable[Scope] | None) -> tuple[Scope, ...]:
    if owner is None:
        return (Scope.OPERATOR,)
    wanted = set(USUAL if scopes is None else scopes)
    if not wanted or not wanted <= set(OF_PROJECTS):
        known = ", ".join(OF_PROJECTS)
        wrong = {"pointer": "/scopes", "detail": f"A project's key has one or more of {known}."}
        raise KeyInvalid(f"Choose the key's scopes from {known}.", errors=[wrong])
    return tuple(one for one in OF_PROJECTS if one in wanted)


async def store_new_key(
    tx: Tx,
    project_id: uuid.UUID | None,
    name: str,
    scopes: tuple[Scope, ...],
    *,
    at: datetime,
    expires_at: datetime | None,
) -> IssuedKey:
    """The row of a new key, without an audit entry. Raises TooManyKeys."""
    # Whoever else issues a key for the same owner waits, so that the count holds.
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"keys of {project_id}", 0))))
    counted = select(func.count()).select_from(api_key).where(of_owner(project_id), in_use(at))
    if (await tx.scalar(counted) or 0) >= MOST_IN_USE:
        raise TooManyKeys(f"{MOST_IN_USE} keys are in use already: revoke those that nobody uses.")
    key = make_key(Kind.OPERATOR if project_id is None else Kind.PROJECT)
    parsed = parse_key(key)
    assert parsed is not None
    issued = IssuedKey(parsed.id, name, scopes, key, at, expires_at)
    await tx.execute(
        insert(api_key).values(
            id=issued.id,
            project_id=project_id,
            name=name,
            scopes=list(scopes),
            hash=parsed.hash,
            created_at=at,
            expires_at=expires_at,
        )
    )
    return issued


def of_owner(project_id: uuid.UUID | None) -> ColumnElement[bool]:
    """The keys of a project; of no project: the operator keys."""
    return api_key.c.project_id.is_(None) if project_id is None else api_key.c.project_id == project_id


def in_use(at: datetime) -> ColumnElement[bool]:
    """Neither revoked nor expired."""
    return and_(api_key.c.revoked_at.is_(None), or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > at))


def state_of(key: Row[Any], at: datetime) -> Literal["in_use", "expires", "expired", "revoked"]:
    """What a person wants to know of a key's row."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "in_use"
    return "expires" if key.expires_at > at else "expired"


def told(issued: IssuedKey) -> dict[str, Any]:
    """What the audit trail is told of a new key; never the key."""
    ends = issued.expires_at.isoformat() if issued.expires_at else None
    return {"id": issued.id, "name": issued.name, "scopes": list(issued.scopes), "expires_at": ends}
