"""Errors in the shape Stripe answers them: `{"error": {type, code, message, param, …}}` and an HTTP status."""

from typing import Any


class StripeError(Exception):
    """A refusal as Stripe words it.

    `status` is the HTTP status; `kind` is what Stripe calls the type: `invalid_request_error`, `card_error`,
    `idempotency_error` or `api_error`.
    `body()` is the JSON answer. An error leaves no trace, except where the failed attempt itself is a fact (a declined
    payment of an open invoice): there `keeping` marks it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.more = more
        self.keeps_changes = False

    def keeping(self) -> "StripeError":
        """The same error; what happened before it stays."""
        self.keeps_changes = True
        return self

    def body(self) -> dict[str, Any]:
        fields = {"code": self.code, "param": self.param, **self.more, "message": self.message, "type": self.kind}
        if self.code:
            fields.setdefault("doc_url", f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}")
        return {"error": {name: value for name, value in fields.items() if value is not None}}


class AuthenticationRequired(StripeError):
    """The customer's bank asks for 3-D Secure: call again with `authenticated=True` once the customer has agreed."""

    def __init__(self, **more: Any) -> None:
        super().__init__(
            "Your card was declined. This transaction requires authentication.",
            status=402,
            kind="card_error",
            code="authentication_required",
            decline_code="authentication_required",
            **more,
        )


def missing(name: str, object_id: str, *, param: str = "id", status: int = 404) -> StripeError:
    """No object of that id: 404 when it was named in the path, 400 when a parameter named it."""
    return StripeError(f"No such {name}: '{object_id}'", status=status, code="resource_missing", param=param)
