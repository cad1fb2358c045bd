"""Two live subscriptions for one plan: which is kept, and whether the other may be cancelled without asking a person.

The law: of several, the oldest is kept, and it is never cancelled. A newer one may be cancelled where that takes away
nothing but the second payment: it has just appeared, all of it is of the plan, and the older stands at least as well.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from .catalog import Catalog, Policy
from .evidence import Evidence, Subscription, SubscriptionStatus
from .owning import OVER, group_of
from .standing import scheduled_end, standing


@dataclass(frozen=True, slots=True)
class Double:
    """`newer` is a second subscription of `plan`, which `older` is of already."""

    plan: str
    older: Subscription
    newer: Subscription


def doubles(catalog: Catalog, evidence: Evidence, new: Collection[str] = ()) -> tuple[Double, ...]:
    """Each newer subscription that Stripe may bill beside an older one of its plan, once, in the order they began.

    `new` are the ids of those that were not known before: of two that began in one second they are the newer.
    """
    oldest: dict[str, Subscription] = {}
    found: list[Double] = []
    for one in sorted(evidence.subscriptions, key=lambda one: (one.started_at, one.id in new, one.id)):
        if one.status in OVER:
            continue
        plans = sorted(filter(None, plans_of(catalog, one)))
        held = next((plan for plan in plans if plan in oldest), None)
        if held is not None:
            found.append(Double(held, oldest[held], one))
        for plan in plans:
            oldest.setdefault(plan, one)
    return tuple(found)


def may_be_cancelled(catalog: Catalog, double: Double, new: Collection[str], at: datetime) -> bool:
    """Whether cancelling the newer at `at` takes away nothing but the second payment: no person need look first.

    One that is not new was there before the policy, or came to be a double by a new catalog or a plan change.
    """
    return double.newer.id in new and plans_of(catalog, double.newer) == {double.plan} and _stands(catalog, double, at)


def policy_of(catalog: Catalog, subscription: Subscription, plan: str) -> Policy:
    """The policy of what the subscription has of the plan."""
    sold = (catalog.products.get(item.product or "") for item in subscription.items)
    return next(product.under(catalog.policy) for product in sold if product and group_of(product) == plan)


def plans_of(catalog: Catalog, subscription: Subscription) -> set[str | None]:
    """What the subscription is of; None among them is a price that the catalog does not know."""
    products = (catalog.products.get(item.product or "") for item in subscription.items)
    return {group_of(product) if product else None for product in products}


def _stands(catalog: Catalog, double: Double, at: datetime) -> bool:
    """Whether the older gives access at `at` and goes on: not ending, not owing, not paused, and no trial beside a
    subscription that is paid for."""
    older, trials = double.older, {double.older.status, double.newer.status} == {SubscriptionStatus.TRIALING}
    goes_on = older.status is SubscriptionStatus.ACTIVE or trials
    sound = goes_on and scheduled_end(older) is None and older.unpaid_since is None and not older.collection_paused
    period = standing(older, policy_of(catalog, older, double.plan)).period
    return sound and period is not None and at in period
