"""Operators: what publishing a catalog would do, and what customers hold that no catalog knows."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from ..commands.plan_catalog import plan_catalog
from ..domain.changes import ChangeKind
from ..domain.kept_openings import Existing
from ..stripe_gateway import StripeRefused, StripeUnavailable
from ..stripe_gateway.catalog import PriceShown, show_prices
from ..unmapped_prices import Unmapped, unmapped
from .admin_projects import CATALOG_REFUSALS, OPERATORS, CatalogDocument, ExistingInQuery, NamedProject, SlugInPath
from .authentication import require_operator
from .context import Ctx
from .entitlements import example
from .problems import MalformedJson, NotFound, UnsupportedMediaType, documented
from .types import Answer, FeatureValue, Instant

router = APIRouter(prefix="/admin/projects", tags=["Operators: projects"], dependencies=[Depends(require_operator)])


class StripeStep(Answer):
    do: Literal["create", "change", "archive"]
    kind: Literal["feature", "product", "attachment", "price"] = Field(
        description="`attachment`: of a feature to a product."
    )
    name: str = Field(description="The lookup key of a feature or price, the id of a product.")
    after: dict[str, Any] = Field(description="What Stripe's object will say, by Stripe's names.")
    before: dict[str, Any] = Field(description="What it, or the price it takes over from, says now.")
    stripe_id: str | None
    product: str | None = Field(description="The product that a feature is attached to or detached from.")


class Concerned(Answer):
    customers: int
    paying: int = Field(description="Those of them with MRR.")
    mrr: dict[str, int] = Field(description="What those pay a month, minor units by currency.")


class EffectOnCustomers(Concerned):
    feature: str
    kind: ChangeKind
    before: FeatureValue | None = Field(description="Null: closed.")
    after: FeatureValue | None = Field(description="Null: closed.")
    says: str = Field(description="The same in words.")


class BlastRadiusState(Concerned):
    looked_at: int = Field(description="Customers computed under both catalogs; 0 where the change cannot touch any.")
    effects: list[EffectOnCustomers] = Field(description="What takes something away first.")


class UndecidedProduct(Answer):
    product: str
    changes: list[str]
    customers: int = Field(description="Those who would have less.")


class CatalogPlan(Answer):
    id: str = Field(description="Publish with it, and exactly this is done, or nothing.")
    project: str
    version: int = Field(description="Of the catalog in force; 0: none yet.")
    nothing_to_do: bool
    existing: Existing | None = Field(description="What was said of existing customers.")
    undecided: list[UndecidedProduct] = Field(
        description="Products of which customers would have less: publishing asks for `existing`."
    )
    stripe: list[StripeStep] = Field(description="What will be done at Stripe, in its order.")
    changes: list[str] = Field(description="What becomes otherwise in the catalog.")
    blast_radius: BlastRadiusState


EXAMPLE_PLAN: dict[str, Any] = {
    "id": "plan_7be1c2c44b0e9d2a6fd2a6a0c3d1e5f7",
    "project": "pdf-tool",
    "version": 3,
    "nothing_to_do": False,
    "existing": None,
    "undecided": [{"product": "pro", "changes": ["pages_per_day 500 becomes 100"], "customers": 412}],
    "stripe": [
        {
            "do": "create",
            "kind": "price",
            "name": "pdf-tool.pro.monthly",
            "after": {"currency": "eur", "product": "tollhouse_pdf-tool_pro", "recurring": None, "unit_amount": 1000},
            "before": {"currency": "eur", "product": "tollhouse_pdf-tool_pro", "recurring": None, "unit_amount": 900},
            "stripe_id": "price_1Q",
            "product": None,
        }
    ],
    "changes": ["Product pro: pages_per_day 500 becomes 100."],
    "blast_radius": {
        "looked_at": 1_204,
        "customers": 412,
        "paying": 380,
        "mrr": {"eur": 342_000},
        "effects": [
            {
                "feature": "pages_per_day",
                "kind": "value",
                "before": 500,
                "after": 100,
                "says": "pages_per_day 500 → 100",
                "customers": 412,
                "paying": 380,
                "mrr": {"eur": 342_000},
            }
        ],
    },
}


@router.post(
    "/{slug}/catalog/plan",
    name="plan_catalog",
    summary="What would publishing a catalog do?",
    responses={
        **example(EXAMPLE_PLAN),
        **documented(*OPERATORS, *CATALOG_REFUSALS, MalformedJson, UnsupportedMediaType),
    },
)
async def plan(slug: SlugInPath, document: CatalogDocument, ctx: Ctx, existing: ExistingInQuery = None) -> CatalogPlan:
    """Reads Stripe and computes each customer under both catalogs; changes nothing. A large project takes a while."""
    planned = await plan_catalog(ctx.database, ctx.stripe, document, at=ctx.clock.now(), slug=slug, existing=existing)
    return CatalogPlan(**planned.as_json())


class UnmappedPrice(Answer):
    price: str = Field(description="Stripe's id, for `stripe_prices` of a product in the catalog.")
    product: str | None = Field(description="What Stripe calls what it sells; null where Stripe knows it no more.")
    amount: int | None = Field(description="Minor units (cents).")
    currency: str | None
    interval: str | None = Field(description="day, week, month or year; null for a one-time price.")
    interval_count: int | None
    lookup_key: str | None
    since: Instant = Field(description="When the first of these customers began.")
    customers: int
    users: list[str] = Field(description="A few of them.")


class UnmappedPrices(Answer):
    data: list[UnmappedPrice] = Field(description="At most 100, those that most customers hold first.")


EXAMPLE_UNMAPPED: dict[str, Any] = {
    "data": [
        {
            "price": "price_1QxOld",
            "product": "PDF Tool Pro (2023)",
            "amount": 700,
            "currency": "eur",
            "interval": "month",
            "interval_count": 1,
            "lookup_key": None,
            "since": "2025-03-01T10:00:00Z",
            "customers": 12,
            "users": ["ada", "grace"],
        }
    ]
}


@router.get(
    "/{slug}/unmapped-prices",
    name="list_unmapped_prices",
    summary="What do customers hold that the catalog does not know?",
    responses={**example(EXAMPLE_UNMAPPED), **documented(*OPERATORS, NotFound, StripeRefused, StripeUnavailable)},
)
async def list_unmapped(project: NamedProject, ctx: Ctx) -> UnmappedPrices:
    """Subscriptions and purchases on these prices open nothing until a product's `stripe_prices` names them."""
    async with ctx.database.transaction() as tx:
        found = await unmapped(tx, project.id)
    shown = await show_prices(ctx.stripe, [one.price for one in found])
    return UnmappedPrices(data=[_unmapped(one, shown.get(one.price)) for one in found])


def _unmapped(one: Unmapped, at_stripe: PriceShown | None) -> UnmappedPrice:
    told = dict.fromkeys(PriceShown.__slots__) if at_stripe is None else asdict(at_stripe)
    told.pop("id")
    held = {"price": one.price, "since": one.since, "customers": one.customers, "users": list(one.users)}
    return UnmappedPrice(**told, **held)
