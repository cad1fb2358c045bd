"""Whether what a catalog bundles is there, and leads nowhere back."""

from sqlalchemy import text

from ..bundles import graph
from ..catalogs import current_catalog, project_by_slug
from ..db.engine import Tx
from ..domain.bundles import leads_back, projects_brought, split
from ..domain.catalog import Catalog
from ..domain.errors import CatalogInvalid
from ..domain.mistakes import Mistake


async def check_bundles(tx: Tx, catalog: Catalog) -> None:
    """Raises CatalogInvalid, each mistake at its place. Until `tx` ends, no other catalog that bundles is checked."""
    if not projects_brought(catalog):
        return
    await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('tollhouse bundles'))"))
    errors = [
        {"pointer": f"/products/{product.code}/bundles/{position}", "code": str(mistake), "detail": detail}
        for product in catalog.products.values()
        for position, reference in enumerate(product.bundles)
        for mistake, detail in await _mistakes(tx, catalog, reference)
    ]
    if errors:
        raise CatalogInvalid("What the catalog bundles cannot be.", errors=errors)


async def _mistakes(tx: Tx, catalog: Catalog, reference: str) -> list[tuple[Mistake, str]]:
    slug, product = split(reference)
    other = await project_by_slug(tx, slug)
    if other is None:
        return [(Mistake.UNKNOWN_PROJECT, f"no project {slug} is registered: publish its catalog first")]
    sold = (await current_catalog(tx, other)).products
    if product not in sold:
        known = ", ".join(sold) or "no product"
        return [(Mistake.UNKNOWN_PRODUCT, f"{slug} has no product {product}; it has {known}")]
    way = leads_back(catalog.project, {**await graph(tx, [slug], catalog), catalog.project: {slug}})
    said = " brings ".join(way)
    return (
        [(Mistake.BUNDLE_CYCLE, f"bundles go one way only, and {said}: delete this, or the one that leads back")]
        if way
        else []
    )
