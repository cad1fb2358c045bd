"""Stripe prices that count as a product though its catalog does not sell them: `stripe_prices` of the catalog file."""

from collections.abc import Mapping

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ..catalogs import KnownPrices, Project
from ..db.engine import Tx
from ..db.tables import price
from ..domain.catalog import Catalog
from ..stripe_gateway.catalog_plan import FoundPrice, product_id


def counted(catalog: Catalog | None) -> dict[str, str]:
    """Stripe price id → the code of the product that it counts as."""
    products = catalog.products.values() if catalog else ()
    return {price_id: one.code for one in products for price_id in one.stripe_prices}


async def known_then(tx: Tx, owner: Project, before: Catalog | None, after: Catalog, known: KnownPrices) -> KnownPrices:
    """What the prices will be known as once `after` is published, where `known` is what they are known as now."""
    left = await _left(tx, owner, before, after)
    kept = {price_id: said for price_id, said in known.items() if left.get(price_id, "") is not None}
    sold = {price_id: (code, known[price_id][1]) for price_id, code in left.items() if code is not None}
    new = {price_id: (code, known.get(price_id, ("", None))[1]) for price_id, code in counted(after).items()}
    return {**kept, **sold, **new}


async def write_counted(
    tx: Tx, owner: Project, before: Catalog | None, after: Catalog, found: Mapping[str, FoundPrice]
) -> None:
    """Makes the price table count as `after` does."""
    for price_id, code in (await _left(tx, owner, before, after)).items():
        row = price.c.stripe_price_id == price_id
        if code is None:
            await tx.execute(delete(price).where(row))
        else:
            await tx.execute(update(price).where(row).values(product=code))
    for price_id, code in counted(after).items():
        values = {"product": code, "current": False, "active": False}
        one = found[price_id]
        made = {"lookup_key": one.lookup_key or "", "stripe_product_id": one.says["product"], **values}
        await tx.execute(
            upsert(price)
            .values(stripe_price_id=price_id, project_id=owner.id, **made)
            .on_conflict_do_update(index_elements=[price.c.stripe_price_id], set_=values)
        )


async def _left(tx: Tx, owner: Project, before: Catalog | None, after: Catalog) -> dict[str, str | None]:
    """The prices that count no longer, each with the product that sold it once; None: the catalog never sold it."""
    gone = counted(before).keys() - counted(after).keys()
    rows = await tx.execute(
        select(price.c.stripe_price_id, price.c.stripe_product_id).where(
            price.c.project_id == owner.id, price.c.stripe_price_id.in_(gone)
        )
    )
    ours = product_id(after, "")
    made = {row.stripe_price_id: row.stripe_product_id for row in rows}
    return {id_: of.removeprefix(ours) if of.startswith(ours) else None for id_, of in made.items()}
