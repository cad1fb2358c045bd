"""Refunds: /v1/refunds."""

from tollhouse_sandbox import refunds
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import choice, merged, metadata, positive, text
from tollhouse_sandbox.resources import usual
from tollhouse_sandbox.store import Json


def _create(call: Call) -> Json:
    given = call.params
    return refunds.refund(
        call.account,
        _charge(call),
        amount=given.get("amount"),
        reason=given.get("reason"),
        metadata=merged({}, given.get("metadata", {})),
    )


def _charge(call: Call) -> Json:
    account, given = call.account, call.params
    if "charge" in given:
        charge = account.require("charge", given["charge"], param="charge")
        if given.get("payment_intent", charge["payment_intent"]) != charge["payment_intent"]:
            raise StripeError(
                f"Charge {charge['id']} does not belong to PaymentIntent {given['payment_intent']}.", param="charge"
            )
        return charge
    if "payment_intent" not in given:
        raise StripeError(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    intent = account.require("payment_intent", given["payment_intent"], param="payment_intent")
    if not intent["latest_charge"]:
        raise StripeError(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.", param="payment_intent"
        )
    return account.require("charge", intent["latest_charge"])


def _cancel(call: Call) -> Json:
    refund = call.target("refund")
    if refund["status"] != "requires_action":
        raise StripeError(
            f"You can only cancel a refund that has a status of requires_action; this one is {refund['status']}."
        )
    return refunds.decide(call.account, refund, "canceled")


_CREATE = {
    "amount": positive,
    "charge": text,
    "metadata": metadata,
    "payment_intent": text,
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
}

OPERATIONS = [
    Operation("POST", "/v1/refunds", _create, _CREATE),
    usual.list_of("refund", "charge", "payment_intent"),
    usual.one("refund"),
    usual.annotate("refund", "refund.updated"),
    Operation("POST", "/v1/refunds/{id}/cancel", _cancel),
]
