"""The customer portal: /v1/billing_portal/sessions and configurations. What customers do there is in `hosted`."""

from tollhouse_sandbox import customers, events, ids
from tollhouse_sandbox.account import Account
from tollhouse_sandbox.operations import PAGING, Call, Operation, Page, page
from tollhouse_sandbox.params import anything, clearable, flag, merged, metadata, shape, text
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
_FIELDS = {
    "business_profile": anything,
    "default_return_url": clearable(text),
    "features": anything,
    "login_page": shape({"enabled": flag}, ("enabled",)),
    "metadata": metadata,
    "name": clearable(text),
}


def _configure(account: Account, given: Json, *, is_default: bool = False) -> Json:
    return account.born(
        "billing_portal.configuration",
        active=True,
        application=None,
        business_profile={"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        default_return_url=given.get("default_return_url"),
        features=_FEATURES,
        is_default=is_default,
        login_page={"enabled": False, "url": None},
        metadata=merged({}, given.get("metadata", {})),
        name=given.get("name"),
        updated=account.now,
    )


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
        flow=None,
        locale=given.get("locale"),
        on_behalf_of=None,
        return_url=given.get("return_url") or configuration["default_return_url"],
        url=f"{account.url}/portal/{portal_id}",
    )
    events.emit(account, "billing_portal.session.created", session)
    return session


def _create_configuration(call: Call) -> Json:
    configuration = _configure(call.account, call.params)
    events.emit(call.account, "billing_portal.configuration.created", configuration)
    return configuration


def _update_configuration(call: Call) -> Json:
    configuration = call.target("billing_portal.configuration")
    before = events.picture(call.account, configuration)
    names = ("active", "default_return_url", "name")
    changes = {name: call.params[name] for name in names if name in call.params}
    if "metadata" in call.params:
        changes["metadata"] = merged(configuration["metadata"], call.params["metadata"])
    configuration = call.account.store.change(configuration, **changes, updated=call.account.now)
    events.updated(call.account, "billing_portal.configuration.updated", configuration, before)
    return configuration


def _list(call: Call) -> Page:
    wanted = call.params
    return page(
        call,
        "billing_portal.configuration",
        lambda each: all(each[name] == wanted.get(name, each[name]) for name in ("active", "is_default")),
    )


_CONFIGURATIONS = "/v1/billing_portal/configurations"
OPERATIONS = [
    Operation(
        "POST",
        "/v1/billing_portal/sessions",
        _create,
        {"configuration": text, "customer": text, "locale": text, "return_url": text},
        ("customer",),
    ),
    Operation("POST", _CONFIGURATIONS, _create_configuration, _FIELDS, ("features",)),
    Operation("GET", _CONFIGURATIONS, _list, {**PAGING, "active": flag, "is_default": flag}),
    Operation("GET", _CONFIGURATIONS + "/{id}", lambda call: call.target("billing_portal.configuration")),
    Operation("POST", _CONFIGURATIONS + "/{id}", _update_configuration, {**_FIELDS, "active": flag}),
]
