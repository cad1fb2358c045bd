"""Payment intents, charges, refunds, disputes, setup intents: reading all of them, and giving money back."""

from tollhouse_sandbox import customers, disputes, events, invoices, payment_methods, payments, refunds, subscriptions
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import anything, choice, flag, list_of, merged, metadata, positive, text
from tollhouse_sandbox.store import Json


def _list_of(kind: str, *names: str) -> Operation:
    """A list that can be narrowed down by these fields."""

    def handler(call: Call) -> Page:
        return page(call, kind, lambda body: fits(body, call.params, *names))

    return Operation("GET", f"/v1/{kind}s", handler, {**DATED, **dict.fromkeys(names, text)})


def _one(kind: str) -> Operation:
    return Operation("GET", f"/v1/{kind}s/{{id}}", lambda call: call.target(kind))


def _annotate(kind: str, update: str | None) -> Operation:
    """Metadata may be written on anything."""

    def handler(call: Call) -> Json:
        body = call.target(kind)
        before = events.picture(call.account, body)
        body = call.account.store.change(body, metadata=merged(body["metadata"], call.params.get("metadata", {})))
        if update:
            events.updated(call.account, update, body, before)
        return body

    return Operation("POST", f"/v1/{kind}s/{{id}}", handler, {"metadata": metadata})


def _create_intent(call: Call) -> Json:
    account, given = call.account, call.params
    customer = customers.existing(account, given["customer"]) if "customer" in given else None
    if not given["amount"]:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    intent = payments.intend(
        account,
        given["amount"],
        given["currency"].lower(),
        customer=customer["id"] if customer else None,
        metadata=merged({}, given.get("metadata", {})),
        description=given.get("description"),
        setup_future_usage=given.get("setup_future_usage"),
        receipt_email=given.get("receipt_email"),
    )
    events.emit(account, "payment_intent.created", intent)
    if "payment_method" in given:
        method = payment_methods.resolve(account, given["payment_method"])
        intent = account.store.change(intent, payment_method=method["id"], status="requires_confirmation")
    return _confirmed(call, intent) if given.get("confirm") else intent


def _confirm(call: Call) -> Json:
    return _confirmed(call, call.target("payment_intent"))


def _confirmed(call: Call, intent: Json) -> Json:
    account = call.account
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise StripeError(
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    chosen = call.params.get("payment_method") or intent["payment_method"]
    if chosen is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
        )
    method = payment_methods.resolve(account, chosen)
    off_session = call.params.get("off_session", False)
    paid = invoices.payment_of(account, intent=intent["id"])
    if paid:
        invoice = account.require("invoice", paid["invoice"])
        payment = subscriptions.pay_invoice(account, invoice, method, off_session=off_session)
    else:
        payment = payments.attempt(account, intent, method, off_session=off_session)
        events.emit_all(account, payment.happened)
    if payment.error and (off_session or payment.intent["status"] != "requires_action"):
        raise payment.error.keeping()
    return payment.intent


def _refund(call: Call) -> Json:
    account, given = call.account, call.params
    if "charge" in given:
        charge = account.require("charge", given["charge"], param="charge")
    elif "payment_intent" in given:
        intent = account.require("payment_intent", given["payment_intent"], param="payment_intent")
        if not intent["latest_charge"]:
            raise StripeError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        charge = account.require("charge", intent["latest_charge"])
    else:
        raise StripeError(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    return refunds.refund(
        account,
        charge,
        amount=given.get("amount"),
        reason=given.get("reason"),
        metadata=merged({}, given.get("metadata", {})),
    )


def _close_dispute(call: Call) -> Json:
    """Giving in: the dispute is lost."""
    dispute = call.target("dispute")
    if dispute["status"] in disputes.CLOSED:
        raise StripeError("This dispute is already closed.")
    return disputes.decide(call.account, dispute, "lost")


_INTENT = {
    "amount": positive,
    "automatic_payment_methods": anything,
    "allowed_payment_method_types": list_of(text),
    "confirm": flag,
    "currency": text,
    "customer": text,
    "description": text,
    "metadata": metadata,
    "off_session": flag,
    "payment_method": text,
    "receipt_email": text,
    "return_url": text,
    "setup_future_usage": choice("off_session", "on_session"),
}
_REFUND = {
    "amount": positive,
    "charge": text,
    "metadata": metadata,
    "payment_intent": text,
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
}

OPERATIONS = [
    Operation("POST", "/v1/payment_intents", _create_intent, _INTENT, ("amount", "currency")),
    _list_of("payment_intent", "customer"),
    _one("payment_intent"),
    _annotate("payment_intent", None),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/confirm",
        _confirm,
        {"off_session": flag, "payment_method": text, "return_url": text},
    ),
    _list_of("setup_intent", "customer", "payment_method"),
    _one("setup_intent"),
    _list_of("charge", "customer", "payment_intent"),
    _one("charge"),
    _annotate("charge", "charge.updated"),
    Operation("POST", "/v1/refunds", _refund, _REFUND),
    _list_of("refund", "charge", "payment_intent"),
    _one("refund"),
    _annotate("refund", "refund.updated"),
    _list_of("dispute", "charge", "payment_intent"),
    _one("dispute"),
    _annotate("dispute", "charge.dispute.updated"),
    Operation("POST", "/v1/disputes/{id}/close", _close_dispute),
]
