"""Names a person who may do what operators do."""

import re
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from .. import audit
from ..db.engine import Tx
from ..db.tables import api_key, operator
from ..domain.errors import Problem
from ..passwords import hash_password
from .issue_key import in_use

SHORTEST_PASSWORD: Final = 15
LONGEST_PASSWORD: Final = 1_000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
NOT_A_PERSON: Final = frozenset(
    {"admin", "app", "notifications", "operator", "reconcile", "root", "stripe", "timetable", "tollhouse"}
)
"""Who else the audit trail names, and names that say nothing."""


class OperatorInvalid(Problem):
    """The operator cannot be named, or the password set, like this; each entry of `errors` says what to change."""

    status = 422
    code = "operator-invalid"


class OperatorExists(Problem):
    """There is an operator of this name already, or a machine's key that acts under it.

    Choose another name; a disabled operator is enabled again.
    """

    status = 409
    code = "operator-exists"


async def add_operator(tx: Tx, name: str, password: str, why: audit.Cause, *, at: datetime) -> None:
    """Adds the operator. Raises OperatorInvalid, OperatorExists."""
    if NAME.fullmatch(name) is None or name in NOT_A_PERSON:
        wrong = {
            "pointer": "/name",
            "detail": "Up to 64 lower-case letters, digits and . _ @ + -, and the name of a person.",
        }
        raise OperatorInvalid(f"Nobody can be called {name[:64]!r} here.", errors=[wrong])
    hashed = hash_fit(name, password)
    machine = select(api_key.c.id).where(api_key.c.project_id.is_(None), api_key.c.name == name, in_use(at)).limit(1)
    if await tx.scalar(machine) is not None:
        raise OperatorExists(f"A machine's key acts as {name}: choose another name, so that they can be told apart.")
    made = insert(operator).values(name=name, password_hash=hashed, created_at=at)
    if (await tx.scalar(made.on_conflict_do_nothing().returning(operator.c.name))) is None:
        raise OperatorExists(f"There is an operator {name} already: set the password, or enable them again.")
    await audit.record(tx, "operator.added", why, at=at, after={"name": name})


def hash_fit(name: str, password: str) -> str:
    """The hash of a password that is long enough. Raises OperatorInvalid, which does not repeat it."""
    said = None
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        said = f"It must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters: a sentence is easy to remember."
    elif name in password.lower() or len(set(password)) < 5:
        said = "It is too easy to guess: it holds the name, or very few different characters."
    if said is not None:
        raise OperatorInvalid("This password will not do.", errors=[{"pointer": "/password", "detail": said}])
    return hash_password(password)
