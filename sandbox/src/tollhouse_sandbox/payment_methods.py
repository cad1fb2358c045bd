"""Payment methods: made from Stripe's test ids, attached to customers, found when something is to be paid."""

from typing import Any

from tollhouse_sandbox import cards, events
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.cards import Card, Decline
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.store import Json

NO_ADDRESS: Json = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
BILLING_DETAILS: Json = {"address": NO_ADDRESS, "email": None, "name": None, "phone": None, "tax_id": None}


def card_of(method: Json) -> Card:
    """The test card behind a payment method: it decides what becomes of payments."""
    return cards.CARDS[method["_card"]]


def make(account: Account, card: Card, *, billing: Json | None = None, metadata: Json | None = None) -> Json:
    """Stores a new payment method, attached to nobody yet."""
    return account.born(
        "payment_method",
        allow_redisplay="unspecified",
        billing_details={**BILLING_DETAILS, **(billing or {})},
        customer=None,
        metadata=metadata or {},
        type=card.type,
        _card=card.name,
        _spent=False,
        **{card.type: details(card)},
    )


def details(card: Card) -> Json:
    """What Stripe shows of a card or an account."""
    if card.type == "us_bank_account":
        return {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None,
            "fingerprint": "Fk" + card.last4,
            "last4": card.last4,
            "networks": {"preferred": "ach", "supported": ["ach"]},
            "routing_number": "110000000",
            "status_details": None,
        }
    if card.type == "sepa_debit":
        return {
            "bank_code": "37040044",
            "branch_code": "",
            "country": card.country,
            "fingerprint": "Fs" + card.last4,
            "generated_from": {"charge": None, "setup_attempt": None},
            "last4": card.last4,
        }
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": 8,
        "exp_year": 2034,
        "fingerprint": "Fc" + card.number[-8:],
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": {"dynamic_last4": card.last4, "type": card.wallet, card.wallet: {}} if card.wallet else None,
    }


def card_error(decline: Decline, **more: Any) -> StripeError:
    """The 402 a declined card is answered with."""
    return StripeError(
        decline.message,
        status=402,
        kind="card_error",
        code=decline.code,
        decline_code=decline.decline_code,
        **more,
    )


def resolve(account: Account, method_id: str, *, param: str = "payment_method") -> Json:
    """The payment method of an id; a magic id such as `pm_card_visa` makes a new one, as at Stripe."""
    found = account.store.get("payment_method", method_id)
    if found and found["_spent"] and param != "id":
        raise _spent(param)
    if found:
        return found
    card = cards.named(method_id)
    if card is None:
        raise missing("PaymentMethod", method_id, param=param, status=404 if param == "id" else 400)
    return make(account, card)


def from_data(account: Account, data: Json, *, param: str = "") -> Json:
    """A new method as `payment_method_data` describes it: by a test token, number or account."""
    family = data["type"]
    given = data.get(family, {})
    name = given.get("token") or given.get("number") or given.get("iban") or given.get("account_number")
    card = cards.named(name or "")
    if card is None or card.type != family:
        raise StripeError(
            f"Unknown test payment method: use a test token, number or account in {family}.",
            param=f"{param}[{family}]" if param else family,
        )
    billing = dict(data.get("billing_details", {}))
    if billing.get("address"):
        billing["address"] = {**NO_ADDRESS, **billing["address"]}
    return make(account, card, billing=billing, metadata=data.get("metadata"))


def chosen(account: Account, given: Json) -> Json | None:
    """The method that the parameters of an intent name or describe; None where they do neither."""
    if "payment_method_data" in given:
        return from_data(account, given["payment_method_data"], param="payment_method_data")
    return resolve(account, given["payment_method"]) if given.get("payment_method") else None


def check_allowed(method: Json, intent: Json) -> None:
    """Raises 400 for a method of a type that a payment or setup intent does not allow."""
    allowed = intent["allowed_payment_method_types"]
    if allowed and method["type"] not in allowed:
        kind = "PaymentIntent" if intent["object"] == "payment_intent" else "SetupIntent"
        raise StripeError(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this {kind}. Please attempt it with one "
            f"of: {', '.join(allowed)}.",
            param="payment_method",
        )


def _spent(param: str | None = None) -> StripeError:
    return StripeError(
        "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, or was "
        "detached from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach it "
        "to a Customer first.",
        param=param,
    )


def spend(account: Account, method: Json) -> None:
    """Uses a method up that belongs to nobody: it pays once."""
    if not account.require("payment_method", method["id"])["customer"]:
        account.store.change(method, _spent=True)


def attach(account: Account, method: Json, customer: Json) -> Json:
    """Saves a method with a customer. Raises 402 for a card that is already refused when it is saved."""
    if method["customer"] == customer["id"]:
        return method
    if method["customer"]:
        raise StripeError("This PaymentMethod was previously used with another Customer and cannot be attached here.")
    if method["_spent"]:
        raise _spent()
    card = card_of(method)
    if card.decline and card.refused_when_saved:
        raise card_error(card.decline)
    attached = account.store.change(method, customer=customer["id"])
    events.emit(account, "payment_method.attached", attached)
    return attached


def detach(account: Account, method: Json) -> Json:
    """Takes a method off its customer; it can never be used again."""
    if not method["customer"]:
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    before = events.picture(account, method)
    customer = account.require("customer", method["customer"])
    settings = customer["invoice_settings"]
    if settings["default_payment_method"] == method["id"]:
        account.store.change(customer, invoice_settings={**settings, "default_payment_method": None})
    detached = account.store.change(method, customer=None, _spent=True)
    events.emit(account, "payment_method.detached", detached, before=before)
    return detached


def make_default(account: Account, customer: Json, method: Json) -> Json:
    """Pays the customer's invoices with this method from now on; emits `customer.updated` if that is new."""
    before = events.picture(account, customer)
    settings = {**customer["invoice_settings"], "default_payment_method": method["id"]}
    customer = account.store.change(customer, invoice_settings=settings)
    events.updated(account, "customer.updated", customer, before)
    return customer


def owned(account: Account, method_id: str, customer: Json, *, param: str) -> Json:
    """A method that belongs to this customer; a magic id is attached on the spot. 400 when it is somebody else's."""
    method = resolve(account, method_id, param=param)
    if method["customer"] is None and method_id != method["id"]:
        return attach(account, method, customer)
    if method["customer"] != customer["id"]:
        raise StripeError(
            f"The customer does not have a payment method with the ID {method_id}. "
            "The payment method must be attached to the customer.",
            code="resource_missing",
            param=param,
        )
    return method


def default_for(account: Account, customer: Json, subscription: Json | None = None) -> Json | None:
    """The method invoices are paid with: the subscription's own, else the customer's default."""
    chosen = (subscription or {}).get("default_payment_method") or customer["invoice_settings"][
        "default_payment_method"
    ]
    return account.store.get("payment_method", chosen) if chosen else None
