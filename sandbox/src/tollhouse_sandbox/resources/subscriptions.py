"""Subscriptions: /v1/subscriptions. Their items have calls of their own in `subscription_items`."""

from tollhouse_sandbox import (
    automatic_tax,
    customers,
    dunning,
    events,
    pauses,
    payment_methods,
    plan_changes,
    prices,
    redemption,
    schedules,
    subscribing,
    subscription_updates,
    subscriptions,
    trials,
)
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError, missing
from tollhouse_sandbox.lifecycle import has_ended, trial_end
from tollhouse_sandbox.operations import DATED, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import (
    anything,
    choice,
    clearable,
    either,
    flag,
    list_of,
    merged,
    metadata,
    moment,
    positive,
    shape,
    text,
)
from tollhouse_sandbox.redemption import Promotion, Purchase
from tollhouse_sandbox.resources.checkout_sessions import TRIAL_SETTINGS
from tollhouse_sandbox.resources.discounts import DISCOUNTS
from tollhouse_sandbox.resources.invoiceitems import PRICE_DATA as ONE_TIME_DATA
from tollhouse_sandbox.resources.invoiceitems import charge
from tollhouse_sandbox.resources.prices import PRICE_DATA
from tollhouse_sandbox.store import Json

ITEM = {"discounts": DISCOUNTS, "metadata": metadata, "price": text, "price_data": PRICE_DATA, "quantity": positive}
CHANGED_ITEM = {**ITEM, "id": text, "deleted": flag, "clear_usage": flag}
PAYMENT_BEHAVIOR = choice("allow_incomplete", "default_incomplete", "error_if_incomplete")
PRORATION = choice("always_invoice", "create_prorations", "none")
_EXTRA = shape({"metadata": metadata, "price": text, "price_data": ONE_TIME_DATA, "quantity": positive})
_COMMON = {
    "add_invoice_items": list_of(_EXTRA, at_most=20),
    "automatic_tax": automatic_tax.PARAMETER,
    "cancel_at": either("min_period_end", either("max_period_end", clearable(moment))),
    "cancel_at_period_end": flag,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "days_until_due": positive,
    "default_payment_method": clearable(text),
    "description": clearable(text),
    "discounts": DISCOUNTS,
    "metadata": metadata,
    "off_session": flag,
    "payment_behavior": PAYMENT_BEHAVIOR,
    "payment_settings": anything,
    "proration_behavior": PRORATION,
    "trial_end": either("now", moment),
    "trial_from_plan": flag,
    "trial_settings": TRIAL_SETTINGS,
}
_FLEXIBLE = shape({"proration_discounts": choice("included")})
_CREATE = {
    **_COMMON,
    "billing_cycle_anchor": moment,
    "billing_mode": shape({"type": choice("classic", "flexible"), "flexible": _FLEXIBLE}, ("type",)),
    "currency": text,
    "customer": text,
    "items": list_of(shape(ITEM), at_most=20),
    "trial_period_days": positive,
}
_CANCELLATION = shape(
    {
        "comment": clearable(text),
        "feedback": clearable(
            choice(
                "customer_service",
                "low_quality",
                "missing_features",
                "other",
                "switched_service",
                "too_complex",
                "too_expensive",
                "unused",
            )
        ),
    }
)
_UPDATE = {
    **_COMMON,
    "billing_cycle_anchor": choice("now", "unchanged"),
    "cancellation_details": _CANCELLATION,
    "items": list_of(shape(CHANGED_ITEM), at_most=20),
    "pause_collection": clearable(
        shape({"behavior": choice("keep_as_draft", "mark_uncollectible", "void"), "resumes_at": moment}, ("behavior",))
    ),
    "proration_date": moment,
}


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    customer = customers.existing(account, given["customer"])
    order = order_of(call, customer)
    method = payment_methods.default_for(account, customer, {"default_payment_method": order.default_payment_method})
    behavior = given.get("payment_behavior", "allow_incomplete")
    collected = behavior != "default_incomplete"
    charged = collected and order.days_until_due is None
    if charged and method is None and order.trial_end is None and _costs(order):
        raise dunning.no_method()
    subscription, payment, happened = subscribing.start(
        account, order, collected=collected, off_session=given.get("off_session", False)
    )
    if payment and payment.error and behavior == "error_if_incomplete":
        raise payment.error
    events.emit_all(account, happened)
    return subscription


def _costs(order: subscribing.Order) -> bool:
    return any(price["unit_amount_decimal"] != "0" for price, _, _ in order.items)


def order_of(call: Call, customer: Json) -> subscribing.Order:
    account, given = call.account, call.params
    items: list[tuple[Json, int, Json]] = []
    for place, item in enumerate(given["items"]):
        asked = items[0][0]["currency"] if items else given.get("currency", "").lower() or None
        items.append(_ordered(call, item, asked, f"items[{place}]"))
    if not items:
        raise StripeError("Missing required param: items.", code="parameter_missing", param="items")
    customers.keeps_to(account, customer["id"], items[0][0]["currency"], param="currency")
    chosen = given.get("default_payment_method")
    if chosen:
        chosen = payment_methods.owned(account, chosen, customer, param="default_payment_method")["id"]
    mode = given.get("billing_mode", {"type": "flexible"})
    if mode["type"] == "classic" and "flexible" in mode:
        raise StripeError(
            "You can only set billing_mode[flexible] with flexible billing.", param="billing_mode[flexible]"
        )
    subscriptions.check_rhythm(mode["type"], [price for price, _, _ in items])
    return subscribing.Order(
        anchor=_anchor(call, items),
        billing_mode=mode["type"],
        extras=_extras(call, items[0][0]["currency"]),
        prorated=given.get("proration_behavior") != "none",
        customer=account.require("customer", customer["id"]),
        items=items,
        trial_end=_trial_end(call),
        metadata={key: value for key, value in (given.get("metadata") or {}).items() if value},
        description=given.get("description"),
        default_payment_method=chosen,
        trial_end_behavior=given.get("trial_settings", {}).get("end_behavior", {}),
        cancel_at=given.get("cancel_at"),
        cancel_at_period_end=given.get("cancel_at_period_end", False),
        automatic_tax=automatic_tax.asked(given),
        days_until_due=subscriptions.days_until_due(given.get("collection_method", "charge_automatically"), given),
        promotions=_promotions(account, given, _purchase(customer, items), "discounts"),
        item_promotions=[
            _promotions(account, item, _purchase(customer, [ordered]), f"items[{place}][discounts]")
            for place, (item, ordered) in enumerate(zip(given["items"], items, strict=True))
        ],
    )


def _purchase(customer: Json, items: list[tuple[Json, int, Json]]) -> Purchase:
    subtotal = sum(prices.cost(price, quantity) for price, quantity, _ in items)
    return Purchase(items[0][0]["currency"], subtotal, customer["id"])


def _promotions(account: Account, given: Json, purchase: Purchase, param: str) -> list[Promotion]:
    named = enumerate(given.get("discounts", []))
    return [redemption.named(account, one, purchase, f"{param}[{place}]") for place, one in named]


def _anchor(call: Call, items: list[tuple[Json, int, Json]]) -> int | None:
    """The day on which the periods turn: in the future, and no later than the first period would end by itself."""
    anchor, now = call.params.get("billing_cycle_anchor"), call.account.now
    if anchor is None:
        return None
    latest = min(subscriptions.period_from(price, now, now)["current_period_end"] for price, _, _ in items)
    if call.params.get("trial_end") or call.params.get("trial_period_days") or not now < anchor <= latest:
        raise StripeError(
            "billing_cycle_anchor must lie in the future, at most a billing period ahead, and goes with no trial.",
            param="billing_cycle_anchor",
        )
    return int(anchor)


def _extras(call: Call, currency: str) -> list[Json]:
    """The invoice items that `add_invoice_items` describes."""
    extras = []
    for place, one in enumerate(call.params.get("add_invoice_items", [])):
        param = f"add_invoice_items[{place}]"
        named = {**one, "pricing": {"price": one["price"]}} if "price" in one else one
        if "price" not in one and "price_data" not in one:
            raise _no_price(param)
        fields = charge(call.account, named, currency, param=param)
        if fields["currency"] != currency:
            raise StripeError(f"The price must be in {currency}, as the subscription is.", param=f"{param}[price]")
        extras.append({**fields, "metadata": merged({}, one.get("metadata") or {})})
    return extras


def _no_price(param: str) -> StripeError:
    return StripeError(f"Missing required param: {param}[price].", code="parameter_missing", param=f"{param}[price]")


def _ordered(call: Call, item: Json, currency: str | None, param: str) -> tuple[Json, int, Json]:
    price = plan_changes.price_of(call.account, item, param, currency)
    if price is None:
        raise _no_price(param)
    return price, item.get("quantity", 1), item.get("metadata") or {}


def _trial_end(call: Call) -> int | None:
    given, now = call.params, call.account.now
    days, end = given.get("trial_period_days"), given.get("trial_end")
    _refuse_trial_of_plan(given)
    if days and end is not None:
        raise StripeError("You can only set one of `trial_end` and `trial_period_days`.", param="trial_end")
    if days:
        return trials.check_end(call.account, trial_end(now, days))
    return None if end in (None, "now") else trials.check_end(call.account, int(end))


def _refuse_trial_of_plan(given: Json) -> None:
    """Prices have no trials of their own, so that `trial_from_plan` by itself comes to nothing."""
    if given.get("trial_from_plan") and ("trial_end" in given or "trial_period_days" in given):
        raise StripeError(
            "You cannot set `trial_end` or `trial_period_days` when `trial_from_plan=true`.", param="trial_from_plan"
        )


def _living(call: Call) -> Json:
    subscription = call.target("subscription")
    if has_ended(subscription["status"]):
        raise missing("subscription", subscription["id"])
    return subscription


def _update(call: Call) -> Json:
    subscription = call.target("subscription")
    if has_ended(subscription["status"]) and set(call.params) - {"metadata", "cancellation_details", "expand"}:
        raise StripeError(
            "A canceled subscription can only update its cancellation_details and metadata.",
            code="resource_missing" if subscription["status"] == "canceled" else None,
        )
    _refuse_trial_of_plan(call.params)
    if {"cancel_at", "cancel_at_period_end"} & set(call.params):
        schedules.refuse_ends(call.account, subscription)
    given = {**call.params, "add_invoice_items": _extras(call, subscription["currency"])}
    return subscription_updates.update(call.account, subscription, given)


def _cancel(call: Call) -> Json:
    return subscription_updates.end(
        call.account,
        _living(call),
        call.params.get("cancellation_details"),
        prorate=call.params.get("prorate", False),
        invoice_now=call.params.get("invoice_now", False),
    )


_USAGE_UNTIL = shape({"type": choice("none", "now")}, ("type",))  # there are no metered prices, so both come to nothing
_UNUSED_SINCE = shape({"type": choice("item_current_period_start", "none", "now")}, ("type",))


def _pause(call: Call) -> Json:
    given = call.params
    unused = given.get("bill_for", {}).get("unused_time_from", {"type": "now"})["type"]
    invoiced = given.get("invoicing_behavior") == "invoice"
    return pauses.pause(call.account, _living(call), unused=unused, invoiced=invoiced)


def _resume(call: Call) -> Json:
    given = call.params
    return pauses.resume(
        call.account,
        _living(call),
        anchor=given.get("billing_cycle_anchor", {"type": "now"})["type"],
        proration=given.get("proration_behavior", "create_prorations"),
        pays=given.get("payment_behavior") == "resume_on_payment_success",
    )


def _list(call: Call) -> Page:
    wanted = call.params
    status = wanted.get("status")
    if "customer" not in wanted:
        wanted = {"test_clock": None, **wanted}

    def keep(subscription: Json) -> bool:
        return (
            fits(subscription, wanted, "customer", "test_clock")
            and _has_status(subscription, status)
            and ("price" not in wanted or any(item["price"] == wanted["price"] for item in subscription["items"]))
        )

    return page(call, "subscription", keep)


def _has_status(subscription: Json, wanted: str | None) -> bool:
    if wanted == "all":
        return True
    if wanted == "ended":
        return has_ended(subscription["status"])
    if wanted is None:
        return bool(subscription["status"] != "canceled")
    return bool(subscription["status"] == wanted)


_STATUS = choice(
    "active",
    "all",
    "canceled",
    "ended",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
)


def _migrate(call: Call) -> Json:
    return subscription_updates.migrate(call.account, _living(call))


_MIGRATE = {"billing_mode": shape({"type": choice("flexible"), "flexible": _FLEXIBLE}, ("type",))}
_PATH = "/v1/subscriptions"
OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATE, ("customer", "items")),
    Operation("GET", _PATH, _list, {**DATED, "customer": text, "price": text, "status": _STATUS, "test_clock": text}),
    Operation("GET", _PATH + "/{id}", lambda call: call.target("subscription")),
    Operation("POST", _PATH + "/{id}", _update, _UPDATE),
    Operation(
        "DELETE",
        _PATH + "/{id}",
        _cancel,
        {"cancellation_details": _CANCELLATION, "invoice_now": flag, "prorate": flag},
    ),
    Operation("POST", _PATH + "/{id}/migrate", _migrate, _MIGRATE, ("billing_mode",)),
    Operation(
        "POST",
        _PATH + "/{id}/resume",
        _resume,
        {
            "billing_cycle_anchor": shape({"type": choice("now", "unchanged")}, ("type",)),
            "payment_behavior": choice("resume_on_payment_attempt", "resume_on_payment_success"),
            "proration_behavior": PRORATION,
        },
    ),
    Operation(
        "POST",
        _PATH + "/{id}/pause",
        _pause,
        {
            "bill_for": shape({"outstanding_usage_through": _USAGE_UNTIL, "unused_time_from": _UNUSED_SINCE}),
            "invoicing_behavior": choice("invoice", "pending_invoice_item"),
            "type": choice("subscription"),
        },
    ),
]
