"""Stripe's test payment methods and what becomes of a payment with each. Pure.

The magic ids are Stripe's own (https://docs.stripe.com/testing); for delayed bank debits the sandbox adds SEPA ids
named after the American ones.
"""

from dataclasses import dataclass
from enum import StrEnum


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
    `settles` is, for a delayed method, whether the debit arrives in the end.
    `dispute` is the status of the dispute that follows a payment, `disputes` how many share its amount.
    `refund` is what becomes of a refund: done `at_once`, done `late`, or first done and later one that `fails`.
    """

    name: str
    label: str
    type: str = "card"
    brand: str = "visa"
    number: str = "4242424242424242"
    decline: Decline | None = None
    refused_when_saved: bool = True
    authenticates: str = "never"
    settles: bool | None = None
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


_GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.")


def _declines(name: str, label: str, number: str, code: str, decline_code: str, message: str) -> Card:
    return Card(name, label, number=number, decline=Decline(code, decline_code, message))


_DEBIT_REFUSED = "The customer's bank refused the debit."

_ALL = [
    Card("pm_card_visa", "Visa, succeeds"),
    Card("pm_card_visa_debit", "Visa debit, succeeds", number="4000056655665556"),
    Card("pm_card_mastercard", "Mastercard, succeeds", brand="mastercard", number="5555555555554444"),
    Card("pm_card_amex", "American Express, succeeds", brand="amex", number="378282246310005"),
    Card(
        "pm_card_chargeCustomerFail",
        "Can be saved, every payment is declined",
        number="4000000000000341",
        decline=_GENERIC,
        refused_when_saved=False,
    ),
    _declines(
        "pm_card_chargeDeclined",
        "Declined",
        "4000000000000002",
        "card_declined",
        "generic_decline",
        "Your card was declined.",
    ),
    _declines(
        "pm_card_chargeDeclinedInsufficientFunds",
        "Declined: insufficient funds",
        "4000000000009995",
        "card_declined",
        "insufficient_funds",
        "Your card has insufficient funds.",
    ),
    _declines(
        "pm_card_chargeDeclinedLostCard",
        "Declined: lost card",
        "4000000000009987",
        "card_declined",
        "lost_card",
        "Your card was declined.",
    ),
    _declines(
        "pm_card_chargeDeclinedStolenCard",
        "Declined: stolen card",
        "4000000000009979",
        "card_declined",
        "stolen_card",
        "Your card was declined.",
    ),
    _declines(
        "pm_card_chargeDeclinedFraudulent",
        "Declined: fraudulent",
        "4100000000000019",
        "card_declined",
        "fraudulent",
        "Your card was declined.",
    ),
    _declines(
        "pm_card_chargeDeclinedExpiredCard",
        "Declined: expired card",
        "4000000000000069",
        "expired_card",
        "expired_card",
        "Your card has expired.",
    ),
    _declines(
        "pm_card_chargeDeclinedIncorrectCvc",
        "Declined: wrong security code",
        "4000000000000127",
        "incorrect_cvc",
        "incorrect_cvc",
        "Your card's security code is incorrect.",
    ),
    _declines(
        "pm_card_chargeDeclinedProcessingError",
        "Declined: processing error",
        "4000000000000119",
        "processing_error",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    Card(
        "pm_card_threeDSecure2Required",
        "Asks for 3-D Secure on the page",
        number="4000000000003220",
        authenticates="on_session",
    ),
    Card(
        "pm_card_authenticationRequired",
        "Asks for 3-D Secure every time",
        number="4000002760003184",
        authenticates="always",
    ),
    Card("pm_card_createDispute", "Succeeds, then is disputed", number="4000000000000259", dispute="needs_response"),
    Card(
        "pm_card_createDisputeInquiry",
        "Succeeds, then the bank inquires",
        number="4000000000001976",
        dispute="warning_needs_response",
    ),
    Card(
        "pm_card_createDisputeProductNotReceived",
        "Succeeds, then is disputed: nothing received",
        number="4000000000002685",
        dispute="needs_response",
        dispute_reason="product_not_received",
    ),
    Card(
        "pm_card_createMultipleDisputes",
        "Succeeds, then is disputed twice",
        number="4000000404000079",
        dispute="needs_response",
        disputes=2,
    ),
    Card("pm_card_pendingRefund", "Succeeds, its refund takes days", number="4000000000007726", refund="late"),
    Card("pm_card_refundFail", "Succeeds, its refund fails later", number="4000000000005126", refund="fails"),
    Card("pm_usBankAccount", "US bank debit, arrives days later", "us_bank_account", "", "000123456789", settles=True),
    Card(
        "pm_usBankAccount_insufficientFunds",
        "US bank debit, fails days later",
        "us_bank_account",
        "",
        "000222222227",
        settles=False,
    ),
    Card("pm_sepaDebit", "SEPA debit, arrives days later", "sepa_debit", "", "DE89370400440532013000", settles=True),
    Card(
        "pm_sepaDebit_insufficientFunds",
        "SEPA debit, fails days later",
        "sepa_debit",
        "",
        "DE62370400440532013001",
        settles=False,
    ),
]

CARDS = {card.name: card for card in _ALL}
"""Magic id → test payment method."""

BANK_REFUSAL = Decline("payment_intent_payment_attempt_failed", "insufficient_funds", _DEBIT_REFUSED)
"""How a delayed debit that does not arrive is explained."""


def named(name: str) -> Card | None:
    """The test payment method of a magic id, of `tok_visa` and its like, or of a card number."""
    if name in CARDS:
        return CARDS[name]
    if name.startswith("tok_"):
        return CARDS.get("pm_card_" + name.removeprefix("tok_"))
    digits = name.replace(" ", "")
    return next((card for card in _ALL if card.number == digits), None)
