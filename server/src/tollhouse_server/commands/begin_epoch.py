"""Raises every version after a restore, so that none goes below what apps and caches have seen."""

from datetime import datetime

from sqlalchemy import func, select, text, update

from .. import audit
from ..db.engine import Tx
from ..db.tables import customer, snapshot
from ..domain.versions import CHANGES_BITS, epoch_of, first_of, next_epoch


async def begin_epoch(tx: Tx, why: audit.Cause, *, at: datetime, highest_before: int = 0) -> int:
    """The epoch that begins now, for the customers there are and for those to come; one audit entry tells of it.

    `highest_before` is the highest version in the database that the restored one replaces.
    """
    await tx.execute(text("SET LOCAL statement_timeout = 0"))  # every customer's row
    highest = await tx.scalar(select(func.max(customer.c.version))) or 0
    epoch = next_epoch(max(epoch_of(highest), epoch_of(highest_before)), at)
    changes = (1 << CHANGES_BITS) - 1
    for table in (customer, snapshot):
        raised = table.c.version.op("&")(changes).op("|")(first_of(epoch))
        await tx.execute(update(table).values(version=raised))
    # Who was met after the backup was taken is not in it, and is met again.
    await tx.execute(text(f"ALTER TABLE customer ALTER COLUMN version SET DEFAULT {first_of(epoch)}"))
    before, after = {"epoch": epoch_of(highest)}, {"epoch": epoch}
    await audit.record(tx, "database.restored", why, at=at, before=before, after=after)
    return epoch
