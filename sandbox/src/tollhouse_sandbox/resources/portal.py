"""The customer portal: /v1/billing_portal/sessions and configurations. What customers do there is in `portal`."""

from tollhouse_sandbox import customers, events, ids, portal
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import choice, clearable, flag, list_of, merged, metadata, positive, shape, text
from tollhouse_sandbox.store import Json

REASONS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
_FEATURES: Json = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": []},
        "enabled": True,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}
_PRORATION = choice("always_invoice", "create_prorations", "none")
_REASON = shape({"enabled": flag, "options": list_of(choice(*REASONS))}, ("enabled",))
_CANCEL = {
    "cancellation_reason": _REASON,
    "enabled": flag,
    "mode": choice("at_period_end", "immediately"),
    "proration_behavior": _PRORATION,
}
_ADJUSTABLE = shape({"enabled": flag, "maximum": positive, "minimum": positive}, ("enabled",))
_PRODUCT = shape({"adjustable_quantity": _ADJUSTABLE, "prices": list_of(text), "product": text}, ("prices", "product"))
_UPDATE = {
    "billing_cycle_anchor": choice("unchanged"),
    "default_allowed_updates": list_of(choice("price", "quantity")),
    "enabled": flag,
    "products": list_of(_PRODUCT, at_most=10),
    "proration_behavior": _PRORATION,
    "trial_update_behavior": choice("continue_trial", "end_trial"),
}
_PAUSE = {"duration": shape({"type": choice("indefinite")}, ("type",)), "enabled": flag}
_DETAILS = {"allowed_updates": list_of(choice("address", "email", "name", "phone")), "enabled": flag}
_ENABLED = shape({"enabled": flag}, ("enabled",))
_PROFILE = shape({name: clearable(text) for name in ("headline", "privacy_policy_url", "terms_of_service_url")})


def _fields(*required: str) -> Json:
    """The parameters of a configuration; when one is made, each feature must say whether it is enabled."""
    return {
        "business_profile": _PROFILE,
        "default_return_url": clearable(text),
        "features": shape(
            {
                "customer_update": shape(_DETAILS, required),
                "invoice_history": _ENABLED,
                "payment_method_update": _ENABLED,
                "subscription_cancel": shape(_CANCEL, required),
                "subscription_pause": shape(_PAUSE),
                "subscription_update": shape(_UPDATE, required),
            }
        ),
        "login_page": shape({"enabled": choice("false")}, ("enabled",)),
        "metadata": metadata,
        "name": clearable(text),
    }


def _configure(account: Account, given: Json, *, is_default: bool = False) -> Json:
    return account.born(
        "billing_portal.configuration",
        active=True,
        application=None,
        business_profile={**_NO_PROFILE, **given.get("business_profile", {})},
        default_return_url=given.get("default_return_url"),
        features=_features(account, _FEATURES, given),
        is_default=is_default,
        login_page={"enabled": False, "url": None},
        metadata=merged({}, given.get("metadata", {})),
        name=given.get("name"),
        updated=account.now,
    )


_NO_PROFILE: Json = {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None}


def _features(account: Account, old: Json, given: Json) -> Json:
    """The features with what is given replaced, one by one."""
    new: Json = {name: {**feature, **given.get("features", {}).get(name, {})} for name, feature in old.items()}
    cancel, update, details = new["subscription_cancel"], new["subscription_update"], new["customer_update"]
    cancel["cancellation_reason"] = {"options": [], **cancel["cancellation_reason"]}
    _check_names(update, "subscription_update", "default_allowed_updates", "products")
    _check_names(details, "customer_update", "allowed_updates")
    update["products"] = [
        _product(account, each, f"features[subscription_update][products][{place}]")
        for place, each in enumerate(update["products"])
    ]
    return new


def _check_names(feature: Json, name: str, *lists: str) -> None:
    """An enabled feature that names nothing to do is a mistake, at Stripe too."""
    for each in lists:
        if feature["enabled"] and not feature[each]:
            param = f"features[{name}][{each}]"
            raise StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def _product(account: Account, given: Json, param: str) -> Json:
    product = account.require("product", given["product"], param=f"{param}[product]")
    for place, price_id in enumerate(given["prices"]):
        price = account.require("price", price_id, param=f"{param}[prices][{place}]")
        if price["product"] != product["id"] or not price["recurring"]:
            raise StripeError(
                f"The price {price_id} is no recurring price of the product {product['id']}.",
                param=f"{param}[prices][{place}]",
            )
    adjustable = {"enabled": False, "maximum": None, "minimum": 1, **given.get("adjustable_quantity", {})}
    return {**given, "adjustable_quantity": adjustable}


def _default(account: Account) -> Json:
    for configuration in account.store.oldest_first("billing_portal.configuration"):
        if configuration["is_default"]:
            return configuration
    return _configure(account, {}, is_default=True)


def _create(call: Call) -> Json:
    account, given = call.account, call.params
    customer = customers.existing(account, given["customer"])
    if "configuration" in given:
        configuration = account.require("billing_portal.configuration", given["configuration"], param="configuration")
        if not configuration["active"]:
            raise StripeError(f"The configuration {configuration['id']} is not active.", param="configuration")
    else:
        configuration = _default(account)
    portal_id = ids.new("billing_portal.session")
    session = account.born(
        "billing_portal.session",
        id=portal_id,
        after_expiration=None,
        configuration=configuration["id"],
        customer=customer["id"],
        customer_account=None,
        flow=None,
        locale=given.get("locale"),
        on_behalf_of=None,
        return_url=given.get("return_url") or configuration["default_return_url"],
        url=f"{account.url}/portal/{portal_id}",
        _flow_done=False,
    )
    if "flow_data" in given:
        session = account.store.change(session, flow=_flow(portal.visit(account, portal_id), given["flow_data"]))
    events.emit(account, "billing_portal.session.created", session)
    return session


_FLOWS = {
    "customer_update": "customer_update",
    "payment_method_update": "payment_method_update",
    "subscription_cancel": "subscription_cancel",
    "subscription_pause": "subscription_pause",
    "subscription_update": "subscription_update",
    "subscription_update_confirm": "subscription_update",
}
"""Type of a flow → the feature that it needs."""


def _flow(seen: portal.Visit, given: Json) -> Json:
    """The one thing the link leads to. Refuses what its page could not do."""
    kind = given["type"]
    if not seen.features[_FLOWS[kind]]["enabled"]:
        raise StripeError(
            f"The flow `{kind}` needs the feature `{_FLOWS[kind]}`, which the configuration disables.",
            param="flow_data[type]",
        )
    details = given.get(kind)
    for name in _NAMING:
        if name != kind and name in given:
            raise StripeError(f"`{name}` goes only with the flow of that type.", param=f"flow_data[{name}]")
    if kind in _NAMING:
        _check_named(seen, kind, details)
    shown = dict.fromkeys(("customer_update", *_NAMING))
    if details:
        shown[kind] = details | ({"retention": None} if kind == "subscription_cancel" else {})
    if kind == "subscription_update_confirm" and details:
        items = [{"price": None, "quantity": None, **item} for item in details["items"]]
        named = [{"coupon": None, "promotion_code": None, **one} for one in details.get("discounts", [])]
        shown[kind] = {**details, "discounts": named or None, "items": items}
    return {"type": kind, "after_completion": _after(given.get("after_completion")), **shown}


def _check_named(seen: portal.Visit, kind: str, details: Json | None) -> None:
    """The subscription must be the customer's, and open to what the flow does."""
    if details is None or not details.get("items", True):
        raise StripeError(f"Missing required param: flow_data[{kind}].", code="parameter_missing")
    param = f"flow_data[{kind}][subscription]"
    subscription = seen.account.require("subscription", details["subscription"], param=param)
    does = _FLOWS[kind].removeprefix("subscription_")
    if subscription["customer"] != seen.customer["id"] or not seen.may(subscription)[does]:
        raise StripeError(f"The portal cannot {does} the subscription {subscription['id']}.", param=param)
    if kind == "subscription_update_confirm":
        given = details["items"][0]
        item = subscription["items"][0]
        if given["id"] != item["id"]:
            raise StripeError(f"No such subscription item: '{given['id']}'", param=f"flow_data[{kind}][items][0][id]")
        offers = {each["price"]["id"] for each in portal.offers(seen, subscription)}
        if given.get("price", item["price"]) not in offers:
            raise StripeError(
                "The price is not among the configuration's `features.subscription_update.products`.",
                param=f"flow_data[{kind}][items][0][price]",
            )


def _after(given: Json | None) -> Json:
    after: Json = {"type": "portal_homepage", **(given or {})}
    if after["type"] == "redirect" and "redirect" not in after:
        param = "flow_data[after_completion][redirect]"
        raise StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)
    confirmation = {"custom_message": None, **after.get("hosted_confirmation", {})}
    return {
        "type": after["type"],
        "hosted_confirmation": confirmation if after["type"] == "hosted_confirmation" else None,
        "redirect": after.get("redirect"),
    }


def _create_configuration(call: Call) -> Json:
    configuration = _configure(call.account, call.params)
    events.emit(call.account, "billing_portal.configuration.created", configuration)
    return configuration


def _update_configuration(call: Call) -> Json:
    configuration = call.target("billing_portal.configuration")
    before = events.picture(call.account, configuration)
    if configuration["is_default"] and call.params.get("active") is False:
        raise StripeError("The default configuration cannot be deactivated.", param="active")
    names = ("active", "default_return_url", "name")
    changes = {name: call.params[name] for name in names if name in call.params}
    changes["features"] = _features(call.account, configuration["features"], call.params)
    changes["business_profile"] = {**configuration["business_profile"], **call.params.get("business_profile", {})}
    if "metadata" in call.params:
        changes["metadata"] = merged(configuration["metadata"], call.params["metadata"])
    configuration = call.account.store.change(configuration, **changes, updated=call.account.now)
    events.updated(call.account, "billing_portal.configuration.updated", configuration, before)
    return configuration


def _list(call: Call) -> Page:
    return page(call, "billing_portal.configuration", lambda each: fits(each, call.params, "active", "is_default"))


_NAMED = shape({"subscription": text}, ("subscription",))
_ITEM = shape({"id": text, "price": text, "quantity": positive}, ("id",))
_DISCOUNT = shape({"coupon": text, "promotion_code": text})
_NAMING = {
    "subscription_cancel": _NAMED,
    "subscription_pause": _NAMED,
    "subscription_update": _NAMED,
    "subscription_update_confirm": shape(
        {"discounts": list_of(_DISCOUNT, at_most=1), "items": list_of(_ITEM, at_most=1), "subscription": text},
        ("items", "subscription"),
    ),
}
"""The flows that name what they are about."""

_AFTER = shape(
    {
        "hosted_confirmation": shape({"custom_message": text}),
        "redirect": shape({"return_url": text}, ("return_url",)),
        "type": choice("hosted_confirmation", "portal_homepage", "redirect"),
    },
    ("type",),
)
_FLOW = shape({**_NAMING, "after_completion": _AFTER, "type": choice(*_FLOWS)}, ("type",))
_CONFIGURATIONS = "/v1/billing_portal/configurations"
OPERATIONS = [
    Operation(
        "POST",
        "/v1/billing_portal/sessions",
        _create,
        {"configuration": text, "customer": text, "flow_data": _FLOW, "locale": text, "return_url": text},
        ("customer",),
    ),
    Operation("POST", _CONFIGURATIONS, _create_configuration, _fields("enabled"), ("features",)),
    Operation("GET", _CONFIGURATIONS, _list, {**PAGING, "active": flag, "is_default": flag}),
    Operation("GET", _CONFIGURATIONS + "/{id}", lambda call: call.target("billing_portal.configuration")),
    Operation("POST", _CONFIGURATIONS + "/{id}", _update_configuration, {**_fields(), "active": flag}),
]
