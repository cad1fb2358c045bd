"""Keeps Stripe's portal configured: for each plan group one configuration, in which plans are changed within it only.

A row is there before Stripe hears of it, and its id is Stripe's idempotency key. Whoever needs a configuration looks
whether it says what the catalog says, and tells Stripe where it does not: none is out of date for long.
"""

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert

from ..catalogs import Project, current_catalog
from ..db.engine import Database, Tx
from ..db.tables import portal_configuration as configuration
from ..db.tables import price
from ..domain.catalog import Catalog, Product
from ..domain.owning import group_of
from ..stripe_gateway import StripeClient
from ..stripe_gateway.portal import (
    PlanOnOffer,
    create_configuration,
    portal_features,
    portal_request,
    update_configuration,
)

NO_GROUP = ""
"""The configuration in which no plan is changed."""


async def configured_portal(
    database: Database, stripe: StripeClient, owner: Project, group: str, *, at: datetime
) -> str:
    """The configuration (`bpc_…`) for who has a plan of this group, saying what the catalog says now.

    Raises StripeUnavailable, StripeRefused.
    """
    async with database.transaction(project=owner.id) as tx:
        catalog = await current_catalog(tx, owner)
        wanted = portal_features(await plans_on_offer(tx, owner, catalog, group))
        row = await _row(tx, owner, catalog, group, at)
    return await _told(database, stripe, row, wanted)


async def reconfigure_portals(database: Database, stripe: StripeClient, owner: Project) -> None:
    """Has the configurations that there are say what the catalog says now, for people who are in the portal."""
    async with database.transaction(project=owner.id) as tx:
        catalog = await current_catalog(tx, owner)
        rows = (await tx.execute(select(configuration).where(configuration.c.project_id == owner.id))).all()
        wanted = {row.id: portal_features(await plans_on_offer(tx, owner, catalog, row.group)) for row in rows}
    for row in rows:
        await _told(database, stripe, row, wanted[row.id])


async def plans_on_offer(tx: Tx, owner: Project, catalog: Catalog, group: str) -> list[PlanOnOffer]:
    """What a plan of the group can be changed to in the portal, in the catalog's order."""
    sold = select(price).where(price.c.project_id == owner.id, price.c.current, price.c.active)
    rows = {row.lookup_key: row for row in await tx.execute(sold)}
    offers = []
    for product in catalog.products.values():
        of_product = _prices(catalog, product, rows) if group_of(product) == group else []
        if of_product:
            per_seat = any(opens.per_seat for opens in product.opens.values())
            offers.append(
                PlanOnOffer(of_product[0].stripe_product_id, tuple(one.stripe_price_id for one in of_product), per_seat)
            )
    return offers


def _prices(catalog: Catalog, product: Product, rows: dict[str, Row[Any]]) -> list[Row[Any]]:
    """The first of each interval and currency: the portal does not tell two of them apart."""
    found: dict[object, Row[Any]] = {}
    for one in catalog.prices.values():
        if one.product == product.code and one.interval is not None and one.lookup_key in rows:
            found.setdefault((one.interval, one.interval_count, one.money.currency), rows[one.lookup_key])
    return list(found.values())


async def _row(tx: Tx, owner: Project, catalog: Catalog, group: str, at: datetime) -> Row[Any]:
    id_ = f"pcf_{secrets.token_urlsafe(18)}"
    await tx.execute(
        insert(configuration)
        .values(
            id=id_,
            project_id=owner.id,
            group=group,
            request=portal_request(id_, owner.slug, catalog.name or owner.slug),
            created_at=at,
        )
        .on_conflict_do_nothing()
    )
    mine = (configuration.c.project_id == owner.id) & (configuration.c.group == group)
    return (await tx.execute(select(configuration).where(mine))).one()


async def _told(database: Database, stripe: StripeClient, row: Row[Any], wanted: dict[str, Any]) -> str:
    if row.stripe_configuration_id is not None and row.features == wanted:
        return str(row.stripe_configuration_id)
    made = row.stripe_configuration_id or await create_configuration(stripe, row.id, row.request)
    await update_configuration(stripe, made, wanted)
    async with database.transaction(project=row.project_id) as tx:
        await tx.execute(
            update(configuration)
            .where(configuration.c.id == row.id)
            .values(stripe_configuration_id=made, features=wanted)
        )
    return str(made)
