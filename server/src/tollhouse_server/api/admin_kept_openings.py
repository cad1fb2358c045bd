"""Operators: what existing customers keep of earlier catalogs."""

from fastapi import APIRouter, Depends
from pydantic import Field

from ..catalogs import current_catalog
from ..domain.catalog import Earlier, Product
from .admin_projects import OPERATORS, SlugInPath, find_project
from .authentication import require_operator
from .context import Ctx
from .entitlements import example
from .problems import NotFound, documented
from .types import Answer, FeatureValue, Instant

router = APIRouter(prefix="/admin/projects", tags=["Operators: projects"], dependencies=[Depends(require_operator)])


class EarlierOpening(Answer):
    """What a product opens for what began before an instant."""

    before: Instant = Field(description="Of several that an instant lies before, the first counts.")
    opens: dict[str, FeatureValue]
    per_seat: list[str] = Field(description="The limits among them that the quantity multiplies.")
    lasts_days: int | None = Field(description="How long a one-time purchase lasts; null: for life.")


class KeptProduct(Answer):
    code: str
    name: str
    sold: bool = Field(description="Whether the catalog still has it.")
    earlier: list[EarlierOpening] = Field(description="In order of time.")


class KeptOpenings(Answer):
    project: str
    version: int = Field(description="The catalog's.")
    products: list[KeptProduct] = Field(description="Those of which somebody was let keep an earlier opening.")


EXAMPLE_KEPT = {
    "project": "pdf-tool",
    "version": 4,
    "products": [
        {
            "code": "pro",
            "name": "PDF Tool Pro",
            "sold": True,
            "earlier": [
                {
                    "before": "2026-05-03T09:00:00Z",
                    "opens": {"premium_export": True, "pages_per_day": 500},
                    "per_seat": [],
                    "lasts_days": None,
                }
            ],
        }
    ],
}


@router.get(
    "/{slug}/catalog/kept",
    summary="What existing customers keep of earlier catalogs",
    responses={**example(EXAMPLE_KEPT), **documented(*OPERATORS, NotFound)},
)
async def read_kept(slug: SlugInPath, ctx: Ctx) -> KeptOpenings:
    """What catalogs that were published with `existing=keep` let customers keep, and no later one took away."""
    async with ctx.database.transaction() as tx:
        owner = await find_project(tx, slug)
        catalog = await current_catalog(tx, owner)
    known = [*catalog.products.values(), *catalog.retired.values()]
    kept = [_product(one, sold=one.code in catalog.products) for one in known if one.earlier]
    return KeptOpenings(project=slug, version=catalog.version, products=kept)


def _product(product: Product, *, sold: bool) -> KeptProduct:
    earlier = [_earlier(one) for one in product.earlier]
    return KeptProduct(code=product.code, name=product.name, sold=sold, earlier=earlier)


def _earlier(one: Earlier) -> EarlierOpening:
    return EarlierOpening(
        before=one.before,
        opens={code: opens.value for code, opens in one.opens.items()},
        per_seat=[code for code, opens in one.opens.items() if opens.per_seat],
        lasts_days=one.lasts.days if one.lasts else None,
    )
