"""Previews of what would be billed: /v1/invoices/create_preview."""

from typing import Any

from tollhouse_sandbox import customers, invoice_items, previews, subscription_updates
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import has_ended
from tollhouse_sandbox.operations import Call, Operation
from tollhouse_sandbox.params import (
    anything,
    choice,
    clearable,
    either,
    flag,
    integer,
    list_of,
    merged,
    metadata,
    moment,
    positive,
    shape,
    signed_decimal,
    text,
)
from tollhouse_sandbox.resources.invoiceitems import CHARGE, PRICE_DATA, charge
from tollhouse_sandbox.resources.subscriptions import CHANGED_ITEM, PRORATION, order_of
from tollhouse_sandbox.store import Json

_DETAILS = shape(
    {
        "cancel_at": either("min_period_end", either("max_period_end", clearable(moment))),
        "cancel_at_period_end": flag,
        "cancel_now": flag,
        "items": list_of(shape(CHANGED_ITEM), at_most=20),
        "proration_behavior": PRORATION,
        "proration_date": moment,
        "trial_end": either("now", moment),
    }
)
_ITEM = shape(
    {
        "amount": integer,
        "currency": text,
        "description": clearable(text),
        "discountable": flag,
        "metadata": metadata,
        "period": CHARGE["period"],
        "price": text,
        "price_data": PRICE_DATA,
        "quantity": positive,
        "unit_amount": integer,
        "unit_amount_decimal": signed_decimal,
    }
)
_ACCEPTS = {
    "automatic_tax": anything,
    "currency": text,
    "customer": text,
    "discounts": list_of(shape({"coupon": text, "discount": text, "promotion_code": text}), at_most=20),
    "invoice_items": list_of(_ITEM, at_most=250),
    "preview_mode": choice("next", "recurring"),
    "subscription": text,
    "subscription_details": _DETAILS,
}


def _preview(call: Call) -> Json:
    account, given = call.account, call.params
    details = given.get("subscription_details", {})
    customer = customers.existing(account, given["customer"]) if "customer" in given else None
    if "subscription" not in given and "items" in details:
        return _of_new(call, customer, details)
    subscription = _subscription(account, given, customer)
    if subscription is None:
        raise _none(given.get("customer"))

    def change(current: Json) -> None:
        for place, item in enumerate(given.get("invoice_items", [])):
            _add(account, current, item, f"invoice_items[{place}]")
        _apply(account, current, given, details)

    only_recurring = given.get("preview_mode") == "recurring"
    invoice = previews.after(account, subscription, change, only_recurring=only_recurring)
    if invoice is None:
        raise _none(subscription["customer"])
    return invoice


def _none(customer: str | None) -> StripeError:
    return StripeError(
        f"No upcoming invoices for customer: {customer}", status=404, code="invoice_upcoming_none", param="customer"
    )


def _subscription(account: Account, given: Json, customer: Json | None) -> Json | None:
    if "subscription" in given:
        subscription = account.require("subscription", given["subscription"], param="subscription")
        if customer and subscription["customer"] != customer["id"]:
            raise missing("subscription", subscription["id"], param="subscription", status=400)
        return None if has_ended(subscription["status"]) else subscription
    if customer is None:
        raise StripeError(
            "You must provide one of `customer` or `subscription`.", code="parameter_missing", param="customer"
        )
    return previews.soonest(account, customer)


def _of_new(call: Call, customer: Json | None, details: Json) -> Json:
    """A subscription that would begin now. What only a running one can be told is refused."""
    if customer is None:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    refused = [name for name in ("cancel_now", "proration_date") if name in details]
    if refused:
        param = f"subscription_details[{refused[0]}]"
        raise StripeError(f"You can only pass {param} with a subscription.", param=param)
    more: dict[str, Any] = {name: call.params[name] for name in ("discounts",) if name in call.params}
    account = call.account
    order = order_of(Call(account, call.path, {**details, **more}), customer)
    current = {"id": None, "customer": customer["id"], "currency": order.items[0][0]["currency"]}

    def before() -> None:
        for place, item in enumerate(call.params.get("invoice_items", [])):
            _add(account, current, item, f"invoice_items[{place}]")

    return previews.of_order(account, order, before)


def _add(account: Account, subscription: Json, given: Json, param: str) -> None:
    """Supposes an invoice item, which a preview describes with names of its own."""
    item = dict(given)
    if "price" in item:
        item["pricing"] = {"price": item.pop("price")}
    if "unit_amount" in item:
        item["unit_amount_decimal"] = item.pop("unit_amount")
    currency = str(item.get("currency") or subscription["currency"])
    fields = charge(account, item, currency.lower(), param=param)
    if fields["currency"] != subscription["currency"]:
        raise StripeError(f"The item must be in {subscription['currency']}.", param=f"{param}[currency]")
    period = item.get("period")
    invoice_items.make(
        account,
        customer=subscription["customer"],
        subscription=subscription["id"],
        metadata=merged({}, item.get("metadata") or {}),
        period=(period["start"], period["end"]) if period else None,
        **fields,
    )


def _apply(account: Account, subscription: Json, given: Json, details: Json) -> None:
    """Supposes what is asked for: an update or an end, never paid for."""
    if details.get("cancel_now"):
        prorate = details.get("proration_behavior") != "none"
        subscription_updates.end(account, subscription, None, prorate=prorate, invoice_now=True)
        return
    changes = {name: value for name, value in details.items() if name != "cancel_now"}
    if "discounts" in given:
        changes["discounts"] = given["discounts"]
    if given.get("preview_mode") == "recurring":
        changes["proration_behavior"] = "none"
    if changes:
        subscription_updates.update(account, subscription, {**changes, "payment_behavior": "default_incomplete"})


OPERATIONS = [Operation("POST", "/v1/invoices/create_preview", _preview, _ACCEPTS)]
