"""The hot read: what a customer may do, from this process, then Redis, then PostgreSQL.

Each tier may be absent, and each keeps the bound alone: nothing that is answered was read more than a second ago.
"""

import hmac
import uuid

from ..db.reader import Reader
from ..domain.entitlements import load
from ..telemetry import CACHE_READS
from .local import LIVES_SECONDS, Local
from .local import Cell as Cell
from .local import KnownKey as KnownKey
from .shared import TIMEOUT_SECONDS, Deadline, Shared


class Cache:
    """The tiers as one."""

    def __init__(
        self,
        url: str | None,
        *,
        local: Local | None = None,
        reader: Reader | None = None,
        redis_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`url` is Redis', None for none; `local` is this process' own tier; `reader` asks PostgreSQL."""
        self.local, self.shared, self._reader = local, Shared(url, seconds=redis_seconds), reader

    async def read(self, project_id: uuid.UUID, user_id: str, *, at_least: int = 0) -> Cell:
        """The customer's cell from the first tier that has one that is not over, nor older than version `at_least`.

        What PostgreSQL has is answered even if it is older.

        Raises DatabaseBusy, and SQLAlchemy's OperationalError where PostgreSQL is needed and away.
        """
        cell, deadline = await self.get(project_id, user_id)
        if cell is not None and cell.version >= at_least:
            return cell
        return await self._read_anew(project_id, user_id, deadline)

    async def _read_anew(self, project_id: uuid.UUID, user_id: str, deadline: Deadline | None) -> Cell:
        assert self._reader is not None, "made without a reader"
        stored = await self._reader.snapshot(project_id, user_id)
        cell = Cell(stored.version, load(stored.entitlements), stored.began + LIVES_SECONDS)
        return await self.fill(project_id, user_id, cell, deadline)

    async def key(self, key_id: str, digest: bytes, *, anew: bool = False) -> KnownKey | None:
        """What a project's key may do; None for one that is revoked, or whose hash is not `digest`.

        It may have been read a second ago, unless it is to be read `anew`. Raises as `read` does.
        """
        known = self.local.key(digest) if self.local is not None and not anew else None
        if known is not None:
            return known
        assert self._reader is not None, "made without a reader"
        stored = await self._reader.key(key_id)
        if stored is None or not hmac.compare_digest(stored.hash, digest):
            return None
        known = KnownKey(
            id=stored.id,
            project_id=stored.project_id,
            slug=stored.slug,
            redirect_origins=tuple(stored.redirect_origins),
            catalog_version=stored.catalog_version,
            version=stored.version,
            scopes=tuple(stored.scopes),
            key_expires_at=stored.expires_at,
            last_used_at=stored.last_used_at,
            expires=stored.began + LIVES_SECONDS,
        )
        if self.local is not None:
            self.local.keep_key(digest, known)
        return known

    async def get(self, project_id: uuid.UUID, user_id: str) -> tuple[Cell | None, Deadline | None]:
        """The customer's cell, where a tier before PostgreSQL has one that is not over.

        Else until when, on Redis' clock, may be filled what is read from now on; None where Redis does not answer.
        """
        if self.local is not None:
            cell = self.local.get(project_id, user_id)
            CACHE_READS.labels("process", "miss" if cell is None else "hit").inc()
            if cell is not None:
                return cell, None
        cell, deadline = await self.shared.get(project_id, user_id)
        if cell is not None and self.local is not None:
            cell = self.local.fill(project_id, user_id, cell)
        return cell, deadline

    async def fill(self, project_id: uuid.UUID, user_id: str, cell: Cell, deadline: Deadline | None) -> Cell:
        """Offers what was read from PostgreSQL after the `get` that gave the deadline. Answers with what to use.

        It is refused where a newer version is known.
        """
        accepted = await self.shared.fill(project_id, user_id, cell, deadline)
        # What Redis refuses may have been announced before this process listened: the commit is still to come.
        return cell if self.local is None or accepted is False else self.local.fill(project_id, user_id, cell)

    async def forget_all(self) -> None:
        """Empties the tiers; where Redis is away, what it holds ends within a second by itself."""
        if self.local is not None:
            self.local.clear()
        await self.shared.forget_all()

    async def close(self) -> None:
        await self.shared.close()
        if self._reader is not None:
            await self._reader.close()
