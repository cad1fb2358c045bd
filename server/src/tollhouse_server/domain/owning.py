"""Whether a customer has already what a checkout would sell: nobody pays twice for one thing.

The law: a subscription that Stripe may still bill holds its plan group, whatever it opens today. A purchase holds its
product while its money is on the way, and one for life while it counts; one for some days may be bought again. What
everybody has is nobody's own: it holds nothing.
"""

from datetime import datetime

from .catalog import Catalog, Price, Product
from .evidence import Bundled, Evidence, Purchase, Subscription, SubscriptionStatus
from .standing import standing

OVER = frozenset({SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED})
CHANGEABLE = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING})


def group_of(product: Product) -> str:
    """What excludes each other for one customer: the plans of a group, else the product's own prices."""
    return f"group {product.plan_group}" if product.plan_group else f"product {product.code}"


def holder(
    catalog: Catalog, evidence: Evidence, wanted: Product, at: datetime
) -> Subscription | Purchase | Bundled | None:
    """What makes buying `wanted` at `at` a second payment for the same, also what a bundle brings; None: go ahead."""
    found: tuple[Subscription | Purchase | Bundled, ...] = (
        *_live(catalog, evidence, wanted),
        *_kept(catalog, evidence, wanted, at),
        *_brought(catalog, evidence, wanted, at),
    )
    return found[0] if found else None


def changes_to(catalog: Catalog, evidence: Evidence, wanted: Price, at: datetime) -> Subscription | None:
    """The subscription that becomes `wanted` in place, so that no second one is bought; None: there is none that can.

    Of one that owes, pauses, ends or has not begun the customer decides first; the same price is no change; and which
    of two subscriptions, or of two items, nobody could say. A purchase that holds the group is not changed into a plan.
    """
    product = catalog.products[wanted.product]
    live = _live(catalog, evidence, product)
    otherwise = _kept(catalog, evidence, product, at) or _brought(catalog, evidence, product, at)
    if wanted.interval is None or len(live) != 1 or otherwise:
        return None
    [one] = live
    ends = one.cancel_at is not None or one.cancel_at_period_end
    if one.status not in CHANGEABLE or ends or one.collection_paused or len(one.items) != 1:
        return None
    return None if one.items[0].lookup_key == wanted.lookup_key else one


def seats_after(product: Product, asked: int, held: int) -> int | None:
    """How many a changed plan is for; None where that needs more than another price, and the portal offers no more.

    Who asks for one, as nearly everybody does, keeps the seats they have. A plan without seats is bought as often as
    it was: for whoever has five, to have one is not a choice that the portal gives.
    """
    if any(opens.per_seat for opens in product.opens.values()):
        return asked if asked > 1 else held
    return asked if asked == held else None


def groups_held(catalog: Catalog, evidence: Evidence) -> set[str]:
    """The groups in which the customer has a subscription that Stripe may still bill."""
    held = {item.product for one in evidence.subscriptions if one.status not in OVER for item in one.items}
    return {group_of(product) for product in map(catalog.product, held) if product is not None}


def _live(catalog: Catalog, evidence: Evidence, wanted: Product) -> list[Subscription]:
    rivals = _rivals(catalog, wanted)
    return [
        one
        for one in evidence.subscriptions
        if one.status not in OVER and any(item.product in rivals for item in one.items)
    ]


def _kept(catalog: Catalog, evidence: Evidence, wanted: Product, at: datetime) -> list[Purchase]:
    rivals = _rivals(catalog, wanted)
    found = []
    for purchase in evidence.purchases:
        bought = [rivals[item.product] for item in purchase.items if item.product in rivals]
        if bought and (purchase.settling or _counts_for_life(catalog, purchase, bought, at)):
            found.append(purchase)
    return found


def _brought(catalog: Catalog, evidence: Evidence, wanted: Product, at: datetime) -> list[Bundled]:
    """By another project's subscription that may still be billed, or its purchase for life or on its way."""
    rivals = _rivals(catalog, wanted)
    return [
        line
        for line in evidence.bundled
        if line.owned
        and line.product in rivals
        and (line.kind == "subscription" or line.period is None or at in line.period)
    ]


def _rivals(catalog: Catalog, wanted: Product) -> dict[str | None, Product]:
    known = {**catalog.retired, **catalog.products}
    return {code: product for code, product in known.items() if group_of(product) == group_of(wanted)}


def _counts_for_life(catalog: Catalog, purchase: Purchase, bought: list[Product], at: datetime) -> bool:
    for_life = [product for product in bought if product.given(purchase.since).lasts is None]
    periods = [standing(purchase, product.under(catalog.policy)).period for product in for_life]
    return any(period is not None and at in period for period in periods)
