"""Who has had a trial of what: remembered for ever, as keyed hashes, so that neither address nor card lies in the rows.

The key is derived from SECRET_KEY. While that is being replaced, what was remembered under the key before is found too,
and what is met again is remembered under the new one.
"""

import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from .db.engine import Tx
from .db.tables import trial_use
from .domain.trials import TrialUse, UsedBy

_LABEL = b"tollhouse trial memory"

Known = Mapping[UsedBy, str]
"""By what somebody is known: the user id, the normalised address, the card's fingerprint."""


class TrialMemory:
    """`keys` are SECRET_KEY and, while that is being replaced, the one before it; without one nothing is remembered."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [hmac.digest(key.encode(), _LABEL, hashlib.sha256) for key in keys]

    async def remember(
        self, tx: Tx, project_id: uuid.UUID, plan: str, known: Known, subscription_id: str, began_at: datetime
    ) -> list[TrialUse]:
        """Remembers a trial of the plan, and answers with the first ones that were begun with the same: it, or others.

        Of two at once, the second waits until the first is committed.
        """
        first = {row.used_by: row for row in await self._rows(tx, project_id, plan, known)}
        values = []
        for by, value in sorted(known.items()) if self._keys else ():
            row = first.get(by)
            values.append(
                {
                    "project_id": project_id,
                    "plan": plan,
                    "used_by": by,
                    "hash": _hash(self._keys[0], project_id, plan, by, value),
                    "subscription_id": row.subscription_id if row else subscription_id,
                    "began_at": row.began_at if row else began_at,
                }
            )
        if values:
            await tx.execute(insert(trial_use).values(values).on_conflict_do_nothing())
        return await self.uses(tx, project_id, plan, known)

    async def uses(self, tx: Tx, project_id: uuid.UUID, plan: str, known: Known) -> list[TrialUse]:
        """The first trials of the plan that were begun with any of these."""
        rows = await self._rows(tx, project_id, plan, known)
        return [TrialUse(UsedBy(row.used_by), row.subscription_id, row.began_at) for row in rows]

    async def _rows(self, tx: Tx, project_id: uuid.UUID, plan: str, known: Known) -> Iterable[Row[Any]]:
        hashes = [(by.value, _hash(key, project_id, plan, by, v)) for key in self._keys for by, v in known.items()]
        if not hashes:
            return []
        mine = (trial_use.c.project_id == project_id, trial_use.c.plan == plan)
        same = tuple_(trial_use.c.used_by, trial_use.c.hash).in_(hashes)
        return (await tx.execute(select(trial_use).where(*mine, same))).all()


NO_MEMORY = TrialMemory(())


def _hash(key: bytes, project_id: uuid.UUID, plan: str, by: UsedBy, value: str) -> bytes:
    """Another one for each project and plan: the rows do not tell that a card was used in two."""
    told = "\x00".join((str(project_id), plan, by, value))
    return hmac.digest(key, told.encode(), hashlib.sha256)
