"""Publishes what a project sells: in Stripe first, then as the next version here."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from .. import audit
from ..catalogs import Project, announce_project, document_of, project_by_slug
from ..db.engine import Database, Tx
from ..db.tables import catalog, price, project
from ..domain.catalog import Catalog
from ..domain.errors import Problem
from ..domain.kept_openings import Existing, dump
from ..stripe_gateway import StripeClient
from ..stripe_gateway.catalog import StripePrice, apply_steps, archive_prices
from .check_bundles import check_bundles
from .configure_portal import reconfigure_portals
from .counted_prices import write_counted
from .existing_customers import question
from .plan_catalog import prepare
from .register_project import describe_project, register_project


class CatalogConflict(Problem):
    """Somebody else published a catalog of this project meanwhile.

    Look at what they published and publish again.
    """

    status = 409
    code = "catalog-conflict"


class PlanOutdated(Problem):
    """What was planned is not what publishing would do now: the catalog, or Stripe, has changed since.

    Nothing was done. Plan again, look at it, and publish with the new plan's id.
    """

    status = 409
    code = "plan-outdated"


@dataclass(frozen=True, slots=True)
class Published:
    """The version now in force and what was done to get there; nothing done: everything was so already."""

    project: str
    version: int
    changes: tuple[str, ...]


async def publish_catalog(
    database: Database,
    stripe: StripeClient,
    document: Mapping[str, Any],
    why: audit.Cause,
    *,
    at: datetime,
    slug: str | None = None,
    expected: Container[int] | None = None,
    plan: str | None = None,
    existing: Existing | None = None,
) -> Published:
    """Applies a catalog document; registers its project where it is new. May be run again after any failure.

    `slug` is the project the caller means, where the document alone must not decide; `expected` the versions it may
    be a change of, any if None; `plan` the id of the plan that is to be done, and nothing if it is another by now;
    `existing` what becomes of those who have what it changes, None as long as nobody would have less. Raises
    CatalogInvalid, CatalogConflict, VersionMismatch, PlanOutdated, ExistingCustomersUndecided, StripePriceTaken,
    ProjectInvalid, StripeUnavailable, StripeRefused.
    """
    prepared = await prepare(database, stripe, document, at=at, slug=slug, expected=expected, existing=existing)
    if plan is not None and plan != prepared.id:
        raise PlanOutdated("The plan is outdated: the catalog or Stripe has changed since it was made. Plan again.")
    if prepared.asked:
        raise question(prepared.asked)
    async with database.transaction() as tx:
        owner, described = await _owner(tx, document, why, at)
    prices = await apply_steps(stripe, prepared.after, prepared.there, prepared.todo)
    async with database.transaction() as tx:
        locked = await project_by_slug(tx, owner.slug, lock=True)
        if locked is None or locked.catalog_version != prepared.version:
            raise CatalogConflict("Somebody else published a catalog of this project meanwhile: publish again.")
        await check_bundles(tx, prepared.after)  # as other catalogs are by now
        sold_before = await _sold(tx, owner)
        await _write_prices(tx, owner, prepared.after, prices)
        await write_counted(tx, owner, prepared.before, prepared.after, prepared.there.counted)
        if not prepared.same:
            await _write_version(tx, owner, document, dump(prepared.after), why, at)
        if (sold := await _sold(tx, owner)) != sold_before:
            await audit.record(tx, "prices.changed", why, at=at, project_id=owner.id, before=sold_before, after=sold)
        await announce_project(tx, owner.id)
    await reconfigure_portals(database, stripe, replace(owner, catalog_version=prepared.after.version))
    # Last, as until the commit the old catalog sells them.
    if archived := await archive_prices(stripe, prepared.todo):
        async with database.transaction() as tx:
            await tx.execute(update(price).where(price.c.stripe_price_id.in_(archived)).values(active=False))
    done = (*described, *prepared.changes, *(step.said for step in prepared.todo))
    return Published(owner.slug, prepared.after.version, done)


async def _owner(
    tx: Tx, document: Mapping[str, Any], why: audit.Cause, at: datetime
) -> tuple[Project, tuple[str, ...]]:
    slug, name, origins = document["project"], document["name"], document.get("redirect_origins", [])
    owner = await project_by_slug(tx, slug)
    if owner is None:
        return await register_project(tx, slug, name, origins, why, at=at), (f"registered project {slug}",)
    changed = await describe_project(tx, owner, name, origins, why, at=at)
    return owner, (f"changed the name or redirect origins of project {slug}",) if changed else ()


async def _sold(tx: Tx, owner: Project) -> dict[str, Any]:
    """The project's lookup keys that can be bought, with the Stripe price behind each."""
    rows = await tx.execute(
        select(price.c.lookup_key, price.c.stripe_price_id)
        .where(price.c.project_id == owner.id, price.c.current, price.c.active)
        .order_by(price.c.lookup_key)
    )
    return {"on_sale": {row.lookup_key: row.stripe_price_id for row in rows}}


async def _write_prices(tx: Tx, owner: Project, new: Catalog, prices: tuple[StripePrice, ...]) -> None:
    """Points the lookup keys at Stripe's prices. The others stay active, as in Stripe, until they are archived."""
    selling = [one.price_id for one in prices]
    await tx.execute(
        update(price)
        .where(price.c.project_id == owner.id, price.c.current, price.c.stripe_price_id.not_in(selling))
        .values(current=False)
    )
    for one in prices:
        values = {
            "lookup_key": one.lookup_key,
            "product": new.prices[one.lookup_key].product,
            "stripe_product_id": one.product_id,
            "current": True,
            "active": True,
        }
        await tx.execute(
            upsert(price)
            .values(stripe_price_id=one.price_id, project_id=owner.id, **values)
            .on_conflict_do_update(index_elements=[price.c.stripe_price_id], set_=values)
        )


async def _write_version(
    tx: Tx, owner: Project, document: Mapping[str, Any], kept: Mapping[str, Any], why: audit.Cause, at: datetime
) -> None:
    version = owner.catalog_version + 1
    before = await document_of(tx, owner)
    await tx.execute(
        insert(catalog).values(
            project_id=owner.id, version=version, document=document, kept=kept, published_by=why.actor, published_at=at
        )
    )
    await tx.execute(update(project).where(project.c.id == owner.id).values(catalog_version=version))
    await audit.record(
        tx,
        "catalog.published",
        why,
        at=at,
        project_id=owner.id,
        before=before,
        after={"version": version, **document, **({"kept": kept} if kept else {})},
    )
