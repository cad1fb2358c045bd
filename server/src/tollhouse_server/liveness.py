"""Whether a worker works: it leaves a sign of life, and /readyz looks for one."""

from datetime import timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from .db.engine import Tx
from .db.tables import worker

ALIVE_WITHIN = timedelta(seconds=30)
"""A worker that was not seen for longer does not work."""
FORGOTTEN_AFTER = timedelta(hours=1)


async def beat(tx: Tx, worker_id: str) -> None:
    """Leaves a sign of life, and clears away those of workers long gone."""
    seen = {"seen_at": func.now()}
    await tx.execute(
        insert(worker).values(id=worker_id, **seen).on_conflict_do_update(index_elements=[worker.c.id], set_=seen)
    )
    await tx.execute(delete(worker).where(worker.c.seen_at < func.now() - FORGOTTEN_AFTER))


async def alive(tx: Tx) -> int:
    """How many workers were seen within the last 30 seconds."""
    lately = worker.c.seen_at > func.now() - ALIVE_WITHIN
    return (await tx.execute(select(func.count()).where(lately))).scalar_one()


async def seen_lately(tx: Tx) -> bool:
    """Whether any worker was seen within the last 30 seconds."""
    return bool(await tx.scalar(select(exists().where(worker.c.seen_at > func.now() - ALIVE_WITHIN))))
