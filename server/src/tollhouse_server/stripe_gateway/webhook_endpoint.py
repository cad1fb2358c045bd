"""Keeps one webhook endpoint registered, for `tollhouse dev`; a real account's endpoint is made by its owner."""

import typing
from collections.abc import Collection

import stripe
from stripe import StripeClient

from .client import API_VERSION, stripe_errors

_MARK = "tollhouse dev"
PATH = "/v1/stripe/webhook"


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


async def faults_of_endpoints(client: StripeClient, needed: Collection[str]) -> list[str]:
    """What keeps Stripe from telling us of the `needed` types of event, each in words; none where one endpoint will do.

    Asks for the balance too, which any key in use may read. Raises StripeUnavailable, StripeRefused.
    """
    with stripe_errors():
        await client.v1.balance.retrieve_async()
        listed = await client.v1.webhook_endpoints.list_async({"limit": 100})
        ours = [one async for one in listed.auto_paging_iter() if one.url.endswith(PATH)]
    if not ours:
        return [f"No webhook endpoint leads to a URL that ends in {PATH}."]
    faults = [(one.id, _faults(one, needed)) for one in ours]
    if any(not found for _, found in faults):
        return []
    return [f"{id_}: {said}" for id_, found in faults for said in found]


def _faults(endpoint: stripe.WebhookEndpoint, needed: Collection[str]) -> list[str]:
    found = [] if endpoint.status == "enabled" else [f"it is {endpoint.status}"]
    if endpoint.api_version not in (None, API_VERSION):
        found.append(f"its API version is {endpoint.api_version}, ours is {API_VERSION}")
    unheard = sorted(set(needed) - set(endpoint.enabled_events))
    if unheard and "*" not in endpoint.enabled_events:
        found.append(f"it does not send {', '.join(unheard)}")
    return found
