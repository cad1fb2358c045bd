"""The catalogs that were published: each version is written once and never changes, so a process may keep it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, select

from .db.engine import Change, Tx, announce
from .db.tables import catalog, price, project
from .domain.catalog import Catalog
from .domain.catalog_file import parse_catalog
from .domain.entitlements import Entitlement, of_everybody
from .domain.kept_openings import with_kept

_KEPT = 256
_parsed: dict[tuple[uuid.UUID, int], Catalog] = {}
_of_everybody: dict[int, tuple[Catalog, tuple[Entitlement, ...]]] = {}
"""By the identity of the catalog, which is kept with it so that no other one gets the same."""


@dataclass(frozen=True, slots=True)
class Project:
    """A micro-app, as every request needs it."""

    id: uuid.UUID
    slug: str
    redirect_origins: tuple[str, ...]
    catalog_version: int


def as_project(row: Row[Any]) -> Project:
    """From a row with the project's columns."""
    return Project(row.id, row.slug, tuple(row.redirect_origins), row.catalog_version)


async def project_by_slug(tx: Tx, slug: str, *, lock: bool = False) -> Project | None:
    query = select(project).where(project.c.slug == slug)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else as_project(row)


async def project_by_id(tx: Tx, project_id: uuid.UUID) -> Project:
    return as_project((await tx.execute(select(project).where(project.c.id == project_id))).one())


async def announce_project(tx: Tx, project_id: uuid.UUID) -> None:
    """Has the caches told that the project is another: its keys, its catalog, its origins. After the last change."""
    version = await tx.scalar(select(project.c.version).where(project.c.id == project_id))
    announce(tx, Change(project_id, None, version or 0))


def kept_catalog(owner: Project) -> Catalog | None:
    """What the project sells now, where this process has parsed it before."""
    return _parsed.get((owner.id, owner.catalog_version))


def as_told(catalog: Catalog, version: int, stored: tuple[Entitlement, ...]) -> tuple[Entitlement, ...]:
    """What somebody has whose stored snapshot says this: of whom nothing was ever stored, what everybody has.

    That is no part of a stored or cached answer, as then a publish would have to find everybody who was ever asked for.
    """
    if version or stored or catalog.default_product is None:
        return stored
    kept = _of_everybody.get(id(catalog))
    if kept is None:
        if len(_of_everybody) >= _KEPT:
            _of_everybody.pop(next(iter(_of_everybody)))
        kept = _of_everybody[id(catalog)] = catalog, of_everybody(catalog)
    return kept[1]


async def current_catalog(tx: Tx, owner: Project) -> Catalog:
    """What the project sells now; an empty catalog, version 0, before the first one is published."""
    key = owner.id, owner.catalog_version
    if key not in _parsed:
        parsed = await _load(tx, owner)
        if len(_parsed) >= _KEPT:
            _parsed.pop(next(iter(_parsed)))
        _parsed[key] = parsed
    return _parsed[key]


async def document_of(tx: Tx, owner: Project) -> dict[str, Any] | None:
    """The published document as it was written; None before the first."""
    document: dict[str, Any] | None = await tx.scalar(
        select(catalog.c.document).where(
            and_(catalog.c.project_id == owner.id, catalog.c.version == owner.catalog_version)
        )
    )
    return document


KnownPrices = Mapping[str, tuple[str, str | None]]
"""Stripe price id → product code, and the lookup key where it has one."""


async def products_by_stripe_price(tx: Tx, project_id: uuid.UUID) -> dict[str, tuple[str, str | None]]:
    """Every price that the project has ever sold, or that its catalog counts as a product's."""
    rows = await tx.execute(
        select(price.c.stripe_price_id, price.c.product, price.c.lookup_key).where(price.c.project_id == project_id)
    )
    return {row.stripe_price_id: (row.product, row.lookup_key or None) for row in rows}


async def _load(tx: Tx, owner: Project) -> Catalog:
    published = (
        await tx.execute(
            select(catalog.c.document, catalog.c.kept).where(
                catalog.c.project_id == owner.id, catalog.c.version == owner.catalog_version
            )
        )
    ).one_or_none()
    if published is None:
        return Catalog(owner.slug, 0, {}, {}, {})
    return with_kept(parse_catalog(published.document, owner.catalog_version), published.kept)
