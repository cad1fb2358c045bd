"""Customers, as Stripe stores them."""

from tollhouse_sandbox import dunning, events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import has_ended
from tollhouse_sandbox.store import Json


def create(account: Account, **given: object) -> Json:
    """Stores a customer with these fields and emits `customer.created`."""
    fields: Json = {
        "address": None,
        "balance": 0,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": ids.token(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        **given,
    }
    customer = account.born("customer", **fields)
    events.emit(account, "customer.created", customer)
    return customer


def existing(account: Account, customer_id: str) -> Json:
    """The customer a parameter names; a deleted one is as good as none."""
    customer = account.require("customer", customer_id, param="customer")
    if customer.get("deleted"):
        raise missing("customer", customer_id, param="customer", status=400)
    return customer


def deals_in(account: Account, customer_id: str, currency: str) -> None:
    """Notes the currency in which a customer is billed first: bills by hand are in it unless they say another."""
    customer = account.require("customer", customer_id)
    if customer["currency"] is None:
        account.store.change(customer, currency=currency)


def keeps_to(account: Account, customer_id: str, currency: str, *, param: str) -> None:
    """Raises 400 where what a customer is billed for by time is in another currency: Stripe mixes none."""
    running = (
        one["currency"]
        for one in account.store.oldest_first("subscription", customer=customer_id)
        if not has_ended(one["status"])
    )
    other = next((one for one in running if one != currency), None)
    if other is not None:
        raise StripeError(
            "You cannot combine currencies on a single customer. This customer has an active subscription, "
            f"subscription schedule, discount, quote, or invoice item with currency {other}.",
            param=param,
        )


def delete(account: Account, customer: Json) -> Json:
    """Deletes a customer for good; their subscriptions end at once."""
    for subscription in account.store.oldest_first("subscription", customer=customer["id"]):
        if not has_ended(subscription["status"]):
            events.emit_all(account, dunning.ended(account, subscription, reason="cancellation_requested"))
    events.emit(account, "customer.deleted", customer)
    return account.store.change(customer, deleted=True)
