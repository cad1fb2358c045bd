"""Leads a subscriber who wants another plan of the group to Stripe's page that shows what it costs and changes it."""

from datetime import datetime

from ..catalogs import Project, current_catalog
from ..db.engine import Database
from ..domain.catalog import Price, Product
from ..domain.owning import group_of, seats_after
from ..stripe_gateway import StripeClient
from ..stripe_gateway.portal import MOST_PRODUCTS, create_plan_change, read_plan
from .configure_portal import configured_portal, plans_on_offer


async def confirm_plan_change(
    database: Database,
    stripe: StripeClient,
    owner: Project,
    stripe_customer_id: str,
    subscription_id: str,
    product: Product,
    price: Price,
    stripe_price_id: str,
    quantity: int,
    *,
    changed_url: str,
    return_url: str,
    at: datetime,
) -> str | None:
    """The page's URL; None where the portal cannot make this change. Nothing changes until it is confirmed there.

    Raises StripeUnavailable, StripeRefused.
    """
    group = group_of(product)
    async with database.transaction(project=owner.id) as tx:
        offers = await plans_on_offer(tx, owner, await current_catalog(tx, owner), group)
    if all(stripe_price_id not in one.stripe_price_ids for one in offers[:MOST_PRODUCTS]):
        return None
    plan = await read_plan(stripe, subscription_id)
    if plan is None or plan.scheduled or plan.currency not in price.currencies:
        return None
    seats = seats_after(product, quantity, plan.quantity)
    if seats is None:
        return None
    configuration = await configured_portal(database, stripe, owner, group, at=at)
    return await create_plan_change(
        stripe,
        stripe_customer_id,
        configuration,
        plan,
        stripe_price_id,
        seats,
        changed_url=changed_url,
        return_url=return_url,
    )
