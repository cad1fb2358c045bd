"""Errors in the shape Stripe answers them: `{"error": {type, code, message, param, …}}` and an HTTP status."""

from typing import Any


class StripeError(Exception):
    """A refusal as Stripe words it.

    `status` is the HTTP status; `type` one of `invalid_request_error`, `card_error`, `idempotency_error`, `api_error`.
    `body()` is the JSON answer. Whether what happened before the error is kept is decided by `keeps_changes`: a decline
    (402) is a fact that leaves a failed charge behind, every other error leaves no trace.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.more = more

    @property
    def keeps_changes(self) -> bool:
        return self.status == 402

    def body(self) -> dict[str, Any]:
        fields = {"code": self.code, "param": self.param, **self.more, "message": self.message, "type": self.type}
        if self.code:
            fields["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        return {"error": {name: value for name, value in fields.items() if value is not None}}


class AuthenticationRequired(StripeError):
    """The customer's bank asks for 3-D Secure: call again with `authenticated=True` once the customer has agreed."""

    def __init__(self, **more: Any) -> None:
        super().__init__(
            "Your card was declined. This transaction requires authentication.",
            status=402,
            type="card_error",
            code="authentication_required",
            decline_code="authentication_required",
            **more,
        )


def missing(name: str, id: str, *, param: str = "id", status: int = 404) -> StripeError:
    """No object of that id: 404 when it was named in the path, 400 when a parameter named it."""
    return StripeError(f"No such {name}: '{id}'", status=status, code="resource_missing", param=param)
