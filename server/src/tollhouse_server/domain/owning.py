"""Whether a customer has already what a checkout would sell: nobody pays twice for one thing.

The law: a subscription that Stripe may still bill holds its plan group, whatever it opens today; a purchase for life
holds its product while it counts. A purchase for some days holds nothing: it may be bought again.
"""

from datetime import datetime

from .catalog import Catalog, Product
from .evidence import Evidence, Purchase, Subscription, SubscriptionStatus
from .standing import standing

OVER = frozenset({SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED})


def holder(
    catalog: Catalog, evidence: Evidence, wanted: Product, at: datetime
) -> Subscription | Purchase | None:
    """The subscription or purchase that makes buying `wanted` at `at` a second payment for the same; None: go ahead."""
    rivals = {code for code, product in catalog.products.items() if _excludes(product, wanted)}
    paid_for: tuple[Subscription | Purchase, ...] = (*evidence.subscriptions, *evidence.purchases)
    for source in paid_for:
        mine = {item.product for item in source.items} & rivals
        if mine and (
            _may_be_billed(source) if isinstance(source, Subscription) else _is_for_life(catalog, source, mine, at)
        ):
            return source
    return None


def _excludes(product: Product, wanted: Product) -> bool:
    return product.code == wanted.code or (product.plan_group is not None and product.plan_group == wanted.plan_group)


def _may_be_billed(subscription: Subscription) -> bool:
    return subscription.status not in OVER


def _is_for_life(catalog: Catalog, purchase: Purchase, products: set[str | None], at: datetime) -> bool:
    if not any(catalog.products[code].lasts is None for code in products if code is not None):
        return False
    period = standing(purchase, catalog.policy, None).period
    return period is not None and at in period
