"""What the project sells."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from ..catalogs import current_catalog
from ..domain.catalog import Catalog, Product
from .authentication import InsufficientScope, MayCheck, Unauthenticated
from .context import Ctx
from .entitlements import example
from .problems import StoreUnavailable, documented
from .types import Answer, FeatureValue

router = APIRouter(tags=["Catalog"], responses=documented(InsufficientScope))


class FeatureInCatalog(Answer):
    code: str
    name: str
    kind: str
    combine: str


class PriceInCatalog(Answer):
    lookup_key: str
    amount: int = Field(description="Minor units (cents).")
    currency: str
    currency_options: dict[str, int] = Field(description="What it costs in other currencies, in their minor units.")
    tax_behavior: str | None = Field(
        description="`inclusive` or `exclusive` of tax; null: as the Stripe account is set."
    )
    interval: str | None = Field(description="day, week, month or year; null for a one-time price.")
    interval_count: int
    trial_days: int | None
    trial_card: bool = Field(description="Whether a trial asks for a card.")


class ProductInCatalog(Answer):
    code: str
    name: str
    plan_group: str | None = Field(description="Products of one group exclude each other for one user.")
    opens: dict[str, FeatureValue]
    per_seat: list[str] = Field(description="The limits among them that the quantity multiplies.")
    lasts_days: int | None = Field(description="How long a one-time purchase lasts; null: for life.")
    prices: list[PriceInCatalog]


class CatalogState(Answer):
    project: str
    version: int
    default_product: str | None = Field(description="The product that everybody has without buying it.")
    features: list[FeatureInCatalog]
    products: list[ProductInCatalog]


EXAMPLE_CATALOG: dict[str, Any] = {
    "project": "pdf-tool",
    "version": 3,
    "default_product": None,
    "features": [{"code": "premium_export", "name": "Premium export", "kind": "switch", "combine": "max"}],
    "products": [
        {
            "code": "pro",
            "name": "PDF Tool Pro",
            "plan_group": "plan",
            "opens": {"premium_export": True},
            "per_seat": [],
            "lasts_days": None,
            "prices": [
                {
                    "lookup_key": "pdf-tool.pro.monthly",
                    "amount": 900,
                    "currency": "eur",
                    "currency_options": {"usd": 1000},
                    "tax_behavior": None,
                    "interval": "month",
                    "interval_count": 1,
                    "trial_days": None,
                    "trial_card": True,
                }
            ],
        }
    ],
}


@router.get(
    "/catalog",
    summary="What can be bought?",
    responses={**example(EXAMPLE_CATALOG), **documented(Unauthenticated, StoreUnavailable)},
)
async def read_catalog(project: MayCheck, ctx: Ctx) -> CatalogState:
    """For the pricing page. Empty, version 0, before a catalog is published."""
    async with ctx.database.transaction(project=project.id) as tx:
        return catalog_state(await current_catalog(tx, project))


def catalog_state(catalog: Catalog) -> CatalogState:
    return CatalogState(
        project=catalog.project,
        version=catalog.version,
        default_product=catalog.default_product,
        features=[FeatureInCatalog.model_validate(feature) for feature in catalog.features.values()],
        products=[_product(catalog, product) for product in catalog.products.values()],
    )


def _product(catalog: Catalog, product: Product) -> ProductInCatalog:
    return ProductInCatalog(
        code=product.code,
        name=product.name,
        plan_group=product.plan_group,
        opens={code: opens.value for code, opens in product.opens.items()},
        per_seat=[code for code, opens in product.opens.items() if opens.per_seat],
        lasts_days=product.lasts.days if product.lasts else None,
        prices=[
            PriceInCatalog(
                lookup_key=price.lookup_key,
                amount=price.money.amount,
                currency=price.money.currency,
                currency_options=dict(price.currency_options),
                tax_behavior=price.tax_behavior,
                interval=price.interval,
                interval_count=price.interval_count,
                trial_days=price.trial_days,
                trial_card=price.trial_card,
            )
            for price in catalog.prices.values()
            if price.product == product.code
        ],
    )
