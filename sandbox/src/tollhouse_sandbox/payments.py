"""Payments: an intent, the charges that try it, and what the bank says."""

from dataclasses import dataclass, field

from tollhouse_sandbox import balance, cards, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Decline, Outcome
from tollhouse_sandbox.errors import AuthenticationRequired, StripeError
from tollhouse_sandbox.events import Happening
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.payment_methods import card_error, card_of, details
from tollhouse_sandbox.store import Json

DEBIT_SETTLES_AFTER = 3 * DAY
"""Seconds after which a delayed bank debit arrives or fails."""


@dataclass
class Payment:
    """One attempt to pay: the intent afterwards, the event types it causes (with their objects), the refusal if any."""

    intent: Json
    outcome: Outcome
    error: StripeError | None = None
    happened: list[Happening] = field(default_factory=list)


def intend(
    account: Account,
    amount: int,
    currency: str,
    *,
    customer: str | None,
    metadata: Json | None = None,
    description: str | None = None,
    setup_future_usage: str | None = None,
    receipt_email: str | None = None,
) -> Json:
    """Stores a new payment intent that waits for a payment method."""
    intent_id = ids.new("payment_intent")
    return account.born(
        "payment_intent",
        id=intent_id,
        allowed_payment_method_types=None,
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        application=None,
        application_fee_amount=None,
        automatic_payment_methods=None,
        canceled_at=None,
        cancellation_reason=None,
        capture_method="automatic_async",
        client_secret=f"{intent_id}_secret_{ids.token(25)}",
        confirmation_method="automatic",
        currency=currency,
        customer=customer,
        description=description,
        last_payment_error=None,
        latest_charge=None,
        metadata=metadata or {},
        next_action=None,
        on_behalf_of=None,
        payment_method=None,
        payment_method_options={},
        payment_method_types=["card"],
        processing=None,
        receipt_email=receipt_email,
        review=None,
        setup_future_usage=setup_future_usage,
        shipping=None,
        source=None,
        statement_descriptor=None,
        statement_descriptor_suffix=None,
        status="requires_payment_method",
        transfer_data=None,
        transfer_group=None,
        _settles_at=None,
        _disputed_as=None,
    )


def attempt(
    account: Account, intent: Json, method: Json, *, off_session: bool = False, authenticated: bool = False
) -> Payment:
    """Tries to pay an intent with a method. Changes the state but emits nothing: the caller knows the order."""
    card = card_of(method)
    outcome = card.outcome(authenticated=authenticated, off_session=off_session)
    intent = account.store.change(intent, payment_method=method["id"], payment_method_types=[method["type"]])
    if outcome is Outcome.DECLINED:
        assert card.decline
        return _refused(account, intent, method, card.decline)
    if outcome is Outcome.NEEDS_AUTHENTICATION:
        return _unauthenticated(account, intent)
    if outcome is Outcome.PROCESSING:
        return _processing(account, intent, method)
    charge = balance.take_in(account, _charge(account, intent, method, "succeeded"))
    intent = account.store.change(
        intent,
        amount_received=intent["amount"],
        last_payment_error=None,
        latest_charge=charge["id"],
        next_action=None,
        status="succeeded",
        _disputed_as=card.dispute,
    )
    happened = [Happening("charge.succeeded", charge), Happening("payment_intent.succeeded", intent)]
    return Payment(intent, outcome, happened=happened)


def _processing(account: Account, intent: Json, method: Json) -> Payment:
    charge = _charge(account, intent, method, "pending")
    intent = account.store.change(
        intent,
        latest_charge=charge["id"],
        status="processing",
        _settles_at=account.now + DEBIT_SETTLES_AFTER,
    )
    happened = [Happening("payment_intent.processing", intent), Happening("charge.pending", charge)]
    return Payment(intent, Outcome.PROCESSING, happened=happened)


def _refused(account: Account, intent: Json, method: Json, decline: Decline) -> Payment:
    charge = _charge(account, intent, method, "failed", decline)
    intent = account.store.change(
        intent,
        last_payment_error=_payment_error(decline, charge["id"], method),
        latest_charge=charge["id"],
        status="requires_payment_method",
        payment_method=None,
    )
    happened = [Happening("charge.failed", charge), Happening("payment_intent.payment_failed", intent)]
    error = card_error(decline, charge=charge["id"])
    return Payment(intent, Outcome.DECLINED, error, happened)


def _unauthenticated(account: Account, intent: Json) -> Payment:
    intent = account.store.change(
        intent, status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}}
    )
    happened = [Happening("payment_intent.requires_action", intent)]
    return Payment(intent, Outcome.NEEDS_AUTHENTICATION, AuthenticationRequired(), happened)


def _payment_error(decline: Decline, charge: str, method: Json) -> Json:
    return {
        "type": "card_error",
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "charge": charge,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "payment_method": {key: value for key, value in method.items() if not key.startswith("_")},
    }


def _charge(account: Account, intent: Json, method: Json, status: str, decline: Decline | None = None) -> Json:
    taken = status == "succeeded"
    return account.born(
        "charge",
        amount=intent["amount"],
        amount_captured=intent["amount"] if taken else 0,
        amount_refunded=0,
        application=None,
        application_fee=None,
        application_fee_amount=None,
        balance_transaction=None,
        billing_details=method["billing_details"],
        calculated_statement_descriptor="TOLLHOUSE SANDBOX",
        captured=taken,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_balance_transaction=None,
        failure_code=decline.code if decline else None,
        failure_message=decline.message if decline else None,
        fraud_details={},
        metadata=intent["metadata"],
        on_behalf_of=None,
        outcome=_bank_answer(status, decline),
        paid=taken,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": method["type"], method["type"]: _paid_with(method, intent["amount"])},
        receipt_email=intent["receipt_email"],
        receipt_number=None,
        receipt_url=None,
        refunded=False,
        review=None,
        shipping=None,
        source_transfer=None,
        statement_descriptor=None,
        statement_descriptor_suffix=None,
        status=status,
        transfer_data=None,
        transfer_group=None,
    )


def _bank_answer(status: str, decline: Decline | None) -> Json:
    if decline:
        return {
            "advice_code": "try_again_later",
            "network_advice_code": None,
            "network_decline_code": "01",
            "network_status": "declined_by_network",
            "reason": decline.decline_code,
            "risk_level": "normal",
            "seller_message": "The bank did not return any further details with this decline.",
            "type": "issuer_declined",
        }
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "seller_message": "Payment complete." if status == "succeeded" else None,
        "type": "authorized",
    }


def _paid_with(method: Json, amount: int) -> Json:
    if method["type"] != "card":
        return {"fingerprint": method[method["type"]]["fingerprint"], "last4": method[method["type"]]["last4"]}
    shown = details(card_of(method))
    names = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "checks", "wallet")
    return {
        **{name: shown[name] for name in names},
        "amount_authorized": amount,
        "authorization_code": None,
        "network": shown["brand"],
        "three_d_secure": None,
    }


def settle(account: Account, intent: Json, *, succeeds: bool) -> Payment:
    """Ends a delayed debit: the money arrived, or the bank sent it back. Emits nothing."""
    charge = account.require("charge", intent["latest_charge"])
    if succeeds:
        charge = account.store.change(
            charge, amount_captured=charge["amount"], captured=True, paid=True, status="succeeded"
        )
        charge = balance.take_in(account, charge)
        intent = account.store.change(intent, amount_received=intent["amount"], status="succeeded", _settles_at=None)
        happened = [Happening("charge.succeeded", charge), Happening("payment_intent.succeeded", intent)]
        return Payment(intent, Outcome.SUCCEEDS, happened=happened)
    decline = cards.BANK_REFUSAL
    method = account.require("payment_method", intent["payment_method"])
    charge = account.store.change(
        charge,
        failure_code=decline.code,
        failure_message=decline.message,
        outcome=_bank_answer("failed", decline),
        status="failed",
    )
    intent = account.store.change(
        intent,
        last_payment_error=_payment_error(decline, charge["id"], method),
        payment_method=None,
        status="requires_payment_method",
        _settles_at=None,
    )
    happened = [Happening("charge.failed", charge), Happening("payment_intent.payment_failed", intent)]
    return Payment(intent, Outcome.DECLINED, card_error(decline, charge=charge["id"]), happened)


def set_up(account: Account, customer: Json | None, method: Json) -> Json:
    """Stores a succeeded setup intent: the method may be used later without the customer. Emits nothing."""
    intent_id = ids.new("setup_intent")
    return account.born(
        "setup_intent",
        id=intent_id,
        allowed_payment_method_types=None,
        application=None,
        automatic_payment_methods=None,
        cancellation_reason=None,
        client_secret=f"{intent_id}_secret_{ids.token(25)}",
        customer=customer["id"] if customer else None,
        description=None,
        flow_directions=None,
        last_setup_error=None,
        latest_attempt=None,
        mandate=None,
        metadata={},
        next_action=None,
        on_behalf_of=None,
        payment_method=method["id"],
        payment_method_options={},
        payment_method_types=[method["type"]],
        single_use_mandate=None,
        status="succeeded",
        usage="off_session",
    )
