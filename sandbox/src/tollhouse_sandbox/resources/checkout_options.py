"""What a checkout session may do beside being paid: an invoice, optional items, a way back after it expired."""

from tollhouse_sandbox import currency_options
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.operations import Call
from tollhouse_sandbox.params import clearable, flag, list_of, merged, metadata, positive, shape, text
from tollhouse_sandbox.store import Json

METHOD_TYPES = ("card", "us_bank_account", "sepa_debit")
"""What a page takes."""
ADJUSTABLE = shape({"enabled": flag, "maximum": positive, "minimum": positive}, ("enabled",))
_INVOICE_DATA = shape(
    {
        "custom_fields": clearable(list_of(shape({"name": text, "value": text}, ("name", "value")), at_most=4)),
        "description": text,
        "footer": text,
        "metadata": metadata,
    }
)
_RECOVERY = shape({"allow_promotion_codes": flag, "enabled": flag}, ("enabled",))
_OPTIONAL = shape({"adjustable_quantity": ADJUSTABLE, "price": text, "quantity": positive}, ("price", "quantity"))
PARAMETERS = {
    "after_expiration": shape({"recovery": _RECOVERY}),
    "allowed_payment_method_types": list_of(text),
    "invoice_creation": shape({"enabled": flag, "invoice_data": _INVOICE_DATA}, ("enabled",)),
    "optional_items": list_of(_OPTIONAL, at_most=10),
}


def chosen(call: Call, mode: str, lines: list[Json]) -> Json:
    """The fields of a new session that say so."""
    given = call.params
    return {
        "after_expiration": _after_expiration(given),
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "invoice_creation": _invoice_creation(given) if mode == "payment" else None,
        "optional_items": _optional_items(call, mode, lines) or None,
        "payment_method_types": _method_types(given),
    }


def _method_types(given: Json) -> list[str]:
    """`allowed_payment_method_types` only narrows down what the page takes."""
    allowed = given.get("allowed_payment_method_types", METHOD_TYPES)
    found = [each for each in METHOD_TYPES if each in allowed]
    if not found:
        raise StripeError(
            f"None of these payment method types is there in the sandbox; it has {', '.join(METHOD_TYPES)}.",
            param="allowed_payment_method_types",
        )
    return found


def _after_expiration(given: Json) -> Json | None:
    recovery: Json | None = given.get("after_expiration", {}).get("recovery")
    if recovery is None:
        return None
    return {"recovery": {"allow_promotion_codes": False, "expires_at": None, "url": None, **recovery}}


def _invoice_creation(given: Json) -> Json:
    asked: Json = given.get("invoice_creation", {"enabled": False})
    data = asked.get("invoice_data", {})
    unset = ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")
    told = {**dict.fromkeys(unset), **data, "metadata": merged({}, data.get("metadata", {}))}
    return {"enabled": asked["enabled"], "invoice_data": told}


def _optional_items(call: Call, mode: str, lines: list[Json]) -> list[Json]:
    """What the customer may add, each by its price, which no line has."""
    offers: list[Json] = []
    for place, given in enumerate(call.params.get("optional_items", [])):
        param = f"optional_items[{place}][price]"
        price = call.account.require("price", given["price"], param=param)
        taken = {each["price"] for each in [*lines, *offers]}
        if not lines or price["id"] in taken or not currency_options.charges_in(price, lines[0]["currency"]):
            raise StripeError("An optional item needs a price of its own, in the currency of the page.", param=param)
        if not price["active"] or bool(price["recurring"]) != (mode == "subscription"):
            raise StripeError("This price cannot be bought on this page.", param=param)
        offers.append({"adjustable_quantity": adjustable(given), "price": price["id"], "quantity": given["quantity"]})
    return offers


def adjustable(given: Json) -> Json | None:
    """Whether and how far the customer may change the quantity of a line."""
    asked = given.get("adjustable_quantity")
    return {"maximum": None, "minimum": None, **asked} if asked else None
