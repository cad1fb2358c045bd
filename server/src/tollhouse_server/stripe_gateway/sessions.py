"""Makes what a person pays on: the customer and the checkout session."""

import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import stripe
from stripe import RequestOptions

from ..domain.time import from_timestamp
from .client import StripeRefused, stripe_errors
from .parse import CHECKOUT, PROJECT, USER

Made = TypeVar("Made")

KEYS = 5
"""How many idempotency keys are tried in turn for one thing."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A checkout session a person can pay on."""

    session_id: str
    url: str
    expires_at: datetime


async def create_customer(
    client: stripe.StripeClient,
    customer_id: uuid.UUID,
    generation: int,
    *,
    project: str,
    user_id: str,
    email: str | None,
    name: str | None,
) -> str:
    """The Stripe customer (`cus_…`) of our customer, made once: our row's id is the idempotency key.

    `generation` differs only after the one before was deleted at Stripe.
    """
    metadata = {PROJECT: project, USER: user_id}

    def create(options: RequestOptions) -> Awaitable[stripe.Customer]:
        return client.v1.customers.create_async({"metadata": metadata}, options)

    async def find() -> stripe.Customer | None:
        # The newest hundred will do: a second customer would be one that nobody ever pays with.
        newest = await client.v1.customers.list_async({"limit": 100})
        return next((one for one in newest.data if one.to_dict()["metadata"] == metadata), None)

    with stripe_errors():
        made = await once(f"tollhouse-customer-{customer_id}-{generation}", create, find)
    # On its own: two requests that know different addresses must still ask for the same customer.
    said = {"email": email, "name": name}
    await update_customer(client, made.id, {field: value for field, value in said.items() if value is not None})
    return made.id


async def update_customer(client: stripe.StripeClient, stripe_customer_id: str, said: Mapping[str, str]) -> None:
    """Writes `email` and `name` as far as they are said; asked again it comes to the same."""
    if said:
        with stripe_errors():
            await client.v1.customers.update_async(stripe_customer_id, {**said})  # type: ignore[arg-type]


async def stamp_customer(client: stripe.StripeClient, stripe_customer_id: str, *, project: str, user_id: str) -> None:
    """Writes whose the customer is on one that others have made; its other metadata stay."""
    with stripe_errors():
        await client.v1.customers.update_async(stripe_customer_id, {"metadata": {PROJECT: project, USER: user_id}})


async def create_checkout(client: stripe.StripeClient, checkout_id: str, parameters: Mapping[str, Any]) -> OpenSession:
    """Opens the session of the checkout. The same id with the same parameters gives the same session, however often."""

    def create(options: RequestOptions) -> Awaitable[stripe.checkout.Session]:
        return client.v1.checkout.sessions.create_async(parameters, options)  # type: ignore[arg-type]

    with stripe_errors():
        session = await once(
            f"tollhouse-checkout-{checkout_id}", create, lambda: _find(client, parameters["customer"], checkout_id)
        )
    if session.url is None:
        raise StripeRefused(f"the session of checkout {checkout_id} has no page", None)
    return OpenSession(session.id, session.url, from_timestamp(session.expires_at))


async def find_checkout(client: stripe.StripeClient, stripe_customer_id: str, checkout_id: str) -> str | None:
    """The session (`cs_…`) that was opened for the checkout, whatever became of it; None where none was."""
    with stripe_errors():
        session = await _find(client, stripe_customer_id, checkout_id)
    return None if session is None else session.id


async def _find(
    client: stripe.StripeClient, stripe_customer_id: str, checkout_id: str
) -> stripe.checkout.Session | None:
    listed = await client.v1.checkout.sessions.list_async({"customer": stripe_customer_id, "limit": 100})
    async for one in listed.auto_paging_iter():
        if one.client_reference_id == checkout_id:
            return one
    return None


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
    trial_card: bool,
    currency: str | None,
    discount: Mapping[str, str] | None,
    allow_promotion_codes: bool,
    automatic_tax: bool,
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
    if currency is not None:
        parameters["currency"] = currency
    if discount is not None:
        parameters["discounts"] = [{**discount}]
    if allow_promotion_codes:
        parameters["allow_promotion_codes"] = True
    if automatic_tax:
        # Tax needs an address, and Stripe takes a known customer's from the page only if it may keep it.
        parameters |= {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
    if recurring:
        parameters["subscription_data"] = {"metadata": metadata}
        if trial_days:
            parameters["subscription_data"]["trial_period_days"] = trial_days
        if trial_days and not trial_card:
            parameters["payment_method_collection"] = "if_required"
            ends = {"end_behavior": {"missing_payment_method": "cancel"}}
            parameters["subscription_data"]["trial_settings"] = ends
    else:
        parameters["payment_intent_data"] = {"metadata": metadata}
    return parameters


async def expire_checkout(client: stripe.StripeClient, session_id: str) -> None:
    """Closes an open session, so that nobody can pay on it; one that is no longer open stays as it is."""
    with contextlib.suppress(StripeRefused), stripe_errors():
        await client.v1.checkout.sessions.expire_async(session_id)


async def once(
    key: str, create: Callable[[RequestOptions], Awaitable[Made]], find: Callable[[], Awaitable[Made | None]]
) -> Made:
    """Makes a thing in Stripe once, whatever goes wrong on the way.

    Stripe answers a key for a day as it did the first time, a 500 too, after which the thing may or may not be there
    (https://docs.stripe.com/api/idempotent_requests). So it is looked for, and only if it is not there made with the
    next key, which is the same for everyone who tries.
    """
    for number in range(1, KEYS + 1):
        try:
            return await create({"idempotency_key": key if number == 1 else f"{key}-{number}"})
        except stripe.APIError as failed:
            if (failed.headers or {}).get("idempotent-replayed") != "true" or number == KEYS:
                raise
            try:
                found = await find()
            except stripe.StripeError:
                raise failed from None  # of the two failures the one that may have made it
        if found is not None:
            return found
    raise AssertionError("the last key returns or raises")
