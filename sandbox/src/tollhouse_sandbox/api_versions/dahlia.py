"""2026-03-25.dahlia: the modes of Checkout's page have other names; billing schedules came."""

from tollhouse_sandbox.api_versions.steps import Around, Ask, Change, Step, reworded, without
from tollhouse_sandbox.store import Json

UI_MODES = {"hosted": "hosted_page", "embedded": "embedded_page", "custom": "elements"}
"""Before → since."""


def _ui_mode(session: Json, _around: Around) -> None:
    before = {now: then for then, now in UI_MODES.items()}
    session["ui_mode"] = before.get(session["ui_mode"], session["ui_mode"])


STEP = Step(
    "2026-03-25.dahlia",
    (
        Change("checkout.session", "ui_mode has other names", _ui_mode),
        Change("subscription", "billing_schedules came", without("billing_schedules")),
        Change("subscription_item", "billed_until came", without("billed_until")),
        Change("refund", "customer and payment_method came", without("customer", "payment_method")),
        Change("invoice", "amount_paid_off_stripe came", without("amount_paid_off_stripe")),
    ),
    (Ask("POST", "/v1/checkout/sessions", "ui_mode has other names", reworded("ui_mode", UI_MODES)),),
)
