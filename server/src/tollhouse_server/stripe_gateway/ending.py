"""Ends what was sold twice, or given twice for trial, each once however often it is tried.

A cancellation takes no idempotency key, so it says whose it is: then a second try knows its own from a person's.
"""

from collections.abc import Awaitable
from typing import Literal

import stripe
from stripe import RequestOptions

from ..domain.evidence import SubscriptionStatus
from ..domain.money import Money
from ..domain.owning import OVER
from .client import StripeRefused, stripe_errors
from .sessions import once

CORRECTION = "tollhouse_correction"
"""The metadata key of a refund that a correction made."""


class PaymentUnderWay(Exception):
    """A bank debit may still bring money that must then be given back."""


async def cancel_subscription(
    client: stripe.StripeClient, subscription_id: str, correction_id: str, *, only_on_trial: bool
) -> str | None:
    """Cancels it now, without a bill or a credit; None where it is cancelled by this correction, now or before.

    Else the status because of which nothing was done: it was over already, or, `only_on_trial`, it is paid for.
    Raises StripeUnavailable, StripeRefused.
    """
    found = await _subscription(client, subscription_id)
    if not _over(found) and only_on_trial and found.status != SubscriptionStatus.TRIALING:
        return found.status
    if not _over(found):
        try:
            with stripe_errors():
                found = await client.v1.subscriptions.cancel_async(
                    subscription_id, {"cancellation_details": {"comment": _mark(correction_id)}}
                )
        except StripeRefused:
            found = await _subscription(client, subscription_id)
            if not _over(found):
                raise
    details = found.cancellation_details
    return None if details is not None and details.comment == _mark(correction_id) else found.status


async def end_trial(client: stripe.StripeClient, subscription_id: str, key: str) -> str | None:
    """Ends the trial now, so that the card is charged; the status where there was none to end. Raises as above.

    `key` is the idempotency key, or its beginning.
    """
    found = await _subscription(client, subscription_id)
    if found.status != SubscriptionStatus.TRIALING:
        return found.status

    def end(options: RequestOptions) -> Awaitable[stripe.Subscription]:
        return client.v1.subscriptions.update_async(subscription_id, {"trial_end": "now"}, options)

    async def ended() -> stripe.Subscription | None:
        now = await client.v1.subscriptions.retrieve_async(subscription_id)
        return None if now.status == SubscriptionStatus.TRIALING else now

    with stripe_errors():
        await once(key, end, ended)
    return None


async def refund_last_payment(
    client: stripe.StripeClient, subscription_id: str, correction_id: str, key: str
) -> tuple[Money, ...]:
    """Gives back what the subscription's latest paid invoice was paid with: each refund; none where nothing was.

    A refund that this correction made before is told again and not made again. `key` as above. Raises as above, and
    PaymentUnderWay.
    """
    with stripe_errors():
        for intent in await _intents(client, subscription_id, "open"):
            if (await client.v1.payment_intents.retrieve_async(intent)).status == "processing":
                raise PaymentUnderWay(f"{intent} is under way: the bank decides in some days whether it is paid.")
        paid = await _intents(client, subscription_id, "paid")
        made = [await _refund(client, intent, correction_id, key) for intent in paid]
    return tuple(one for one in made if one is not None)


async def _intents(client: stripe.StripeClient, subscription_id: str, status: Literal["open", "paid"]) -> list[str]:
    """The payment intents of the subscription's latest invoice of this status that are so themselves."""
    listed = await client.v1.invoices.list_async(
        {"subscription": subscription_id, "status": status, "limit": 1, "expand": ["data.payments"]}
    )
    payments = [one for invoice in listed.data if invoice.payments is not None for one in invoice.payments.data]
    return [str(one.payment.payment_intent) for one in payments if one.status == status and one.payment.payment_intent]


async def _refund(client: stripe.StripeClient, intent: str, correction_id: str, key: str) -> Money | None:
    async def find() -> stripe.Refund | None:
        listed = await client.v1.refunds.list_async({"payment_intent": intent, "limit": 100})
        return next((one for one in listed.data if _made_by(one) == correction_id), None)

    def make(options: RequestOptions) -> Awaitable[stripe.Refund]:
        return client.v1.refunds.create_async(
            {"payment_intent": intent, "reason": "duplicate", "metadata": {CORRECTION: correction_id}}, options
        )

    made = await find()
    if made is None:
        try:
            made = await once(f"{key}-{intent}", make, find)
        except stripe.InvalidRequestError as refused:
            if refused.code == "charge_already_refunded":  # by a person, who was faster
                return None
            raise
    return Money(made.amount, made.currency)


def _made_by(refund: stripe.Refund) -> str | None:
    """The correction that made it; None for one that a person made."""
    found: str | None = (refund.to_dict()["metadata"] or {}).get(CORRECTION)
    return found


async def _subscription(client: stripe.StripeClient, subscription_id: str) -> stripe.Subscription:
    with stripe_errors():
        return await client.v1.subscriptions.retrieve_async(subscription_id)


def _over(subscription: stripe.Subscription) -> bool:
    return subscription.status in OVER


def _mark(correction_id: str) -> str:
    return f"Tollhouse {correction_id}"
