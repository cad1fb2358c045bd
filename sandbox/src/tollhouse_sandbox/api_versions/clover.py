"""2025-09-30.clover: what a discount comes from is its source; a customer may be an account."""

from tollhouse_sandbox.api_versions.steps import Around, Ask, Change, Step, without
from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.form import Nested
from tollhouse_sandbox.store import Json


def _coupon_of_discount(discount: Json, around: Around) -> None:
    discount["coupon"] = _whole(discount.pop("source")["coupon"], around)


def _coupon_of_code(code: Json, around: Around) -> None:
    code["coupon"] = _whole(code.pop("promotion")["coupon"], around)


def _whole(coupon: Json | str | None, around: Around) -> Json | None:
    """Before, the coupon was always embedded."""
    return coupon if isinstance(coupon, dict) else around.object("coupon", coupon)


def _promotion(given: Nested) -> None:
    if "promotion" in given:
        raise StripeError("Received unknown parameter: promotion", code="parameter_unknown", param="promotion")
    if "coupon" in given:
        given["promotion"] = {"type": "coupon", "coupon": given.pop("coupon")}


_WITH_ACCOUNTS = (
    "billing_portal.session",
    "checkout.session",
    "customer",
    "discount",
    "invoice",
    "invoiceitem",
    "payment_intent",
    "payment_method",
    "promotion_code",
    "setup_intent",
    "subscription",
)

STEP = Step(
    "2025-09-30.clover",
    (
        Change("discount", "coupon became source.coupon", _coupon_of_discount),
        Change("promotion_code", "coupon became promotion.coupon", _coupon_of_code),
        *(Change(kind, "customer_account came", without("customer_account")) for kind in _WITH_ACCOUNTS),
        Change("line_item", "subtotal came", without("subtotal")),
    ),
    (Ask("POST", "/v1/promotion_codes", "coupon became promotion[coupon]", _promotion),),
)
