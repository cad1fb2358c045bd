"""What a checkout session may ask and tell its customer: the parameters, and how the session shows them."""

import re
from typing import Any

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.params import choice, clearable, flag, list_of, positive, shape, text
from tollhouse_sandbox.store import Json

_KEY = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")


def _key(raw: Any, path: str) -> str:
    value = text(raw, path)
    if not _KEY.match(value):
        raise StripeError("A key may consist of letters, digits, dashes and underscores.", param=path)
    return value


_WRITTEN = shape({"default_value": text, "maximum_length": positive, "minimum_length": positive})
_FIELD = shape(
    {
        "dropdown": shape(
            {
                "default_value": text,
                "options": list_of(shape({"label": text, "value": text}, ("label", "value")), at_most=200),
            },
            ("options",),
        ),
        "key": _key,
        "label": shape({"custom": text, "type": choice("custom")}, ("custom", "type")),
        "numeric": _WRITTEN,
        "optional": flag,
        "text": _WRITTEN,
        "type": choice("dropdown", "numeric", "text"),
    },
    ("key", "label", "type"),
)
_TEXTS = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
_NAME = shape({"enabled": flag, "optional": flag}, ("enabled",))
PARAMETERS = {
    "billing_address_collection": choice("auto", "required"),
    "consent_collection": shape(
        {
            "payment_method_reuse_agreement": shape({"position": choice("auto", "hidden")}, ("position",)),
            "promotions": choice("auto", "none"),
            "terms_of_service": choice("none", "required"),
        }
    ),
    "custom_fields": list_of(_FIELD, at_most=3),
    "custom_text": shape(dict.fromkeys(_TEXTS, clearable(shape({"message": text}, ("message",))))),
    "customer_update": shape(dict.fromkeys(("address", "name"), choice("auto", "never"))),
    "name_collection": shape({"business": _NAME, "individual": _NAME}),
    "phone_number_collection": shape({"enabled": flag}, ("enabled",)),
}


def asked(given: Json) -> Json:
    """The fields of a new session that say what it asks."""
    consent: Json | None = given.get("consent_collection")
    names: Json | None = given.get("name_collection")
    if "customer_update" in given and "customer" not in given:
        raise StripeError("`customer_update` can only be used with `customer`.", param="customer_update")
    fields: Json = {
        "billing_address_collection": given.get("billing_address_collection"),
        "consent_collection": {"promotions": None, "terms_of_service": None, **consent} if consent else None,
        "custom_fields": [_field(one, f"custom_fields[{n}]") for n, one in enumerate(given.get("custom_fields", []))],
        "custom_text": {**dict.fromkeys(_TEXTS), **given.get("custom_text", {})},
        "phone_number_collection": {"enabled": given.get("phone_number_collection", {}).get("enabled", False)},
        "_customer_update": given.get("customer_update", {}),
    }
    if consent and "payment_method_reuse_agreement" not in consent:
        fields["consent_collection"]["payment_method_reuse_agreement"] = None
    if names:
        fields["name_collection"] = {
            kind: {"optional": False, **names[kind]} for kind in ("business", "individual") if kind in names
        }
    keys = [field["key"] for field in fields["custom_fields"]]
    if len(keys) != len(set(keys)):
        raise StripeError("The keys of custom fields must be different.", param="custom_fields")
    return fields


def _field(given: Json, param: str) -> Json:
    kind = given["type"]
    for other in ("dropdown", "numeric", "text"):
        if other in given and other != kind:
            raise StripeError(
                f"You can not pass `{other}` for a field of the type `{kind}`.", param=f"{param}[{other}]"
            )
    form: Json = {"default_value": None, "value": None, **given.get(kind, {})}
    if kind == "dropdown":
        if not form.get("options"):
            raise StripeError(
                f"Missing required param: {param}[dropdown][options].",
                code="parameter_missing",
                param=f"{param}[dropdown][options]",
            )
    else:
        form = {"maximum_length": None, "minimum_length": None, **form}
    return {
        "key": given["key"],
        "label": given["label"],
        "optional": given.get("optional", False),
        "type": kind,
        kind: form,
    }
