"""Whether a customer has already what a checkout would sell: nobody pays twice for one thing.

The law: a subscription that Stripe may still bill holds its plan group, whatever it opens today. A purchase holds its
product while its money is on the way, and one for life while it counts; one for some days may be bought again.
"""

from datetime import datetime

from .catalog import Catalog, Product
from .evidence import Evidence, Purchase, Subscription, SubscriptionStatus
from .standing import standing

OVER = frozenset({SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED})


def holder(catalog: Catalog, evidence: Evidence, wanted: Product, at: datetime) -> Subscription | Purchase | None:
    """The subscription or purchase that makes buying `wanted` at `at` a second payment for the same; None: go ahead."""
    rivals = {code: product for code, product in catalog.products.items() if _excludes(product, wanted)}
    for subscription in evidence.subscriptions:
        if subscription.status not in OVER and any(item.product in rivals for item in subscription.items):
            return subscription
    for purchase in evidence.purchases:
        bought = [rivals[item.product] for item in purchase.items if item.product in rivals]
        if bought and (purchase.settling or _counts_for_life(catalog, purchase, bought, at)):
            return purchase
    return None


def _excludes(product: Product, wanted: Product) -> bool:
    return product.code == wanted.code or (product.plan_group is not None and product.plan_group == wanted.plan_group)


def _counts_for_life(catalog: Catalog, purchase: Purchase, bought: list[Product], at: datetime) -> bool:
    if all(product.lasts is not None for product in bought):
        return False
    period = standing(purchase, catalog.policy).period
    return period is not None and at in period
