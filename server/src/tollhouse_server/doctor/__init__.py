"""Looks whether what must never be is nevertheless: for an operator, for a watch over production, and after every test.

Everything is read, nothing is changed; all of it in one snapshot of the database, with a bound on each statement, so
that it can be run beside a service at work. A new check is one entry in one of the lists below.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ..db.engine import Database, Tx
from .checks import NOTHING, Check, Found, Look, Severity
from .evidence import EVIDENCE
from .invariants import INVARIANTS
from .service import SCHEMA, SERVICE, STRIPE
from .work import WORK

CHECKS = (SCHEMA, *SERVICE, STRIPE, *WORK, *INVARIANTS, *EVIDENCE)
"""In the order in which they are told."""

LONGEST_STATEMENT = "30s"

_READ_ONLY = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    f"SET LOCAL statement_timeout = '{LONGEST_STATEMENT}'",
    "SET LOCAL idle_in_transaction_session_timeout = '10min'",
)


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found. `error`: why it could not look."""

    check: Check
    found: Found
    error: str | None = None

    @property
    def well(self) -> bool:
        return self.error is None and self.found.count == 0


async def examine(database: Database, look_at: Callable[[Tx], Look]) -> list[Result]:
    """All checks, in one snapshot; only that of the schema where that is not at head."""
    async with database.transaction() as tx:
        for statement in _READ_ONLY:
            await tx.execute(text(statement))
        look = look_at(tx)
        schema = await _result(SCHEMA, look)
        # What was not asked is not told to be well.
        further = [check for check in CHECKS[1:] if check is not STRIPE or look.stripe is not None]
        return [schema] if not schema.well else [schema, *await results(look, further)]


async def results(look: Look, checks: Iterable[Check]) -> list[Result]:
    """These checks, one after the other, in the transaction of `look`."""
    return [await _result(check, look) for check in checks]


async def _result(check: Check, look: Look) -> Result:
    try:
        async with look.tx.begin_nested():  # a check that fails must not end those after it
            return Result(check, await check.find(look))
    except (SQLAlchemyError, OSError) as error:
        return Result(check, NOTHING, error=f"{type(error).__name__}: {error}".partition("\n")[0][:300])


async def broken_invariants(database: Database) -> list[str]:
    """Each invariant of the rows that does not hold, in a sentence with examples; for the end of a test."""
    async with database.transaction() as tx:
        look = Look(tx, "", datetime.now(UTC))
        return [
            f"{check.name}: {check.sentence} {found.count}: {'; '.join(found.examples)}"
            for check in INVARIANTS
            if (found := await check.find(look)).count
        ]


def broken_invariants_of(url: str) -> list[str]:
    """The same of the database at `url`, with a connection of its own."""

    async def look() -> list[str]:
        database = Database(url, pool_size=2)
        try:
            return await broken_invariants(database)
        finally:
            await database.close()

    return asyncio.run(look())


__all__ = [
    "CHECKS",
    "Check",
    "Found",
    "Look",
    "Result",
    "Severity",
    "broken_invariants",
    "broken_invariants_of",
    "examine",
    "results",
]
