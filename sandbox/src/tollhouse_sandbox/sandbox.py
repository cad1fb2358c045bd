"""One local Stripe: an account's state, its clock, its deliveries, and what people do on the hosted pages."""

from typing import Any

Json = dict[str, Any]


class Sandbox:
    """What the hosted pages call. Every method is safe to await from a route of the same event loop.

    Unknown ids raise `StripeError` with status 404. Money is in minor units, times are Unix seconds.
    """

    async def checkout_view(self, session_id: str) -> Json:
        """Everything the payment page shows.

        `{"session": <checkout.session>, "status": "open"|"complete"|"expired", "mode": "payment"|"subscription"|"setup",
        "merchant": str, "currency": str|None, "amount_total": int|None, "amount_due_today": int, "email": str|None,
        "lines": [{"name", "description", "quantity", "unit_amount", "amount", "currency",
        "interval": str|None, "interval_count": int|None}], "trial_days": int|None, "trial_text": str|None,
        "cards": [{"card": "pm_card_…", "number", "label"}], "needs_card": bool}`.
        """
        raise NotImplementedError

    async def pay(
        self, session_id: str, card: str = "pm_card_visa", email: str | None = None, *, authenticated: bool = False
    ) -> str:
        """The page's button; answers with the URL the browser goes to next.

        Raises `StripeError` 402 when the card is declined (the session stays open) and `AuthenticationRequired` for a
        card with 3-D Secure unless `authenticated`; 400 when the session is no longer open.
        """
        raise NotImplementedError

    async def cancel_url(self, session_id: str) -> str | None:
        """Where the page's back link leads; None when the merchant gave none."""
        raise NotImplementedError

    async def portal_view(self, portal_id: str) -> Json:
        """Everything the portal shows.

        `{"portal": <billing_portal.session>, "merchant": str, "customer": <customer>, "return_url": str|None,
        "payment_method": <payment_method>|None, "now": int,
        "subscriptions": [{"subscription": <subscription>, "lines": [{"name", "quantity", "unit_amount", "currency",
        "interval", "interval_count"}], "scheduled_end": int|None, "current_period_end": int}],
        "invoices": [<invoice>, …newest first], "cards": [{"card", "number", "label"}]}`.
        """
        raise NotImplementedError

    async def portal_cancel(self, portal_id: str, subscription_id: str) -> None:
        """Schedules the end at the period's end, as Stripe's portal does: sets only `cancel_at`."""
        raise NotImplementedError

    async def portal_resume(self, portal_id: str, subscription_id: str) -> None:
        """Takes a scheduled end back."""
        raise NotImplementedError

    async def portal_set_payment_method(self, portal_id: str, card: str) -> None:
        """Makes a new card the customer's default. Raises `StripeError` 402 when the card cannot be saved."""
        raise NotImplementedError

    async def overview(self) -> Json:
        """What the control page shows, newest first and at most 20 of each.

        `{"now": float, "offset": float, "frozen": bool, "counts": {"customers": int, "subscriptions": int,
        "events": int, …}, "events": [{"event": <event>, "deliveries": [{"endpoint": "we_…", "url", "state":
        "pending"|"succeeded"|"failed", "attempts": [{"at": int, "status": int|None, "error": str|None}],
        "next_attempt": int|None}]}], "endpoints": [<webhook_endpoint>], "customers": [<customer>],
        "subscriptions": [<subscription>], "checkout_sessions": [<checkout.session>]}`.
        """
        raise NotImplementedError

    async def advance(self, seconds: float) -> None:
        """Moves the clock and does everything due on the way, in order, deliveries included."""
        raise NotImplementedError
