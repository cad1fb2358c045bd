"""Charges: one attempt to take money each. Taken at once, or held first and captured later. Emits nothing."""

from tollhouse_sandbox import balance
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Decline
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.payment_methods import card_of, details
from tollhouse_sandbox.store import Json

HELD_FOR = 7 * DAY
"""Seconds after which money that was held and not captured is the customer's again."""


def charge(
    account: Account, sale: Json, method: Json, status: str, decline: Decline | None = None, *, held: bool = False
) -> Json:
    """Stores what the bank said to one attempt: `succeeded` (`held` until it is captured), `pending`, or `failed`.

    `sale` is the payment intent, or something with its amount, currency, customer and texts and an `id` of None.
    """
    succeeded = status == "succeeded"
    made = account.born(
        "charge",
        amount=sale["amount"],
        amount_captured=0,
        amount_refunded=0,
        application=None,
        application_fee=None,
        application_fee_amount=None,
        balance_transaction=None,
        billing_details=method["billing_details"],
        calculated_statement_descriptor="TOLLHOUSE SANDBOX",
        captured=False,
        currency=sale["currency"],
        customer=sale["customer"],
        description=sale["description"],
        disputed=False,
        failure_balance_transaction=None,
        failure_code=decline.code if decline else None,
        failure_message=decline.message if decline else None,
        fraud_details={},
        metadata=sale["metadata"],
        on_behalf_of=None,
        outcome=_bank_answer(status, decline),
        paid=succeeded,
        payment_intent=sale["id"],
        payment_method=method["id"],
        payment_method_details=_paid_with(account, method, sale["amount"], held=held),
        receipt_email=sale["receipt_email"],
        receipt_number=None,
        receipt_url=None,
        refunded=False,
        review=None,
        shipping=None,
        source_transfer=None,
        statement_descriptor=sale["statement_descriptor"],
        statement_descriptor_suffix=sale["statement_descriptor_suffix"],
        status=status,
        transfer_data=None,
        transfer_group=None,
        _disputed_as=None,
        _held_until=account.now + HELD_FOR if held else None,
    )
    return capture(account, made) if succeeded and not held else made


def capture(account: Account, charge: Json, amount: int | None = None) -> Json:
    """Takes the money, or a part of what was held; the rest counts as given back."""
    amount = charge["amount"] if amount is None else amount
    method = account.require("payment_method", charge["payment_method"])
    charge = account.store.change(
        charge,
        amount_captured=amount,
        amount_refunded=charge["amount"] - amount,
        captured=True,
        paid=True,
        status="succeeded",
        _disputed_as=card_of(method).dispute,
        _held_until=None,
    )
    return balance.take_in(account, charge)


def release(account: Account, charge: Json) -> Json:
    """Lets money go that was held."""
    return account.store.change(charge, amount_refunded=charge["amount"], refunded=True, _held_until=None)


def fail(account: Account, charge: Json, decline: Decline) -> Json:
    """Ends a pending charge for which no money came."""
    return account.store.change(
        charge,
        failure_code=decline.code,
        failure_message=decline.message,
        outcome=_bank_answer("failed", decline),
        status="failed",
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


def _paid_with(account: Account, method: Json, amount: int, *, held: bool) -> Json:
    family = method["type"]
    if family == "us_bank_account":
        return {"type": family, family: {"payment_reference": None, **_part(method[family], _BANK)}}
    if family == "sepa_debit":
        return {"type": family, family: {"mandate": None, **_part(method[family], _SEPA)}}
    shown = details(card_of(method))
    card = {
        **_part(shown, _CARD),
        "amount_authorized": amount,
        "authorization_code": None,
        "network": shown["brand"],
        "three_d_secure": None,
    }
    if held:
        card["capture_before"] = account.now + HELD_FOR
    return {"type": family, family: card}


_BANK = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
_CARD = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "checks", "wallet")
_SEPA = ("bank_code", "branch_code", "country", "fingerprint", "last4")


def _part(shown: Json, names: tuple[str, ...]) -> Json:
    return {name: shown[name] for name in names}
