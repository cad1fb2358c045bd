"""What a check is, and what it finds."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import text

from ..db.engine import Tx
from ..domain.versions import CHANGES_BITS
from ..reconcile.runs import Kind
from ..stripe_gateway import StripeClient

MOST_COUNTED = 10_000
EXAMPLES = 5
_CHANGES = (1 << CHANGES_BITS) - 1


class Severity(StrEnum):
    WRONG = "wrong"
    """A promise is broken, or will be unless somebody acts."""
    WARNING = "warning"
    """Nothing is lost or wrong yet."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a check may look at. `now` is the instant at which access is decided; `stripe` None: not asked now."""

    tx: Tx
    url: str
    now: datetime
    full: bool = False
    stripe: StripeClient | None = None
    reconciled_within: Mapping[Kind, timedelta] = field(default_factory=dict)
    """How long ago the last whole run of each kind may be; one that is not named is not looked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many, and some of them, each in a few words. `at_least`: there may be more, they were not all counted."""

    count: int = 0
    examples: tuple[str, ...] = ()
    at_least: bool = False


NOTHING = Found()

Find = Callable[[Look], Awaitable[Found]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must not be. `sentence` says what is wrong where it finds something, `remedy` what to do then."""

    name: str
    severity: Severity
    sentence: str
    remedy: str
    runbook: str | None
    """Of docs/runbooks."""
    find: Find


def rows(sql: str) -> Find:
    """Finds what a query finds: rows of one text each.

    `:now` is the instant at which access is decided; `:changes` has the bits of a version that count changes, above
    which is the epoch that a restore begins.
    """
    counted = text(
        "SELECT count(*), coalesce((array_agg(example))[1:5], '{}')"  # noqa: S608 - written in this package
        f" FROM (SELECT example FROM ({sql}) AS found (example) LIMIT {MOST_COUNTED}) AS counted"
    )

    async def find(look: Look) -> Found:
        known = {"now": look.now, "changes": _CHANGES}
        given = {name: value for name, value in known.items() if f":{name}" in sql}
        count, examples = (await look.tx.execute(counted, given)).one()
        return Found(count, tuple(examples), at_least=count >= MOST_COUNTED)

    return find
