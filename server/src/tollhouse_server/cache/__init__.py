"""The hot read: what a customer may do, from this process, then Redis, then PostgreSQL.

Each tier may be absent, and each keeps the bound alone: nothing that is answered was read more than a second ago.
"""

import uuid

from .local import Cell as Cell
from .local import Local
from .shared import Shared


class Cache:
    """The tiers before PostgreSQL as one. It never raises."""

    def __init__(self, url: str | None, *, local: Local | None = None) -> None:
        """`url` is Redis', None for none; `local` is this process' own tier."""
        self.local = local
        self.shared = Shared(url)

    async def get(self, project_id: uuid.UUID, user_id: str) -> Cell | None:
        """The customer's cell, where a tier has one that is not over."""
        cell = self.local.get(project_id, user_id) if self.local is not None else None
        if cell is not None:
            return cell
        cell = await self.shared.get(project_id, user_id)
        if cell is not None and self.local is not None:
            self.local.fill(project_id, user_id, cell)
        return cell

    async def fill(self, project_id: uuid.UUID, user_id: str, cell: Cell) -> None:
        """Offers what was read from PostgreSQL; refused where a newer version is known."""
        if self.local is not None:
            self.local.fill(project_id, user_id, cell)
        await self.shared.fill(project_id, user_id, cell)

    async def floor(self, project_id: uuid.UUID, user_id: str, version: int) -> None:
        """Tells that `version` was committed: what is older is dropped and stays out."""
        if self.local is not None:
            self.local.floor(project_id, user_id, version)
        await self.shared.floor(project_id, user_id, version)

    async def forget_all(self) -> None:
        """Empties the tiers; where Redis is away, what it holds ends within seconds by itself."""
        if self.local is not None:
            self.local.clear()
        await self.shared.forget_all()

    async def close(self) -> None:
        await self.shared.close()
