"""Keeps one webhook endpoint registered, for `tollhouse dev`; a real account's endpoint is made by its owner."""

import typing

import stripe
from stripe import StripeClient

from .client import API_VERSION, stripe_errors

_MARK = "tollhouse dev"


def known_event_types() -> tuple[str, ...]:
    """Every type of event that Stripe has in the API version of the installed library."""
    return typing.get_args(stripe.Event.__annotations__["type"])


async def register_endpoint(
    client: StripeClient, url: str, known_id: str | None, known_secret: str | None
) -> tuple[str, str]:
    """Have events sent to `url`. Returns the endpoint's id and signing secret, the known ones where they still hold."""
    with stripe_errors():
        endpoints = await client.v1.webhook_endpoints.list_async({"limit": 100})
        for endpoint in endpoints.data:
            if endpoint.id == known_id and known_secret:
                if endpoint.url != url:
                    await client.v1.webhook_endpoints.update_async(known_id, {"url": url})
                return known_id, known_secret
        for endpoint in endpoints.data:  # its secret is lost: Stripe tells it only once
            if endpoint.description == _MARK:
                await client.v1.webhook_endpoints.delete_async(endpoint.id)
        made = await client.v1.webhook_endpoints.create_async(
            {"url": url, "enabled_events": ["*"], "api_version": API_VERSION, "description": _MARK}  # type: ignore[typeddict-item]
        )
    return made.id, made["secret"]  # told only now
