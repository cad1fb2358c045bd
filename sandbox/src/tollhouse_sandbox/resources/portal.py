"""The customer portal: /v1/billing_portal/sessions and configurations. What customers do there is in `hosted`."""

from tollhouse_sandbox import customers, events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, fits, page
from tollhouse_sandbox.params import choice, clearable, flag, list_of, merged, metadata, shape, text
from tollhouse_sandbox.store import Json

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
_CANCEL = shape(
    {
        "cancellation_reason": shape({"enabled": flag, "options": list_of(text)}, ("enabled",)),
        "enabled": flag,
        "mode": choice("at_period_end", "immediately"),
        "proration_behavior": _PRORATION,
    },
    ("enabled",),
)
_UPDATE = shape(
    {
        "default_allowed_updates": list_of(choice("price", "promotion_code", "quantity")),
        "enabled": flag,
        "products": list_of(shape({"product": text, "prices": list_of(text)}, ("product", "prices"))),
        "proration_behavior": _PRORATION,
    },
    ("enabled",),
)
_ENABLED = shape({"enabled": flag}, ("enabled",))
_FIELDS = {
    "business_profile": shape(
        {name: clearable(text) for name in ("headline", "privacy_policy_url", "terms_of_service_url")}
    ),
    "default_return_url": clearable(text),
    "features": shape(
        {
            "customer_update": shape({"allowed_updates": list_of(text), "enabled": flag}, ("enabled",)),
            "invoice_history": _ENABLED,
            "payment_method_update": _ENABLED,
            "subscription_cancel": _CANCEL,
            "subscription_update": _UPDATE,
        }
    ),
    "login_page": shape({"enabled": flag}, ("enabled",)),
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
        features=_features(_FEATURES, given),
        is_default=is_default,
        login_page={"enabled": False, "url": None},
        metadata=merged({}, given.get("metadata", {})),
        name=given.get("name"),
        updated=account.now,
    )


_NO_PROFILE: Json = {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None}


def _features(old: Json, given: Json) -> Json:
    """The features with what is given replaced, one by one."""
    return {name: {**feature, **given.get("features", {}).get(name, {})} for name, feature in old.items()}


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
        flow=_flow(given.get("flow_data")),
        locale=given.get("locale"),
        on_behalf_of=None,
        return_url=given.get("return_url") or configuration["default_return_url"],
        url=f"{account.url}/portal/{portal_id}",
    )
    events.emit(account, "billing_portal.session.created", session)
    return session


def _flow(given: Json | None) -> Json | None:
    """The one thing a deep link leads to. The sandbox's page shows the whole portal all the same."""
    if given is None:
        return None
    cancel, update = given.get("subscription_cancel"), given.get("subscription_update")
    return {
        "type": given["type"],
        "after_completion": {"type": "portal_homepage", "hosted_confirmation": None, "redirect": None},
        "customer_update": None,
        "subscription_cancel": {**cancel, "retention": None} if cancel else None,
        "subscription_pause": None,
        "subscription_update": update,
        "subscription_update_confirm": None,
    }


def _create_configuration(call: Call) -> Json:
    configuration = _configure(call.account, call.params)
    events.emit(call.account, "billing_portal.configuration.created", configuration)
    return configuration


def _update_configuration(call: Call) -> Json:
    configuration = call.target("billing_portal.configuration")
    before = events.picture(call.account, configuration)
    names = ("active", "default_return_url", "name")
    changes = {name: call.params[name] for name in names if name in call.params}
    changes["features"] = _features(configuration["features"], call.params)
    changes["business_profile"] = {**configuration["business_profile"], **call.params.get("business_profile", {})}
    if "metadata" in call.params:
        changes["metadata"] = merged(configuration["metadata"], call.params["metadata"])
    configuration = call.account.store.change(configuration, **changes, updated=call.account.now)
    events.updated(call.account, "billing_portal.configuration.updated", configuration, before)
    return configuration


def _list(call: Call) -> Page:
    return page(call, "billing_portal.configuration", lambda each: fits(each, call.params, "active", "is_default"))


_NAMED = shape({"subscription": text}, ("subscription",))
_FLOW = shape(
    {
        "subscription_cancel": _NAMED,
        "subscription_update": _NAMED,
        "type": choice("payment_method_update", "subscription_cancel", "subscription_update"),
    },
    ("type",),
)
_CONFIGURATIONS = "/v1/billing_portal/configurations"
OPERATIONS = [
    Operation(
        "POST",
        "/v1/billing_portal/sessions",
        _create,
        {"configuration": text, "customer": text, "flow_data": _FLOW, "locale": text, "return_url": text},
        ("customer",),
    ),
    Operation("POST", _CONFIGURATIONS, _create_configuration, _FIELDS, ("features",)),
    Operation("GET", _CONFIGURATIONS, _list, {**PAGING, "active": flag, "is_default": flag}),
    Operation("GET", _CONFIGURATIONS + "/{id}", lambda call: call.target("billing_portal.configuration")),
    Operation("POST", _CONFIGURATIONS + "/{id}", _update_configuration, {**_FIELDS, "active": flag}),
]
