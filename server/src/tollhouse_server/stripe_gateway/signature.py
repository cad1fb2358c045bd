"""Whether a webhook's body was sent by Stripe, lately."""

import time

import stripe

from ..domain.errors import Problem

TOLERANCE_SECONDS = 300


class BadSignature(Problem):
    """The event is not signed by Stripe, or not lately.

    Check that STRIPE_WEBHOOK_SECRET is the signing secret of this very endpoint.
    """

    status = 400
    code = "bad-signature"


def verify(body: bytes, header: str | None, secrets: tuple[str, ...], *, wall: float | None = None) -> None:
    """Raises BadSignature unless one of the secrets signed `body` within 300 s of now, in either direction.

    `wall` is the real time in Unix seconds; signatures live in real time whatever the sandbox's clock says.
    """
    if not header:
        raise BadSignature("The Stripe-Signature header is missing: only Stripe may post here.")
    if not any(_signed(body, header, secret) for secret in secrets):
        raise BadSignature(
            "No configured secret made this signature: check STRIPE_WEBHOOK_SECRET against the endpoint in Stripe."
        )
    # The library refuses old timestamps only, and by its own clock; one from the future could be replayed for long.
    age = (time.time() if wall is None else wall) - _timestamp(header)
    if abs(age) > TOLERANCE_SECONDS:
        raise BadSignature(
            f"The signature is {age:.0f} s old; up to 300 s either way is accepted. Check this machine's clock."
        )


def _signed(body: bytes, header: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)
    except (stripe.SignatureVerificationError, UnicodeError, TypeError):  # TypeError: a signature that is not ASCII
        return False
    return True


def _timestamp(header: str) -> int:
    """The `t` of the header; the library has parsed it before."""
    return next(int(part.split("=", 2)[1]) for part in header.split(",") if part.startswith("t="))
