"""Finds what a coupon or a promotion code is at Stripe."""

import stripe

from .client import StripeRefused, stripe_errors


async def find_coupon(client: stripe.StripeClient, coupon: str) -> str | None:
    """The coupon's id if it can be redeemed; None where there is none, or no longer."""
    try:
        with stripe_errors():
            found = await client.v1.coupons.retrieve_async(coupon)
    except StripeRefused as refused:
        if refused.stripe_code == "resource_missing":
            return None
        raise
    return found.id if found.valid else None


async def find_promotion_code(client: stripe.StripeClient, code: str, stripe_customer_id: str) -> str | None:
    """The id (`promo_…`) of the code that this customer may type; None where there is none, or no longer."""
    with stripe_errors():
        listed = await client.v1.promotion_codes.list_async({"code": code, "active": True, "limit": 100})
        mine = [one for one in listed.data if one.customer in (None, stripe_customer_id)]
        # One made for this customer before one for everybody.
        return max(mine, key=lambda one: one.customer is not None).id if mine else None
