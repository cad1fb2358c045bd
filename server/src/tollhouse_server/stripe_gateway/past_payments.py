"""Reads a single payment of an account that others have filled, by whichever of its ids the app kept."""

from datetime import datetime
from typing import Any

import stripe

from ..domain.adoption import PastPayment
from ..domain.time import from_timestamp
from .client import StripeRefused, stripe_errors


async def read_payment(client: stripe.StripeClient, payment_id: str) -> PastPayment | None:
    """The payment of a charge (`ch_…`), a payment intent (`pi_…`) or a checkout session (`cs_…`); None: unknown."""
    v1 = client.v1
    try:
        with stripe_errors():
            if payment_id.startswith("ch_"):
                return _of_charge((await v1.charges.retrieve_async(payment_id)).to_dict())
            if payment_id.startswith("pi_"):
                intent = await v1.payment_intents.retrieve_async(payment_id, {"expand": ["latest_charge"]})
                return _of_intent(intent.to_dict())
            if payment_id.startswith("cs_"):
                expand = ["payment_intent.latest_charge"]
                session = await v1.checkout.sessions.retrieve_async(payment_id, {"expand": expand})
                return _of_session(session.to_dict())
    except StripeRefused as refused:
        if refused.stripe_code != "resource_missing":
            raise
    return None


def _of_session(session: dict[str, Any]) -> PastPayment:
    if session["payment_intent"] is not None:
        return _of_intent(session["payment_intent"])
    free = session["status"] == "complete" and session["payment_status"] == "no_payment_required"
    return PastPayment(_at(session), paid=free)


def _of_intent(intent: dict[str, Any]) -> PastPayment:
    charge = intent["latest_charge"]
    return PastPayment(_at(intent), paid=False) if charge is None else _of_charge(charge)


def _of_charge(charge: dict[str, Any]) -> PastPayment:
    return PastPayment(
        _at(charge),
        paid=charge["status"] == "succeeded",
        given_back=charge["amount_refunded"] >= charge["amount"] > 0,
        disputed=charge["disputed"],
    )


def _at(made: dict[str, Any]) -> datetime:
    return from_timestamp(made["created"])
