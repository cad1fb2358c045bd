"""What customers of one project are brought in others, as stored: written by refresh, gathered in the other project."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.postgresql import insert

from .catalogs import current_catalog, project_by_slug
from .customers import ensure_customer
from .db.engine import Tx
from .db.tables import bundled, project
from .domain.bundles import heights, projects_brought
from .domain.catalog import Catalog
from .domain.evidence import Bundled


@dataclass(frozen=True, slots=True)
class Brought:
    """What a customer's evidence brings the user of the same id in another project now, where that is a change."""

    source: Row[Any]
    """The row of the customer whose evidence it is."""
    by: str
    """The slug of its project."""
    project: str
    """The other project's slug."""
    lines: tuple[Bundled, ...]


async def changes(tx: Tx, source: Row[Any], by: str, now: dict[str, tuple[Bundled, ...]]) -> list[Brought]:
    """In which projects the customer whose row, locked, is `source`, of the project `by`, brings something else now."""
    rows = await tx.execute(
        select(project.c.slug, bundled.c.lines)
        .join(project, project.c.id == bundled.c.project_id)
        .where(bundled.c.source_customer_id == source.id)
    )
    before = {row.slug: row.lines for row in rows}
    return [
        Brought(source, by, slug, now.get(slug, ()))
        for slug in {**before, **now}
        if now.get(slug, ()) != before.get(slug, ())
    ]


async def write(tx: Tx, changed: Brought) -> uuid.UUID:
    """Stores it; returns the customer there, made if need be, who is to be refreshed."""
    there = await project_by_slug(tx, changed.project)
    assert there is not None  # a catalog that bundles what is not there cannot be published
    customer_id = await ensure_customer(tx, there, changed.source.user_id)
    row = {"customer_id": customer_id, "source_customer_id": changed.source.id}
    if changed.lines:
        await tx.execute(
            insert(bundled)
            .values(project_id=there.id, lines=changed.lines, **row)
            .on_conflict_do_update(index_elements=list(row), set_={"lines": changed.lines})
        )
    else:
        await tx.execute(delete(bundled).filter_by(**row))
    return customer_id


async def graph(tx: Tx, begin: Iterable[str], instead: Catalog | None = None) -> dict[str, set[str]]:
    """Of which projects each of these brings products, and so on; `instead` of its project's catalog, if given."""
    found: dict[str, set[str]] = {}
    ahead = list(begin)
    while ahead:
        slug = ahead.pop()
        if slug not in found:
            found[slug] = projects_brought(await _catalog(tx, slug, instead))
            ahead += found[slug]
    return found


async def next_of(tx: Tx, waiting: Iterable[str]) -> str:
    """The project whose customer is to be locked first, so that no two transactions lock in opposite orders.

    The one that stands highest: what it brings leads downwards only, and of equally high ones the order is the name's.
    """
    slugs = list(waiting)
    rank = heights(await graph(tx, slugs)) if len(slugs) > 1 else {slugs[0]: 0}
    return min(slugs, key=lambda slug: (-rank[slug], slug))


async def _catalog(tx: Tx, slug: str, instead: Catalog | None) -> Catalog:
    if instead is not None and instead.project == slug:
        return instead
    owner = await project_by_slug(tx, slug)
    return Catalog(slug, 0, {}, {}, {}) if owner is None else await current_catalog(tx, owner)
