"""Whether a running subscription may be changed, and what is to be done for it. Each refusal is a problem of its own.

The law: a change names one line of one subscription that runs on; where that is not plain, nothing is guessed. What is
so already is no error, and nothing is done.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from .catalog import Catalog, Price
from .errors import Problem
from .evidence import Evidence, PlannedItem, ScheduledChange, Subscription, SubscriptionItem, SubscriptionStatus
from .owning import OVER, group_of
from .standing import scheduled_end

When = Literal["now", "period_end"]


class NoSubscription(Problem):
    """The user has no subscription that could be changed.

    Offer a checkout instead.
    """

    status = 409
    code = "no-subscription"


class SubscriptionNotFound(Problem):
    """The user has no subscription of this id."""

    status = 404
    code = "subscription-not-found"


class SeveralSubscriptions(Problem):
    """Several subscriptions could be meant, so none was touched.

    Name one of them by its id, or look at them in the customer's state.
    """

    status = 409
    code = "several-subscriptions"


class SeveralItems(Problem):
    """The subscription has several lines of this plan group, so it is not plain which one is to change.

    Change it in Stripe's dashboard.
    """

    status = 409
    code = "several-items"


class SubscriptionNotLive(Problem):
    """The subscription is not paid for, paused or over, so its plan cannot be changed.

    Send the user to the portal to pay, resume it, or offer a checkout.
    """

    status = 409
    code = "subscription-not-live"


class SubscriptionEnds(Problem):
    """The subscription is set to end, so there is no plan to change.

    Resume it first.
    """

    status = 409
    code = "subscription-ends"


class PriceNotRecurring(Problem):
    """The price is paid once, so no subscription can be changed to it.

    Offer a checkout instead.
    """

    status = 422
    code = "price-not-recurring"


class OtherPlanGroup(Problem):
    """The price belongs to another plan group than what the user has, so it replaces nothing.

    Offer a checkout instead.
    """

    status = 422
    code = "other-plan-group"


class OtherCurrency(Problem):
    """The price is not sold in the currency in which the subscription is paid, which never changes.

    Offer a price in that currency.
    """

    status = 422
    code = "other-currency"


class Verb(StrEnum):
    """What is done at Stripe; the names are stored."""

    CHANGE_NOW = "change_now"
    CHANGE_LATER = "change_later"
    WITHDRAW = "withdraw"
    """What was planned is not done."""
    CANCEL_NOW = "cancel_now"
    CANCEL_LATER = "cancel_later"
    RESUME = "resume"
    """Everything that would end it or stop its payments is taken back."""


@dataclass(frozen=True, slots=True)
class Line:
    """The one line of the one subscription that a change is about."""

    subscription: Subscription
    item: SubscriptionItem


_CHANGEABLE = (SubscriptionStatus.TRIALING, SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE)


def line_to_change(catalog: Catalog, evidence: Evidence, price: Price) -> Line:
    """What buying `price` would replace. Raises what a plan change can be refused with."""
    if price.interval is None:
        raise PriceNotRecurring(f"{price.lookup_key} is paid once: offer a checkout instead.")
    wanted = catalog.products[price.product]
    rivals = {code for code, product in catalog.products.items() if group_of(product) == group_of(wanted)}
    running = [one for one in evidence.subscriptions if one.status not in OVER]
    found = [Line(one, item) for one in running for item in one.items if item.product in rivals]
    if not found:
        if running:
            raise OtherPlanGroup(f"{price.lookup_key} replaces nothing that the user has: offer a checkout instead.")
        raise NoSubscription("The user has no subscription to change: offer a checkout instead.")
    if len({line.subscription.id for line in found}) > 1:
        raise SeveralSubscriptions("The user has several subscriptions of this plan group: end all but one first.")
    if len(found) > 1:
        raise SeveralItems("The subscription has several lines of this plan group: change it in Stripe's dashboard.")
    subscription = found[0].subscription
    if subscription.status not in _CHANGEABLE:
        status = subscription.status.replace("_", " ")
        raise SubscriptionNotLive(f"The subscription is {status}: its plan can be changed when it is paid for again.")
    if scheduled_end(subscription) is not None:
        raise SubscriptionEnds("The subscription is set to end: resume it, then change its plan.")
    return found[0]


def verb_of_change(line: Line, stripe_price: str, quantity: int, when: When) -> Verb | None:
    """What leads to that price and quantity; None where nothing is to be done."""
    item, planned = line.item, line.subscription.scheduled_change
    if (item.stripe_price, item.quantity) == (stripe_price, quantity):
        return None if planned is None else Verb.WITHDRAW
    if when == "now":
        return Verb.CHANGE_NOW
    return None if planned is not None and _plans(planned, stripe_price, quantity) else Verb.CHANGE_LATER


def _plans(planned: ScheduledChange, stripe_price: str, quantity: int) -> bool:
    return any((item.stripe_price, item.quantity) == (stripe_price, quantity) for item in planned.items)


def subscription_to_end(evidence: Evidence, named: str | None) -> Subscription:
    """The subscription that is to end or to go on: the one of that id, else the only one that runs."""
    if named is not None:
        for one in evidence.subscriptions:
            if one.id == named:
                return one
        raise SubscriptionNotFound("The user has no subscription of this id: use one of the customer's state.")
    running = [one for one in evidence.subscriptions if one.status not in OVER]
    if len(running) > 1:
        raise SeveralSubscriptions("The user has several subscriptions: name one by its id.")
    if running:
        return running[0]
    if len(evidence.subscriptions) == 1:
        return evidence.subscriptions[0]
    raise NoSubscription("The user has no subscription that runs: offer a checkout instead.")


def verb_of_end(subscription: Subscription, when: When) -> Verb | None:
    """What ends it then; None where it has ended, or ends by then already."""
    if subscription.status in OVER:
        return None
    if when == "now":
        return Verb.CANCEL_NOW
    ends = scheduled_end(subscription)
    return None if ends is not None and ends <= subscription.period_end else Verb.CANCEL_LATER


def verb_of_resumption(subscription: Subscription) -> Verb | None:
    """What makes it go on; None where nothing stops it. Raises SubscriptionNotLive for one that is over."""
    if subscription.status in OVER:
        raise SubscriptionNotLive("The subscription is over and cannot be resumed: offer a checkout instead.")
    stops = (
        scheduled_end(subscription) is not None
        or subscription.scheduled_change is not None
        or subscription.collection_paused
        or subscription.status is SubscriptionStatus.PAUSED
    )
    return Verb.RESUME if stops else None


def came_about(verb: Verb, subscription: Subscription, wanted: PlannedItem | None) -> bool:
    """Whether what was asked for is so, as Stripe has it now; `wanted` is what the plan was to change to."""
    match verb:
        case Verb.CHANGE_NOW:
            return wanted is not None and any(
                (item.stripe_price, item.quantity) == (wanted.stripe_price, wanted.quantity)
                for item in subscription.items
            )
        case Verb.CHANGE_LATER:
            planned = subscription.scheduled_change
            return None not in (wanted, planned) and _plans(planned, wanted.stripe_price, wanted.quantity)  # type: ignore[union-attr, arg-type]
        case Verb.WITHDRAW:
            return subscription.scheduled_change is None
        case Verb.CANCEL_NOW:
            return subscription.status in OVER
        case Verb.CANCEL_LATER:
            return subscription.status in OVER or scheduled_end(subscription) is not None
        case _:  # RESUME
            return subscription.status in OVER or verb_of_resumption(subscription) is None
