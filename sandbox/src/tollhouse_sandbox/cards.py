"""Stripe's test payment methods and what becomes of a payment with each. Pure.

The magic ids are Stripe's own (https://docs.stripe.com/testing). The sandbox adds SEPA ids named after the American
ones, and two for cards in a wallet.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    SUCCEEDS = "succeeds"
    DECLINED = "declined"
    NEEDS_AUTHENTICATION = "needs_authentication"
    PROCESSING = "processing"


@dataclass(frozen=True)
class Decline:
    """Why a bank said no: Stripe's error code, its decline code, and its sentence."""

    code: str
    decline_code: str
    message: str


@dataclass(frozen=True)
class Card:
    """One test payment method.

    `decline` refuses every payment; `refused_when_saved` says whether it is already refused when it is attached.
    `authenticates` is when 3-D Secure is asked for: on the hosted page only, or for renewals too.
    `settles` is, for a delayed method, whether the debit arrives in the end, and `refusal` why it does not.
    `dispute` is the status of the dispute that follows a payment, `disputes` how many share its amount.
    `refund` is what becomes of a refund: done `at_once`, done `late`, or first done and later one that `fails`.
    """

    name: str
    label: str = ""
    type: str = "card"
    brand: str = "visa"
    number: str = "4242424242424242"
    funding: str = "credit"
    country: str = "US"
    wallet: str | None = None
    decline: Decline | None = None
    refused_when_saved: bool = True
    authenticates: str = "never"
    settles: bool | None = None
    refusal: str = "insufficient_funds"
    dispute: str | None = None
    dispute_reason: str = "fraudulent"
    disputes: int = 1
    refund: str = "at_once"

    @property
    def last4(self) -> str:
        return self.number[-4:]

    def outcome(self, *, authenticated: bool, off_session: bool) -> Outcome:
        """What a payment comes to: with the customer at the page (`authenticated` if asked for), or without."""
        if self.decline:
            return Outcome.DECLINED
        if self.settles is not None:
            return Outcome.PROCESSING
        if off_session:
            return Outcome.NEEDS_AUTHENTICATION if self.authenticates == "always" else Outcome.SUCCEEDS
        if self.authenticates != "never" and not authenticated:
            return Outcome.NEEDS_AUTHENTICATION
        return Outcome.SUCCEEDS


_CARD_DECLINED = "Your card was declined."
_SENTENCES = {
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}
_CODES = ("expired_card", "incorrect_cvc", "processing_error", "authentication_required")
"""Declines that are error codes of their own; the others are a `card_declined`."""


def _decline(reason: str) -> Decline:
    return Decline(reason if reason in _CODES else "card_declined", reason, _SENTENCES.get(reason, _CARD_DECLINED))


AUTHENTICATION_REQUIRED = _decline("authentication_required")
"""How a payment is explained that needs 3-D Secure while the customer is away."""
AUTHENTICATION_FAILED = Decline(
    "payment_intent_authentication_failure",
    "authentication_required",
    "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
)
"""How a payment is explained whose 3-D Secure the customer did not pass."""


def _refused(name: str, label: str, number: str, reason: str, **more: Any) -> Card:
    return Card(name, label, number=number, decline=_decline(reason), **more)


def _disputed(name: str, label: str, number: str, **more: Any) -> Card:
    return Card(name, label, number=number, **{"dispute": "needs_response", **more})


def _bank(name: str, label: str, number: str, **more: Any) -> Card:
    return Card(name, label, "us_bank_account", "", number, **{"settles": True, **more})


def _sepa(name: str, label: str, number: str, **more: Any) -> Card:
    return Card(name, label, "sepa_debit", "", number, country=number[:2], **{"settles": True, **more})


_ALL = [
    Card("pm_card_visa", "Visa, succeeds"),
    Card("pm_card_visa_debit", "Visa debit, succeeds", number="4000056655665556", funding="debit"),
    Card("pm_card_mastercard", "Mastercard, succeeds", brand="mastercard", number="5555555555554444"),
    Card("pm_card_amex", "American Express, succeeds", brand="amex", number="378282246310005"),
    _refused(
        "pm_card_chargeCustomerFail",
        "Can be saved, every payment is declined",
        "4000000000000341",
        "generic_decline",
        refused_when_saved=False,
    ),
    _refused("pm_card_chargeDeclined", "Declined", "4000000000000002", "generic_decline"),
    _refused(
        "pm_card_chargeDeclinedInsufficientFunds",
        "Declined: insufficient funds",
        "4000000000009995",
        "insufficient_funds",
    ),
    _refused("pm_card_chargeDeclinedLostCard", "Declined: lost card", "4000000000009987", "lost_card"),
    _refused("pm_card_chargeDeclinedStolenCard", "Declined: stolen card", "4000000000009979", "stolen_card"),
    _refused("pm_card_chargeDeclinedFraudulent", "Declined: fraudulent", "4100000000000019", "fraudulent"),
    _refused("pm_card_chargeDeclinedExpiredCard", "Declined: expired card", "4000000000000069", "expired_card"),
    _refused(
        "pm_card_chargeDeclinedIncorrectCvc", "Declined: wrong security code", "4000000000000127", "incorrect_cvc"
    ),
    _refused(
        "pm_card_chargeDeclinedProcessingError", "Declined: processing error", "4000000000000119", "processing_error"
    ),
    _refused(
        "pm_card_chargeDeclinedVelocityLimitExceeded",
        "Declined: used too often",
        "4000000000006975",
        "card_velocity_exceeded",
    ),
    Card(
        "pm_card_threeDSecure2Required",
        "Asks for 3-D Secure, by the merchant's rules",
        number="4000000000003220",
        authenticates="always",
    ),
    Card(
        "pm_card_authenticationRequiredOnSetup",
        "Asks for 3-D Secure once, also when saved",
        number="4000002500003155",
        authenticates="on_session",
    ),
    Card(
        "pm_card_authenticationRequired",
        "Asks for 3-D Secure every time",
        number="4000002760003184",
        authenticates="always",
    ),
    _disputed("pm_card_createDispute", "Succeeds, then is disputed", "4000000000000259"),
    _disputed(
        "pm_card_createDisputeInquiry",
        "Succeeds, then the bank inquires",
        "4000000000001976",
        dispute="warning_needs_response",
    ),
    _disputed(
        "pm_card_createDisputeProductNotReceived",
        "Succeeds, then is disputed: nothing received",
        "4000000000002685",
        dispute_reason="product_not_received",
    ),
    _disputed("pm_card_createMultipleDisputes", "Succeeds, then is disputed twice", "4000000404000079", disputes=2),
    Card("pm_card_pendingRefund", "Succeeds, its refund takes days", number="4000000000007726", refund="late"),
    Card("pm_card_refundFail", "Succeeds, its refund fails later", number="4000000000005126", refund="fails"),
    _bank("pm_usBankAccount", "US bank debit, arrives days later", "000123456789"),
    _bank("pm_usBankAccount_insufficientFunds", "US bank debit, fails days later", "000222222227", settles=False),
    _bank(
        "pm_usBankAccount_accountClosed",
        "US bank debit, fails: account closed",
        "000111111113",
        settles=False,
        refusal="account_closed",
    ),
    _bank(
        "pm_usBankAccount_noAccount",
        "US bank debit, fails: no such account",
        "000111111116",
        settles=False,
        refusal="no_account",
    ),
    _bank(
        "pm_usBankAccount_debitNotAuthorized",
        "US bank debit, fails: not authorized",
        "000333333335",
        settles=False,
        refusal="debit_not_authorized",
    ),
    _bank(
        "pm_usBankAccount_dispute",
        "US bank debit, arrives, then is disputed",
        "000555555559",
        dispute="lost",
        dispute_reason="debit_not_authorized",
    ),
    _sepa("pm_sepaDebit", "SEPA debit, arrives days later", "DE89370400440532013000"),
    _sepa("pm_sepaDebit_insufficientFunds", "SEPA debit, fails days later", "DE62370400440532013001", settles=False),
    _sepa(
        "pm_sepaDebit_dispute",
        "SEPA debit, arrives, then is disputed",
        "DE35370400440532013002",
        dispute="lost",
        dispute_reason="debit_not_authorized",
    ),
    # Like the first, with another face; the payment page does not list them.
    Card("pm_card_mastercard_debit", brand="mastercard", number="5200828282828210", funding="debit"),
    Card("pm_card_mastercard_prepaid", brand="mastercard", number="5105105105105100", funding="prepaid"),
    Card("pm_card_discover", brand="discover", number="6011111111111117"),
    Card("pm_card_diners", brand="diners", number="3056930009020004"),
    Card("pm_card_jcb", brand="jcb", number="3566002020360505"),
    Card("pm_card_unionpay", brand="unionpay", number="6200000000000005"),
    Card("pm_card_us", number="4242424242424242"),
    Card("pm_card_gb", number="4000008260000000", country="GB"),
    Card("pm_card_de", number="4000002760000016", country="DE"),
    Card("pm_card_fr", number="4000002500000003", country="FR"),
    Card("pm_card_bypassPending", number="4000000000000077"),
    Card("pm_card_visa_applePay", wallet="apple_pay"),
    Card("pm_card_visa_googlePay", wallet="google_pay"),
    _sepa("pm_sepaDebit_at", "", "AT611904300234573201"),
    _sepa("pm_sepaDebit_it_insufficientFunds", "", "IT60X0542811101000000123456", settles=False),
]

CARDS = {card.name: card for card in _ALL}
"""Magic id → test payment method."""


def bank_refusal(card: Card) -> Decline:
    """How a delayed debit that does not arrive is explained."""
    return Decline("payment_intent_payment_attempt_failed", card.refusal, "The customer's bank refused the debit.")


def named(name: str) -> Card | None:
    """The test payment method of a magic id, of `tok_visa` and its like, or of a card number.

    Stripe writes some ids with the brand before the word (`pm_card_visa_chargeDeclined`); they mean the same.
    """
    if name.startswith("tok_"):
        name = "pm_card_" + name.removeprefix("tok_")
    for each in (name, name.replace("pm_card_visa_", "pm_card_", 1)):
        if each in CARDS:
            return CARDS[each]
    digits = name.replace(" ", "")
    return next((card for card in _ALL if card.number == digits), None)
