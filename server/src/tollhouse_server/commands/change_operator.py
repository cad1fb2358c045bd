"""Disables and enables operators, and sets their passwords."""

from datetime import datetime

from sqlalchemy import update

from .. import audit
from ..db.engine import Tx
from ..db.tables import operator
from .add_operator import hash_fit


async def disable_operator(tx: Tx, name: str, why: audit.Cause, *, at: datetime) -> bool:
    """At once. False where there is no such operator who is not disabled."""
    changed = update(operator).where(operator.c.name == name, operator.c.disabled_at.is_(None)).values(disabled_at=at)
    if not (await tx.execute(changed)).rowcount:
        return False
    await audit.record(tx, "operator.disabled", why, at=at, before={"name": name})
    return True


async def enable_operator(tx: Tx, name: str, why: audit.Cause, *, at: datetime) -> bool:
    """With the password they had. False where there is no such operator who is disabled."""
    changed = update(operator).where(operator.c.name == name, operator.c.disabled_at.is_not(None))
    if not (await tx.execute(changed.values(disabled_at=None))).rowcount:
        return False
    await audit.record(tx, "operator.enabled", why, at=at, after={"name": name})
    return True


async def set_password(tx: Tx, name: str, password: str, why: audit.Cause, *, at: datetime) -> bool:
    """The old one ends at once. False where there is no such operator. Raises OperatorInvalid."""
    changed = update(operator).where(operator.c.name == name).values(password_hash=hash_fit(name, password))
    if not (await tx.execute(changed)).rowcount:
        return False
    await audit.record(tx, "operator.password_set", why, at=at, after={"name": name})
    return True
