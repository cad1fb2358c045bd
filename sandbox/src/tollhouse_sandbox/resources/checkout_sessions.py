"""Checkout sessions: /v1/checkout/sessions. Paying one is `checkout`'s business."""

from tollhouse_sandbox import (
    automatic_tax,
    checkout,
    checkout_discounts,
    checkout_lines,
    currency_options,
    customers,
    prices,
    redemption,
)
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.lifecycle import DAY
from tollhouse_sandbox.operations import DATED, PAGING, Call, Operation, Page, fits, page, paged
from tollhouse_sandbox.params import (
    anything,
    choice,
    clearable,
    flag,
    list_of,
    merged,
    metadata,
    moment,
    positive,
    shape,
    text,
)
from tollhouse_sandbox.redemption import Promotion
from tollhouse_sandbox.rendering import line_items
from tollhouse_sandbox.resources import checkout_options, checkout_questions
from tollhouse_sandbox.resources.payment_intents import SHIPPING
from tollhouse_sandbox.resources.prices import PRICE_DATA
from tollhouse_sandbox.store import Json

TRIAL_SETTINGS = shape(
    {
        "end_behavior": shape(
            {
                "billing_cycle_anchor": choice("now", "unchanged"),
                "missing_payment_method": choice("cancel", "create_invoice", "pause"),
            }
        )
    },
    ("end_behavior",),
)
_SUBSCRIPTION_DATA = shape(
    {
        "billing_mode": shape({"type": choice("flexible"), "flexible": anything}, ("type",)),
        "description": text,
        "metadata": metadata,
        "trial_end": moment,
        "trial_period_days": positive,
        "trial_settings": TRIAL_SETTINGS,
    }
)
_PAYMENT_INTENT_DATA = shape(
    {
        "capture_method": choice("automatic", "automatic_async"),
        "description": text,
        "metadata": metadata,
        "receipt_email": text,
        "setup_future_usage": choice("off_session", "on_session"),
        "shipping": SHIPPING,
        "statement_descriptor": text,
        "statement_descriptor_suffix": text,
    }
)
_LINE = shape(
    {
        "adjustable_quantity": checkout_options.ADJUSTABLE,
        "metadata": metadata,
        "price": text,
        "price_data": PRICE_DATA,
        "quantity": positive,
    }
)
_CREATE = {
    **checkout_options.PARAMETERS,
    **checkout_questions.PARAMETERS,
    "allow_promotion_codes": flag,
    "automatic_tax": automatic_tax.PARAMETER,
    "cancel_url": text,
    "client_reference_id": text,
    "currency": text,
    "customer": text,
    "customer_creation": choice("always", "if_required"),
    "customer_email": text,
    "discounts": list_of(shape({"coupon": text, "promotion_code": text}), at_most=1),
    "expires_at": moment,
    "integration_identifier": text,
    "line_items": list_of(_LINE),
    "locale": text,
    "metadata": metadata,
    "mode": choice("payment", "setup", "subscription"),
    "payment_intent_data": _PAYMENT_INTENT_DATA,
    "payment_method_collection": choice("always", "if_required"),
    "setup_intent_data": shape({"description": text, "metadata": metadata}),
    "submit_type": choice("auto", "book", "donate", "pay", "subscribe"),
    "subscription_data": _SUBSCRIPTION_DATA,
    "success_url": text,
    "ui_mode": choice("hosted_page"),
}
_ONLY_IN = {
    "invoice_creation": "payment",
    "payment_intent_data": "payment",
    "subscription_data": "subscription",
    "setup_intent_data": "setup",
}


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    mode = given.get("mode") or "payment"
    _check(call, mode)
    lines = _lines(call, mode)
    currency = lines[0]["currency"] if lines else given.get("currency", "").lower() or None
    if mode == "subscription" and "customer" in given:
        customers.keeps_to(call.account, given["customer"], str(currency), param="currency")
    session_id, page_url = checkout.new_page(account)
    recurring_only = "always" if mode != "payment" else None
    return account.born(
        "checkout.session",
        id=session_id,
        **_UNUSED,
        **checkout_options.chosen(call, mode, lines),
        **checkout_questions.asked(given),
        **checkout_discounts.priced(mode, lines, _promotions(call, lines)),
        allow_promotion_codes=given.get("allow_promotion_codes"),
        automatic_tax=automatic_tax.of_session(enabled=automatic_tax.asked(given), complete=False),
        cancel_url=given.get("cancel_url"),
        client_reference_id=given.get("client_reference_id"),
        currency=currency,
        customer=given.get("customer"),
        customer_creation=_creation(call, mode),
        customer_email=given.get("customer_email"),
        expires_at=_expiry(call),
        integration_identifier=given.get("integration_identifier"),
        locale=given.get("locale"),
        metadata=merged({}, given.get("metadata", {})),
        mode=mode,
        payment_method_collection=given.get("payment_method_collection", recurring_only or "if_required"),
        status="open",
        submit_type=given.get("submit_type"),
        success_url=given.get("success_url"),
        url=page_url,
        _intent=None,
        _page=page_url,
        _payment_intent_data=_said(given, "payment_intent_data"),
        _setup_intent_data=_said(given, "setup_intent_data"),
        _subscription_data=given.get("subscription_data", {}),
    )


def _said(given: Json, name: str) -> Json:
    return {key: value for key, value in given.get(name, {}).items() if value is not None}


_UNUSED: Json = {
    "adaptive_pricing": {"enabled": False},
    "client_secret": None,
    "collected_information": None,
    "consent": None,
    "currency_conversion": None,
    "customer_account": None,
    "customer_details": None,
    "invoice": None,
    "origin_context": None,
    "payment_intent": None,
    "payment_link": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {},
    "permissions": None,
    "recovered_from": None,
    "saved_payment_method_options": None,
    "setup_intent": None,
    "shipping_address_collection": None,
    "shipping_cost": None,
    "shipping_options": [],
    "subscription": None,
    "ui_mode": "hosted_page",
    "wallet_options": None,
}


def _creation(call: Call, mode: str) -> str | None:
    if "customer" in call.params:
        return None
    return str(call.params.get("customer_creation", "always" if mode == "subscription" else "if_required"))


def _check(call: Call, mode: str) -> None:
    given = call.params
    for name, only in _ONLY_IN.items():
        if name in given and mode != only:
            raise StripeError(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if "success_url" not in given:
        raise StripeError("Missing required param: success_url.", code="parameter_missing", param="success_url")
    if "customer" in given and "customer_email" in given:
        raise StripeError("You may only specify one of these parameters: customer, customer_email.", param="customer")
    if "customer" in given:
        _check_address(given, customers.existing(call.account, given["customer"]))
    if mode == "setup" and not {"currency", "allowed_payment_method_types"} & set(given):
        raise StripeError("Missing required param: currency.", code="parameter_missing", param="currency")
    if mode == "subscription" and "customer_creation" in given:
        raise StripeError("`customer_creation` can only be used in `payment` mode.", param="customer_creation")
    data = given.get("subscription_data", {})
    if "trial_end" in data and data["trial_end"] < call.account.now + 2 * DAY:
        raise StripeError(
            "The `trial_end` date has to be at least 2 days in the future.", param="subscription_data[trial_end]"
        )
    if data.get("trial_period_days") == 0:
        raise StripeError("The minimum number of trial period days is 1.", param="subscription_data[trial_period_days]")


def _check_address(given: Json, customer: Json) -> None:
    known = customer["address"] or given.get("customer_update", {}).get("address") == "auto"
    if automatic_tax.asked(given) and not known:
        raise StripeError(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to "
            "the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to "
            "'auto' to save the address entered in Checkout to the Customer.",
            param="automatic_tax",
        )


def _expiry(call: Call) -> int:
    now = call.account.now
    chosen = int(call.params.get("expires_at", now + DAY))
    if not now + 1800 - 60 <= chosen <= now + DAY:
        raise StripeError(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return chosen


def _lines(call: Call, mode: str) -> list[Json]:
    given = call.params.get("line_items", [])
    if mode == "setup":
        if given:
            raise StripeError("You can not pass `line_items` in `setup` mode.", param="line_items")
        return []
    if not given:
        raise StripeError("Missing required param: line_items.", code="parameter_missing", param="line_items")
    lines: list[Json] = []
    for place, line in enumerate(given):  # nobody's country is known here, so a page is in its first price's currency
        asked = lines[0]["currency"] if lines else call.params.get("currency", "").lower()
        lines.append(_line(call, line, asked, f"line_items[{place}]"))
    recurring = any(call.account.require("price", line["price"])["recurring"] for line in lines)
    if mode == "payment" and recurring:
        raise StripeError(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices.",
            param="mode",
        )
    if mode == "subscription" and not all(call.account.require("price", line["price"])["recurring"] for line in lines):
        raise StripeError("The sandbox takes only recurring prices in `subscription` mode.", param="line_items")
    return lines


def _promotions(call: Call, lines: list[Json]) -> list[Promotion]:
    """What the request itself takes off the page."""
    given = call.params.get("discounts", [])
    if given and call.params.get("allow_promotion_codes"):
        raise StripeError(
            "You may only specify one of these parameters: allow_promotion_codes, discounts.", param="discounts"
        )
    if not given:
        return []
    if not lines:
        raise StripeError("You can not pass `discounts` in `setup` mode.", param="discounts")
    asked = checkout_discounts.purchase(lines, call.params.get("customer"))
    return [redemption.named(call.account, one, asked, f"discounts[{place}]") for place, one in enumerate(given)]


def _line(call: Call, given: Json, currency: str, param: str) -> Json:
    account = call.account
    if "price_data" in given:
        price = prices.create(account, given["price_data"])
    elif "price" in given:
        price = account.require("price", given["price"], param=f"{param}[price]")
    else:
        raise StripeError(f"Missing required param: {param}[price].", code="parameter_missing", param=f"{param}[price]")
    price = currency_options.in_currency(price, currency or price["currency"], param=param)
    if not price["active"]:
        raise StripeError("The price specified is inactive. This field only accepts active prices.", param=param)
    quantity = given.get("quantity")
    if not quantity:
        raise StripeError(
            f"Missing required param: {param}[quantity].", code="parameter_missing", param=f"{param}[quantity]"
        )
    return checkout_lines.line(
        account, price, quantity, adjustable=checkout_options.adjustable(given), metadata=given.get("metadata") or {}
    )


def _update(call: Call) -> Json:
    session = call.target("checkout.session")
    changed = merged(session["metadata"], call.params.get("metadata", {}))
    return call.account.store.change(session, metadata=changed)


def _expire(call: Call) -> Json:
    session = call.target("checkout.session")
    if session["status"] != "open":
        raise StripeError(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{session['status']}`.",
        )
    return checkout.expire(call.account, session)


def _list(call: Call) -> Page:
    wanted = call.params
    email = wanted.get("customer_details", {}).get("email")

    def keep(session: Json) -> bool:
        given = (session["customer_details"] or {}).get("email")
        named = fits(session, wanted, "customer", "payment_intent", "status", "subscription")
        return named and email in (None, given)

    return page(call, "checkout.session", keep)


def _line_items(call: Call) -> Page:
    session = call.target("checkout.session")
    return paged(call, "item", iter(line_items(call.account, session)))


_LIST = {
    **DATED,
    "customer": clearable(text),
    "customer_details": shape({"email": text}, ("email",)),
    "payment_intent": text,
    "status": choice("complete", "expired", "open"),
    "subscription": text,
}
_PATH = "/v1/checkout/sessions"
OPERATIONS = [
    Operation("POST", _PATH, _create, _CREATE),
    Operation("GET", _PATH, _list, _LIST),
    Operation("GET", _PATH + "/{id}", lambda call: call.target("checkout.session")),
    Operation("POST", _PATH + "/{id}", _update, {"metadata": metadata}),
    Operation("POST", _PATH + "/{id}/expire", _expire),
    Operation(
        "GET",
        _PATH + "/{id}/line_items",
        _line_items,
        PAGING,
    ),
]
