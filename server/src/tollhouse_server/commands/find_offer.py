"""What a lookup key sells now: our price, its product, and Stripe's price."""

from dataclasses import dataclass

from sqlalchemy import select

from ..catalogs import Project
from ..db.engine import Tx
from ..db.tables import price
from ..domain.catalog import Catalog, Price, Product
from ..domain.errors import Problem
from ..domain.owning import group_of


class PriceNotFound(Problem):
    """The project's catalog sells nothing under this lookup key."""

    status = 404
    code = "price-not-found"


class PriceOfAnotherProject(Problem):
    """The lookup key begins with the slug of another project than the one whose key was used.

    Use the key of the project that sells it, or one of the prices in this project's GET /v1/catalog.
    """

    status = 404
    code = "price-of-another-project"


@dataclass(frozen=True, slots=True)
class Offer:
    price: Price
    product: Product
    stripe_price_id: str
    automatic_tax: bool

    @property
    def group(self) -> str:
        return group_of(self.product)


async def find_offer(tx: Tx, owner: Project, catalog: Catalog, lookup_key: str) -> Offer:
    """Raises PriceNotFound, PriceOfAnotherProject."""
    sold = catalog.prices.get(lookup_key)
    if sold is None:
        named, dot, _ = lookup_key.partition(".")
        if dot and named != owner.slug:
            raise PriceOfAnotherProject(
                f"{lookup_key[:200]!r} is no price of project {owner.slug!r}, whose key was used: use the key of the "
                "project that it is of, or a price of this one."
            )
        known = ", ".join(sorted(catalog.prices)) or "nothing yet"
        raise PriceNotFound(f"The catalog sells nothing as {lookup_key[:200]!r}; it sells {known}.")
    row = (
        await tx.execute(
            select(price).where(
                price.c.project_id == owner.id, price.c.lookup_key == lookup_key, price.c.current, price.c.active
            )
        )
    ).one_or_none()
    if row is None:
        raise PriceNotFound(f"{lookup_key} was archived in Stripe: publish the catalog again to sell it.")
    return Offer(sold, catalog.products[sold.product], row.stripe_price_id, catalog.automatic_tax)
