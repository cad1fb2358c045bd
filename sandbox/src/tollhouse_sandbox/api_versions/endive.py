"""2026-09-30.endive: why a subscription is paused is told; payment methods are allowed, not listed."""

from tollhouse_sandbox.api_versions.steps import Ask, Change, Step, renamed, without

_TYPES = "payment_method_types became allowed_payment_method_types"
_TAKES = renamed("payment_method_types", "allowed_payment_method_types")

STEP = Step(
    "2026-09-30.endive",
    (
        Change("subscription", "status_details came", without("status_details")),
        Change(
            "subscription",
            "what the end of a trial does to the anchor came",
            without("trial_settings.end_behavior.billing_cycle_anchor"),
        ),
        Change(
            "subscription",
            "a pending update may cancel at the period's end",
            without("pending_update.cancel_at_period_end"),
        ),
        Change("invoice", "status_details came", without("status_details")),
        Change("checkout.session", _TYPES, without("allowed_payment_method_types")),
        Change("dispute", "appeals came", without("evidence.appeal", "evidence_details.submission_method")),
        Change("dispute", "intended_submission_method came", without("intended_submission_method")),
        Change("billing_portal.configuration", "customers may pause", without("features.subscription_pause")),
        Change("billing_portal.session", "customers may pause", without("flow.subscription_pause", "after_expiration")),
    ),
    tuple(
        Ask("POST", path, _TYPES, _TAKES)
        for path in (
            "/v1/checkout/sessions",
            "/v1/payment_intents",
            "/v1/payment_intents/{id}",
            "/v1/setup_intents",
            "/v1/setup_intents/{id}",
        )
    ),
)
