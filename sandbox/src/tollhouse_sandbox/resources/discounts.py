"""Discounts taken away: DELETE …/discount. They are made where what they are of is made or changed."""

from tollhouse_sandbox import customers, discounts, events
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import list_of, shape, text
from tollhouse_sandbox.store import Json

DISCOUNTS = list_of(shape({"coupon": text, "discount": text, "promotion_code": text}), at_most=20)
"""The discounts something is to have: of coupons and codes, and those it has already."""


def _of_subscription(call: Call) -> Json:
    """Ends all discounts of a subscription, and answers with the first; those of its items stay."""
    account, subscription = call.account, call.target("subscription")
    if not subscription["discounts"]:
        raise _none("subscription", subscription["id"])
    before = events.picture(account, subscription)
    ended = [account.require("discount", discount) for discount in subscription["discounts"]]
    for discount in ended:
        discounts.end(account, discount)
    events.updated(account, "customer.subscription.updated", subscription, before)
    return {**ended[0], "deleted": True}


def _of_customer(call: Call) -> Json:
    """No call gives a customer a discount since 2025-03-31.basil, so there is none to take away."""
    raise _none("customer", customers.existing(call.account, call.path["id"])["id"])


def _none(kind: str, object_id: str) -> StripeError:
    message = f"No active discount for {kind}: {object_id}"
    return StripeError(message, status=404, code="resource_missing", param="discount")


OPERATIONS = [
    Operation("DELETE", "/v1/subscriptions/{id}/discount", _of_subscription),
    Operation("DELETE", "/v1/customers/{id}/discount", _of_customer),
]
