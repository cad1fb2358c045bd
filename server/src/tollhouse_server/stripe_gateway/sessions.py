"""Makes what a person is sent to: the customer, the checkout session, the portal session."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe

from ..domain.time import from_timestamp
from .client import StripeRefused, stripe_errors
from .parse import CHECKOUT, PROJECT, USER


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A checkout session a person can pay on."""

    session_id: str
    url: str
    expires_at: datetime


async def create_customer(
    client: stripe.StripeClient, customer_id: uuid.UUID, *, project: str, user_id: str, email: str | None
) -> str:
    """The Stripe customer (`cus_…`) of our customer, made once: our row's id is the idempotency key."""
    parameters: dict[str, Any] = {"metadata": {PROJECT: project, USER: user_id}}
    if email is not None:
        parameters["email"] = email
    with stripe_errors():
        made = await client.v1.customers.create_async(
            parameters,  # type: ignore[arg-type]
            {"idempotency_key": f"tollhouse-customer-{customer_id}"},
        )
    return made.id


async def create_checkout(client: stripe.StripeClient, checkout_id: str, parameters: Mapping[str, Any]) -> OpenSession:
    """Opens the session of the checkout. The same id with the same parameters gives the same session, however often."""
    with stripe_errors():
        session = await client.v1.checkout.sessions.create_async(
            parameters,  # type: ignore[arg-type]
            {"idempotency_key": f"tollhouse-checkout-{checkout_id}"},
        )
    if session.url is None:
        raise StripeRefused(f"the session of checkout {checkout_id} has no page", None)
    return OpenSession(session.id, session.url, from_timestamp(session.expires_at))


def checkout_parameters(
    *,
    checkout_id: str,
    stripe_customer_id: str,
    stripe_price_id: str,
    quantity: int,
    recurring: bool,
    success_url: str,
    cancel_url: str,
    expires_at: datetime,
    trial_days: int | None,
    allow_promotion_codes: bool,
    project: str,
    user_id: str,
) -> dict[str, Any]:
    """What Stripe is asked with; stored with the checkout, so that a second try asks the same to the letter."""
    # Stamped on everything that comes of it: an invoice or a charge does not name the session it came from.
    metadata = {PROJECT: project, USER: user_id, CHECKOUT: checkout_id}
    parameters: dict[str, Any] = {
        "mode": "subscription" if recurring else "payment",
        "customer": stripe_customer_id,
        "client_reference_id": checkout_id,
        "line_items": [{"price": stripe_price_id, "quantity": quantity}],
        "success_url": success_url,
        "cancel_url": cancel_url,
        "expires_at": int(expires_at.timestamp()),
        "metadata": metadata,
    }
    if allow_promotion_codes:
        parameters["allow_promotion_codes"] = True
    if recurring:
        parameters["subscription_data"] = {"metadata": metadata}
        if trial_days:
            parameters["subscription_data"]["trial_period_days"] = trial_days
    else:
        parameters["payment_intent_data"] = {"metadata": metadata}
    return parameters


async def expire_checkout(client: stripe.StripeClient, session_id: str) -> bool:
    """Closes an open session, so that nobody can pay on it; False where it was no longer open."""
    try:
        with stripe_errors():
            await client.v1.checkout.sessions.expire_async(session_id)
    except StripeRefused:
        return False
    return True


async def create_portal_session(client: stripe.StripeClient, stripe_customer_id: str, return_url: str) -> str:
    """The URL of Stripe's page on which the customer manages what was bought."""
    with stripe_errors():
        session = await client.v1.billing_portal.sessions.create_async(
            {"customer": stripe_customer_id, "return_url": return_url}
        )
    return session.url
