"""The customer portal at Stripe: how it is configured, and the pages in it to which people are sent."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import stripe
from stripe import RequestOptions

from .client import stripe_errors
from .parse import PROJECT
from .sessions import once

CONFIGURATION = "tollhouse_portal_configuration"
MOST_PRODUCTS = 10
"""How many products Stripe lets one configuration offer."""


@dataclass(frozen=True, slots=True)
class PlanOnOffer:
    """A product that the portal lets people change to, and its prices: no two of one interval and currency."""

    stripe_product_id: str
    stripe_price_ids: tuple[str, ...]
    per_seat: bool
    """Whether people choose how many they have."""


@dataclass(frozen=True, slots=True)
class RunningPlan:
    """The one line of a subscription, as Stripe has it now."""

    subscription_id: str
    item_id: str
    quantity: int
    currency: str
    scheduled: bool
    """A change is arranged already, so the portal lets no other be made."""


async def read_plan(client: stripe.StripeClient, subscription_id: str) -> RunningPlan | None:
    """None where the subscription has several lines."""
    with stripe_errors():
        one = await client.v1.subscriptions.retrieve_async(subscription_id)
    items = one["items"].data
    if len(items) != 1:
        return None
    return RunningPlan(one.id, items[0].id, items[0].quantity or 1, one.currency, one.schedule is not None)


def portal_request(configuration_id: str, project: str, name: str) -> dict[str, Any]:
    """What Stripe is asked to make a configuration with; its features are set right after."""
    return {
        "name": f"Tollhouse: {project}"[:100],
        "business_profile": {"headline": name[:60]},
        "features": portal_features(()),
        "metadata": {PROJECT: project, CONFIGURATION: configuration_id},
    }


def portal_features(offers: Sequence[PlanOnOffer]) -> dict[str, Any]:
    """What people may do in the portal. They change plans only where there is something to choose."""
    features: dict[str, Any] = {
        "customer_update": {"enabled": True, "allowed_updates": ["address", "email", "name"]},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
        "subscription_update": {"enabled": False},
    }
    seats = any(one.per_seat for one in offers)
    if seats or sum(len(one.stripe_price_ids) for one in offers) > 1:
        features["subscription_update"] = {
            "enabled": True,
            "default_allowed_updates": ["price", "quantity"] if seats else ["price"],
            # What a dearer plan costs more is paid at once: nobody has it for the rest of a year and then cancels.
            "proration_behavior": "always_invoice",
            "trial_update_behavior": "continue_trial",
            "products": [
                {
                    "product": one.stripe_product_id,
                    "prices": list(one.stripe_price_ids),
                    "adjustable_quantity": {"enabled": one.per_seat, "minimum": 1},
                }
                for one in offers[:MOST_PRODUCTS]
            ],
        }
    return features


async def create_configuration(client: stripe.StripeClient, configuration_id: str, request: Mapping[str, Any]) -> str:
    """The configuration (`bpc_…`), made once: our row's id is the idempotency key."""

    def create(options: RequestOptions) -> Awaitable[stripe.billing_portal.Configuration]:
        return client.v1.billing_portal.configurations.create_async(request, options)  # type: ignore[arg-type]

    async def find() -> stripe.billing_portal.Configuration | None:
        listed = await client.v1.billing_portal.configurations.list_async({"active": True, "limit": 100})
        async for one in listed.auto_paging_iter():
            if one.metadata and one.metadata.to_dict().get(CONFIGURATION) == configuration_id:
                return one
        return None

    with stripe_errors():
        return (await once(f"tollhouse-portal-{configuration_id}", create, find)).id


async def update_configuration(
    client: stripe.StripeClient, stripe_configuration_id: str, features: Mapping[str, Any]
) -> None:
    """Has the portal let people do this from now on, also those who are in it."""
    told: Any = {"features": features}
    with stripe_errors():
        await client.v1.billing_portal.configurations.update_async(stripe_configuration_id, told)


async def create_portal_session(
    client: stripe.StripeClient, stripe_customer_id: str, configuration: str, return_url: str
) -> str:
    """The URL of Stripe's page on which the customer manages what was bought."""
    with stripe_errors():
        session = await client.v1.billing_portal.sessions.create_async(
            {"customer": stripe_customer_id, "configuration": configuration, "return_url": return_url}
        )
    return session.url


async def create_plan_change(
    client: stripe.StripeClient,
    stripe_customer_id: str,
    configuration: str,
    plan: RunningPlan,
    stripe_price_id: str,
    quantity: int,
    *,
    changed_url: str,
    return_url: str,
) -> str:
    """The URL of Stripe's page that shows what the change costs, and makes it once it is confirmed."""
    item: dict[str, Any] = {"id": plan.item_id, "price": stripe_price_id}
    if quantity != plan.quantity:
        item["quantity"] = quantity
    flow: Any = {
        "type": "subscription_update_confirm",
        "subscription_update_confirm": {"subscription": plan.subscription_id, "items": [item]},
        "after_completion": {"type": "redirect", "redirect": {"return_url": changed_url}},
    }
    with stripe_errors():
        session = await client.v1.billing_portal.sessions.create_async(
            {
                "customer": stripe_customer_id,
                "configuration": configuration,
                "return_url": return_url,
                "flow_data": flow,
            }
        )
    return session.url
